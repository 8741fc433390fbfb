"""v5.18 to v6.1: as v6.12, but for huge pages in GUP-fast and for what files share."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_12 import Linux612
from zonedev.kernel.gup import FOLL_LONGTERM
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Mm, Pte, Vma
from zonedev.lang.primitives import WARN_ON


class Linux61(Linux612):
    """v5.18 to v6.1, as in v6.1: of a shared block only copies are known as such.

    169004265860 "fsdax: introduce page->share for fsdax in reflink mode", f80e1668888f "fsdax:
    invalidate pages when CoW" and c6f0b395b211 "fsdax,xfs: set the shared flag when file extent is
    shared" came with v6.2.  v5.18 and v5.19 still exit the pagemap's ref before the pages go.
    """

    name = "linux-6.1"
    title = "v5.18 to v6.1: mappings uncounted, unbind ignores pins"

    def is_pci_p2pdma_page(k, page: Page) -> bool:
        """GUP-fast does not look for P2PDMA pages, which came with v6.2 (mm/gup.c)."""
        return False

    def try_grab_folio_fast(k, page: Page, flags: int) -> bool:
        """Whether it may be pinned for long is asked before the page is held (mm/gup.c,
        try_grab_folio)."""
        if flags & FOLL_LONGTERM and not k.folio_is_longterm_pinnable(k.page_folio(page)):
            return False
        return super().try_grab_folio_fast(page, flags & ~FOLL_LONGTERM)

    def gup_longterm_unlocked(k, va: int, flags: int) -> Page | None:
        """mmap_lock is held all the time (mm/gup.c, __gup_longterm_unlocked), until b2a72dff85fa "mm/gup:
        have internal functions get the mmap_read_lock()" (v6.3)."""
        return k.gup_longterm_locked(va, flags)

    # --- peer-to-peer memory ------------------------------------------------------------------------

    def kernfs_fop_mmap(k, vma: Vma) -> bool:
        """There is no p2pmem/allocate, until 7e9c7ef83d78 "PCI/P2PDMA: Allow userspace VMA allocations
        through sysfs" (v6.2)."""
        return False

    def pci_p2pdma_unmap_mappings(k, pdev: PciDev) -> None:
        """Nor is it removed."""

    def gup_device_huge(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """__gup_device_huge(): try_grab_page() tests the count and then adds (mm/gup.c).  v6.12 has
        try_grab_folio_fast() in its place; which patch in between was the first is not
        established here."""
        vma = mm.vma_at[va]
        at = k.huge_start(vma, va)
        entry = table[at]
        if not k.pte_access_permitted(entry, flags) or flags & FOLL_LONGTERM:
            return None
        page = k.subpage(vma, va, entry)
        pgmap = k.get_dev_pagemap(page.array)
        if pgmap is None:
            return None
        taken = k.try_grab_folio(page, flags)
        k.put_dev_pagemap(pgmap)
        if not taken:
            return None
        if table[at] != entry:
            k.gup_put_folio(page, flags)
            return None
        return page

    def remove_device_exclusive_entry(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """Locks a page to which it has no reference (mm/memory.c), until 7c13c163e036 "mm: take a page
        reference when removing device exclusive entries" (v6.3, and in 6.1.y)."""
        folio = k.page_folio(orig_pte.page)
        k.folio_lock(folio)
        k.restore_under_notifier(vma, va, orig_pte)
        k.folio_unlock(folio)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def dax_fault_iter(
        k, vma: Vma, at: int, entry: DaxEntry, page: Page, write: bool, shared: bool, sync: bool
    ) -> bool:
        """A read does not learn that the block is shared (fs/xfs/xfs_iomap.c), until
        c6f0b395b211 (v6.2)."""
        return super().dax_fault_iter(vma, at, entry, page, write, False, sync)

    def dax_disassociate_page(k, inode: Inode, page: Page, trunc: bool) -> None:
        """The last copy leaves the mapping PAGE_MAPPING_DAX_COW behind, for `index` is tested
        before it is decremented (fs/dax.c), until 169004265860 (v6.2)."""
        if trunc:
            k.warn_if_used(page)
        mapping = page.mapping
        if mapping is not None and mapping is k.dax_shared:
            copies = page.index
            if copies > 0:
                page.index = copies - 1
                return
        else:
            WARN_ON(
                mapping is not None and mapping is not inode.mapping,
                "dax_disassociate_entry() of a page of another file",
            )
        page.mapping = None
        page.index = 0
