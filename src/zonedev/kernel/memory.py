"""Page faults, anonymous memory, and the copies of private mappings (mm/memory.c)."""

from __future__ import annotations

from zonedev.kernel.huge_fault import HugeFault
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, Pte, Vma
from zonedev.lang.primitives import atomic_read, spin_lock, spin_unlock
from zonedev.lang.runtime import atomic, current


class Memory(HugeFault):
    """mm/memory.c as of v7.2, but for what is put in place and taken away (fault.py, zap.py)."""

    def handle_mm_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """A fault under mmap_lock or the VMA's lock, by the file's handler; false for
        SIGBUS (mm/memory.c)."""
        if vma.thp and k.handle_pmd_fault(vma, va, write):
            return True
        if vma.private or vma.anonymous:
            return k.handle_pte_fault(vma, va, write)
        if k.vma_is_fsdax(vma):
            return k.ext4_dax_huge_fault(vma, va, write)
        return k.dev_dax_huge_fault(vma, va, write)

    def handle_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """A fault in a private mapping of a file or in anonymous memory; false for SIGBUS.
        do_read_fault() is the file's handler (mm/memory.c)."""
        orig_pte = vma.mm.pte[va]
        if orig_pte.present:
            return not write or orig_pte.write or k.do_wp_page(vma, va, orig_pte)
        if vma.anonymous:
            if orig_pte.leaf:
                return k.do_swap_page(vma, va, orig_pte)
            return k.do_anonymous_page(vma, va, write)
        return k.do_cow_fault(vma, va) if write else k.ext4_dax_huge_fault(vma, va, False)

    def do_anonymous_page(k, vma: Vma, va: int, write: bool) -> bool:
        """Nothing is mapped: the zero page for a read, else a new one (mm/memory.c)."""
        if not write:
            k.insert_zero_page(vma, va)
            return True
        if not k.folio_prealloc(vma):
            return False
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == NONE:
            k.map_copy(vma, va, current().cow_page)
            current().cow_page = None
        spin_unlock(vma.mm.ptl)
        k.put_unused_copy()
        return True

    def do_cow_fault(k, vma: Vma, va: int) -> bool:
        """Nothing is mapped: the file's handler copies and maps.  It is no write to the file, so
        that no block is allocated (mm/memory.c)."""
        if not k.folio_prealloc(vma):
            return False
        done = k.ext4_dax_huge_fault(vma, va, False)
        k.put_unused_copy()
        return done

    def do_wp_page(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """A page of the file, the zero page, or one that may have been shared by fork() is mapped
        read-only; it is held while it is copied (mm/memory.c)."""
        old: Page | None = None
        spin_lock(vma.mm.ptl)
        same = vma.mm.pte[va] == orig_pte
        if same:
            old = k.vm_normal_page(orig_pte)
            if vma.anonymous and old is not None and k.wp_can_reuse_anon_folio(old):
                vma.mm.pte[va] = k.mk_anon_pte(old, True)
                spin_unlock(vma.mm.ptl)
                return True
            if old is not None:
                k.get_page(old)
        spin_unlock(vma.mm.ptl)
        return not same or k.wp_page_copy(vma, va, orig_pte, old)

    def wp_can_reuse_anon_folio(k, page: Page) -> bool:
        """Whether a page is this mm's alone: it was marked so, or the mapping has the only reference.  One
        of a larger folio is copied here even if no other mm has that mapped any more (mm/memory.c)."""
        if page.anon_exclusive:
            return True
        folio = k.page_folio(page)
        if k.folio_test_large(folio):
            return False
        if atomic_read(folio._refcount) > 1 or not k.folio_trylock(folio):
            return False
        alone = atomic_read(folio._refcount) == 1
        if alone:
            page.anon_exclusive = True
        k.folio_unlock(folio)
        return alone

    def wp_page_copy(k, vma: Vma, va: int, orig_pte: Pte, old: Page | None) -> bool:
        """Copy without a lock, then look whether the same page is still mapped (mm/memory.c)."""
        if not k.folio_prealloc(vma):
            k.put_old(old)
            return False
        if k.clears_zero_page(vma, old) or k.wp_page_copy_user(va, old):
            k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, va, 1)
            spin_lock(vma.mm.ptl)
            if vma.mm.pte[va] == orig_pte:
                k.wp_page_switch(vma, va, old)
                spin_unlock(vma.mm.ptl)
                k.put_old(old)
            else:
                spin_unlock(vma.mm.ptl)
            k.mmu_notifier_invalidate_range_end(vma.mm)
        k.put_unused_copy()
        k.put_old(old)
        return True

    def clears_zero_page(k, vma: Vma, old: Page | None) -> bool:
        """pfn_is_zero: there is nothing to copy.  In a file the zero page is read as a user would here,
        with the same outcome (mm/memory.c, wp_page_copy)."""
        if not vma.anonymous or old is not None:
            return False
        k.copy_user_page(current().cow_page, None)
        return True

    def wp_page_copy_user(k, va: int, old: Page | None) -> bool:
        """__wp_page_copy_user(): of a page that is not counted the bytes are read as the user
        would, which fails where it has gone (mm/memory.c)."""
        source = k.copy_from_user_inatomic(va) if old is None else old
        if source is None:
            return False
        k.copy_user_page(current().cow_page, source)
        return True

    def wp_page_switch(k, vma: Vma, va: int, old: Page | None) -> None:
        """The middle of wp_page_copy(): ptep_clear_flush(), so that no TLB has both, and the copy
        (mm/memory.c)."""
        vma.mm.pte[va] = NONE
        k.flush_tlb_mm(vma.mm)
        k.map_copy(vma, va, current().cow_page)
        current().cow_page = None
        if old is not None:
            k.folio_remove_rmap(k.page_folio(old))

    def copy_from_user_inatomic(k, va: int) -> Page | None:
        """The page that the task itself would read, or None for a fault (mm/memory.c)."""
        with atomic("one instruction: it uses the TLB entry, or the one that the page walk makes"):
            entry = current().tlb[va]
            if not entry.present:
                entry = current().mm.pte[va]
                current().tlb[va] = entry
            return entry.page if entry.present else None
