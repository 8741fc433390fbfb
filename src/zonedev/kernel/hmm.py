"""hmm_range_fault(): what a device may map of an address space (mm/hmm.c)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from zonedev.kernel.migrate_huge import MigrateHuge
from zonedev.kernel.mmu_notifier import MmuIntervalNotifier
from zonedev.kernel.pgtable import DEVICE_PRIVATE, HmmPfn, Mm, Vma
from zonedev.lang.runtime import current


class Hmm(IntEnum):
    """What hmm_range_fault() returns."""

    OK = 0
    EBUSY = 1
    EFAULT = 2
    EPERM = 3


class Walk(IntEnum):
    """What becomes of one entry: noted, to be faulted on, or waited for."""

    DONE = 0
    FAULT = 1
    AGAIN = 2


class HmmOps(MigrateHuge):
    """mm/hmm.c as of v7.2, for pages of 4K."""

    def hmm_range_fault(
        k, sub: MmuIntervalNotifier, mm: Mm, first: int, nr: int, fault: bool, write: bool, owner: Any
    ) -> int:
        """Note what is mapped in a range, after faults where `fault` asks for them; the caller holds
        mmap_lock, and looks at the sequence number afterwards.  No page is held (mm/hmm.c)."""
        if k.mmu_interval_check_retry(sub):
            return Hmm.EBUSY
        for va in range(first, first + nr):
            result = k.hmm_vma_walk(sub, mm.vma_at[va], va, fault, write, owner)
            if result != Hmm.OK:
                return result
        return Hmm.OK

    def hmm_vma_walk(
        k, sub: MmuIntervalNotifier, vma: Vma, va: int, fault: bool, write: bool, owner: Any
    ) -> int:
        """What cannot be read is an error, or noted as one (mm/hmm.c, hmm_vma_walk_test,
        hmm_vma_walk_hole)."""
        if k.vma_may_read(vma):
            return k.hmm_vma_walk_pte(sub, vma, va, fault, write, owner)
        if fault:
            return Hmm.EFAULT
        current().hmm_pfns[va] = HmmPfn(error=True)
        return Hmm.OK

    def vma_may_read(k, vma: Vma) -> bool:
        """Whether there is a VMA, and it can be read (include/linux/mm.h)."""
        if not vma.linked:
            return False
        return k.may_read(vma)

    def hmm_vma_walk_pte(
        k, sub: MmuIntervalNotifier, vma: Vma, va: int, fault: bool, write: bool, owner: Any
    ) -> int:
        """One entry, and again from there after a fault or a wait, unless the range was invalidated
        meanwhile (mm/hmm.c, hmm_vma_walk_pmd, and the loop of hmm_range_fault)."""
        while True:
            found = k.hmm_vma_walk_pmd(vma, va, fault, write, owner)
            if found == Walk.DONE:
                return Hmm.OK
            if fault and found == Walk.FAULT:
                k.hmm_vma_fault(vma, va, write)
            if current().gup_error:
                current().gup_error = False
                return k.hmm_fault_error(vma, write)
            if k.mmu_interval_check_retry(sub):
                return Hmm.EBUSY

    def hmm_vma_walk_pmd(k, vma: Vma, va: int, fault: bool, write: bool, owner: Any) -> int:
        """A huge entry, or the PTE; read without a lock (mm/hmm.c, hmm_vma_handle_pmd,
        hmm_vma_handle_absent_pmd)."""
        if not vma.thp:
            return k.hmm_vma_handle_pte(vma, va, fault, write, owner)
        pmd = vma.mm.pmd[vma.start]
        if pmd.page is None:
            return k.hmm_vma_handle_pte(vma, va, fault, write, owner)
        mine = pmd.present
        if k.is_device_private(pmd):
            pgmap = pmd.page.pgmap
            mine = pgmap.owner is owner
        if mine and not (pmd.present and fault and write and not pmd.write):
            page = pmd.page if va == vma.start else pmd.page.second
            current().hmm_pfns[va] = HmmPfn(page=page, write=pmd.write, huge=True)
            return Walk.DONE
        if not fault:
            current().hmm_pfns[va] = HmmPfn(error=pmd.leaf == DEVICE_PRIVATE)
            return Walk.DONE
        if k.is_migration(pmd):
            k.pmd_migration_entry_wait(vma)
            return Walk.AGAIN
        return Walk.FAULT

    def hmm_vma_handle_pte(k, vma: Vma, va: int, fault: bool, write: bool, owner: Any) -> int:
        """The entry is read without a lock (mm/hmm.c)."""
        pte = vma.mm.pte[va]
        if pte.present:
            if fault and write and not pte.write:
                return Walk.FAULT
            current().hmm_pfns[va] = HmmPfn(page=pte.page, write=pte.write)
            return Walk.DONE
        if k.is_device_private(pte):
            pgmap = pte.page.pgmap
            if pgmap.owner is owner:  # as it is, also where a write is wanted and it is read-only
                current().hmm_pfns[va] = HmmPfn(page=pte.page, write=pte.write)
                return Walk.DONE
        if not fault:
            current().hmm_pfns[va] = HmmPfn()
            return Walk.DONE
        if k.is_migration(pte):
            k.migration_entry_wait(vma.mm, va)
            return Walk.AGAIN
        if k.is_device_private(pte):
            return k.hmm_others_private_page()
        return Walk.FAULT

    def hmm_others_private_page(k) -> int:
        """A page in the memory of another device comes back to the system (mm/hmm.c)."""
        return Walk.FAULT

    def hmm_vma_fault(k, vma: Vma, va: int, write: bool) -> None:
        """Fault as the CPU would (mm/hmm.c)."""
        if (write and not k.may_write(vma)) or not k.handle_mm_fault(vma, va, write):
            current().gup_error = True

    def hmm_fault_error(k, vma: Vma, write: bool) -> int:
        """What hmm_vma_fault() returned: a VMA that cannot be written is not faulted on (mm/hmm.c)."""
        if write and not k.may_write(vma):
            return Hmm.EPERM
        return Hmm.EFAULT
