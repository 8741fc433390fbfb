"""Huge pages in the memory of a device, and as what a device takes for itself."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import MIRROR_RULES, PRIVATE_RULES, UNBIND_PRIVATE_RULES, Event, huge_page

SINGH = "Balbir Singh, mm: support device-private THP, 2025-03 to 2025-10 (v6.19)"


class ThpPinned(Scenario):
    """The second half of a huge page is pinned and written to by a device, while a thread writes to it."""

    source = "mm/gup.c: follow_pmd_mask(), follow_huge_pmd()"
    rules = (*PRIVATE_RULES, "suite-asserts")
    progress = "fault-terminates"
    expected = dict.fromkeys(("linux-6.15", "linux-7.2"), holds("the folio is taken, and the page of it"))

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va + 1)
        t.assert_eq("pinned", int(page is not None), 1)
        t.dma_store(m.va + 1, page)
        t.unpin_user_page(page)
        t.touch(m.va + 1, False)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va + 1, True, 2)


class ThpPinVsZap(Scenario):
    """A huge page is pinned and written to by a device, while a thread throws it away as a whole."""

    source = "mm/gup.c: follow_pmd_mask(), which reads the entry again under its lock"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        ("linux-6.15", "linux-7.2"), holds("the entry is looked at again, under the page-table lock")
    )

    def setup(m: Any) -> None:
        huge_page(m, vram=0)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va)
        if page is not None:
            t.dma_store(m.va, page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va, 2)


class ThpExclusive(Scenario):
    """A device takes one half of a huge page for itself, and the CPU uses both."""

    source = "mm/gup.c: FOLL_SPLIT_PMD; lib/test_hmm.c: dmirror_exclusive()"
    rules = (*MIRROR_RULES, "suite-asserts")
    progress = "fault-terminates"
    expected = dict.fromkeys(
        ("linux-6.15", "linux-7.2"), holds("the huge entry is split before it is walked")
    )

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)
        m.taken = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va + 1, True, 3)
        t.wait_for(m.taken)
        t.touch(m.va, False)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)
        t.happens(m.taken)


class ThpPrivateMigrate(Scenario):
    """A huge page is migrated to a device as a whole, while the CPU writes to its second half."""

    source = SINGH
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = {
        "thp-private-2020": holds("one entry of a migration keeps the CPU off both halves"),
        "linux-7.2": holds("as thp-private-2020"),
    }

    def setup(m: Any) -> None:
        huge_page(m)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va + 1, True, 3)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va, 2)


class ThpPrivateFault(Scenario):
    """Two threads touch the two halves of a huge page that is in the memory of a device.

    Who finds the folio locked faults again at once, and is not queued, as it is for pages of 4K.
    """

    source = "mm/huge_memory.c: do_huge_pmd_device_private()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = {
        "thp-private-2020": violated("page-lifetime", "migrate_to_ram() is called without a reference"),
        "linux-7.2": holds("who spins can spin only as long as the other one runs"),
    }

    def setup(m: Any) -> None:
        huge_page(m, migrated=True)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va + 1, True, 3)


class ThpPrivateSplit(Scenario):
    """One half of a huge page in the memory of a device is thrown away, while a thread reads the other.

    The entry is split, and the folio later, when its half is brought back.
    """

    source = SINGH
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = {"linux-7.2": holds("the half that stays is split off when it is brought back")}

    def setup(m: Any) -> None:
        huge_page(m, migrated=True)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va + 1, False)


class ThpFaultRange(Scenario):
    """A fault on the second half of a huge page whose entry was split; the driver brings back both.

    As drm_pagemap does.  migrate_vma_collect_pmd() remembers the folio that was faulted on from before
    it split it.
    """

    source = "mm/migrate_device.c: fault_folio in migrate_vma_collect_pmd(); drivers/gpu/drm/drm_pagemap.c"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = {
        "linux-7.2": violated("kernel-asserts", "the first half is unlocked, which nobody had locked")
    }

    def setup(m: Any) -> None:
        huge_page(m, pages=6, migrated=True)
        a = m.task("A")
        a.split_huge_pmd(a.task.mm.vma_at[m.va])

    def task_A(t: Any, m: Any) -> None:
        t.fault_whole_range(m.mirror, m.va + 1)


class ThpPrivateFork(Scenario):
    """A process forks while it has a huge page in the memory of a device; the child reads half of it."""

    source = SINGH
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = {
        "thp-private-2020": violated("kernel-asserts", "copy_huge_pmd() does not know such entries"),
        "linux-7.2": holds("shared, read-only, until one of them touches it"),
    }

    def setup(m: Any) -> None:
        huge_page(m, migrated=True)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.touch(m.va, False)


class ThpPrivateUnbind(Scenario):
    """A driver evicts a huge page of a process, which does nothing meanwhile, and goes."""

    source = "lib/test_hmm.c: dmirror_device_evict_chunk()"
    rules = UNBIND_PRIVATE_RULES
    progress = alone = "removal-terminates"
    expected = {"linux-7.2": holds("the copy is a huge page as well")}

    def setup(m: Any) -> None:
        huge_page(m, migrated=True)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)


class ThpNouveauUnbind(ThpPrivateUnbind):
    """As thp-private-unbind, with the steps of nouveau, which does not say that its copy is huge."""

    source = "drivers/gpu/drm/nouveau/nouveau_dmem.c: nouveau_dmem_evict_chunk()"
    expected = {"linux-7.2": violated("removal-terminates", "no huge page is ever evicted")}

    def task_driver(t: Any, m: Any) -> None:
        t.nouveau_dmem_fini(m.gpu)


class EvictMixedOrders(Scenario):
    """A driver evicts a page whose neighbour is free, and was the head of a huge page once.

    migrate_device_range() reads the order of a page to which it has no reference.
    """

    source = "mm/migrate_device.c: migrate_device_range()"
    rules = UNBIND_PRIVATE_RULES
    progress = alone = "removal-terminates"
    expected = {"linux-7.2": violated("removal-terminates", "a stale order passes over a page in use")}

    def setup(m: Any) -> None:
        huge_page(m, pages=6)
        a = m.task("A")
        a.dmirror_migrate_to_device(m.mirror, m.va, 2)
        a.touch(m.va)
        m.small = a.mmap_anonymous(1)
        a.touch(m.small)
        m.gpu.pages[0]._values["free"] = False  # the driver gives out the other page first
        a.dmirror_migrate_to_device(m.mirror, m.small)
        m.gpu.pages[0]._values["free"] = True

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)
