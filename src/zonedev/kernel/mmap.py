"""Address spaces: mmap, munmap, fork and exit (mm/mmap.c, mm/vma.c, kernel/fork.c)."""

from __future__ import annotations

from zonedev.kernel.gup import Gup
from zonedev.kernel.pgtable import Mm, Task, Vma
from zonedev.lang.primitives import down_read, down_write, downgrade_write, up_read, up_write
from zonedev.lang.runtime import atomic, current, when


class Mmap(Gup):
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
            vma.linked = True
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

    def munmap(k, va: int) -> None:
        """do_vmi_align_munmap(): detach, downgrade, zap, unlink, flush, put (mm/vma.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        vma.linked = False
        downgrade_write(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        k.zap_vma(vma)
        k.unlink_file_vma(vma)
        k.tlb_finish_mmu(mm)
        up_read(mm.mmap_lock)
        k.fput(vma.vm_file)

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
        down_read(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.zap_vma(mm.vma_at[start])
        up_read(mm.mmap_lock)
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.unlink_file_vma(mm.vma_at[start])
                current().fput_later[start] = mm.vma_at[start].vm_file.fsdax
        k.tlb_finish_mmu(mm)
        for start in mm.starts:
            mm.vma_at[start].linked = False
        up_write(mm.mmap_lock)
        k.exit_task_work(mm)

    def exit_task_work(k, mm: Mm) -> None:
        """The delayed fput() of what exit_mmap() has unmapped (kernel/exit.c)."""
        for start in mm.starts:
            if current().fput_later[start]:
                current().fput_later[start] = False
                k.fput(mm.vma_at[start].vm_file)

    def fork(k, child: Task) -> None:
        """dup_mmap(): the child gets the VMAs of the parent.  vma_needs_copy() is false
        for shared DAX mappings: no page table is copied, the child faults
        (kernel/fork.c, mm/memory.c)."""
        mm = current().mm
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.dup_vma(child.mm.vma_at[start])
        up_write(mm.mmap_lock)
        child.started = True

    def dup_vma(k, vma: Vma) -> None:
        """The copy becomes known to the mapping (mm/mmap.c, dup_mmap)."""
        k.get_file(vma.vm_file)
        k.vma_link_file(vma)
        vma.linked = True

    def ret_from_fork(k) -> None:
        """A child's first instruction: not before fork() has made it (arch/x86/kernel/process.c)."""
        with atomic("a task that does not exist does not run"):
            when(lambda: current().started)
