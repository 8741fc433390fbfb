"""Device-private memory: pages of a process that only a device can reach, and their counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PRIVATE_RELEASES, PRIVATE_RULES, private_page

POINTS = ("idle", "migrated", "forked", "faulted back")


def counts(*values: int) -> Mapping[str, int]:
    return dict(zip(POINTS, values, strict=True))


class PrivateRefcounts(Scenario):
    """The page of a device is idle, taken by a migration, shared by fork(), and left by a CPU fault.

    Text 2 asks why no reference is taken for a page that is mapped: of private memory one was from the
    beginning, and it is the other one that was too many.
    """

    source = (
        "Jason Gunthorpe, Re: [PATCH v3 3/6] mm: support THP migration to device private memory, 2020-11-20"
    )
    observes = True
    orders = ("",)
    progress = "fault-terminates"
    expected = {
        "linux-5.10": holds("an idle page has one reference, and one in use one more", counts(1, 2, 3, 1)),
        "linux-5.19": holds("the idle page's reference is handed out", counts(1, 1, 2, 1)),
        **dict.fromkeys(
            PRIVATE_RELEASES[2:],
            holds("one reference for each entry, and none when idle", counts(0, 1, 2, 0)),
        ),
    }

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.page = m.gpu.pages[0]
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.observe("idle", m.page)
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.observe("migrated", m.page)
        t.fork(m.child)
        t.observe("forked", m.page)
        t.touch(m.va, False)
        t.observe("faulted back", m.page)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()


class MigrateRoundtrip(Scenario):
    """A page is migrated to a device, which writes to it, and comes back when the CPU reads it."""

    source = "Documentation/mm/hmm.rst"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    orders = ("",)
    expected = dict.fromkeys(PRIVATE_RELEASES, holds("what the device wrote is found, in the only copy"))

    def setup(m: Any) -> None:
        private_page(m)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.gpu_write(m.mirror, m.va)
        t.touch(m.va, False)


#: Two faults on one page of a device: three eras.
ERAS = {
    "linux-5.10": violated("page-lifetime", "migrate_to_ram() is called without a reference"),
    "linux-5.19": violated("page-lifetime", "as linux-5.10"),
    "linux-6.1": violated("fault-terminates", "each holds a reference, so that no migration succeeds"),
    "linux-6.12": violated("fault-terminates", "as linux-6.1"),
    "linux-6.15": holds("the page is locked by who migrates it, and the other faults again"),
    "linux-7.2": holds("the other waits"),
}


class MigrateVsCpuFault(Scenario):
    """Two threads touch a page that is in the memory of a device.

    Three eras of one race.  Up to v6.0 the driver is called for a page that may have been freed; up to
    v6.14 each thread holds the page that the other one tries to migrate; since v6.15 it is locked.
    """

    source = "CVE-2022-3523; Matthew Brost, mm/migrate: Trylock device page in do_swap_page, 2025-03"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = ERAS

    def setup(m: Any) -> None:
        private_page(m, pages=3, migrated=True)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)


class MigrateVsTouch(Scenario):
    """The CPU writes to a page while the driver migrates it to the device."""

    source = "Documentation/mm/hmm.rst"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(PRIVATE_RELEASES, holds("the entry of the migration keeps the CPU off"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateEmptyVsTouch(Scenario):
    """Nothing is mapped yet where the driver puts a page of its own; the CPU writes there, and reads."""

    source = "mm/migrate_device.c: migrate_vma_insert_page()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        ("linux-6.15", "linux-7.2"), holds("the entry is looked at again under the page-table lock")
    )

    def setup(m: Any) -> None:
        m.k.anonymous_memory(3)
        m.gpu = m.k.dmirror_device(1)
        a = m.task("A")
        m.va = a.mmap_anonymous(1)
        m.mirror = a.dmirror_open(m.gpu)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.touch(m.va, True, 3)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateVsFork(Scenario):
    """A process forks while one of its pages is migrated to a device; the child reads it."""

    source = "mm/memory.c: copy_nonpresent_pte()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(PRIVATE_RELEASES, holds("an entry is copied read-only, of whatever kind it is"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.touch(m.va, False)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class ForkOfPrivate(Scenario):
    """A process forks while it has a page in the memory of a device; both write to theirs."""

    source = "tools/testing/selftests/mm/hmm-tests.c: anon_write_child, hmm_cow_in_device"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = ERAS

    def setup(m: Any) -> None:
        private_page(m, pages=3, migrated=True)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.touch(m.va, True, 3)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.touch(m.va, True, 2)


class ForkThenDeviceWrite(Scenario):
    """A process forks while it has a page in the memory of a device, which then writes to it.

    hmm_range_fault() reports the caller's own memory as it is, also where a write was asked for and fork()
    has made it read-only.
    """

    source = "mm/hmm.c: hmm_vma_handle_pte(); lib/test_hmm.c: dmirror_do_fault()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    orders = ("",)
    expected = dict.fromkeys(PRIVATE_RELEASES, violated("kernel-asserts", "the driver warns, and fails"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, migrated=True)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.gpu_write(m.mirror, m.va)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()


class MigrateVsMunmap(Scenario):
    """A page is unmapped while the driver migrates it to the device."""

    source = "mm/memory.c: zap_nonpresent_ptes()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(PRIVATE_RELEASES, holds("mmap_lock orders them"))

    def setup(m: Any) -> None:
        private_page(m)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateVsZap(Scenario):
    """As migrate-vs-munmap, with MADV_DONTNEED, which takes mmap_lock for reading only.

    Its zap takes the entry of the migration away, under a notifier call that comes before the driver
    maps the page in the device.
    """

    source = "lib/test_hmm.c: dmirror_migrate_finalize_and_map()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        PRIVATE_RELEASES, violated("mirror-coherent", "the device maps a page that has gone")
    )

    def setup(m: Any) -> None:
        private_page(m)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateVsGup(Scenario):
    """A page is pinned for DMA while the driver migrates it to the device."""

    source = "mm/migrate_device.c: migrate_vma_check_page(), folio_try_share_anon_rmap_pte()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(PRIVATE_RELEASES, holds("a pinned page stays where it is"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_store(m.va, page)
            t.unpin_user_page(page)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateVsDeviceWrite(Scenario):
    """The device writes to a page of the system while its own driver migrates that page to it.

    The driver leaves the notifier call of its own migration unanswered, so that the device keeps its
    mapping of the old page until it gets the new one.
    """

    source = "lib/test_hmm.c: dmirror_interval_invalidate()"
    rules = tuple(r for r in PRIVATE_RULES if r != "mirror-coherent")
    progress = "fault-terminates"
    expected = dict.fromkeys(
        PRIVATE_RELEASES, violated("data-integrity", "what the device writes after the copy is lost")
    )

    def setup(m: Any) -> None:
        private_page(m)
        m.task("gpu").gpu_write(m.mirror, m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_write(m.mirror, m.va, 3)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)
