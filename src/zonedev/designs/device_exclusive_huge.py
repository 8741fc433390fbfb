"""A hypothetical design: exclusive access to a huge page as a whole, which text 5 argues against."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.gup import FOLL_GET, FOLL_WRITE
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, NONE, Pte, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.records import replace


class DeviceExclusiveHuge(Linux72):
    """make_device_exclusive() without FOLL_SPLIT_PMD: a huge entry becomes an exclusive one, and comes
    back as a whole.  Nobody has posted this; Simona Vetter says what would be wrong with it
    (2025-01-30)."""

    name = "device-exclusive-huge"
    title = "hypothetical: exclusive access keeps huge entries"
    release = False

    def make_device_exclusive(k, vma: Vma, va: int, owner: Any) -> Page | None:
        """As it is, for all of a huge page."""
        if not vma.thp:
            return super().make_device_exclusive(vma, va, owner)
        while True:
            page = k.get_user_pages_locked(vma, va, FOLL_GET | FOLL_WRITE)
            if page is None:
                return None
            folio = k.page_folio(page)
            k.folio_lock(folio)
            k.mmu_notifier_invalidate_range_start(vma.mm, Event.EXCLUSIVE, owner, vma.start, vma.nr)
            found = k.make_pmd_exclusive(vma, folio)
            k.mmu_notifier_invalidate_range_end(vma.mm)
            if found:
                return page
            k.folio_unlock(folio)
            k.folio_put(folio)

    def make_pmd_exclusive(k, vma: Vma, folio: Page) -> bool:
        """make_entry_exclusive() of a huge entry."""
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        found = pmd.present and pmd.write and pmd.page is folio
        if found:
            vma.mm.pmd[vma.start] = NONE
            k.flush_tlb_mm(vma.mm)
            vma.mm.pmd[vma.start] = Pte(leaf=DEVICE_EXCLUSIVE, write=True, page=folio)
        spin_unlock(vma.mm.ptl)
        return found

    def handle_pmd_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """Takes a huge entry back, as remove_device_exclusive_entry() does with a PTE."""
        orig_pmd = vma.mm.pmd[vma.start]
        if orig_pmd.leaf != DEVICE_EXCLUSIVE:
            return super().handle_pmd_fault(vma, va, write)
        folio = orig_pmd.page
        if not k.folio_try_get(folio, 1):
            return True
        k.folio_lock(folio)
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, vma.start, vma.nr)
        spin_lock(vma.mm.ptl)
        if vma.mm.pmd[vma.start] == orig_pmd:
            vma.mm.pmd[vma.start] = replace(orig_pmd, present=True, leaf=0, dirty=True)
        spin_unlock(vma.mm.ptl)
        k.folio_unlock(folio)
        k.folio_put(folio)
        k.mmu_notifier_invalidate_range_end(vma.mm)
        return True
