"""make_device_exclusive(): a page that only one device can reach (mm/rmap.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.gup import FOLL_GET, FOLL_SPLIT_PMD, FOLL_WRITE
from zonedev.kernel.hmm import HmmOps
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, NONE, Pte, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock


class DeviceExclusive(HmmOps):
    """Exclusive access as of v7.2: the CPU and every other secondary page table lose the page, until
    somebody faults on it.  Who has it pinned keeps it."""

    def make_device_exclusive(k, vma: Vma, va: int, owner: Any) -> Page | None:
        """The page at `va`, held and locked, with an entry that only `owner` may see past; None where
        it cannot be had.  The caller holds mmap_lock (mm/rmap.c)."""
        while True:
            page = k.get_user_pages_locked(vma, va, FOLL_GET | FOLL_WRITE | FOLL_SPLIT_PMD)
            if page is None:
                return None
            folio = k.page_folio(page)
            if not k.folio_test_anon(folio):
                k.folio_put(folio)
                return None
            k.folio_lock(folio)
            k.mmu_notifier_invalidate_range_start(vma.mm, Event.EXCLUSIVE, owner, va, 1)
            if k.make_entry_exclusive(vma, va, page):
                k.mmu_notifier_invalidate_range_end(vma.mm)
                return page
            k.mmu_notifier_invalidate_range_end(vma.mm)
            k.folio_unlock(folio)
            k.folio_put(folio)

    def make_entry_exclusive(k, vma: Vma, va: int, page: Page) -> bool:
        """folio_walk_start() to folio_walk_end(): false where another page is mapped by now, or this one
        read-only.  The entry keeps the reference and the rmap (mm/rmap.c)."""
        spin_lock(vma.mm.ptl)
        pte = vma.mm.pte[va]
        found = pte.present and pte.write and pte.page is page
        if found:
            vma.mm.pte[va] = NONE
            k.flush_tlb_mm(vma.mm)
            vma.mm.pte[va] = Pte(leaf=DEVICE_EXCLUSIVE, write=True, page=page)
        spin_unlock(vma.mm.ptl)
        return found
