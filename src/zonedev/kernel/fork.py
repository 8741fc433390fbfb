"""fork(): page tables are copied where a fault could not fill them again (mm/memory.c)."""

from __future__ import annotations

from zonedev.kernel.gup import Gup
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, Pte, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import current


class Fork(Gup):
    """copy_page_range() of anonymous memory as of v7.2.  That a page may be pinned is asked of its count
    alone (MMF_HAS_PINNED is taken as set), and the sequence count that keeps GUP-fast off is not
    modelled."""

    def copy_page_range(k, dst: Vma, src: Vma) -> bool:
        """Let the child have what the parent has, writable for neither; false for -ENOMEM
        (mm/memory.c)."""
        k.mmu_notifier_invalidate_range_start(src.mm, Event.PROTECTION, None, src.start, src.nr)
        done = (src.thp and k.copy_huge_pmd(dst, src)) or k.copy_pte_range(dst, src)
        k.mmu_notifier_invalidate_range_end(src.mm)
        return done

    def copy_pte_range(k, dst: Vma, src: Vma) -> bool:
        """Entry by entry, under the locks of both page tables; -EBUSY becomes -ENOMEM one level up
        (mm/memory.c)."""
        done = True
        for va in range(src.start, src.start + src.nr):
            spin_lock(dst.mm.ptl)
            spin_lock(src.mm.ptl)
            needs_page = False
            if done:
                pte = src.mm.pte[va]
                if pte.present:
                    needs_page = not k.copy_present_pte(dst, src, va, pte)
                elif pte.leaf:
                    done = k.copy_nonpresent_pte(dst, src, va, pte)
            spin_unlock(src.mm.ptl)
            spin_unlock(dst.mm.ptl)
            if needs_page:
                done = k.copy_pinned_page(dst, src, va)
        return done

    def copy_present_pte(k, dst: Vma, src: Vma, va: int, pte: Pte) -> bool:
        """Share a page, read-only for both; false where it may be pinned, so that the child needs a
        page of its own (mm/memory.c)."""
        if not k.is_zero_page(pte.page):
            folio = k.page_folio(pte.page)
            k.folio_get(folio)
            if not k.folio_try_dup_anon_rmap(folio, pte.page):
                k.folio_put(folio)
                return False
        if pte.write:
            src.mm.pte[va] = replace(pte, write=False)
        k.set_child_pte(dst, src, va, replace(pte, write=False))
        return True

    def folio_try_dup_anon_rmap(k, folio: Page, page: Page) -> bool:
        """False for a page that is this mm's alone and may be pinned (include/linux/rmap.h)."""
        if page.anon_exclusive:
            if k.folio_maybe_dma_pinned(folio):
                return False
            page.anon_exclusive = False
        k.folio_add_file_rmap(folio)
        return True

    def copy_pinned_page(k, dst: Vma, src: Vma, va: int) -> bool:
        """copy_pte_range() drops the locks for a page, and looks again (mm/memory.c, copy_present_page);
        false for -ENOMEM."""
        if not k.folio_prealloc(dst):
            return False
        spin_lock(dst.mm.ptl)
        spin_lock(src.mm.ptl)
        pte = src.mm.pte[va]
        if pte.present and not k.is_zero_page(pte.page) and dst.mm.pte[va] == NONE:
            k.copy_user_page(current().cow_page, pte.page)
            k.map_copy(dst, va, current().cow_page)
            k.set_child_pte(dst, src, va, dst.mm.pte[va])
            current().cow_page = None
        spin_unlock(src.mm.ptl)
        spin_unlock(dst.mm.ptl)
        k.put_unused_copy()
        return True
