"""Taking mappings away: zap, rmap and unmap_mapping_range() (mm/memory.c, mm/huge_memory.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, AddressSpace, Pgtable, Vma, indices
from zonedev.lang.primitives import (
    atomic_dec,
    atomic_inc,
    down_read,
    spin_lock,
    spin_unlock,
    up_read,
)
from zonedev.lang.runtime import atomic, current


class Zap(Pgtable):
    """Zap as of v7.2."""

    def zap_vma(k, vma: Vma) -> None:
        """unmap_page_range(): clear the entries of a VMA (mm/memory.c)."""
        if vma.vm_file.size == "pte":
            k.zap_pte_range(vma)
        elif vma.vm_file.size == "pmd":
            for start in indices(vma.mm, "pmd", vma.start, vma.nr, vma.vm_file.per_folio):
                k.zap_huge_pmd(vma, start)
        else:
            for start in indices(vma.mm, "pud", vma.start, vma.nr, vma.vm_file.per_folio):
                k.zap_huge_pud(vma, start)

    def zap_pte_range(k, vma: Vma) -> None:
        """Clear the PTEs; each page keeps its reference until the flush
        (mm/memory.c, zap_present_folio_ptes)."""
        mm = vma.mm
        spin_lock(mm.ptl)
        flush = False
        for va in indices(mm, "pte", vma.start, vma.nr, 1):
            with atomic("ptep_get_and_clear() is one xchg"):
                pte = mm.pte[va]
                mm.pte[va] = NONE
            if pte.present:
                current().gather_range = True
                current().delayed_rmap[va] = pte.dirty
                if pte.dirty:
                    flush = True
                else:
                    k.folio_remove_rmap(pte.page)
                k.tlb_remove_page(va, pte.page)
        if flush:
            k.tlb_flush_mmu_tlbonly(mm)
            k.tlb_flush_rmaps(vma)
        spin_unlock(mm.ptl)
        if flush:
            k.tlb_flush_mmu(mm)

    def tlb_flush_rmaps(k, vma: Vma) -> None:
        """The delayed rmap removal of dirty pages, after the flush (mm/mmu_gather.c)."""
        for va in indices(current(), "gather", vma.start, vma.nr, 1):
            page = current().gather[va]
            if page is not None and current().delayed_rmap[va]:
                current().delayed_rmap[va] = False
                k.folio_remove_rmap(page)

    def zap_huge_pmd(k, vma: Vma, start: int) -> None:
        """mm/huge_memory.c"""
        k.zap_huge(vma.mm.pmd, vma, start)

    def zap_huge_pud(k, vma: Vma, start: int) -> None:
        """mm/huge_memory.c"""
        k.zap_huge(vma.mm.pud, vma, start)

    def zap_huge(k, table: Any, vma: Vma, start: int) -> None:
        """What zap_huge_pmd() and zap_huge_pud() share: clear, rmap, unlock, gather.
        A dirty huge entry forces no flush."""
        spin_lock(vma.mm.ptl)
        with atomic("pmdp_huge_get_and_clear() is one xchg"):
            entry = table[start]
            table[start] = NONE
        if entry.present:
            current().gather_range = True
            k.folio_remove_rmap(entry.page)
        spin_unlock(vma.mm.ptl)
        if entry.present:
            k.tlb_remove_page(start, entry.page)

    def folio_add_file_rmap(k, folio: Page) -> None:
        """folio_add_file_rmap_pte, _pmd, _pud (mm/rmap.c)."""
        atomic_inc(folio._mapcount)

    def folio_remove_rmap(k, folio: Page) -> None:
        """folio_remove_rmap_pte, _pmd, _pud (mm/rmap.c)."""
        atomic_dec(folio._mapcount)

    def unmap_mapping_range(k, mapping: AddressSpace) -> None:
        """Clear the entries of every VMA that the mapping knows (mm/memory.c)."""
        down_read(mapping.i_mmap_rwsem)
        k.unmap_mapping_range_tree(mapping)
        up_read(mapping.i_mmap_rwsem)

    def unmap_mapping_range_tree(k, mapping: AddressSpace) -> None:
        """VMA by VMA, each with an mmu_gather of its own (mm/memory.c)."""
        for vma in mapping.vmas:
            if vma.in_i_mmap:
                k.tlb_gather_mmu(vma.mm)
                k.zap_vma(vma)
                k.tlb_finish_mmu(vma.mm)
