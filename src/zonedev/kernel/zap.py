"""Taking mappings away: zap, rmap and unmap_mapping_range() (mm/memory.c, mm/huge_memory.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.huge_memory import HugeMemory
from zonedev.kernel.mapping import AddressSpace
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.pgtable import NONE, Vma, indices
from zonedev.lang.primitives import (
    down_read,
    spin_lock,
    spin_unlock,
    up_read,
)
from zonedev.lang.runtime import atomic, current


class Zap(HugeMemory):
    """Zap as of v7.2."""

    def zap_vma(k, vma: Vma) -> None:
        """Clear all entries of a VMA (mm/memory.c, unmap_vmas)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.UNMAP, None, vma.start, vma.nr)
        k.unmap_page_range(vma, vma.start, vma.nr)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def unmap_page_range(k, vma: Vma, first: int, nr: int) -> None:
        """Clear the entries of `nr` pages of a VMA, from the VA `first` on (mm/memory.c)."""
        if vma.thp:
            k.zap_pmd_range(vma, first, nr)
        elif vma.size == "pte":
            k.zap_pte_range(vma, first, nr)
        elif vma.size == "pmd":
            for start in indices(vma.mm, "pmd", first, nr, vma.per_folio):
                k.zap_huge_pmd(vma, start)
        else:
            for start in indices(vma.mm, "pud", first, nr, vma.per_folio):
                k.zap_huge_pud(vma, start)

    def zap_pmd_range(k, vma: Vma, first: int, nr: int) -> None:
        """A huge entry goes as a whole, or is split where it stays in part (mm/memory.c)."""
        pmd = vma.mm.pmd[vma.start]
        if pmd.page is not None:
            if nr == vma.nr:
                k.zap_anon_pmd(vma)
                return
            k.split_huge_pmd(vma)
        k.zap_pte_range(vma, first, nr)

    def zap_pte_range(k, vma: Vma, first: int, nr: int) -> None:
        """Clear the PTEs; each page keeps its reference until the flush
        (mm/memory.c, zap_present_folio_ptes)."""
        mm = vma.mm
        spin_lock(mm.ptl)
        flush = False
        for va in indices(mm, "pte", first, nr, 1):
            if vma.anonymous:
                k.zap_anon_pte(vma, va)
                continue
            if k.zap_copy(vma, va):
                continue
            with atomic("ptep_get_and_clear() is one xchg"):
                pte = mm.pte[va]
                mm.pte[va] = NONE
            if pte.present and not k.is_zero_page(pte.page):
                current().gather_range = True
                current().delayed_rmap[va] = pte.dirty
                if pte.dirty:
                    flush = True
                else:
                    k.folio_remove_rmap(pte.page)
                k.tlb_remove_page(va, pte.page)
            elif pte.present:
                current().gather_range = True
        if flush:
            k.tlb_flush_mmu_tlbonly(mm)
            k.tlb_flush_rmaps(first, nr)
        spin_unlock(mm.ptl)
        if flush:
            k.tlb_flush_mmu(mm)

    def zap_anon_pte(k, vma: Vma, va: int) -> None:
        """Anonymous memory: the rmap goes before the flush, the reference after it (mm/memory.c,
        do_zap_pte_range)."""
        pte = vma.mm.pte[va]
        if not pte.present:
            if pte.leaf:
                k.zap_nonpresent_pte(vma, va, pte)
            return
        with atomic("ptep_get_and_clear() is one xchg"):
            pte = vma.mm.pte[va]
            vma.mm.pte[va] = NONE
            vma.mm.written[va] = 0
        current().gather_range = True
        if not k.is_zero_page(pte.page):
            folio = k.page_folio(pte.page)
            k.folio_remove_rmap(folio)
            k.tlb_remove_page(va, folio)

    def zap_copy(k, vma: Vma, va: int) -> bool:
        """Whether a copy of a private mapping is mapped: cleared without a flush, unless
        should_zap_folio() keeps it (mm/memory.c)."""
        if not vma.private:
            return False
        with atomic("ptep_get_and_clear() is one xchg, and the page-table lock keeps all but the CPU off"):
            pte = vma.mm.pte[va]
            copy = pte.present and pte.page.anon
            zapped = copy and not current().keep_cows
            if zapped:
                vma.mm.pte[va] = NONE
        if zapped:
            current().gather_range = True
            k.folio_remove_rmap(pte.page)
            k.tlb_remove_page(va, pte.page)
        return copy

    def tlb_flush_rmaps(k, first: int, nr: int) -> None:
        """The delayed rmap removal of dirty pages, after the flush (mm/mmu_gather.c)."""
        for va in indices(current(), "gather", first, nr, 1):
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
        counted = entry.present and not k.is_zero_page(entry.page)
        if entry.present:
            current().gather_range = True
        if counted:
            k.folio_remove_rmap(entry.page)
        spin_unlock(vma.mm.ptl)
        if counted:
            k.tlb_remove_page(start, entry.page)

    def unmap_mapping_range(
        k, mapping: AddressSpace, first: int = 0, nr: int = 0, even_cows: bool = False
    ) -> None:
        """Clear the entries of `nr` pages of a file, from the index `first` on, in every VMA that
        the mapping knows; 0: all that follow; `even_cows`: also of private copies (mm/memory.c)."""
        down_read(mapping.i_mmap_rwsem)
        k.unmap_mapping_range_tree(mapping, first, nr, even_cows)
        up_read(mapping.i_mmap_rwsem)

    def unmap_mapping_range_tree(k, mapping: AddressSpace, first: int, nr: int, even_cows: bool) -> None:
        """VMA by VMA, each with an mmu_gather of its own (mm/memory.c)."""
        for vma in mapping.vmas:
            pages = min(nr or vma.nr, vma.nr - first)
            if pages > 0 and vma.in_i_mmap:
                k.tlb_gather_mmu(vma.mm)
                if vma.private:
                    current().keep_cows = not even_cows
                k.unmap_page_range(vma, vma.start + first, pages)
                if vma.private:
                    current().keep_cows = False
                k.tlb_finish_mmu(vma.mm)
