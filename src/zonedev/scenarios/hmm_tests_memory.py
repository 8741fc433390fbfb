"""Cases of hmm-tests.c in which a device reads and writes memory of the system."""

from __future__ import annotations

from errno import EFAULT, EPERM
from typing import Any

from zonedev.kernel.test_hmm_ioctl import PROT_READ
from zonedev.scenarios.hmm_suite import (
    FILE_RULES,
    HmmTest,
    buffer,
    check,
    check_mirror,
    fill,
    fill_mirror,
    filled,
    free,
    opened,
    read,
    succeeds,
    tag,
    write,
)


class OpenClose(HmmTest):
    """A device is opened and closed."""

    def setup(m: Any) -> None:
        buffer(m, 1)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.dmirror_close(m.fd), 0)


class AnonRead(HmmTest):
    """A device reads a page that is not there, one that is the zero page, and one that was written."""

    def setup(m: Any) -> None:
        buffer(m, 3)
        m.task("A").protected(m.va, read=True, write=True)
        filled(m, first=2)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=False), 0)
        t.assert_eq("val", t.read_value(m.va + 1), 0)
        read(t, m, m.fd)
        for i in range(2):
            t.assert_eq("mirror", m.cmd.ptr[i], 0)
        check_mirror(t, m, first=2)
        free(t, m)


class AnonReadProt(HmmTest):
    """A device may not read what the program may not read."""

    def setup(m: Any) -> None:
        buffer(m, 2)
        m.task("A").protected(m.va, read=True, write=True)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m, 1)
        t.assert_eq("ret", t.mprotect(m.va, read=False, write=False), 0)
        t.assert_eq("ret", t.dmirror_read(m.fd, m.cmd, m.va, m.n), -EFAULT)
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=False), 0)
        check(t, m)
        check_mirror(t, m, 1)
        free(t, m)


class AnonWrite(HmmTest):
    """A device writes to pages that are not there."""

    def setup(m: Any) -> None:
        buffer(m, 2)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m)
        write(t, m, m.fd)
        check(t, m)
        free(t, m)


class AnonWriteProt(HmmTest):
    """A device may not write what the program may not write; when that may, it may."""

    def setup(m: Any) -> None:
        buffer(m, 2)
        m.task("A").protected(m.va, read=True, write=False)

    def task_A(t: Any, m: Any) -> None:
        succeeds(t, m, t.dmirror_read(m.fd, m.cmd, m.va, 1), 1)
        t.assert_eq("faults", m.cmd.faults, 1)
        fill_mirror(t, m)
        t.assert_eq("ret", t.dmirror_write(m.fd, m.cmd, m.va, m.n), -EPERM)
        for i in range(m.n):
            t.assert_eq("ptr", t.read_value(m.va + i), 0)
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=True), 0)
        write(t, m, m.fd)
        check(t, m)
        free(t, m)


class FileRead(HmmTest):
    """A device reads a file that is mapped."""

    rules = FILE_RULES

    def setup(m: Any) -> None:
        opened(m, 2)
        m.file = m.k.cached_file(2)
        m.va = m.task("A").mmap(m.file)
        m.task("A").protected(m.va, read=True, write=False)

    def task_A(t: Any, m: Any) -> None:
        for i in range(m.n):
            t.write_file(m.file, i, tag(i))
        read(t, m, m.fd)
        check_mirror(t, m)
        free(t, m)


class FileWrite(HmmTest):
    """A device writes to a file that is mapped."""

    rules = FILE_RULES

    def setup(m: Any) -> None:
        opened(m, 2)
        m.file = m.k.cached_file(2)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m)
        write(t, m, m.fd)
        check(t, m)
        for i in range(m.n):
            t.assert_eq("pread", t.read_file(m.file, i), tag(i))
        free(t, m)


class AnonReadMultiple(HmmTest):
    """A device reads what is mapped at an address where it has read something else; 2 rounds for 10."""

    def setup(m: Any) -> None:
        buffer(m, 2)
        m.task("A").may_mmap_again(m.va)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        for c in range(2):
            if c:
                t.mmap_again(m.va)
                fill(t, m, c)
            read(t, m, m.fd)
            check_mirror(t, m, c)
            free(t, m)


class AnonTeardown(HmmTest):
    """A device reads while a thread unmaps the second half; all interleavings of one round."""

    def setup(m: Any) -> None:
        opened(m, 2)
        a = m.task("A")
        m.va = a.mmap_anonymous(1)
        a.mmap_anonymous(1)
        m.task("B").clone_vm("A")
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        if t.dmirror_read(m.fd, m.cmd, m.va, m.n) == 0:
            t.assert_eq("cpages", m.cmd.cpages, m.n)
            t.assert_eq("faults", m.cmd.faults, 1)
            check_mirror(t, m)

    def task_B(t: Any, m: Any) -> None:
        t.munmap(m.va + 1)


class Mixedmap(HmmTest):
    """A page that a driver has inserted into a private mapping, in a snapshot."""

    rules = FILE_RULES

    def setup(m: Any) -> None:
        opened(m, 1)
        m.va = m.task("A").mmap_private(m.k.cached_file(1))

    def task_A(t: Any, m: Any) -> None:
        t.mmap_inserts(m.va)
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, 1))
        t.assert_eq("m[0]", m.cmd.perm[0], PROT_READ)
        free(t, m)
