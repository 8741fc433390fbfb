"""System calls that change a part of a mapping, or move it (mm/vma.c, mm/mremap.c, mm/madvise.c)."""

from __future__ import annotations

from zonedev.kernel.huge_memory import TABLE
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page_cache import PageCache
from zonedev.kernel.pgtable import NONE, Mm, Vma
from zonedev.kernel.rmap import AnonVma
from zonedev.lang.primitives import (
    WARN_ON,
    down_read,
    down_write,
    downgrade_write,
    spin_lock,
    spin_unlock,
    up_read,
    up_write,
)
from zonedev.lang.runtime import atomic, current


class Mremap(PageCache):
    """As of v7.2, for anonymous memory.  A VMA is neither split nor merged: what is unmapped in part keeps a
    hole, which nobody may touch, and the target of a move is there from set-up on."""

    # --- set-up ------------------------------------------------------------------------------------

    def may_mmap_again(self, va: int) -> None:
        """Keep the anon_vma of a mapping for mmap_again()."""
        anon_vma: AnonVma = current().mm.vma_at[va].anon_vma
        anon_vma._values["linked"] = anon_vma._values["linked"] + 1
        anon_vma.kept = anon_vma.kept + 1

    def may_mremap(self, va: int) -> int:
        """Where a mapping may be moved to.  Returns the VA."""
        mm: Mm = current().mm
        vma: Vma = mm.vma_at[va]
        start = len(mm.vma_at)
        self.new_anonymous_vma(mm, start, vma.nr, vma.anon_vma, vma.thp)
        return start

    def new_anonymous_vma(self, mm: Mm, start: int, nr: int, anon_vma: AnonVma, thp: bool) -> Vma:
        """In syscalls.py."""
        raise NotImplementedError

    # --- mmap and munmap ---------------------------------------------------------------------------

    def mmap_again(k, va: int) -> None:
        """mmap() of anonymous memory where some was before; its anon_vma is still there, for a neighbour
        uses it too (mm/rmap.c, find_mergeable_anon_vma), but the page table of a huge page is not
        (mm/memory.c, free_pgtables)."""
        mm = current().mm
        down_write(mm.mmap_lock)
        if mm.vma_at[va].thp:
            mm.pmd[va] = NONE
        k.link_anonymous_vma(mm.vma_at[va])
        up_write(mm.mmap_lock)

    def link_anonymous_vma(k, vma: Vma) -> None:
        """The walks know a VMA before anything is mapped in it (mm/rmap.c, anon_vma_clone)."""
        k.anon_vma_fork(vma)
        vma.linked = True

    def munmap_part(k, va: int, nr: int) -> None:
        """munmap() of some pages of a VMA: a huge entry that lies across the border is split first
        (mm/vma.c, __split_vma, vma_adjust_trans_huge in mm/huge_memory.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        if vma.thp:
            k.split_huge_pmd(vma)
        downgrade_write(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        k.mmu_notifier_invalidate_range_start(mm, Event.UNMAP, None, va, nr)
        k.unmap_page_range(vma, va, nr)
        k.mmu_notifier_invalidate_range_end(mm)
        k.tlb_finish_mmu(mm)
        up_read(mm.mmap_lock)

    def madvise_free(k, va: int) -> None:
        """madvise(MADV_FREE) of a VMA whose pages are in the memory of a device: the notifiers are called,
        and the entries stay as they are (mm/madvise.c, madvise_free_pte_range; mm/huge_memory.c,
        madvise_free_huge_pmd)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        k.mmu_notifier_invalidate_range_start(mm, Event.CLEAR, None, vma.start, vma.nr)
        for at in range(vma.start, vma.start + vma.nr):
            pte = mm.pte[at]
            of_system = pte.present and pte.page.memory < 0
            WARN_ON(of_system, "MADV_FREE of pages of the system is not specified")
        k.mmu_notifier_invalidate_range_end(mm)
        up_read(mm.mmap_lock)

    # --- mremap ------------------------------------------------------------------------------------

    def mremap(k, va: int, new: int, dont_unmap: bool) -> None:
        """Move a VMA: the walks know the new one before the entries are moved.  With MREMAP_DONTUNMAP the old
        one stays, empty, where the kernel also takes it from the walks (mm/mremap.c, move_vma)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        k.link_anonymous_vma(mm.vma_at[new])
        k.move_page_tables(vma, mm.vma_at[new])
        if not dont_unmap:
            vma.linked = False
            k.tlb_gather_mmu(mm)
            k.zap_vma(vma)
            k.unlink_vma(vma)
            k.tlb_finish_mmu(mm)
        up_write(mm.mmap_lock)

    def move_page_tables(k, vma: Vma, new: Vma) -> None:
        """Entries of any kind are moved as they are (mm/mremap.c)."""
        mm = vma.mm
        k.mmu_notifier_invalidate_range_start(mm, Event.UNMAP, None, vma.start, vma.nr)
        spin_lock(mm.ptl)
        if not vma.thp:
            k.move_ptes(vma, new)
        elif mm.pmd[vma.start] == TABLE:
            mm.pmd[new.start] = TABLE
            k.move_ptes(vma, new)
        else:
            k.move_huge_pmd(vma, new)
        spin_unlock(mm.ptl)
        k.mmu_notifier_invalidate_range_end(mm)

    def move_ptes(k, vma: Vma, new: Vma) -> None:
        """The flush comes before the page-table lock is dropped (mm/mremap.c)."""
        present = False
        for i in range(vma.nr):
            with atomic("ptep_get_and_clear() and set_pte_at(): both tables are locked"):
                pte = vma.mm.pte[vma.start + i]
                vma.mm.pte[vma.start + i] = NONE
                vma.mm.pte[new.start + i] = pte
                vma.mm.written[new.start + i] = vma.mm.written[vma.start + i]
                vma.mm.written[vma.start + i] = 0
            present = present or pte.present
        if present:
            k.flush_tlb_mm(vma.mm)

    def move_huge_pmd(k, vma: Vma, new: Vma) -> None:
        """mm/huge_memory.c"""
        with atomic("pmdp_huge_get_and_clear() and set_pmd_at(): both tables are locked"):
            pmd = vma.mm.pmd[vma.start]
            vma.mm.pmd[vma.start] = NONE
            vma.mm.pmd[new.start] = pmd
            for i in range(vma.nr):
                vma.mm.written[new.start + i] = vma.mm.written[vma.start + i]
                vma.mm.written[vma.start + i] = 0
        if pmd.present:
            k.flush_tlb_mm(vma.mm)

    # --- /proc/self/pagemap ------------------------------------------------------------------------

    def pagemap_swap(k, va: int) -> bool:
        """Whether PM_SWAP is set and PM_PRESENT is not (fs/proc/task_mmu.c, pagemap_pmd_range)."""
        vma = current().mm.vma_at[va]
        entry = vma.mm.pmd[vma.start] if vma.thp else vma.mm.pte[va]
        return not entry.present and entry.leaf > 0
