"""Migration of huge pages as a whole, or in parts where one side has no room (mm/migrate_device.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.huge_memory import TABLE
from zonedev.kernel.migrate_device import MigrateDevice
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import MIGRATION, NONE, Vma
from zonedev.lang.primitives import WARN_ON, atomic_read, atomic_set, spin_lock, spin_unlock
from zonedev.lang.runtime import current


class MigrateHuge(MigrateDevice):
    """MIGRATE_VMA_SELECT_COMPOUND as of v7.2.  A driver asks for it wherever a range is a whole huge
    page."""

    def zone_device_page_init(k, page: Page, pgmap: DevPagemap, order: int = 0) -> None:
        """Each page is made anew, for it may have been of a folio of another order; that is made a
        folio after its head is locked (mm/memremap.c)."""
        if not k.thp_exists:
            super().zone_device_page_init(page, pgmap)
            return
        k.zone_device_page_reset(page)
        if order:
            k.zone_device_page_reset(page.second)
        nr = 1 + order
        WARN_ON(not k.percpu_ref_tryget_many(pgmap.ref, nr), "zone_device_page_init() after memunmap_pages()")
        atomic_set(page._refcount, 1)
        k.folio_lock(page)
        if order:
            k.prep_compound_page(page)

    def zone_device_page_reset(k, page: Page) -> None:
        """The loop of zone_device_page_init() (mm/memremap.c)."""
        page.order = 0
        page.anon_vma = None
        page.compound_head = None
        WARN_ON(atomic_read(page._refcount) != 0, "zone_device_page_init() of a page in use")

    # --- collect -----------------------------------------------------------------------------------

    def migrate_vma_collect_pmd(
        k, vma: Vma, first: int, nr: int, select: int, owner: Any, fault_page: Page | None
    ) -> None:
        """A huge entry first; then PTE by PTE, where the page of a larger folio is split off with the
        lock dropped (mm/migrate_device.c)."""
        if not vma.thp:
            super().migrate_vma_collect_pmd(vma, first, nr, select, owner, fault_page)
            return
        fault_folio = None if fault_page is None else k.page_folio(fault_page)
        pmd = vma.mm.pmd[vma.start]
        if pmd != TABLE and k.migrate_vma_collect_huge_pmd(vma, first, nr, select, owner, fault_folio):
            return
        spin_lock(vma.mm.ptl)
        if vma.mm.pmd[vma.start] == NONE:
            vma.mm.pmd[vma.start] = TABLE
        unmapped = False
        skipped = False
        for va in range(first, first + nr):
            if not skipped:
                skipped = not k.migrate_vma_split_large(vma, va, select, owner, fault_page)
            if not skipped and k.migrate_vma_collect_pte(vma, va, select, owner, fault_folio):
                unmapped = True
        if unmapped:
            k.flush_tlb_mm(vma.mm)
        spin_unlock(vma.mm.ptl)

    def migrate_vma_collect_huge_pmd(
        k, vma: Vma, first: int, nr: int, select: int, owner: Any, fault_folio: Page | None
    ) -> bool:
        """Take a huge page as a whole; false where its PTEs are next (mm/migrate_device.c)."""
        whole = nr == vma.nr
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.page is None:
            if pmd == NONE and whole:
                current().migrates[first] = True
                current().compounds[first] = True
            spin_unlock(vma.mm.ptl)
            return pmd == NONE and whole
        if not k.migrate_vma_selects(pmd.present, pmd.leaf, pmd.page, select, owner):
            spin_unlock(vma.mm.ptl)
            return True
        folio = pmd.page
        k.folio_get(folio)
        if not k.migrate_vma_lock(folio, fault_folio):
            spin_unlock(vma.mm.ptl)
            k.folio_put(folio)
            return True
        if whole and k.set_pmd_migration_entry(vma, pmd):
            current().src[first] = folio
            current().migrates[first] = True
            current().compounds[first] = True
            current().writes[first] = pmd.write
            spin_unlock(vma.mm.ptl)
            return True
        spin_unlock(vma.mm.ptl)
        done = k.split_folio(folio)
        k.migrate_vma_unlock(folio, fault_folio)
        k.folio_put(folio)
        return not done

    def migrate_vma_split_large(
        k, vma: Vma, va: int, select: int, owner: Any, fault_page: Page | None
    ) -> bool:
        """Split the folio of a PTE if it is large; false where that fails, and the rest is passed over.
        The caller has the page-table lock (mm/migrate_device.c)."""
        split = True
        pte = vma.mm.pte[va]
        if pte.page is not None and not k.is_zero_page(pte.page) and pte.leaf != MIGRATION:
            chosen = k.migrate_vma_selects(pte.present, pte.leaf, pte.page, select, owner)
            folio = k.page_folio(pte.page)
            if chosen and k.folio_test_large(folio):
                spin_unlock(vma.mm.ptl)
                split = k.migrate_vma_split_folio(folio, fault_page)
                spin_lock(vma.mm.ptl)
        return split

    def migrate_vma_split_folio(k, folio: Page, fault_page: Page | None) -> bool:
        """The lock goes with the page that was faulted on (mm/migrate_device.c)."""
        fault_folio = None if fault_page is None else k.page_folio(fault_page)
        if fault_folio is None or folio is not fault_folio:
            k.folio_get(folio)
            k.folio_lock(folio)
        if not k.split_folio(folio):
            k.migrate_vma_unlock(folio, fault_folio)
            if fault_folio is None or folio is not fault_folio:
                k.folio_put(folio)
            return False
        new_fault_folio = None if fault_page is None else k.page_folio(fault_page)
        if new_fault_folio is None:
            k.folio_unlock(folio)
            k.folio_put(folio)
        elif new_fault_folio is not folio:
            if fault_folio is None or new_fault_folio is not fault_folio:
                k.folio_get(new_fault_folio)
                k.folio_lock(new_fault_folio)
            k.folio_unlock(folio)
            k.folio_put(folio)
        return True

    # --- pages ---------------------------------------------------------------------------------------

    def migrate_same_size(k, vma: Vma | None, at: int, newpage: Page, page: Page) -> bool:
        """A huge page whose copy is not huge is split, if there is a VMA; the other way round is no
        migration, but its words are moved all the same (mm/migrate_device.c,
        __migrate_device_pages)."""
        if not k.thp_exists:
            return True
        large = k.folio_test_large(newpage)
        if current().compounds[at] and not large:
            return vma is not None and k.migrate_vma_split_unmapped_folio(vma, at, page)
        if large and not current().compounds[at]:
            current().migrates[at] = False
        return True

    def migrate_vma_split_unmapped_folio(k, vma: Vma, at: int, folio: Page) -> bool:
        """The entry of the migration becomes two, and the folio too (mm/migrate_device.c)."""
        k.folio_get(folio)
        k.split_huge_pmd(vma, freeze=True)
        if not k.folio_split_unmapped(folio):
            return False
        current().compounds[at] = False
        current().src[at + 1] = folio.second
        current().migrates[at + 1] = True
        current().writes[at + 1] = current().writes[at]
        return True

    def migrate_vma_insert_page(k, vma: Vma, va: int, page: Page) -> bool:
        """A huge page where there was no entry at all (mm/migrate_device.c,
        migrate_vma_insert_huge_pmd_page), or one page of a page table."""
        if not vma.thp:
            return super().migrate_vma_insert_page(vma, va, page)
        if k.folio_test_large(page):
            spin_lock(vma.mm.ptl)
            free = vma.mm.pmd[vma.start] == NONE
            if free:
                k.folio_set_anon(page, vma, va)
                k.folio_add_new_anon_rmap(page)
                k.folio_get(page)
                writable = k.may_write(vma)
                vma.mm.pmd[vma.start] = k.mk_anon_pte(page, writable)
            spin_unlock(vma.mm.ptl)
            return free
        spin_lock(vma.mm.ptl)
        if vma.mm.pmd[vma.start] == NONE:
            vma.mm.pmd[vma.start] = TABLE
        table = vma.mm.pmd[vma.start] == TABLE
        spin_unlock(vma.mm.ptl)
        return table and super().migrate_vma_insert_page(vma, va, page)
