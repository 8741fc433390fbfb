"""mprotect(): what a mapping allows changes, and its entries with it (mm/mprotect.c).

A VMA is changed as a whole: where the kernel would split one, a scenario has two from the beginning.
"""

from __future__ import annotations

from errno import ENOMEM

from zonedev.kernel.fork import Fork
from zonedev.kernel.gup import FOLL_WRITE
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, NONE, Pte, Vma
from zonedev.lang.primitives import down_write, spin_lock, spin_unlock, up_write
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current


class Mprotect(Fork):
    """mm/mprotect.c as of v7.2, without NUMA hinting, soft-dirty and userfaultfd."""

    #: Whether mprotect() makes the entry of a device with exclusive access read-only: from v5.14 to v6.14;
    #: later such entries are made of writable pages only, and become present again by a fault.
    PROTECTS_EXCLUSIVE = False

    def protected(self, va: int, read: bool, write: bool) -> None:
        """What a mapping allows from set-up on: the PROT_ flags of its mmap()."""
        vma = current().mm.vma_at[va]
        self.permissions_exist = True
        vma._values["vm_read"], vma._values["vm_write"] = read, write

    def mprotect(k, va: int, read: bool, write: bool) -> int:
        """do_mprotect_pkey() of a whole VMA (mm/mprotect.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        result = -ENOMEM
        if vma.linked:
            k.tlb_gather_mmu(mm)
            k.mprotect_fixup(vma, read, write)
            k.tlb_finish_mmu(mm)
            result = 0
        up_write(mm.mmap_lock)
        return result

    def mprotect_fixup(k, vma: Vma, read: bool, write: bool) -> None:
        """Nothing happens where nothing changes (mm/mprotect.c)."""
        with atomic("mmap_lock is held for writing"):
            same = vma.vm_read == read and vma.vm_write == write
            vma.vm_read = read
            vma.vm_write = write
        if not same:
            k.change_protection(vma, read, write)

    def change_protection(k, vma: Vma, read: bool, write: bool) -> None:
        """change_pud_range() calls the notifiers, where there is any page table (mm/mprotect.c)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.PROTECTION, None, vma.start, vma.nr)
        if vma.thp and vma.mm.pmd[vma.start].page is not None:
            k.change_huge_pmd(vma, read, write)
        else:
            k.change_pte_range(vma, read, write)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def change_huge_pmd(k, vma: Vma, read: bool, write: bool) -> None:
        """mm/huge_memory.c, with change_non_present_huge_pmd()"""
        spin_lock(vma.mm.ptl)
        pmd = vma.mm.pmd[vma.start]
        if pmd.present:
            with atomic("pmdp_invalidate_ad() is one xchg"):
                pmd = vma.mm.pmd[vma.start]
                vma.mm.pmd[vma.start] = NONE
            writable = write and k.page_is_exclusive(pmd)
            vma.mm.pmd[vma.start] = replace(pmd, write=writable, protnone=not read)
            if not read or (pmd.write and not writable):
                current().gather_range = True
        elif pmd.leaf and pmd.write:
            vma.mm.pmd[vma.start] = replace(pmd, write=False)
        spin_unlock(vma.mm.ptl)

    def change_pte_range(k, vma: Vma, read: bool, write: bool) -> None:
        """Entry by entry, under the page-table lock (mm/mprotect.c)."""
        spin_lock(vma.mm.ptl)
        for va in range(vma.start, vma.start + vma.nr):
            pte = vma.mm.pte[va]
            if pte.present:
                k.change_present_pte(vma, va, read, write)
            elif pte.leaf and pte.write:
                k.change_softleaf_pte(vma, va, pte)
        spin_unlock(vma.mm.ptl)

    def change_present_pte(k, vma: Vma, va: int, read: bool, write: bool) -> None:
        """ptep_modify_prot_start() to ptep_modify_prot_commit(): in between the CPU finds nothing
        (mm/mprotect.c, change_present_ptes)."""
        with atomic("ptep_get_and_clear() is one xchg"):
            pte = vma.mm.pte[va]
            vma.mm.pte[va] = NONE
        writable = write and k.can_change_pte_writable(vma, pte)
        vma.mm.pte[va] = replace(pte, write=writable, protnone=not read)
        if not read or (pte.write and not writable):
            current().gather_range = True

    def can_change_pte_writable(k, vma: Vma, pte: Pte) -> bool:
        """Whether a write fault would do no more than that: of a private mapping for pages that are this
        mm's alone, of a shared one for dirty entries (mm/mprotect.c)."""
        if not vma.anonymous:
            return pte.dirty
        return not k.is_zero_page(pte.page) and k.page_is_exclusive(pte)

    def page_is_exclusive(k, pte: Pte) -> bool:
        """PageAnonExclusive() (include/linux/page-flags.h)."""
        return pte.page.anon_exclusive

    def change_softleaf_pte(k, vma: Vma, va: int, pte: Pte) -> None:
        """Entries of a migration or of device-private memory become readable ones, whatever is allowed
        from now on (mm/mprotect.c)."""
        if pte.leaf != DEVICE_EXCLUSIVE or k.PROTECTS_EXCLUSIVE:
            vma.mm.pte[va] = replace(pte, write=False)

    def check_vma_flags(k, vma: Vma, flags: int) -> bool:
        """False also for EFAULT: GUP looks at what the VMA allows (mm/gup.c)."""
        if flags & FOLL_WRITE and not k.may_write(vma):
            return False
        return super().check_vma_flags(vma, flags)
