"""Cases of hmm-tests.c with huge pages: all but the first two came in v6.19.

A huge page has two pages here.
"""

from __future__ import annotations

from typing import Any

from zonedev.kernel.test_hmm_ioctl import PRIVATE_LOCAL, PROT_PMD, PROT_READ, PROT_WRITE
from zonedev.scenarios.base import holds
from zonedev.scenarios.hmm_suite import (
    HmmTest,
    buffer,
    check,
    check_mirror,
    coherent,
    fill_mirror,
    filled,
    forks,
    free,
    huge_buffer,
    opened,
    succeeds,
    to_device,
    write,
)
from zonedev.scenarios.hmm_tests_fork import AnonWriteChild, AnonWriteChildMigrate

NEW = {"linux-7.2": holds()}


def huge(m: Any, free: int = 2) -> None:
    """A huge page of anonymous memory, and a device that does not keep any."""
    opened(m, 2, free=free)
    m.va = m.task("A").mmap_anonymous(2, thp=True)


class AnonWriteHuge(HmmTest):
    """A device writes where there will be a huge page."""

    def setup(m: Any) -> None:
        huge(m)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m)
        write(t, m, m.fd)
        check(t, m)
        free(t, m)


class AnonWriteHugetlbfs(AnonWriteHuge):
    """The same with a page of hugetlbfs, which is a huge page here as all are."""


class Compound(HmmTest):
    """Snapshots of a page of hugetlbfs, which is a huge page here as all are."""

    def setup(m: Any) -> None:
        huge(m)
        m.task("A").protected(m.va, read=True, write=True)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
        for i in range(m.n):
            t.assert_eq("m", m.cmd.perm[i], PROT_WRITE | PROT_PMD)
        t.assert_eq("ret", t.mprotect(m.va, read=True, write=False), 0)
        succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
        for i in range(m.n):
            t.assert_eq("m", m.cmd.perm[i], PROT_READ | PROT_PMD)
        free(t, m)


class AnonWriteChildHuge(AnonWriteChild):
    """As anon_write_child with a huge page; from v6.19 on."""

    case = "anon_write_child"
    expected = NEW

    def setup(m: Any) -> None:
        huge(m, free=4)
        filled(m)
        forks(m)
        m.child_fd = m.task("B").dmirror_open(m.gpu)


class AnonWriteChildMigrateHuge(AnonWriteChildMigrate):
    """As anon_write_child with a huge page that has migrated before; from v6.19 on."""

    def setup(m: Any) -> None:
        huge_buffer(m, free=4)
        filled(m)
        forks(m)
        m.child_fd = m.task("B").dmirror_open(m.gpu)

    def task_B(t: Any, m: Any) -> None:
        """Without close(), for there is nothing left on the device."""
        t.ret_from_fork()
        check(t, m)
        write(t, m, m.child_fd)
        t.exit()
        t.happens(m.done)


class MigrateAnonHugeEmpty(HmmTest):
    """Where nothing was touched a huge page of zeros migrates."""

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        m.task("A").protected(m.va, read=True, write=False)

    def task_A(t: Any, m: Any) -> None:
        fill_mirror(t, m)
        to_device(t, m, m.fd)
        for i in range(m.n):
            t.assert_eq("mirror", m.cmd.ptr[i], 0)
        free(t, m)


class MigrateAnonHugeFree(HmmTest):
    """MADV_FREE of a huge page that has migrated."""

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        t.madvise_free(m.va)
        free(t, m)


class MigrateAnonHugeFault(HmmTest):
    """The CPU reads a huge page that has migrated.

    The page is huge from the beginning on, where the case has small ones collapsed.
    """

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        if m.scope["memory"] == "private":
            succeeds(t, m, t.dmirror_snapshot(m.fd, m.cmd, m.va, m.n))
            for i in range(m.n):
                t.assert_eq("m", m.cmd.perm[i], PRIVATE_LOCAL | PROT_WRITE | PROT_PMD)
            t.assert_eq("PM_SWAP", t.pagemap_swap(m.va), True)
        check(t, m)
        free(t, m)


class MigratePartialUnmapFault(HmmTest):
    """The first half of a huge page that has migrated is unmapped, and the CPU reads the other half."""

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)
        m.half = 0

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        t.munmap_part(m.va + m.half, 1)
        check(t, m, first=1 - m.half, end=2 - m.half)
        free(t, m)


