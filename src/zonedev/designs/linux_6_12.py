"""v6.2 to v6.14: devmap entries without references, and pins that unbind does not see."""

from __future__ import annotations

from typing import Any

from zonedev.designs.private_6_12 import Private612
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.gup import FOLL_LONGTERM
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import AddressSpace, DaxEntry, file_indices
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import NONE, Mm, Pte, Vma, indices
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_read,
    atomic_sub_and_test,
    atomic_sub_return,
    spin_lock,
    spin_unlock,
    wake_up,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import at_setup, atomic, current


class Linux612(Private612):
    """v6.2 to v6.14, as in v6.12: a mapping takes no reference.

    What "fs/dax: Fix ZONE_DEVICE page reference counts" (v9, 20 patches, v6.15) changed.
    """

    name = "linux-6.12"
    title = "v6.2 to v6.14: mappings uncounted, unbind ignores pins"

    MAPPING_HOLDS_REF = False

    def initial_count(self, kind: MemoryType) -> int:
        """All types that device-dax and fsdax use idle at 1 until "fs/dax: Properly
        refcount fs dax pages" (v9 19/20); those of a driver that can be migrated at 0 since
        ef233450898f "mm: free device private pages have zero refcount" (v6.1)."""
        return 0 if kind in (MemoryType.PRIVATE, MemoryType.COHERENT) else 1

    #: "mm: Allow compound zone device pages" and "fs/dax: Properly refcount fs dax pages" (v9
    #: 11/20 and 19/20).
    COMPOUND_FSDAX = False

    # --- put -----------------------------------------------------------------------------------

    def devmap_managed(k) -> bool:
        """The static key devmap_managed_key, which is on while an FS_DAX pagemap exists
        (mm/memremap.c)."""
        return k.fs_dax_exists

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """put_devmap_managed_page_refs() comes first, while any fsdax pagemap exists
        (include/linux/mm.h), until "fs/dax: Properly refcount fs dax pages" (v9 19/20)."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        if k.devmap_managed():
            pgmap = folio.pgmap
            kind = pgmap.type
            if kind == MemoryType.FS_DAX:
                k.put_devmap_managed_page_refs(folio, refs)
                return
        if atomic_sub_and_test(folio._refcount, refs):
            k.free_zone_device_folio(folio)

    def put_devmap_managed_page_refs(k, folio: Page, refs: int) -> None:
        """An fsdax page is idle at 1 (mm/memremap.c, __put_devmap_managed_page_refs)."""
        if atomic_sub_return(folio._refcount, refs) == 1:
            wake_up(folio.frame.waiters)

    def free_zone_device_folio(k, folio: Page) -> None:
        """Device-dax has no ops, which warns; the count stays 0 (mm/memremap.c,
        free_zone_device_page), until "device/dax: Properly refcount device dax pages
        when mapping" (v9 20/20)."""
        pgmap = folio.pgmap
        kind = pgmap.type
        WARN_ON(kind == MemoryType.GENERIC, "free_zone_device_page() of a device-dax page")
        if k.drivers_memory:
            k.free_drivers_folio(folio, pgmap, kind)

    # --- map and zap ------------------------------------------------------------------------------

    def vmf_insert_page_mkwrite(k, vma: Vma, va: int, page: Page, write: bool) -> bool:
        """vmf_insert_mixed(), which leaves a present PTE as it is and makes none dirty; for a
        write to a file vmf_insert_mixed_mkwrite() (mm/memory.c), until v9 19/20 and 20/20."""
        spin_lock(vma.mm.ptl)
        mkwrite = write and k.vma_is_fsdax(vma)
        k.insert_page_into_pte_locked(vma, vma.mm.pte, va, page, mkwrite)
        spin_unlock(vma.mm.ptl)
        return True

    def insert_page_into_pte_locked(k, vma: Vma, table: Any, at: int, page: Page, write: bool) -> None:
        """insert_pfn(), insert_pfn_pmd(), insert_pfn_pud(): no reference (mm/memory.c,
        mm/huge_memory.c), until v9 13/20, 15/20, 16/20, 19/20 and 20/20."""
        entry = table[at]
        if not entry.present:
            table[at] = k.mk_entry(vma, page, write)
        elif write:
            table[at] = replace(entry, write=True, dirty=True)

    def mk_entry(k, vma: Vma, page: Page, write: bool) -> Pte:
        """pte_mkdevmap(), pmd_mkdevmap(), pud_mkdevmap() (arch/x86/include/asm/pgtable.h)."""
        writable = write or not k.vma_wants_writenotify(vma)
        return Pte(present=True, write=writable, dirty=write, devmap=True, page=page)

    def zap_pte_range(k, vma: Vma, first: int, nr: int) -> None:
        """vm_normal_page() is NULL for devmap: clear, and flush later; there is nothing
        to put (mm/memory.c), until v9 20/20."""
        if k.has_normal_ptes(vma) and not vma.anonymous:
            super().zap_pte_range(vma, first, nr)
            return
        spin_lock(vma.mm.ptl)
        for va in indices(vma.mm, "pte", first, nr, 1):
            if vma.anonymous:
                k.zap_anon_pte(vma, va)
            elif not k.zap_copy(vma, va):
                k.zap_devmap(vma.mm.pte, va)
        spin_unlock(vma.mm.ptl)

    def zap_huge(k, table: Any, vma: Vma, start: int) -> None:
        """vma_is_special_huge() is true for DAX: as above (mm/huge_memory.c)."""
        spin_lock(vma.mm.ptl)
        k.zap_devmap(table, start)
        spin_unlock(vma.mm.ptl)

    def zap_devmap(k, table: Any, at: int) -> None:
        """Clear one entry."""
        with atomic("ptep_get_and_clear() is one xchg"):
            entry = table[at]
            table[at] = NONE
        if entry.present:
            current().gather_range = True

    def vm_normal_page(k, entry: Pte) -> Page | None:
        """NULL for devmap as well (mm/memory.c), until v9 19/20."""
        return entry.page if entry.page.anon or entry.page.memory > MemoryType.FS_DAX else None

    @at_setup
    def has_normal_ptes(self, vma: Vma) -> bool:
        """Whether the pages of a device that a VMA maps are no devmap: coherent and peer-to-peer
        memory are mapped like memory of the system."""
        return (vma.anonymous and self.coherent_exists) or self.vma_is_p2pmem(vma)

    # --- fsdax -------------------------------------------------------------------------------------

    def dax_insert_mapping(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """Takes no reference (fs/dax.c), until v9 19/20."""
        return k.vmf_insert(vma, at, page, write)

    def dax_associate_entry(k, inode: Inode, index: int, entry: DaxEntry, shared: bool) -> None:
        """Page by page, also of a PMD (fs/dax.c), until v9 19/20."""
        for head in k.device_blocks(inode.dax):
            if entry.page is head:
                for page in k.block_pages(inode.dax, head):
                    k.dax_associate_page(inode, index + page.number - head.number, page, shared)

    def dax_associate_page(k, inode: Inode, index: int, page: Page, shared: bool) -> None:
        """A page that several files share has a mapping of its own, PAGE_MAPPING_DAX_SHARED, until
        "fs/dax: Remove PAGE_MAPPING_DAX_SHARED mapping flag" (v9 08/20)."""
        if shared:
            k.dax_page_share_get(page)
            return
        WARN_ON(page.mapping is not None, "dax_associate_entry() of a page that has a mapping")
        page.mapping = inode.mapping
        page.index = index

    def dax_page_share_get(k, page: Page) -> None:
        """fs/dax.c"""
        mapping = page.mapping
        if mapping is not k.dax_shared:
            if mapping is not None:
                page.index = 1
            page.mapping = k.dax_shared
        share = page.index
        page.index = share + 1

    def dax_disassociate_entry(k, inode: Inode, index: int, entry: DaxEntry, trunc: bool) -> None:
        """Page by page; that one is still in use is warned of, and that is all (fs/dax.c), until
        v9 19/20."""
        for head in k.device_blocks(inode.dax):
            if entry.page is head:
                for page in k.block_pages(inode.dax, head):
                    k.dax_disassociate_page(inode, page, trunc)

    def dax_disassociate_page(k, inode: Inode, page: Page, trunc: bool) -> None:
        """fs/dax.c"""
        if trunc:
            k.warn_if_used(page)
        mapping = page.mapping
        if mapping is not None and mapping is k.dax_shared:
            share = page.index
            page.index = share - 1
            if share > 1:
                return
        else:
            WARN_ON(
                mapping is not None and mapping is not inode.mapping,
                "dax_disassociate_entry() of a page of another file",
            )
        page.mapping = None
        page.index = 0

    def warn_if_used(k, page: Page) -> None:
        """All that notices a pin of a file that nobody has mapped (fs/dax.c)."""
        WARN_ON(atomic_read(page._refcount) > 1, "dax_disassociate_entry() of a page in use")

    # --- peer-to-peer memory ------------------------------------------------------------------------

    def p2pmem_page_init(k, page: Page) -> None:
        """A page that is free has one reference already (drivers/pci/p2pdma.c), until b7e282378773
        "mm/mm_init: Move p2pdma page refcount initialisation to p2pdma" (v9 10/20)."""

    # --- truncate and eviction -----------------------------------------------------------------------

    def dax_layout_busy_page(k, inode: Inode) -> Page | None:
        """A file that nobody has mapped counts as idle (fs/dax.c), until "fs/dax: Return unmapped
        busy pages from dax_layout_busy_page_range()" (v9 02/20)."""
        if not k.mapping_mapped(inode.mapping):
            return None
        return k.dax_layout_busy_page_range(inode)

    def mapping_mapped(k, mapping: AddressSpace) -> bool:
        """Whether a VMA is linked, read without a lock (include/linux/fs.h)."""
        with atomic("one read of the root of i_mmap"):
            return any(vma.in_i_mmap for vma in mapping.vmas)

    def wait_entry_unlocked_exclusive(k, inode: Inode, index: int, entry: DaxEntry) -> DaxEntry:
        """The scan skips an entry that is locked: get_unlocked_entry() returns NULL at once where
        the walk stands on the entry (fs/dax.c, lib/xarray.c), from v5.3 on and until "fs/dax:
        Don't skip locked entries when scanning entries" (v9 03/20)."""
        return NO_ENTRY if entry.locked else entry

    def dax_busy_page(k, inode: Inode, index: int, entry: DaxEntry) -> Page | None:
        """A page whose count is not that of an idle one (fs/dax.c), until v9 19/20."""
        busy: Page | None = None
        for head in k.device_blocks(inode.dax):
            if entry.page is head:
                for page in k.block_pages(inode.dax, head):
                    if busy is None and atomic_read(page._refcount) > 1:
                        busy = page
        return busy

    def dax_break_layout(k, inode: Inode) -> None:
        """The loop of ext4_break_layouts(): nothing is deleted (fs/ext4/inode.c), until "fs/dax:
        Always remove DAX page-cache entries when breaking layouts" (v9 06/20)."""
        while True:
            page = k.dax_layout_busy_page(inode)
            if page is None:
                break
            k.wait_page_idle(inode, page)

    def truncate_inode_pages_range(k, inode: Inode, first: int, nr: int = 0) -> None:
        """truncate_folio_batch_exceptionals() deletes the entries (mm/truncate.c), until v9
        06/20."""
        for index in file_indices(inode, "i_pages", first, nr):
            entry = inode.i_pages[index]
            if entry.there:
                k.dax_delete_mapping_entry(inode, index)

    def ext4_evict_inode(k, inode: Inode) -> None:
        """Waits for no page (fs/ext4/inode.c), until "fs/dax: Ensure all pages are idle prior to
        filesystem unmount" (v9 07/20)."""
        k.truncate_inode_pages_range(inode, 0)
        if inode.i_nlink == 0:
            k.ext4_truncate(inode, 0)

    # --- GUP ---------------------------------------------------------------------------------------

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """Holds the pagemap while it takes the page (mm/gup.c, gup_pte_range), until
        "mm/gup: Remove pXX_devmap usage from get_user_pages()" (v6.17), and in effect
        until v9 20/20."""
        if k.has_normal_ptes(mm.vma_at[va]):
            return super().gup_fast_pte_range(mm, va, flags)
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags) or flags & FOLL_LONGTERM:
            return None
        if k.of_allocator(pte.page):
            return k.gup_fast_devmap_pte(mm, va, pte, flags)
        pgmap = k.get_dev_pagemap(pte.page.array)
        if pgmap is None:
            return None
        page = k.gup_fast_devmap_pte(mm, va, pte, flags)
        k.put_dev_pagemap(pgmap)
        return page

    def gup_fast_devmap_pte(k, mm: Mm, va: int, pte: Pte, flags: int) -> Page | None:
        """The grab and the second look (mm/gup.c, gup_pte_range)."""
        if not k.try_grab_folio_fast(pte.page, flags):
            return None
        if mm.pte[va] != pte:
            k.gup_put_folio(pte.page, flags)
            return None
        return pte.page

    def gup_fast_pmd_leaf(k, mm: Mm, va: int, flags: int) -> Page | None:
        """__gup_device_huge_pmd (mm/gup.c)."""
        return k.gup_device_huge(mm.pmd, mm, va, flags)

    def gup_fast_pud_leaf(k, mm: Mm, va: int, flags: int) -> Page | None:
        """__gup_device_huge_pud (mm/gup.c)."""
        return k.gup_device_huge(mm.pud, mm, va, flags)

    def gup_device_huge(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """gup_fast_devmap_leaf(): page by page, and the pagemap is put before the second
        look (mm/gup.c)."""
        vma = mm.vma_at[va]
        at = k.huge_start(vma, va)
        entry = table[at]
        if not k.pte_access_permitted(entry, flags) or flags & FOLL_LONGTERM:
            return None
        page = k.subpage(vma, va, entry)
        pgmap = k.get_dev_pagemap(page.array)
        if pgmap is None:
            return None
        taken = k.try_grab_folio_fast(page, flags)
        k.put_dev_pagemap(pgmap)
        if not taken:
            return None
        if table[at] != entry:
            k.gup_put_folio(page, flags)
            return None
        return page

    def get_user_pages_locked(k, vma: Vma, va: int, flags: int) -> Page | None:
        """__get_user_pages(): the pagemap that the walk took is put when it returns
        (mm/gup.c)."""
        page: Page | None = None
        while vma.linked:
            if not k.check_vma_flags(vma, flags):
                break
            page = k.follow_page_mask(vma, va, flags)
            if page is not None or k.gup_failed() or not k.faultin_page(vma, va, flags):
                break
        if k.pagemap_exists:
            k.put_gup_pgmap()
        return page

    def put_gup_pgmap(k) -> None:
        """What is left in the struct follow_page_context (mm/gup.c)."""
        pgmap = current().gup_pgmap
        if pgmap is not None:
            current().gup_pgmap = None
            k.put_dev_pagemap(pgmap)

    def follow_page_pte(k, table: Any, mm: Mm, at: int, va: int, flags: int) -> Page | None:
        """follow_page_pte(), follow_devmap_pmd(), follow_devmap_pud(): the page is taken
        with its pagemap held; the caller puts that (mm/gup.c, mm/huge_memory.c).  Where the
        pagemap is dead the huge paths return -EFAULT at once, the PTE path faults first,
        which ends in SIGBUS."""
        if k.has_normal_ptes(mm.vma_at[va]):
            return super().follow_page_pte(table, mm, at, va, flags)
        taken: Page | None = None
        spin_lock(mm.ptl)
        entry = table[at]
        if k.pte_access_permitted(entry, flags):
            page = k.subpage(mm.vma_at[va], va, entry)
            if k.of_allocator(page):
                current().gup_error = not k.try_grab_folio(page, flags)
                spin_unlock(mm.ptl)
                return None if current().gup_error else page
            pgmap = k.get_dev_pagemap(page.array)
            current().gup_pgmap = pgmap
            if pgmap is not None:
                if k.try_grab_folio(page, flags):
                    taken = page
                else:
                    current().gup_error = True
                    current().gup_pgmap = None
                    k.put_dev_pagemap(pgmap)
        spin_unlock(mm.ptl)
        return taken
