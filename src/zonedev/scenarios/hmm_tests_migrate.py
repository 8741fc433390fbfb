"""Cases of hmm-tests.c in which pages migrate to the memory of a device."""

from __future__ import annotations

from errno import EINVAL, ENOENT
from typing import Any

from zonedev.kernel.gup import FOLL_LONGTERM, FOLL_WRITE
from zonedev.kernel.test_hmm_ioctl import (
    COHERENT_LOCAL,
    COHERENT_REMOTE,
    PRIVATE_LOCAL,
    PROT_ERROR,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    PROT_ZERO,
)
from zonedev.scenarios.hmm_suite import (
    FILE_RULES,
    HmmTest,
    buffer,
    check,
    check_mirror,
    coherent,
    fill,
    filled,
    free,
    opened,
    read,
    succeeds,
    to_device,
)


class Migrate(HmmTest):
    """Pages migrate to a device, and are unmapped there."""

    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        free(t, m)


class MigrateFilePrivate(Migrate):
    """The copies that a private mapping of a file has migrate."""

    rules = FILE_RULES

    def setup(m: Any) -> None:
        opened(m, 2, memory=2)
        m.va = m.task("A").mmap_private(m.k.cached_file(2))
        filled(m)


class MigrateFault(HmmTest):
    """The CPU reads half of the pages that have migrated, and they migrate again."""

    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        check(t, m, end=1)
        to_device(t, m, m.fd)
        check_mirror(t, m)
        free(t, m)


class MigrateRelease(HmmTest):
    """The driver gives up the memory that pages have migrated to; the CPU finds them in the system."""

    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        t.assert_eq("ret", t.dmirror_release(m.fd), 0)
        check(t, m, end=1)
        free(t, m)


class MigrateShared(HmmTest):
    """Shared memory that nobody has touched does not migrate."""

    rules = FILE_RULES
    uses_memory = True

    def setup(m: Any) -> None:
        opened(m, 2, memory=2)
        m.va = m.task("A").mmap(m.k.cached_file(2))

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.dmirror_to_device(m.fd, m.cmd, m.va, m.n), -ENOENT)
        free(t, m)


def patchwork(m: Any, last: int) -> None:
    """Two devices, and mappings side by side that allow nothing: of a page that stays so, of one that is
    unmapped, of two, and of the `last` pages.  The kernel makes them of one when it has to."""
    opened(m, 4 + last, fds=2, memory=3, free=4)
    a = m.task("A")
    m.p = [a.mmap_anonymous(pages) for pages in (1, 1, 2, last)]
    m.p = tuple(m.p)
    for va in m.p:
        a.protected(va, read=False, write=False)
    m.va = m.p[0]


def prepare(t: Any, m: Any) -> None:
    """The third mapping has the zero page, and one that was written, both read-only; the last one may be
    written, and its first page is."""
    t.munmap(m.va + 1)
    t.assert_eq("ret", t.mprotect(m.va + 2, read=True, write=False), 0)
    t.assert_eq("val", t.read_value(m.va + 2), 0)
    t.assert_eq("ret", t.mprotect(m.va + 2, read=True, write=True), 0)
    t.touch(m.va + 3, True, 3)
    t.assert_eq("ret", t.mprotect(m.va + 2, read=True, write=False), 0)
    t.assert_eq("ret", t.mprotect(m.va + 4, read=True, write=True), 0)
    t.touch(m.va + 4, True, 3)


class MigrateMixed(HmmTest):
    """What cannot be read does not migrate; zero pages and read-only ones do; 5 pages for 6."""

    case = "migrate_mixed"
    uses_memory = True

    def setup(m: Any) -> None:
        patchwork(m, 1)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.dmirror_to_device(m.other, m.cmd, m.va, 1), -EINVAL)
        prepare(t, m)
        t.assert_eq("ret", t.dmirror_to_device(m.other, m.cmd, m.va, 2), -EINVAL)
        succeeds(t, m, t.dmirror_to_device(m.other, m.cmd, m.va + 2, 3), 3)
        t.assert_eq("ret", t.dmirror_to_device(m.fd, m.cmd, m.va + 4, 1), -ENOENT)
        for va in (m.va, m.va + 2, m.va + 4):
            t.munmap(va)


