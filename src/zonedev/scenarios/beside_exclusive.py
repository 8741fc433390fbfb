"""Who comes by while a device takes a page for itself, or has taken it."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.exclusive import SAFETY
from zonedev.scenarios.hmm_suite import FILE_RULES
from zonedev.scenarios.parts import MIRROR_RULES, huge_page, mirrored_page, private_page

BOTH = ("linux-6.15", "linux-7.2")
RULES = ("suite-asserts", *SAFETY)


class BesideExclusive(Scenario):
    """What these scenarios have in common."""

    rules = RULES
    progress = "fault-terminates"


class ExclusiveUncheckedVsCpu(BesideExclusive):
    """The CPU writes to a page that a driver is about to take, and maps before it unlocks it."""

    source = 'mm/rmap.c: make_device_exclusive(), "while holding the folio lock"; lib/test_hmm.c'
    expected = dict.fromkeys(BOTH, holds("a fault waits for the page before it calls the notifiers"))

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)


class ExclusiveFaultVsZap(BesideExclusive):
    """A page that a device has for itself is read, and thrown away by another thread."""

    source = "mm/memory.c: remove_device_exclusive_entry()"
    expected = dict.fromkeys(BOTH, holds("who faults holds the page, and looks at the entry again"))

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2, atomics=True)
        m.task("B").clone_vm("A")
        m.task("gpu").dmirror_exclusive(m.mirror, m.va)

    def task_A(t: Any, m: Any) -> None:
        t.read_value(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)


class ExclusiveUncheckedVsZap(BesideExclusive):
    """A page is thrown away while a driver that looks at no number takes it: its counts are right."""

    source = "lib/test_hmm.c: dmirror_exclusive()"
    rules = ("refcount-exact", "kernel-asserts", "page-lifetime", "no-deadlock", "lock-balance")
    expected = dict.fromkeys(BOTH, holds("the driver holds the page until it has mapped it"))

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)


class ExclusiveAlone(BesideExclusive):
    """A device takes a page that is in use, and again when the CPU has written to it."""

    source = 'mm/rmap.c: make_device_exclusive(), "filter this event out to prevent livelocks"'
    rules = ("suite-asserts", *MIRROR_RULES)
    expected = dict.fromkeys(BOTH, holds("what the device itself has begun does not disturb it"))

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("atomic", int(t.gpu_atomic(m.mirror, m.va) is not None), 1)
        t.touch(m.va, True, 2)
        t.assert_eq("atomic", int(t.gpu_atomic(m.mirror, m.va) is not None), 1)
        t.assert_eq("data", t.read_value(m.va), 3)


class ExclusiveSplitVsPin(BesideExclusive):
    """One half of a huge page is taken by a device, and the other one is pinned for DMA."""

    source = "mm/huge_memory.c: __split_huge_pmd_locked(), PageAnonExclusive()"
    expected = dict.fromkeys(BOTH, holds("each half is as exclusive as both were"))

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va + 1)
        if page is not None:
            t.unpin_user_page(page)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)


class ExclusiveSplitTwice(BesideExclusive):
    """Two devices take the two halves of a huge page."""

    source = "mm/huge_memory.c: __split_huge_pmd()"
    expected = dict.fromkeys(BOTH, holds("who comes second finds it split"))

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0, atomics=True))

    def task_gpu0(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)

    def task_gpu1(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.other, m.va + 1)


class ExclusiveSplitVsChild(BesideExclusive):
    """A huge page that a child has as well is taken by a device, while the child unmaps it."""

    source = "mm/huge_memory.c: __split_huge_pmd_locked(), zap_huge_pmd()"
    expected = dict.fromkeys(BOTH, holds("counts are atomic; the half that is taken is copied"))

    def setup(m: Any) -> None:
        huge_page(m, pages=4, vram=0, atomics=True)
        m.task("A").may_fork("B")
        m.task("A").fork(m.task("B").task)

    def task_B(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)


class ExclusiveVsMigrate(BesideExclusive):
    """A driver is asked to migrate a page that another device has for itself, and again later."""

    source = "mm/migrate_device.c: migrate_vma_collect_pmd(), softleaf_is_device_private()"
    expected = dict.fromkeys(BOTH, holds("it is neither present nor private memory, and stays where it is"))

    def setup(m: Any) -> None:
        private_page(m)
        m.task("A").touch(m.va, True, 1)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0, atomics=True))

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("exclusive", int(t.dmirror_exclusive(m.other, m.va)), 1)
        t.dmirror_migrate_to_system(m.mirror, m.va)
        t.assert_eq("migrate", int(t.dmirror_migrate_to_device(m.mirror, m.va)), 0)
        t.assert_eq("data", t.read_value(m.va), 1)
        t.assert_eq("migrate", int(t.dmirror_migrate_to_device(m.mirror, m.va)), 1)
        t.assert_eq("back", int(t.dmirror_migrate_to_system(m.mirror, m.va)), 1)


class ExclusiveOfFile(BesideExclusive):
    """A device that reads a page of a file asks for it alone, and does not get it."""

    source = "mm/rmap.c: make_device_exclusive(), folio_test_anon()"
    rules = ("refcount-exact", *FILE_RULES)
    expected = dict.fromkeys(BOTH, holds("anonymous memory only"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        a = m.task("A")
        m.va = a.mmap(m.file)
        m.mirror = a.dmirror_open(m.k.dmirror_device(0, atomics=True))
        a.touch(m.va)
        a.gpu_read(m.mirror, m.va)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("exclusive", int(t.dmirror_exclusive(m.mirror, m.va)), 0)
        t.gpu_read(m.mirror, m.va)


class HugePin(BesideExclusive):
    """A huge page is pinned as such, written to by a device, and read."""

    source = "mm/gup.c: follow_huge_pmd()"
    rules = ("suite-asserts", *MIRROR_RULES)
    expected = dict.fromkeys(BOTH, holds("its head counts the pin"))

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va + 1)
        t.dma_store(m.va + 1, page, 2)
        t.assert_eq("data", t.read_value(m.va + 1), 2)
        t.unpin_user_page(page)


class ThpExclusiveVsZap(BesideExclusive):
    """A device takes one half of a huge page for itself, while a thread throws all of it away.

    test_hmm does not ask whether the page is still there (notifier-retry-unchecked): what it then reaches
    is no rule here.
    """

    source = "mm/huge_memory.c: zap_huge_pmd(), which holds the page-table lock, as who splits the entry does"
    rules = tuple(r for r in RULES if r not in ("mirror-coherent", "one-live-copy", "data-integrity"))
    expected = dict.fromkeys(BOTH, holds("who has the page-table lock has the entry"))

    def setup(m: Any) -> None:
        huge_page(m, vram=0, atomics=True)
        m.task("B").clone_vm("A")

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va, 2)
