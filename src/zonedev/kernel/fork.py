"""fork(): page tables are copied where a fault could not fill them again (mm/memory.c)."""

from __future__ import annotations

from zonedev.kernel.gup import Gup
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.softleaf import Copied
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
        """Entry by entry; where a page is needed the locks are dropped for it, and the entry is looked at
        again.  -EBUSY becomes -ENOMEM one level up (mm/memory.c)."""
        for va in range(src.start, src.start + src.nr):
            result = k.copy_pte(dst, src, va)
            while result == Copied.AGAIN:
                if not k.folio_prealloc(dst):
                    return False
                result = k.copy_pte(dst, src, va)
            k.put_unused_copy()
            if result == Copied.BUSY:
                return False
        return True

    def copy_pte(k, dst: Vma, src: Vma, va: int) -> int:
        """One entry, under the locks of both page tables (mm/memory.c, copy_pte_range)."""
        result: int = Copied.DONE
        spin_lock(dst.mm.ptl)
        spin_lock(src.mm.ptl)
        pte = src.mm.pte[va]
        if not pte.present and pte.leaf:
            result = k.copy_nonpresent_pte(dst, src, va, pte)
            if result == Copied.RESTORED:
                pte = src.mm.pte[va]
        if pte.present:
            result = k.copy_present_pte(dst, src, va, pte)
        spin_unlock(src.mm.ptl)
        spin_unlock(dst.mm.ptl)
        return result

    def copy_present_pte(k, dst: Vma, src: Vma, va: int, pte: Pte) -> int:
        """Share a page, read-only for both, or copy one that may be pinned (mm/memory.c,
        copy_present_ptes)."""
        if not k.is_zero_page(pte.page):
            folio = k.page_folio(pte.page)
            k.folio_get(folio)
            if not k.folio_try_dup_anon_rmap(folio, pte.page):
                k.folio_put(folio)
                return k.copy_present_page(dst, src, va, pte.page)
        if pte.write:
            src.mm.pte[va] = replace(pte, write=False)
        k.set_child_pte(dst, src, va, replace(pte, write=False))
        return Copied.DONE

    def folio_try_dup_anon_rmap(k, folio: Page, page: Page) -> bool:
        """False for a page that is this mm's alone and may be pinned (include/linux/rmap.h)."""
        if page.anon_exclusive:
            if k.folio_maybe_dma_pinned(folio):
                return False
            page.anon_exclusive = False
        k.folio_add_file_rmap(folio)
        return True

    def copy_present_page(k, dst: Vma, src: Vma, va: int, page: Page) -> int:
        """The child gets a page of its own at once, if there is one at hand (mm/memory.c)."""
        if current().cow_page is None:
            return Copied.AGAIN
        k.copy_user_page(current().cow_page, page)
        k.map_copy(dst, va, current().cow_page)
        k.set_child_pte(dst, src, va, dst.mm.pte[va])
        current().cow_page = None
        return Copied.DONE