class MigrateMultiple(HmmTest):
    """Pages migrate at an address where others have migrated; 2 rounds for 10."""

    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        m.task("A").may_mmap_again(m.va)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        for c in range(2):
            if c:
                t.mmap_again(m.va)
                fill(t, m, c)
            to_device(t, m, m.fd)
            check_mirror(t, m, c)
            if m.scope["memory"] == "coherent":
                succeeds(t, m, t.dmirror_to_system(m.fd, m.cmd, m.va, m.n))
            check(t, m, c)
            free(t, m)


class Snapshot(HmmTest):
    """A snapshot of pages of all kinds."""

    uses_memory = True

    def setup(m: Any) -> None:
        patchwork(m, 3)

    def task_A(t: Any, m: Any) -> None:
        prepare(t, m)
        succeeds(t, m, t.dmirror_to_device(m.fd, m.cmd, m.va + 5, 1), 1)
        succeeds(t, m, t.dmirror_to_device(m.other, m.cmd, m.va + 6, 1), 1)
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
        private = m.scope["memory"] == "private"
        t.assert_eq("m[0]", m.cmd.perm[0], PROT_ERROR)
        t.assert_eq("m[1]", m.cmd.perm[1], PROT_ERROR)
        t.assert_eq("m[2]", m.cmd.perm[2], PROT_ZERO | PROT_READ)
        t.assert_eq("m[3]", m.cmd.perm[3], PROT_READ)
        t.assert_eq("m[4]", m.cmd.perm[4], PROT_WRITE)
        t.assert_eq("m[5]", m.cmd.perm[5], (PRIVATE_LOCAL if private else COHERENT_LOCAL) | PROT_WRITE)
        t.assert_eq("m[6]", m.cmd.perm[6], PROT_NONE if private else COHERENT_REMOTE | PROT_WRITE)
        for va in (m.va, m.va + 2, m.va + 4):
            t.munmap(va)


class DoubleMap(HmmTest):
    """Two devices read pages, which then migrate to the second one; 2 pages for 6."""

    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 2, fds=2, memory=2)
        m.task("A").protected(m.va, read=True, write=True)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=False), 0)
        read(t, m, m.fd)
        check_mirror(t, m)
        read(t, m, m.other)
        check_mirror(t, m)
        to_device(t, m, m.other)
        read(t, m, m.fd)
        check_mirror(t, m)
        free(t, m)


class GupTest(HmmTest):
    """Pages in the memory of a device are held and pinned, a page each way."""

    case = "hmm_gup_test"
    uses_memory = True

    def setup(m: Any) -> None:
        buffer(m, 4, memory=4)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        held = t.get_user_pages(m.va, FOLL_WRITE)
        if held is not None:
            t.put_page(held)
        held = t.get_user_pages_fast(m.va + 1, FOLL_WRITE)
        if held is not None:
            t.put_page(held)
        held = t.pin_user_pages_fast(m.va + 2, FOLL_WRITE | FOLL_LONGTERM)
        if held is not None:
            t.unpin_user_page(held)
        held = t.pin_user_pages(m.va + 3, FOLL_WRITE | FOLL_LONGTERM)
        if held is not None:
            t.unpin_user_page(held)
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
        place = PROT_NONE if m.scope["memory"] == "private" else COHERENT_LOCAL
        for i in range(m.n):
            t.assert_eq("m", m.cmd.perm[i], (place if i < 2 else PROT_NONE) | PROT_WRITE)
        check(t, m)
        free(t, m)


MigrateCoherent = coherent(Migrate)
MigrateFilePrivateCoherent = coherent(MigrateFilePrivate)
MigrateFaultCoherent = coherent(MigrateFault)
MigrateReleaseCoherent = coherent(MigrateRelease)
MigrateSharedCoherent = coherent(MigrateShared)
MigrateMixedCoherent = coherent(MigrateMixed)
MigrateMultipleCoherent = coherent(MigrateMultiple)
SnapshotCoherent = coherent(Snapshot)
DoubleMapCoherent = coherent(DoubleMap)
GupTestCoherent = coherent(GupTest)
