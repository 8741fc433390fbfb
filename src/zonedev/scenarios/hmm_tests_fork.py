"""Cases of hmm-tests.c with fork(), and with exclusive access."""

from __future__ import annotations

from errno import EPERM
from typing import Any

from zonedev.kernel.test_hmm_ioctl import PROT_WRITE
from zonedev.scenarios.base import holds
from zonedev.scenarios.hmm_suite import (
    FILE_RULES,
    HmmTest,
    buffer,
    check,
    check_mirror,
    coherent,
    fill,
    fill_mirror,
    filled,
    forks,
    free,
    opened,
    succeeds,
    tag,
    to_device,
    write,
)


class AnonWriteChild(HmmTest):
    """A child writes by a device to pages that it shares with its parent, who finds its own unchanged."""

    def setup(m: Any) -> None:
        buffer(m, 2, free=4)
        filled(m)
        forks(m)
        m.child_fd = m.task("B").dmirror_open(m.gpu)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m, 1)
        t.fork(m.child)
        t.wait_for(m.done)
        check(t, m)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        check(t, m)
        check_mirror(t, m, 1)
        write(t, m, m.child_fd)
        check(t, m, 1)
        t.assert_eq("ret", t.dmirror_close(m.child_fd), 0)
        t.exit()
        t.happens(m.done)


class AnonWriteChildMigrate(HmmTest):
    """As anon_write_child with pages that have migrated before; from v6.19 on."""

    case = "anon_write_child"
    uses_memory = True
    expected = {"linux-7.2": holds()}

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2, free=4)
        filled(m)
        forks(m)
        if m.scope["memory"] == "coherent":
            m.child_fd = m.task("B").dmirror_open(m.k.dmirror_device(2))
        else:
            m.child_fd = m.task("B").dmirror_open(m.gpu)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        t.fork(m.child)
        t.wait_for(m.done)
        check(t, m)
        free(t, m)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        check(t, m)
        write(t, m, m.child_fd)
        t.assert_eq("ret", t.dmirror_close(m.child_fd), 0)
        t.exit()
        t.happens(m.done)


class AnonWriteChildShared(HmmTest):
    """As anon_write_child with shared memory, in which the parent finds what the child has written."""

    rules = FILE_RULES

    def setup(m: Any) -> None:
        opened(m, 2)
        m.va = m.task("A").mmap(m.k.cached_file(2))
        filled(m)
        forks(m)
        m.child_fd = m.task("B").dmirror_open(m.gpu)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m, 1)
        t.fork(m.child)
        t.wait_for(m.done)
        check(t, m, 1)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        check(t, m)
        check_mirror(t, m, 1)
        write(t, m, m.child_fd)
        check(t, m, 1)
        t.assert_eq("ret", t.dmirror_close(m.child_fd), 0)
        t.exit()
        t.happens(m.done)


class CowInDevice(HmmTest):
    """The parent writes to pages in the memory of a device while its child has them too."""

    case = "hmm_cow_in_device"
    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2, free=4)
        filled(m)
        forks(m)
        m.killed = m.k.system.new(type(m.done))

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        t.fork(m.child)
        fill(t, m)
        t.happens(m.killed)
        t.wait_for(m.done)
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
        for i in range(m.n):
            t.assert_eq("m", m.cmd.perm[i], PROT_WRITE)
        free(t, m)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.wait_for(m.killed)
        t.exit()
        t.happens(m.done)


def increment(t: Any, m: Any) -> None:
    """ptr[i]++"""
    for i in range(m.n):
        t.assert_eq("ptr", t.read_value(m.va + i), tag(i))
        t.touch(m.va + i, True, tag(i, 1))


class Exclusive(HmmTest):
    """A device takes pages for itself, and the CPU takes them back."""

    def setup(m: Any) -> None:
        buffer(m, 2)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        succeeds(t, m, t.dmirror_take(m.fd, m.cmd, m.va, m.n))
        check_mirror(t, m)
        increment(t, m)
        check(t, m, 1)
        t.assert_eq("ret", t.dmirror_check_atomic(m.fd, m.va, m.n), 0)
        free(t, m)


class ExclusiveMprotect(HmmTest):
    """A device has pages for itself that may not be written any more."""

    def setup(m: Any) -> None:
        buffer(m, 2)
        m.task("A").protected(m.va, read=True, write=True)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        succeeds(t, m, t.dmirror_take(m.fd, m.cmd, m.va, m.n))
        check_mirror(t, m)
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=False), 0)
        t.assert_eq("ret", t.dmirror_write(m.fd, m.cmd, m.va, m.n), -EPERM)
        free(t, m)


class ExclusiveCow(HmmTest):
    """A program forks when a device has a page for itself; parent and child write to theirs at the same
    time, in all interleavings."""

    def setup(m: Any) -> None:
        buffer(m, 1, free=3)
        filled(m)
        forks(m)

    def task_A(t: Any, m: Any) -> None:
        succeeds(t, m, t.dmirror_take(m.fd, m.cmd, m.va, m.n))
        t.fork(m.child)
        increment(t, m)
        check(t, m, 1)
        t.wait_for(m.done)
        free(t, m)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        increment(t, m)
        check(t, m, 1)
        t.exit()
        t.happens(m.done)


AnonWriteChildMigrateCoherent = coherent(AnonWriteChildMigrate)
CowInDeviceCoherent = coherent(CowInDevice)
