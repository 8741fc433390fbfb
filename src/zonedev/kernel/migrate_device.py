"""Migration to and from the memory of a device (mm/migrate_device.c).

The driver allocates and copies between the parts.  The LRU is not modelled: to isolate a folio always
succeeds, and swaps one reference for another.  The arrays of struct migrate_vma are the task's, by VA;
where a driver migrates what its device has, by number of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.migrate import Migrate
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import DEVICE_PRIVATE, NONE, Vma
from zonedev.lang.primitives import WARN_ON, atomic_read, spin_lock, spin_unlock
from zonedev.lang.runtime import current

#: enum migrate_vma_direction
SELECT_SYSTEM, SELECT_DEVICE_PRIVATE, SELECT_DEVICE_COHERENT = 1, 2, 4


class MigrateDevice(Migrate):
    """mm/migrate_device.c as of v7.2, for pages of 4K."""

    # --- of a range of addresses -------------------------------------------------------------------

    def migrate_vma_setup(
        k, vma: Vma, first: int, nr: int, select: int, owner: Any, fault_page: Page | None
    ) -> None:
        """Lock and unmap what is to be migrated; the caller holds mmap_lock (mm/migrate_device.c)."""
        for va in range(first, first + nr):
            current().src[va] = None
            current().dst[va] = None
            current().migrates[va] = False
            current().writes[va] = False
            current().compounds[va] = False
        k.migrate_vma_collect(vma, first, nr, select, owner, fault_page)
        k.migrate_device_unmap(range(first, first + nr), fault_page)

    def migrate_vma_collect(
        k, vma: Vma, first: int, nr: int, select: int, owner: Any, fault_page: Page | None
    ) -> None:
        """mm/migrate_device.c"""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.MIGRATE, owner, first, nr)
        k.migrate_vma_collect_pmd(vma, first, nr, select, owner, fault_page)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def migrate_vma_collect_pmd(
        k, vma: Vma, first: int, nr: int, select: int, owner: Any, fault_page: Page | None
    ) -> None:
        """Entry by entry, under the page-table lock (mm/migrate_device.c)."""
        fault_folio = None if fault_page is None else k.page_folio(fault_page)
        unmapped = False
        spin_lock(vma.mm.ptl)
        for va in range(first, first + nr):
            if k.migrate_vma_collect_pte(vma, va, select, owner, fault_folio):
                unmapped = True
        if unmapped:
            k.flush_tlb_mm(vma.mm)
        spin_unlock(vma.mm.ptl)

    def migrate_vma_collect_pte(
        k, vma: Vma, va: int, select: int, owner: Any, fault_folio: Page | None
    ) -> bool:
        """Take what can be migrated at an address: held and locked, or an empty one; whether a present
        entry was cleared (mm/migrate_device.c, migrate_vma_collect_pmd)."""
        pte = vma.mm.pte[va]
        if not pte.present and not pte.leaf:
            current().migrates[va] = vma.anonymous
            return False
        if pte.present and k.is_zero_page(pte.page):
            current().migrates[va] = select == SELECT_SYSTEM
            return False
        if not k.migrate_vma_selects(pte.present, pte.leaf, pte.page, select, owner):
            return False
        folio = k.page_folio(pte.page)
        k.folio_get(folio)
        if not k.migrate_vma_lock(folio, fault_folio):
            k.folio_put(folio)
            return False
        if not k.set_migration_entry(vma, va, pte, batch=True):
            k.migrate_vma_unlock(folio, fault_folio)
            k.folio_put(folio)
            return False
        current().src[va] = pte.page
        current().migrates[va] = True
        current().writes[va] = pte.write
        return bool(pte.present)

    def migrate_vma_selects(k, present: bool, leaf: int, page: Page, select: int, owner: Any) -> bool:
        """Whether an entry is of the kind, and the device, that is to be migrated
        (mm/migrate_device.c)."""
        if not present:
            if leaf != DEVICE_PRIVATE or select != SELECT_DEVICE_PRIVATE:
                return False
            pgmap = page.pgmap
            return pgmap.owner is owner
        if k.is_device_coherent_page(page):
            if select != SELECT_DEVICE_COHERENT:
                return False
            pgmap = page.pgmap
            return pgmap.owner is owner
        return select == SELECT_SYSTEM

    def migrate_vma_lock(k, folio: Page, fault_folio: Page | None) -> bool:
        """The page that is faulted on was locked by do_swap_page(); two migrations must not wait for
        each other's locks (mm/migrate_device.c)."""
        return (fault_folio is not None and folio is fault_folio) or k.folio_trylock(folio)

    def migrate_vma_unlock(k, folio: Page, fault_folio: Page | None) -> None:
        """The caller unlocks what it had locked (mm/migrate_device.c)."""
        if fault_folio is None or folio is not fault_folio:
            k.folio_unlock(folio)

    def migrate_vma_pages(k, vma: Vma, first: int, nr: int, owner: Any, fault_page: Page | None) -> None:
        """mm/migrate_device.c"""
        k._migrate_device_pages(range(first, first + nr), vma, owner, fault_page)

    def migrate_vma_finalize(k, first: int, nr: int, fault_page: Page | None) -> None:
        """mm/migrate_device.c"""
        k.migrate_device_finalize(range(first, first + nr), fault_page)

    # --- of the pages of a device --------------------------------------------------------------------

    def migrate_device_range(k, pgmap: DevPagemap) -> None:
        """Lock and unmap every page of a device that is in use, if its lock is free; a page that is
        missed is left where it is (mm/migrate_device.c)."""
        skipped = False
        for page in pgmap.pages:
            current().src[page.number] = None
            current().dst[page.number] = None
            current().writes[page.number] = False
            current().compounds[page.number] = False
            current().migrates[page.number] = False
            if not skipped:
                folio = k.page_folio(page)
                current().migrates[page.number] = k.migrate_device_pfn_lock(page)
                if current().migrates[page.number]:
                    current().src[page.number] = page
                skipped = page.second is not None and k.folio_test_large(folio)
            else:
                skipped = False
        k.migrate_device_unmap(range(len(pgmap.pages)), None)

    def migrate_device_pfn_lock(k, page: Page) -> bool:
        """Hold and lock a page, without waiting (mm/migrate_device.c; folio_get_nontail_page() in
        include/linux/mm.h)."""
        if not k.folio_try_get(page, 1):
            return False
        if not k.folio_trylock(page):
            k.folio_put(page)
            return False
        return True

    def migrate_device_pages(k, pgmap: DevPagemap) -> None:
        """mm/migrate_device.c"""
        k._migrate_device_pages(range(len(pgmap.pages)), None, None, None)

    # --- what both share -----------------------------------------------------------------------------

    def migrate_device_unmap(k, slots: Sequence[int], fault_page: Page | None) -> None:
        """Unmap the other mappings; then give back what is still mapped, or held by others
        (mm/migrate_device.c)."""
        fault_folio = None if fault_page is None else k.page_folio(fault_page)
        for at in slots:
            page = current().src[at]
            if page is not None:
                folio = k.page_folio(page)
                current().compounds[at] = k.folio_test_large(folio)
                if k.folio_mapped(folio):
                    k.try_to_migrate(folio)
                if k.folio_mapped(folio) or not k.migrate_vma_check_page(page, fault_page):
                    current().migrates[at] = False
        for at in slots:
            page = current().src[at]
            if page is not None and not current().migrates[at]:
                folio = k.page_folio(page)
                k.remove_migration_ptes(folio, folio)
                current().src[at] = None
                k.migrate_vma_unlock(folio, fault_folio)
                k.folio_put(folio)

    def migrate_vma_check_page(k, page: Page, fault_page: Page | None) -> bool:
        """Nobody else holds the page; of a device's one more is let pass, which was its idle
        reference once (mm/migrate_device.c)."""
        folio = k.page_folio(page)
        extra = 1 + int(fault_page is not None and page is fault_page) + int(page.memory >= 0)
        refs = atomic_read(folio._refcount)
        return refs - extra <= atomic_read(folio._mapcount)

    def _migrate_device_pages(
        k, slots: Sequence[int], vma: Vma | None, owner: Any, fault_page: Page | None
    ) -> None:
        """Let the new page be what the old one was, or put it where there was none
        (mm/migrate_device.c)."""
        notified = False
        for at in slots:
            newpage = current().dst[at]
            page = current().src[at]
            if newpage is None:
                current().migrates[at] = False
            elif page is not None:
                if not k.migrate_same_size(vma, at, newpage, page) or not k.folio_migrate_mapping(
                    newpage, current().src[at], fault_page
                ):
                    current().migrates[at] = False
            elif vma is not None and current().migrates[at]:
                if not notified:
                    notified = True
                    k.migrate_insert_start(vma, owner, at, slots[-1] + 1 - at)
                current().migrates[at] = k.migrate_vma_insert_page(vma, at, newpage)
        if notified and vma is not None:
            k.mmu_notifier_invalidate_range_end(vma.mm)

    def migrate_same_size(k, vma: Vma | None, at: int, newpage: Page, page: Page) -> bool:
        """Whether the old page is as large as the new one, or can be made so (mm/migrate_device.c)."""
        return True

    def migrate_insert_start(k, vma: Vma, owner: Any, first: int, nr: int) -> None:
        """The notifier call before a page is put where there was none (mm/migrate_device.c)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.MIGRATE, owner, first, nr)

    def migrate_vma_insert_page(k, vma: Vma, va: int, page: Page) -> bool:
        """Map a new page where there was none; false where a fault was faster (mm/migrate_device.c)."""
        spin_lock(vma.mm.ptl)
        orig_pte = vma.mm.pte[va]
        flush = orig_pte.present
        if orig_pte.leaf or (flush and not k.is_zero_page(orig_pte.page)):
            spin_unlock(vma.mm.ptl)
            return False
        k.folio_set_anon(page, vma, va)
        k.folio_add_new_anon_rmap(page)
        k.folio_get(page)
        if flush:
            vma.mm.pte[va] = NONE
            k.flush_tlb_mm(vma.mm)
        writable = k.may_write(vma)
        vma.mm.pte[va] = k.mk_anon_pte(page, writable)
        spin_unlock(vma.mm.ptl)
        return True

    def migrate_device_finalize(k, slots: Sequence[int], fault_page: Page | None) -> None:
        """Map what is to stay: the new pages, or the old ones (mm/migrate_device.c)."""
        for at in slots:
            newpage = current().dst[at]
            page = current().src[at]
            if newpage is not None and (page is None or not current().migrates[at]):
                WARN_ON(
                    fault_page is not None and newpage is fault_page,
                    "migrate_device_finalize() to the page that was faulted on",
                )
                k.folio_unlock(newpage)
                k.folio_put(newpage)
            if page is not None:
                k.migrate_finalize_page(page, newpage, current().migrates[at], fault_page)
            current().src[at] = None  # the arrays end here
            current().dst[at] = None
            current().migrates[at] = False
            current().writes[at] = False
            current().compounds[at] = False

    def migrate_finalize_page(
        k, page: Page, newpage: Page | None, migrates: bool, fault_page: Page | None
    ) -> None:
        """The end of the loop of __migrate_device_finalize(): between unlock and put the old page is
        free to be locked by others (mm/migrate_device.c)."""
        src = k.page_folio(page)
        fault_folio = None if fault_page is None else k.page_folio(fault_page)
        dst = newpage if migrates else None
        k.remove_migration_ptes(src, src if dst is None else dst)
        k.migrate_vma_unlock(src, fault_folio)
        k.folio_put(src)
        if dst is not None:
            k.folio_unlock(dst)
            k.folio_put(dst)
