"""Transparent huge pages: entries of 2M of anonymous memory, and how they are split (mm/huge_memory.c).

A huge page has two pages here, and a VMA with huge pages is as large as one.  Its PMD is nothing, a
huge entry of any kind, or points to the page table of its PTEs.  While a huge entry is split it is
nothing, where in the kernel it is huge and invalid; both are under the page-table lock, which all wait
for but walks that look again.
"""

from __future__ import annotations

from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import DEVICE_PRIVATE, MIGRATION, NONE, Pte, Vma
from zonedev.kernel.softleaf import Softleaf
from zonedev.lang.primitives import (
    atomic_add,
    atomic_inc,
    atomic_read,
    atomic_set,
    atomic_sub_and_test,
    local_irq_disable,
    local_irq_enable,
    spin_lock,
    spin_unlock,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current

#: A PMD that points to a page table.
TABLE = Pte(special=True)


class HugeMemory(Softleaf):
    """mm/huge_memory.c as of v7.2, for anonymous memory."""

    #: Whether there is anonymous memory with huge pages.
    thp_exists = False

    # --- folios ------------------------------------------------------------------------------------

    def page_folio(k, page: Page) -> Page:
        """The head of a compound page, of which there are any only with huge pages; another page of a
        device is what it was made (include/linux/page-flags.h)."""
        if k.thp_exists:
            head: Page | None = page.compound_head
            return page if head is None else head
        return super().page_folio(page)

    def folio_nr_pages(k, folio: Page) -> int:
        """include/linux/mm.h"""
        return 1 + folio.order if k.thp_exists else 1

    def folio_test_large(k, folio: Page) -> bool:
        """include/linux/page-flags.h"""
        return k.thp_exists and folio.order > 0

    def folio_page(k, folio: Page, offset: int) -> Page:
        """The page of a folio at an offset, or its only one (include/linux/page-flags.h)."""
        if offset > 0 and k.folio_test_large(folio):
            second: Page = folio.second
            return second
        return folio

    def prep_compound_page(k, page: Page) -> None:
        """Two pages become a folio (mm/internal.h)."""
        page.order = 1
        page.second.compound_head = page

    def put_anon_folio(k, folio: Page, refs: int) -> None:
        """Both pages of a huge one go back to the allocator (mm/swap.c; mm/page_alloc.c)."""
        if not k.thp_exists:
            super().put_anon_folio(folio, refs)
        elif atomic_sub_and_test(folio._refcount, refs):
            with atomic("free_pages_prepare(): nobody can reach the pages any more"):
                if folio.second is not None and folio.order > 0:
                    folio.order = 0
                    folio.second.compound_head = None
                    folio.second.frame.owner = 0
                folio.frame.owner = 0

    # --- split -------------------------------------------------------------------------------------

    def split_huge_pmd(k, vma: Vma, freeze: bool = False) -> None:
        """Map by PTEs what one entry maps; `freeze`: by entries of a migration (mm/huge_memory.c,
        __split_huge_pmd)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, vma.start, vma.nr)
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.page is not None:
            k.split_huge_pmd_locked(vma, pmd, freeze)
        spin_unlock(vma.mm.ptl)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def split_huge_pmd_locked(k, vma: Vma, pmd: Pte, freeze: bool) -> None:
        """mm/huge_memory.c, __split_huge_pmd_locked"""
        head = pmd.page
        migration = pmd.leaf == MIGRATION
        if pmd.present:
            with atomic("pmdp_invalidate() is one xchg"):
                pmd = vma.mm.pmd[vma.start]
                vma.mm.pmd[vma.start] = NONE
            k.flush_tlb_mm(vma.mm)
        frozen = freeze
        if not migration:
            exclusive = head.anon_exclusive
            if freeze and exclusive:
                frozen = k.folio_try_share_anon_rmap(head, head)
            if not frozen:
                atomic_inc(head._refcount)
                atomic_add(head._mapcount, 2)
                head.second.anon_exclusive = exclusive
        k.set_ptes_of_huge(vma, pmd, frozen or migration)
        if not migration:
            k.folio_remove_rmap(head)
        if frozen:
            k.folio_put(head)
        vma.mm.pmd[vma.start] = TABLE

    def set_ptes_of_huge(k, vma: Vma, pmd: Pte, migration: bool) -> None:
        """The PTEs that take the place of a huge entry."""
        entry = pmd
        if migration:
            entry = Pte(leaf=MIGRATION, write=pmd.write, page=pmd.page)
        with atomic("nobody can see the page table yet"):
            vma.mm.pte[vma.start] = entry
            vma.mm.pte[vma.start + 1] = replace(entry, page=pmd.page.second)

    def split_folio(k, folio: Page) -> bool:
        """Make pages of 4K of a locked and held folio, which keeps lock and reference; false where
        somebody else holds it (mm/huge_memory.c, __folio_split)."""
        if not k.only_holder(folio):
            return False
        k.unmap_folio(folio)
        done = k.folio_freeze_and_split_unmapped(folio)
        k.remove_migration_ptes(folio, folio)
        if done:
            k.remove_migration_ptes(folio.second, folio.second)
            k.folio_unlock(folio.second)
            k.folio_put(folio.second)
        return done

    def only_holder(k, folio: Page) -> bool:
        """folio_expected_ref_count() and the caller's reference are all (include/linux/mm.h)."""
        expected = atomic_read(folio._mapcount) + 1
        return atomic_read(folio._refcount) == expected

    def unmap_folio(k, folio: Page) -> None:
        """try_to_migrate() that splits huge entries (mm/huge_memory.c)."""
        current().splits = True
        k.try_to_migrate(folio)
        current().splits = False

    def folio_freeze_and_split_unmapped(k, folio: Page) -> bool:
        """Nobody can take a reference while a folio is taken apart; the driver is told of each part
        before that is held again (mm/huge_memory.c)."""
        local_irq_disable()
        with atomic("folio_ref_freeze() is one cmpxchg"):
            frozen = folio._refcount.value == 1
            if frozen:
                folio._refcount.value = 0
        if frozen:
            k.split_unmapped_folio(folio)
            k.folio_split(folio, folio.second)
            atomic_set(folio.second._refcount, 1)
            atomic_set(folio._refcount, 1)
        local_irq_enable()
        return frozen

    def split_unmapped_folio(k, folio: Page) -> None:
        """What a folio was its parts are now: locked, of the same mapping, and small
        (mm/huge_memory.c, __split_unmapped_folio)."""
        second = folio.second
        with atomic("nobody can reach the page, whose count is 0"):
            second.anon_vma = folio.anon_vma
            second.index = folio.index + 1
            second.locked.held = True
            second.compound_head = None
        folio.order = 0

    def folio_split(k, folio: Page, tail: Page) -> None:
        """The driver's callback: pgmap->ops->folio_split(); zone_device_private_split_cb()
        (include/linux/memremap.h)."""

    def folio_split_unmapped(k, folio: Page) -> bool:
        """Split a folio that is locked and unmapped; its parts stay so (mm/huge_memory.c)."""
        return k.only_holder(folio) and k.folio_freeze_and_split_unmapped(folio)

    # --- migration ---------------------------------------------------------------------------------

    def try_to_migrate_one(k, folio: Page, vma: Vma, va: int) -> None:
        """Of a VMA with huge pages: its PMD, or all of its PTEs (mm/rmap.c)."""
        if not vma.thp:
            super().try_to_migrate_one(folio, vma, va)
            return
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, vma.start, vma.nr)
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.page is folio and pmd.leaf != MIGRATION:
            if current().splits:
                k.split_huge_pmd_locked(vma, pmd, True)
            else:
                k.set_pmd_migration_entry(vma, pmd)
        elif pmd == TABLE:
            for at in range(vma.start, vma.start + vma.nr):
                pte = vma.mm.pte[at]
                if pte.page is not None and pte.leaf != MIGRATION and k.page_folio(pte.page) is folio:
                    k.set_migration_entry(vma, at, pte)
        spin_unlock(vma.mm.ptl)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def set_pmd_migration_entry(k, vma: Vma, pmd: Pte) -> bool:
        """As set_migration_entry(), of a huge entry (mm/huge_memory.c)."""
        folio = pmd.page
        with atomic("pmdp_invalidate() and pmdp_huge_get_and_clear() are one xchg"):
            pmd = vma.mm.pmd[vma.start]
            vma.mm.pmd[vma.start] = NONE
        if pmd.present:
            k.flush_tlb_mm(vma.mm)
        if folio.anon_exclusive and not k.folio_try_share_anon_rmap(folio, folio):
            vma.mm.pmd[vma.start] = pmd
            return False
        vma.mm.pmd[vma.start] = Pte(leaf=MIGRATION, write=pmd.write, page=folio)
        k.folio_remove_rmap(folio)
        k.folio_put(folio)
        return True

    def remove_migration_pte(k, src: Page, dst: Page, vma: Vma, va: int) -> None:
        """Of a VMA with huge pages: its PMD, or all of its PTEs (mm/migrate.c)."""
        if not vma.thp:
            super().remove_migration_pte(src, dst, vma, va)
            return
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.leaf == MIGRATION:
            if pmd.page is src:
                k.remove_migration_pmd(vma, dst, pmd)
        elif pmd == TABLE:
            for at in range(vma.start, vma.start + vma.nr):
                k.remove_migration_pte_of_huge(src, dst, vma, at)
        spin_unlock(vma.mm.ptl)

    def remove_migration_pte_of_huge(k, src: Page, dst: Page, vma: Vma, at: int) -> None:
        """One PTE, of a page that may be of a larger folio (mm/migrate.c, remove_migration_pte)."""
        old = vma.mm.pte[at]
        if old.leaf == MIGRATION and k.page_folio(old.page) is src:
            new = old.page if dst is src else k.folio_page(dst, at - vma.start)
            k.folio_get(dst)
            k.folio_add_anon_rmap(dst, new, old.write)
            vma.mm.pte[at] = k.mk_anon_pte(new, old.write)

    def remove_migration_pmd(k, vma: Vma, new: Page, pmd: Pte) -> None:
        """mm/huge_memory.c"""
        k.folio_get(new)
        k.folio_add_anon_rmap(new, new, pmd.write)
        vma.mm.pmd[vma.start] = k.mk_anon_pte(new, pmd.write)

    def pmd_migration_entry_wait(k, vma: Vma) -> None:
        """mm/migrate.c"""
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.leaf == MIGRATION:
            k.softleaf_entry_wait_on_locked(pmd.page, vma.mm)
        else:
            spin_unlock(vma.mm.ptl)

    # --- zap and fork --------------------------------------------------------------------------------

    def zap_anon_pmd(k, vma: Vma) -> None:
        """Clear a huge entry of anonymous memory (mm/huge_memory.c, zap_huge_pmd)."""
        spin_lock(vma.mm.ptl)
        with atomic("pmdp_huge_get_and_clear_full() is one xchg"):
            pmd = vma.mm.pmd[vma.start]
            if pmd.page is not None:
                vma.mm.pmd[vma.start] = NONE
                for va in range(vma.start, vma.start + vma.nr):
                    vma.mm.written[va] = 0
        if pmd.present:
            current().gather_range = True
            k.folio_remove_rmap(pmd.page)
        elif pmd.leaf == DEVICE_PRIVATE:
            k.folio_remove_rmap(pmd.page)
            k.folio_put(pmd.page)
        spin_unlock(vma.mm.ptl)
        if pmd.present:
            k.tlb_remove_page(vma.start, pmd.page)

    def copy_huge_pmd(k, dst: Vma, src: Vma) -> bool:
        """Copy a huge entry for a child, read-only for both; false where there is none
        (mm/huge_memory.c)."""
        spin_lock(dst.mm.ptl)
        spin_lock(src.mm.ptl)
        pmd = src.mm.pmd[src.start]
        if pmd.page is not None:
            if pmd.leaf != MIGRATION:
                k.folio_get(pmd.page)
                k.folio_dup_anon_rmap(pmd.page, pmd.page)
            if pmd.write:
                src.mm.pmd[src.start] = replace(pmd, write=False)
            with atomic("one store; a child finds what its parent had"):
                dst.mm.pmd[dst.start] = replace(pmd, write=False)
                for va in range(src.start, src.start + src.nr):
                    dst.mm.written[va] = src.mm.written[va]
        spin_unlock(src.mm.ptl)
        spin_unlock(dst.mm.ptl)
        return pmd.page is not None
