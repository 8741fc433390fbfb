"""Address spaces: mmap, munmap, fork and exit (mm/mmap.c, mm/vma.c, kernel/fork.c)."""

from __future__ import annotations

from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.mprotect import Mprotect
from zonedev.kernel.pgtable import Mm, Task, Vma
from zonedev.lang.primitives import down_read, down_write, downgrade_write, up_read, up_write
from zonedev.lang.runtime import at_setup, atomic, current, when


class Mmap(Mprotect):
    """System calls that change address spaces, as of v7.2."""

    def mmap_fixed(k, va: int) -> bool:
        """Map what was reserved at `va`; false for ENXIO.  The VMA is in the tree before its
        mapping knows it, but mmap_lock keeps faults off (mm/vma.c, __mmap_new_vma)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        mapped = k.call_mmap_prepare(vma)
        if mapped:
            k.get_file(vma.vm_file)
            k.vma_mark_attached(vma)
            k.vma_link_file(vma)
        up_write(mm.mmap_lock)
        return mapped

    def call_mmap_prepare(k, vma: Vma) -> bool:
        """What the file says to a new mapping; ext4 and XFS have no objection
        (include/linux/fs.h, vfs_mmap_prepare)."""
        return k.vma_is_fsdax(vma) or k.dax_mmap_prepare(vma)

    def vma_link_file(k, vma: Vma) -> None:
        """The mapping finds the VMA from here on (mm/vma.c)."""
        down_write(vma.vm_file.mapping.i_mmap_rwsem)
        vma.in_i_mmap = True
        up_write(vma.vm_file.mapping.i_mmap_rwsem)

    def vma_mark_attached(k, vma: Vma) -> None:
        """The mm's tree has the VMA from here on (include/linux/mmap_lock.h)."""
        vma.linked = True

    def vma_mark_detached(k, vma: Vma) -> None:
        """It has it no more (include/linux/mmap_lock.h)."""
        vma.linked = False

    def munmap(k, va: int) -> None:
        """do_vmi_align_munmap(): detach, downgrade, zap, unlink, flush, put (mm/vma.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        k.vma_mark_detached(vma)
        downgrade_write(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        k.zap_vma(vma)
        k.unlink_vma(vma)
        k.tlb_finish_mmu(mm)
        up_read(mm.mmap_lock)
        if not vma.anonymous:
            k.fput(vma.vm_file)

    def madvise_dontneed(k, va: int, nr: int = 1) -> None:
        """madvise(MADV_DONTNEED) of some pages: zap_page_range_single() (mm/madvise.c, mm/memory.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        k.mmu_notifier_invalidate_range_start(mm, Event.CLEAR, None, va, nr)
        k.unmap_page_range(vma, va, nr)
        k.mmu_notifier_invalidate_range_end(mm)
        k.tlb_finish_mmu(mm)
        up_read(mm.mmap_lock)

    def unlink_vma(k, vma: Vma) -> None:
        """Nobody finds the VMA from its pages any more (mm/memory.c, free_pgtables)."""
        if vma.anonymous:
            k.unlink_anon_vmas(vma)
        else:
            k.unlink_file_vma(vma)

    def unlink_file_vma(k, vma: Vma) -> None:
        """The mapping no longer finds the VMA; its TLB entries may still be there
        (mm/vma.c, called from free_pgtables() in mm/memory.c)."""
        down_write(vma.vm_file.mapping.i_mmap_rwsem)
        vma.in_i_mmap = False
        up_write(vma.vm_file.mapping.i_mmap_rwsem)

    def exit(k) -> None:
        """exit_mmap(): zap all, unlink all, flush and put once (mm/mmap.c).  A pin that
        the task's I/O holds goes on."""
        mm = current().mm
        k.mmu_notifier_release(mm)
        down_read(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.zap_vma(mm.vma_at[start])
        up_read(mm.mmap_lock)
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.unlink_vma(mm.vma_at[start])
                if not mm.vma_at[start].anonymous:
                    current().fput_later[start] = mm.vma_at[start].vm_file.fsdax
        k.tlb_finish_mmu(mm)
        for start in mm.starts:
            k.vma_mark_detached(mm.vma_at[start])
        up_write(mm.mmap_lock)
        k.exit_task_work(mm)

    def exit_task_work(k, mm: Mm) -> None:
        """The delayed fput() of what exit_mmap() has unmapped (kernel/exit.c)."""
        for start in mm.starts:
            if current().fput_later[start]:
                current().fput_later[start] = False
                k.fput(mm.vma_at[start].vm_file)

    def fork(k, child: Task) -> bool:
        """dup_mmap(): the child gets the VMAs of the parent, and copies of their entries where
        vma_needs_copy() says so: not for shared DAX mappings, where the child faults; false for
        -ENOMEM (kernel/fork.c, mm/memory.c)."""
        mm = current().mm
        done = True
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked and done:
                done = k.dup_vma(child.mm.vma_at[start], mm.vma_at[start])
        if k.has_anonymous(mm):
            k.flush_tlb_mm(mm)
        up_write(mm.mmap_lock)
        if done:
            child.started = True
        return done

    @at_setup
    def has_anonymous(self, mm: Mm) -> bool:
        """Whether an mm has entries that fork() copies, and so makes read-only."""
        return any(mm.vma_at[start].anonymous for start in mm.starts)

    def dup_vma(k, vma: Vma, src: Vma) -> bool:
        """The copy becomes known to the file, or to the walks of anonymous pages (mm/mmap.c,
        dup_mmap); false for -ENOMEM."""
        if vma.anonymous:
            k.anon_vma_fork(vma)
            vma.linked = True
            return k.copy_page_range(vma, src)
        k.get_file(vma.vm_file)
        k.vma_link_file(vma)
        vma.linked = True
        return True

    def ret_from_fork(k) -> None:
        """A child's first instruction: not before fork() has made it (arch/x86/kernel/process.c)."""
        with atomic("a task that does not exist does not run"):
            when(lambda: current().started)