class MigratePartialUnmapFaultSecond(MigratePartialUnmapFault):
    """As migrate_partial_unmap_fault, for the second half."""

    case = "migrate_partial_unmap_fault"

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)
        m.half = 1


class MigratePartialUnmapFaultSmall(MigratePartialUnmapFault):
    """As migrate_partial_unmap_fault, with small pages."""

    case = "migrate_partial_unmap_fault"

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)
        m.half = 0


class MigrateRemapFault(HmmTest):
    """A huge page that has migrated is moved to another address, where the CPU reads it."""

    uses_memory = True
    leaves_out = "huge pages moved to where none fits, and some rounds that combine the same"
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)
        m.target = m.task("A").may_mremap(m.va)

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        check_mirror(t, m)
        t.mremap(m.va, m.target, False)
        check(t, m, at=m.target)
        t.munmap(m.target)


class MigrateRemapFaultSmall(MigrateRemapFault):
    """As migrate_remap_fault, with small pages."""

    case = "migrate_remap_fault"

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)
        m.target = m.task("A").may_mremap(m.va)


class MigrateRemapFaultBefore(MigrateRemapFault):
    """As migrate_remap_fault, with the move before the migration, and the old address stays mapped."""

    case = "migrate_remap_fault"

    def task_A(t: Any, m: Any) -> None:
        t.mremap(m.va, m.target, True)
        succeeds(t, m, t.dmirror_to_device(m.fd, m.cmd, m.target, m.n))
        check_mirror(t, m)
        check(t, m, at=m.target)
        t.munmap(m.target)
        t.munmap(m.va)


class MigrateAnonHugeErr(HmmTest):
    """A huge page migrates to a device that has none; the CPU reads its second page, for any."""

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        m.k.may_fail_alloc()
        huge_buffer(m)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("ret", t.dmirror_fail_alloc(m.fd), 0)
        to_device(t, m, m.fd)
        check_mirror(t, m)
        check(t, m, first=1)
        free(t, m)


class MigrateAnonHugeErrBack(MigrateAnonHugeErr):
    """A huge page that has migrated comes back to a system that has none."""

    case = "migrate_anon_huge_err"

    def task_A(t: Any, m: Any) -> None:
        to_device(t, m, m.fd)
        t.assert_eq("ret", t.dmirror_fail_alloc(m.fd), 0)
        t.assert_eq("ret", t.dmirror_to_system(m.fd, m.cmd, m.va, m.n), 0)
        check(t, m, first=1)
        free(t, m)


class BenchmarkThpMigration(HmmTest):
    """Huge pages migrate forth and back, twice for six times; nothing is measured here."""

    uses_memory = True
    expected = NEW

    def setup(m: Any) -> None:
        huge_buffer(m)
        filled(m)

    def task_A(t: Any, m: Any) -> None:
        for _ in range(2):
            t.assert_eq("ret", t.dmirror_to_device(m.fd, m.cmd, m.va, m.n), 0)
            t.assert_eq("ret", t.dmirror_to_system(m.fd, m.cmd, m.va, m.n), 0)
        free(t, m)


class BenchmarkThpMigrationSmall(BenchmarkThpMigration):
    """As benchmark_thp_migration, with small pages."""

    case = "benchmark_thp_migration"

    def setup(m: Any) -> None:
        buffer(m, 2, memory=2)
        filled(m)


#: With coherent memory the rounds with huge pages are those without.
MigrateAnonHugeEmptyCoherent = coherent(MigrateAnonHugeEmpty)
MigrateAnonHugeFreeCoherent = coherent(MigrateAnonHugeFree)
MigrateAnonHugeFaultCoherent = coherent(MigrateAnonHugeFault)
MigratePartialUnmapFaultCoherent = coherent(MigratePartialUnmapFault)
MigratePartialUnmapFaultSecondCoherent = coherent(MigratePartialUnmapFaultSecond)
MigrateRemapFaultCoherent = coherent(MigrateRemapFault)
MigrateRemapFaultBeforeCoherent = coherent(MigrateRemapFaultBefore)
BenchmarkThpMigrationCoherent = coherent(BenchmarkThpMigration)
