"""Putting mappings in place: what a fault handler inserts, and copies on write (mm/memory.c,
mm/huge_memory.c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.zap import Zap
from zonedev.lang.primitives import WARN_ON, atomic_read, spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import at_setup, atomic, current


class Fault(Zap):
    """Entries of device pages as of v7.2."""

    #: What the rule refcount-exact reckons with.
    MAPPING_HOLDS_REF = True

    @at_setup
    def mapping_holds_ref(self, page: Page) -> bool:
        """Whether what maps `page` holds a reference to it: not all pages are alike in all designs."""
        return self.MAPPING_HOLDS_REF

    def vmf_insert_page_mkwrite(k, vma: Vma, va: int, page: Page, write: bool) -> bool:
        """Map a page that is counted, with a reference for the PTE (mm/memory.c).

        validate_page_before_insert() reads the count before the lock is taken."""
        if atomic_read(k.page_folio(page)._refcount) == 0:
            return False
        spin_lock(vma.mm.ptl)
        k.insert_page_into_pte_locked(vma, vma.mm.pte, va, page, write)
        spin_unlock(vma.mm.ptl)
        return True

    def vmf_insert_folio_pmd(k, vma: Vma, start: int, folio: Page, write: bool) -> bool:
        """mm/huge_memory.c"""
        spin_lock(vma.mm.ptl)
        k.insert_page_into_pte_locked(vma, vma.mm.pmd, start, folio, write)
        spin_unlock(vma.mm.ptl)
        return True

    def vmf_insert_folio_pud(k, vma: Vma, start: int, folio: Page, write: bool) -> bool:
        """mm/huge_memory.c"""
        spin_lock(vma.mm.ptl)
        k.insert_page_into_pte_locked(vma, vma.mm.pud, start, folio, write)
        spin_unlock(vma.mm.ptl)
        return True

    def insert_page_into_pte_locked(k, vma: Vma, table: Any, at: int, page: Page, write: bool) -> None:
        """The entry is set last, after its reference and its rmap (mm/memory.c; for huge
        entries insert_pmd() and insert_pud() in mm/huge_memory.c, in the same order, which
        also make an entry dirty that they find)."""
        entry = table[at]
        if entry.present:
            if write and not WARN_ON(entry.page is not page, "a fault finds another page mapped"):
                dirty = entry.dirty or k.page_folio(page).large
                table[at] = replace(entry, write=True, dirty=dirty)
            return
        k.folio_get(k.page_folio(page))
        k.folio_add_file_rmap(k.page_folio(page))
        table[at] = k.mk_entry(vma, page, write)

    def insert_zero_page(k, vma: Vma, at: int) -> None:
        """The zero page, which nobody counts and nobody may write to: insert_page_into_pte_locked()
        and insert_pmd() of it (mm/memory.c, mm/huge_memory.c)."""
        table = vma.mm.pte if vma.size == "pte" else vma.mm.pmd
        spin_lock(vma.mm.ptl)
        entry = table[at]
        if not entry.present and not (vma.anonymous and entry.leaf):
            table[at] = Pte(present=True, special=True, page=k.zero_page)
        spin_unlock(vma.mm.ptl)

    # --- private mappings, whose writes are to copies -----------------------------------------------

    def is_cow_fault(k, vma: Vma) -> bool:
        """Whether the handler is called by do_cow_fault(): vmf->cow_page (include/linux/mm.h)."""
        return vma.private and current().cow_page is not None

    def finish_fault(k, vma: Vma, va: int) -> None:
        """Map the copy, unless another fault was faster (mm/memory.c)."""
        spin_lock(vma.mm.ptl)
        if not vma.mm.pte[va].present:
            k.map_copy(vma, va, current().cow_page)
            current().cow_page = None
        spin_unlock(vma.mm.ptl)

    def map_copy(k, vma: Vma, va: int, page: Page) -> None:
        """Its first reference becomes that of the mapping (mm/memory.c, set_pte_range)."""
        if vma.anonymous:
            k.folio_set_anon(page, vma, va)
        k.folio_add_new_anon_rmap(page)
        vma.mm.pte[va] = Pte(present=True, write=True, dirty=True, page=page)

    def put_unused_copy(k) -> None:
        """The end of do_cow_fault() where nothing was mapped (mm/memory.c)."""
        page = current().cow_page
        if page is not None:
            current().cow_page = None
            k.folio_put(page)

    def folio_prealloc(k, vma: Vma) -> bool:
        """A page for a copy; false where there is none, which kills the task here
        (mm/memory.c)."""
        with atomic("the page allocator gives a page to one task only"):
            for page in k.allocatable(vma):
                if current().cow_page is None and page.frame.owner == 0 and page._refcount.value == 0:
                    page._refcount.value = 1
                    page.frame.owner = vma.number
                    if vma.anonymous:
                        page.frame.data = 0
                    current().cow_page = page
        return current().cow_page is not None

    def alloc_page(k, vma: Vma) -> Page | None:
        """A page that is not zeroed, with a reference; None where there is none
        (mm/page_alloc.c)."""
        found: Page | None = None
        with atomic("the page allocator gives a page to one task only"):
            for page in k.allocatable(vma):
                if found is None and page.frame.owner == 0 and page._refcount.value == 0:
                    page._refcount.value = 1
                    page.frame.owner = vma.number
                    found = page
        return found

    def alloc_system_page(k) -> Page | None:
        """alloc_page() for nobody in particular (mm/page_alloc.c)."""
        return k.alloc_page(k.any_vma())

    @at_setup
    def any_vma(self) -> Vma:
        """A VMA from whose pages the allocator can take."""
        vmas = [v for v in self.system.instances(Vma) if isinstance(v, Vma) and v.anonymous]
        return vmas[0]

    @at_setup
    def allocatable(self, vma: Vma) -> Sequence[Page]:
        """The pages that the allocator has for the copies of a mapping; in a machine by hand always
        another one."""
        if self.system.sparse and not any(self.usable(vma, page) for page in vma.copies):
            page = self.new_anon_page()
            page.second = self.new_anon_page() if vma.thp else None
            vma.copies = (*vma.copies, *((page, page.second) if vma.thp else (page,)))
        pages: Sequence[Page] = vma.copies
        return pages

    def usable(self, vma: Vma, page: Page) -> bool:
        """Whether a page, and the one beside it where a huge one may be asked for, is free."""
        if vma.thp and page.second is None:
            return False
        return page.frame.owner == 0 and (not vma.thp or page.second.frame.owner == 0)

    def vm_normal_page(k, entry: Pte) -> Page | None:
        """The page of an entry if it is counted (mm/memory.c)."""
        return None if k.is_zero_page(entry.page) else entry.page

    def put_old(k, old: Page | None) -> None:
        """A reference to what was copied."""
        if old is not None:
            k.folio_put(k.page_folio(old))

    def copy_user_page(k, to: Page, source: Page | None) -> None:
        """copy_user_page() or, where there is nothing to copy, clear_user_highpage()
        (include/linux/highmem.h)."""
        with atomic("nobody else reaches the copy yet, and what its bytes are is no rule's business"):
            to.frame.data = 0 if source is None else source.frame.data

    # --- entries ---------------------------------------------------------------------------------

    def mk_entry(k, vma: Vma, page: Page, write: bool) -> Pte:
        """mk_pte(), folio_mk_pmd(), folio_mk_pud(): a shared mapping is writable, but for a
        file only after a write fault, which makes it dirty as well (include/linux/mm.h)."""
        writable = write or not k.vma_wants_writenotify(vma)
        return Pte(present=True, write=writable, dirty=write, page=page)

    def vma_wants_writenotify(k, vma: Vma) -> bool:
        """A file system has a pfn_mkwrite(), device-dax has none (mm/vma.c)."""
        return k.vma_is_fsdax(vma)
