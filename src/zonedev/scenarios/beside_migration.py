"""Who comes by while a page migrates: faults, zaps, forks, other devices; two at a time, at one page."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PRIVATE_RULES, private_page

BOTH = ("linux-6.15", "linux-7.2")
RULES = ("suite-asserts", *PRIVATE_RULES)


class Beside(Scenario):
    """What these scenarios have in common."""

    rules = RULES
    progress = "fault-terminates"


class PrivateFaultVsZap(Beside):
    """A page in the memory of a device is read, and thrown away by another thread."""

    source = 'mm/memory.c: do_swap_page(), "Get a page reference while we know"'
    expected = dict.fromkeys(BOTH, holds("the page is held under the page-table lock, and locked"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.read_value(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)


class PrivateFaultVsDevice(Beside):
    """The CPU reads a page in the memory of a device, which writes to it."""

    source = "lib/test_hmm.c: dmirror_devmem_fault_alloc_and_copy(), xa_erase()"
    expected = dict.fromkeys(BOTH, holds("the device loses the page before it is copied"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        t.read_value(m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_write(m.mirror, m.va)


class PrivateLookupVsFault(PrivateFaultVsDevice):
    """The device looks up a page in its own memory while the CPU brings it back.

    The driver leaves the notifier call of its own migration unanswered, so that the sequence number says
    nothing of what was looked up before.
    """

    source = "lib/test_hmm.c: dmirror_interval_invalidate(), dmirror_range_fault()"
    expected = dict.fromkeys(BOTH, violated("mirror-coherent", "the device maps a page that has gone"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)
        m.task("A").madvise_free(m.va)  # the device has it mapped no more

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_read(m.mirror, m.va)


class PrivateBackVsMunmap(Beside):
    """A driver brings a page back to the system while it is unmapped."""

    source = "mm/migrate_device.c: migrate_vma_setup(), mmap_lock"
    expected = dict.fromkeys(BOTH, holds("mmap_lock is held until the migration is over"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_system(m.mirror, m.va)


class MigrateVsOtherDevice(Beside):
    """A page is migrated to one device while another one writes to it."""

    source = "mm/migrate_device.c: migrate_vma_collect(), mmu_notifier_range_init_owner()"
    expected = dict.fromkeys(BOTH, holds("the other device loses the page, and finds it again"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0))

    def task_gpu1(t: Any, m: Any) -> None:
        t.gpu_write(m.other, m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateZeroPage(Beside):
    """The zero page is mapped where a driver puts a page of its device; the CPU reads."""

    source = "mm/migrate_device.c: migrate_vma_insert_page(), is_zero_pfn()"
    expected = dict.fromkeys(BOTH, holds("nobody reads the zero page when the new one is mapped"))

    def setup(m: Any) -> None:
        m.k.anonymous_memory(2)
        m.gpu = m.k.dmirror_device(1)
        a = m.task("A")
        m.va = a.mmap_anonymous(1)
        m.mirror = a.dmirror_open(m.gpu)
        a.touch(m.va, False)

    def task_A(t: Any, m: Any) -> None:
        t.read_value(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateZeroPageVsOtherDevice(MigrateZeroPage):
    """The same, and it is another device that reads."""

    def setup(m: Any) -> None:
        MigrateZeroPage.setup(m)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0))
        m.task("A").gpu_read(m.other, m.va)

    def task_A(t: Any, m: Any) -> None:
        t.gpu_read(m.other, m.va)


class MigrateShared(Beside):
    """A page that a child has as well is migrated to a device; the child reads it."""

    source = "mm/migrate_device.c: migrate_vma_collect_pmd(), flush_tlb_range()"
    expected = dict.fromkeys(BOTH, holds("the entries of both are replaced, and flushed"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.task("A").touch(m.va, True, 1)
        m.task("A").may_fork("B")
        m.task("A").fork(m.task("B").task)
        m.task("A").touch(m.va, False)
        m.task("B").touch(m.va, False)

    def task_B(t: Any, m: Any) -> None:
        t.assert_eq("data", t.read_value(m.va), 1)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class MigrateVsHeld(Beside):
    """A page that a program holds, throws away and gives back is found by a migration."""

    source = "mm/migrate_device.c: migrate_device_unmap(), migrate_vma_check_page()"
    rules = tuple(r for r in RULES if r not in ("mirror-coherent", "one-live-copy", "data-integrity"))
    expected = dict.fromkeys(BOTH, holds("who finds it held leaves it where it is"))

    def setup(m: Any) -> None:
        private_page(m)

    def task_A(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va)
        t.madvise_dontneed(m.va)
        if page is not None:
            t.put_page(page)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class EvictVsFault(Beside):
    """A driver evicts its device once, while the CPU reads a page of it."""

    source = "mm/migrate_device.c: migrate_device_pfn_lock()"
    expected = dict.fromkeys(BOTH, holds("who finds the page locked or held leaves it to the other"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        t.read_value(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_evict_chunk(m.gpu)


class MigrateVsMigrate(Beside):
    """A driver migrates two pages at once, for two threads of a program."""

    source = "lib/test_hmm.c: dmirror_devmem_alloc_page(), mdevice->lock"
    expected = dict.fromkeys(BOTH, holds("each page of the device is given out once"))

    def setup(m: Any) -> None:
        m.k.anonymous_memory(2)
        m.gpu = m.k.dmirror_device(1)
        a = m.task("A")
        m.va = a.mmap_anonymous(1)
        m.second = a.mmap_anonymous(1)
        m.mirror = a.dmirror_open(m.gpu)
        m.task("B").clone_vm("A")
        a.touch(m.va)
        a.touch(m.second)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)

    def task_B(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.second)


class MigrateAfterRelease(Beside):
    """A driver has given up the memory of its device, and is asked to migrate a page to it."""

    source = "lib/test_hmm.c: dmirror_device_remove_chunks(), dmirror_remove_free_pages()"
    expected = dict.fromkeys(BOTH, holds("no page of it is given out any more"))

    def setup(m: Any) -> None:
        private_page(m)
        m.task("A").touch(m.va, True, 1)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.assert_eq("data", t.read_value(m.va), 1)


class CoherentPinWithoutMemory(Beside):
    """A page of coherent memory is to be pinned for long, and there is no page of the system for it."""

    source = "mm/migrate_device.c: migrate_device_coherent_folio(), __GFP_NOWARN"
    expected = dict.fromkeys(BOTH, holds("the pin fails, and the page stays where it is"))

    def setup(m: Any) -> None:
        private_page(m, pages=1, coherent=True)
        a = m.task("A")
        a.touch(m.va, True, 1)
        a.dmirror_migrate_to_device(m.mirror, m.va)
        m.other = a.mmap_anonymous(1)
        a.touch(m.other)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, FOLL_WRITE | FOLL_LONGTERM)
        t.assert_eq("pin", int(page is not None), 0)
        t.assert_eq("data", t.read_value(m.va), 1)
