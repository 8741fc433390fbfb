"""get_user_pages(): references for the kernel and for DMA (mm/gup.c).

One page a call.  Not modelled: NUMA hinting, protection keys, secretmem, unsharing of
anonymous pages, the write-protect sequence count of fork().
"""

from __future__ import annotations

from typing import Any

from zonedev.kernel.huge_memory import TABLE
from zonedev.kernel.page import GUP_PIN_COUNTING_BIAS, MemoryType, Page
from zonedev.kernel.pgtable import Mm, Pte, Vma
from zonedev.kernel.pmem import Pmem
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_add,
    atomic_dec,
    atomic_inc,
    atomic_read,
    down_read,
    local_irq_disable,
    local_irq_enable,
    spin_lock,
    spin_unlock,
    up_read,
)
from zonedev.lang.runtime import current

FOLL_WRITE = 0x01
FOLL_GET = 0x02
FOLL_PIN = 0x04
FOLL_LONGTERM = 0x08
FOLL_SPLIT_PMD = 0x10
FOLL_PCI_P2PDMA = 0x20


class Gup(Pmem):
    """mm/gup.c as of v7.2."""

    #: Whether a device has peer-to-peer memory.
    p2pdma_exists = False

    # --- references ------------------------------------------------------------------------------

    def try_get_folio(k, page: Page) -> bool:
        """Take a reference that the caller has no right to yet (mm/gup.c)."""
        return k.folio_try_get(k.page_folio(page), 1)

    def try_grab_folio_fast(k, page: Page, flags: int) -> bool:
        """GUP-fast's reference; a pin of a small folio is two additions (mm/gup.c)."""
        if not flags & FOLL_PCI_P2PDMA and k.is_pci_p2pdma_page(page):
            return False
        if not k.try_get_folio(page):
            return False
        folio = k.page_folio(page)
        if flags & FOLL_LONGTERM and not k.folio_is_longterm_pinnable(folio):
            k.folio_put_refs(folio, 1)
            return False
        if flags & FOLL_PIN:
            if folio.large:
                atomic_inc(folio._pincount)
            else:
                atomic_add(folio._refcount, GUP_PIN_COUNTING_BIAS - 1)
        return True

    def is_pci_p2pdma_page(k, page: Page) -> bool:
        """Looks into the pagemap before any reference is held: only interrupts being off
        keep it there (include/linux/memremap.h)."""
        folio = k.page_folio(page)
        if k.of_allocator(folio):
            return False
        pgmap = folio.pgmap
        kind = pgmap.type
        return k.drivers_memory and kind == MemoryType.PCI_P2PDMA

    def folio_is_longterm_pinnable(k, folio: Page) -> bool:
        """File systems tolerate short delays of a truncate only (include/linux/mm.h)."""
        if k.of_allocator(folio):
            return True
        pgmap = folio.pgmap
        kind = pgmap.type
        return kind != MemoryType.FS_DAX and not (k.drivers_memory and kind == MemoryType.COHERENT)

    def folio_test_anon(k, folio: Page) -> bool:
        """Of a driver's pages those that are in use (include/linux/page-flags.h)."""
        return k.of_allocator(folio) or (k.drivers_memory and folio.anon_vma is not None)

    def try_grab_folio(k, page: Page, flags: int) -> bool:
        """GUP-slow's reference, under the page-table lock (mm/gup.c)."""
        folio = k.page_folio(page)
        if WARN_ON(atomic_read(folio._refcount) <= 0, "try_grab_folio() of a free folio"):
            return False
        if k.p2pdma_exists and not flags & FOLL_PCI_P2PDMA and k.is_pci_p2pdma_page(page):
            return False
        if not flags & FOLL_PIN:
            atomic_inc(folio._refcount)
        elif folio.large:
            atomic_inc(folio._refcount)
            atomic_inc(folio._pincount)
        else:
            atomic_add(folio._refcount, GUP_PIN_COUNTING_BIAS)
        return True

    def gup_put_folio(k, page: Page, flags: int) -> None:
        """Give back what a grab took (mm/gup.c)."""
        folio = k.page_folio(page)
        if flags & FOLL_PIN and folio.large:
            atomic_dec(folio._pincount)
            k.folio_put_refs(folio, 1)
        elif flags & FOLL_PIN:
            k.folio_put_refs(folio, GUP_PIN_COUNTING_BIAS)
        else:
            k.folio_put_refs(folio, 1)

    # --- without locks -----------------------------------------------------------------------------

    def gup_fast(k, va: int, flags: int) -> Page | None:
        """The lockless walk, with interrupts off (mm/gup.c, gup_fast)."""
        mm = current().mm
        size = mm.vma_at[va].size
        local_irq_disable()
        if mm.vma_at[va].thp:
            page = None  # of huge pages only the slow way is modelled
        elif size == "pte":
            page = k.gup_fast_pte_range(mm, va, flags)
        elif size == "pmd":
            page = k.gup_fast_pmd_leaf(mm, va, flags)
        else:
            page = k.gup_fast_pud_leaf(mm, va, flags)
        local_irq_enable()
        return page

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """Take the page mapped at `va`, and look again whether it still is (mm/gup.c)."""
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags) or pte.special:
            return None
        if not k.try_grab_folio_fast(pte.page, flags):
            return None
        if mm.pte[va] != pte:
            k.gup_put_folio(pte.page, flags)
            return None
        if not k.gup_fast_folio_allowed(pte.page, flags):
            k.gup_put_folio(pte.page, flags)
            return None
        return pte.page

    def gup_fast_pmd_leaf(k, mm: Mm, va: int, flags: int) -> Page | None:
        """mm/gup.c"""
        return k.gup_fast_huge_leaf(mm.pmd, mm, va, flags)

    def gup_fast_pud_leaf(k, mm: Mm, va: int, flags: int) -> Page | None:
        """mm/gup.c"""
        return k.gup_fast_huge_leaf(mm.pud, mm, va, flags)

    def gup_fast_huge_leaf(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """What gup_fast_pmd_leaf() and gup_fast_pud_leaf() share: the steps of the PTE walk,
        with the folio taken by its head."""
        start = k.huge_start(mm.vma_at[va], va)
        entry = table[start]
        if not k.pte_access_permitted(entry, flags) or entry.special:
            return None
        if not k.try_grab_folio_fast(entry.page, flags):
            return None
        if table[start] != entry:
            k.gup_put_folio(entry.page, flags)
            return None
        if not k.gup_fast_folio_allowed(entry.page, flags):
            k.gup_put_folio(entry.page, flags)
            return None
        return k.subpage(mm.vma_at[va], va, entry)

    def pte_access_permitted(k, entry: Pte, flags: int) -> bool:
        """arch/x86/include/asm/pgtable.h"""
        if flags & FOLL_WRITE and not entry.write:
            return False
        return bool(entry.present)

    def gup_fast_folio_allowed(k, page: Page, flags: int) -> bool:
        """A long-term pin for writing of a file's folio has to look at the VMA; a small
        folio may be secretmem, which its mapping tells (mm/gup.c)."""
        folio = k.page_folio(page)
        reject_file_backed = (
            flags & (FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE) == FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE
        )
        if k.folio_test_anon(folio) or (not reject_file_backed and folio.large):
            return True
        mapping = folio.mapping
        if mapping is None:
            return False
        return not reject_file_backed  # no mapping here is shmem's

    def subpage(k, vma: Vma, va: int, entry: Pte) -> Page:
        """The page at `va`, which `entry` maps (mm/gup.c, nth_page() of the leaf)."""
        if vma.anonymous:
            return entry.page
        offset = (va - vma.start) % vma.per_folio
        if not k.vma_is_fsdax(vma):
            return k.device_page(vma, va)
        if offset == 0 or k.is_zero_page(entry.page):
            return entry.page
        found = entry.page
        for head in k.device_blocks(vma.vm_file.dax):
            if entry.page is head:
                found = k.block_page(vma.vm_file.dax, head, offset)
        return found

    def device_page(k, vma: Vma, va: int) -> Page:
        """A device maps the same page at `va` as long as it maps any."""
        return vma.vm_file.pages[va - vma.start]

    # --- under locks ---------------------------------------------------------------------------------

    def gup_longterm_locked(k, va: int, flags: int) -> Page | None:
        """__gup_longterm_locked() with mmap_lock taken and dropped (mm/gup.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        page = k.get_user_pages_locked(vma, va, flags)
        up_read(mm.mmap_lock)
        return page

    def get_user_pages_locked(k, vma: Vma, va: int, flags: int) -> Page | None:
        """__get_user_pages(): walk under the page-table lock, fault, walk again
        (mm/gup.c)."""
        page: Page | None = None
        while vma.linked:
            if not k.check_vma_flags(vma, flags):
                break
            page = k.follow_page_mask(vma, va, flags)
            if page is not None or k.gup_failed() or not k.faultin_page(vma, va, flags):
                break
        return page

    def gup_failed(k) -> bool:
        """Whether the walk found a page that it could not take: -ENOMEM (mm/gup.c)."""
        failed: bool = current().gup_error
        current().gup_error = False
        return failed

    def check_vma_flags(k, vma: Vma, flags: int) -> bool:
        """False for EOPNOTSUPP: no long-term pins of a file's pages (mm/gup.c)."""
        return not (flags & FOLL_LONGTERM and k.vma_is_fsdax(vma))

    def follow_page_mask(k, vma: Vma, va: int, flags: int) -> Page | None:
        """follow_page_pte(), follow_huge_pmd(), follow_huge_pud(): the page at `va`,
        with a reference, or None for a fault (mm/gup.c)."""
        size = vma.size
        mm = vma.mm
        if vma.thp:
            return k.follow_pmd_mask(vma, va, flags)
        if size == "pte":
            return k.follow_page_pte(mm.pte, mm, va, va, flags)
        if size == "pmd":
            return k.follow_page_pte(mm.pmd, mm, k.huge_start(vma, va), va, flags)
        return k.follow_page_pte(mm.pud, mm, k.huge_start(vma, va), va, flags)

    def follow_pmd_mask(k, vma: Vma, va: int, flags: int) -> Page | None:
        """The walk of the PTEs below, or the page of a huge entry: that is read again under its
        lock, since it may be one no more, and split first where this is asked for (mm/gup.c)."""
        mm = vma.mm
        pmd = mm.pmd[vma.start]
        if pmd.page is None:  # a table, or nothing while it is split: the kernel waits then, too
            return k.follow_page_pte(mm.pte, mm, va, va, flags)
        if not pmd.present:
            return None
        spin_lock(mm.ptl)
        pmd = mm.pmd[vma.start]
        if pmd == TABLE:
            spin_unlock(mm.ptl)
            return k.follow_page_pte(mm.pte, mm, va, va, flags)
        if pmd.present and flags & FOLL_SPLIT_PMD:
            spin_unlock(mm.ptl)
            k.split_huge_pmd(vma)
            return k.follow_page_pte(mm.pte, mm, va, va, flags)
        page = k.follow_huge_pmd(vma, va, pmd, flags)
        spin_unlock(mm.ptl)
        return page

    def follow_huge_pmd(k, vma: Vma, va: int, pmd: Pte, flags: int) -> Page | None:
        """The page of a huge entry, with a reference to its folio (mm/gup.c)."""
        if not k.pte_access_permitted(pmd, flags):
            return None
        if not k.try_grab_folio(pmd.page, flags):
            current().gup_error = True
            return None
        return pmd.page if va == vma.start else pmd.page.second

    def follow_page_pte(k, table: Any, mm: Mm, at: int, va: int, flags: int) -> Page | None:
        """The walk at one level: `at` is the index of the entry that maps `va` (mm/gup.c)."""
        page: Page | None = None
        spin_lock(mm.ptl)
        entry = table[at]
        if k.pte_access_permitted(entry, flags):
            page = k.subpage(mm.vma_at[va], va, entry)
            if not k.try_grab_folio(entry.page, flags):
                page = None
                current().gup_error = True
        spin_unlock(mm.ptl)
        return page

    def faultin_page(k, vma: Vma, va: int, flags: int) -> bool:
        """Fault for GUP; false for SIGBUS (mm/gup.c)."""
        return k.handle_mm_fault(vma, va, bool(flags & FOLL_WRITE))

    # --- entry points --------------------------------------------------------------------------------

    def gup_fast_fallback(k, va: int, flags: int) -> Page | None:
        """get_user_pages_fast(), pin_user_pages_fast(): lockless, then with the lock
        (mm/gup.c)."""
        page = k.gup_fast(va, flags)
        if page is not None:
            return page
        return k.gup_longterm_locked(va, flags)

    def unpin_user_page(k, page: Page) -> None:
        """mm/gup.c"""
        current().pins[page._index] = current().pins[page._index] - 1
        k.gup_put_folio(page, FOLL_PIN)

    def put_page(k, page: Page) -> None:
        """Drop a FOLL_GET reference (include/linux/mm.h)."""
        current().gets[page._index] = current().gets[page._index] - 1
        k.gup_put_folio(page, FOLL_GET)
