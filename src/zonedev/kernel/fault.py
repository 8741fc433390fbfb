"""Putting mappings in place: what a fault handler inserts (mm/memory.c, mm/huge_memory.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.zap import Zap
from zonedev.lang.primitives import WARN_ON, atomic_read, spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import at_setup


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
        table = vma.mm.pte if vma.vm_file.size == "pte" else vma.mm.pmd
        spin_lock(vma.mm.ptl)
        entry = table[at]
        if not entry.present:
            table[at] = Pte(present=True, special=True, page=k.zero_page)
        spin_unlock(vma.mm.ptl)

    def mk_entry(k, vma: Vma, page: Page, write: bool) -> Pte:
        """mk_pte(), folio_mk_pmd(), folio_mk_pud(): a shared mapping is writable, but for a
        file only after a write fault, which makes it dirty as well (include/linux/mm.h)."""
        writable = write or not k.vma_wants_writenotify(vma)
        return Pte(present=True, write=writable, dirty=write, page=page)

    def vma_wants_writenotify(k, vma: Vma) -> bool:
        """A file system has a pfn_mkwrite(), device-dax has none (mm/vma.c)."""
        return k.vma_is_fsdax(vma)
