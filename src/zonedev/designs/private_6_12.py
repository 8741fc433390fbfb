"""v6.1 to v6.14, the half of device-private memory and exclusive access: no lock for who faults, and
entries of a device that are no mappings."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_15 import Linux615
from zonedev.kernel.gup import FOLL_GET, FOLL_SPLIT_PMD, FOLL_WRITE
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, NONE, Pte, Vma
from zonedev.lang.primitives import atomic_set, spin_lock, spin_unlock, up_read


class Private612(Linux615):
    """Device memory as in v6.12."""

    # --- private memory ----------------------------------------------------------------------------

    def free_drivers_folio(k, folio: Page, pgmap: DevPagemap, kind: int) -> None:
        """The pagemap is read again after the driver has its page back (mm/memremap.c,
        free_zone_device_page); the pages of others are made idle then."""
        k.clear_anon_exclusive(folio)
        folio.anon_vma = None
        k.folio_free(folio)
        if kind == MemoryType.PCI_P2PDMA:
            atomic_set(folio._refcount, 1)
        else:
            k.put_dev_pagemap(folio.pgmap)

    def fault_device_private(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """The page is held, and not locked (mm/memory.c), until 1afaeb8293c9 "mm/migrate: Trylock
        device page in do_swap_page" (v6.15)."""
        page = orig_pte.page
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] != orig_pte:
            spin_unlock(vma.mm.ptl)
            return True
        k.get_page(page)
        spin_unlock(vma.mm.ptl)
        done = k.migrate_to_ram(vma, va, page)
        k.folio_put(k.page_folio(page))
        return done

    def migrate_vma_lock(k, folio: Page, fault_folio: Page | None) -> bool:
        """Nobody has locked the page that is faulted on (mm/migrate_device.c)."""
        return k.folio_trylock(folio)

    def migrate_vma_unlock(k, folio: Page, fault_folio: Page | None) -> None:
        """mm/migrate_device.c"""
        k.folio_unlock(folio)

    def dmirror_devmem_fault_alloc_and_copy(k, vma: Vma, first: int, nr: int, mirror: Any) -> bool:
        """A page for which there is none in the system stays where it is (lib/test_hmm.c)."""
        super().dmirror_devmem_fault_alloc_and_copy(vma, first, nr, mirror)
        return True

    # --- exclusive access ----------------------------------------------------------------------------

    #: f495bd7e0d9b "mm/rmap: keep mapcount untouched for device-exclusive entries" (v6.15)
    EXCLUSIVE_IS_MAPPED = False
    #: There is one type of such entries since the same series, which mprotect() leaves alone.
    PROTECTS_EXCLUSIVE = True

    def make_device_exclusive(k, vma: Vma, va: int, owner: Any) -> Page | None:
        """make_device_exclusive_range(): every mapping of the page, in all address spaces, becomes an
        entry of the device; what was changed stays so where that fails; no tail of a huge page
        (mm/rmap.c), until 438354724f69 "mm/rmap: implement make_device_exclusive() using folio_walk
        instead of rmap walk" (v6.15)."""
        page = k.get_user_pages_locked(vma, va, FOLL_GET | FOLL_WRITE | FOLL_SPLIT_PMD)
        if page is None:
            return None
        folio = k.page_folio(page)
        if folio is not page or not k.folio_trylock(folio):
            k.folio_put(folio)
            return None
        if k.folio_test_anon(folio) and k.folio_make_device_exclusive(folio, vma, va, owner):
            return page
        k.folio_unlock(folio)
        k.folio_put(folio)
        return None

    def folio_make_device_exclusive(k, folio: Page, target: Vma, va: int, owner: Any) -> bool:
        """Whether the target was mapped writable, and nothing maps the page any more (mm/rmap.c)."""
        valid = False
        mapping = folio.anon_vma
        for anon_vma in k.anon_vmas():
            if mapping is anon_vma and k.folio_lock_anon_vma_read(folio, anon_vma):
                for vma in anon_vma.vmas:
                    if vma.in_anon_vma and k.folio_mapped(folio):
                        written = k.page_make_device_exclusive_one(folio, vma, owner)
                        valid = valid or (vma is target and written)
                up_read(anon_vma.rwsem)
        return valid and not k.folio_mapped(folio)

    def page_make_device_exclusive_one(k, folio: Page, vma: Vma, owner: Any) -> bool:
        """One address space, and every entry of the folio in it; whether the last was writable
        (mm/rmap.c)."""
        written = False
        first = vma.start if vma.thp else k.vma_address(folio, vma)
        nr = vma.nr if vma.thp else 1
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.EXCLUSIVE, owner, first, nr)
        spin_lock(vma.mm.ptl)
        if vma.thp:
            for va in range(vma.start, vma.start + vma.nr):
                written = k.make_pte_exclusive(folio, vma, va) or written
        else:
            written = k.make_pte_exclusive(folio, vma, first)
        spin_unlock(vma.mm.ptl)
        k.mmu_notifier_invalidate_range_end(vma.mm)
        return written

    def make_pte_exclusive(k, folio: Page, vma: Vma, va: int) -> bool:
        """The body of the walk (mm/rmap.c)."""
        pte = vma.mm.pte[va]
        if not pte.present or k.page_folio(pte.page) is not folio:
            return False
        vma.mm.pte[va] = NONE
        k.flush_tlb_mm(vma.mm)
        vma.mm.pte[va] = Pte(leaf=DEVICE_EXCLUSIVE, write=pte.write, page=pte.page)
        k.folio_remove_rmap(folio)
        return bool(pte.write)

    def remove_device_exclusive_entry(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """The event is EXCLUSIVE, of nobody in particular (mm/memory.c)."""
        folio = k.page_folio(orig_pte.page)
        if not k.folio_try_get(folio, 1):
            return
        k.folio_lock(folio)
        k.restore_under_notifier(vma, va, orig_pte)
        k.folio_unlock(folio)
        k.folio_put(folio)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def restore_under_notifier(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """The middle of remove_device_exclusive_entry() (mm/memory.c)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.EXCLUSIVE, None, va, 1)
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            k.restore_exclusive_pte(vma, va, orig_pte)
        spin_unlock(vma.mm.ptl)

    def restore_exclusive_pte(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """The entry says whether it was writable; its page is mapped again (mm/memory.c)."""
        k.folio_add_file_rmap(k.page_folio(orig_pte.page))
        vma.mm.pte[va] = Pte(present=True, write=orig_pte.write, dirty=orig_pte.write, page=orig_pte.page)

    def zap_nonpresent_pte(k, vma: Vma, va: int, entry: Pte) -> None:
        """An exclusive entry has a reference and no rmap (mm/memory.c)."""
        if not k.is_device_exclusive(entry):
            super().zap_nonpresent_pte(vma, va, entry)
            return
        k.folio_put(k.page_folio(entry.page))
        k.clear_nonpresent_pte(vma, va)
