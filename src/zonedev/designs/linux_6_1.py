"""v5.18 to v6.14: devmap entries without references, and pins that unbind does not see."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_15 import Linux615
from zonedev.kernel.dax import DaxEntry, Inode
from zonedev.kernel.gup import FOLL_LONGTERM
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import NONE, Mm, Pte, Vma, indices
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_sub_and_test,
    atomic_sub_return,
    spin_lock,
    spin_unlock,
    wake_up,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current


class Linux61(Linux615):
    """v5.18 to v6.14, as in v6.1: a mapping takes no reference.

    What "fs/dax: Fix ZONE_DEVICE page reference counts" (v9, 20 patches, v6.15) changed.
    v6.12 differs on these paths in one point: GUP-fast of a huge devmap entry takes its
    reference unless there is none (try_grab_folio_fast()), where v6.1 tests and then adds
    (try_grab_page()).  v5.18 and v5.19 still exit the ref before the pages go.
    """

    name = "linux-6.1"
    title = "v5.18 to v6.14: mappings uncounted, unbind ignores pins"

    MAPPING_HOLDS_REF = False

    def initial_count(self, kind: MemoryType) -> int:
        """All types that device-dax and fsdax use idle at 1 until "fs/dax: Properly
        refcount fs dax pages" (v9 19/20)."""
        return 1

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

    def zap_pte_range(k, vma: Vma) -> None:
        """vm_normal_page() is NULL for devmap: clear, and flush later; there is nothing
        to put (mm/memory.c), until v9 20/20."""
        spin_lock(vma.mm.ptl)
        for va in indices(vma.mm, "pte", vma.start, vma.nr, 1):
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

    # --- fsdax -------------------------------------------------------------------------------------

    def dax_associate_entry(k, inode: Inode, index: int) -> None:
        """Page by page, also of a PMD (fs/dax.c), until "fs/dax: Properly refcount fs dax
        pages" (v9 19/20)."""
        for at in range(index, index + inode.per_folio):
            page = inode.pages[at]
            WARN_ON(page.mapping is not None, "dax_associate_entry() of a page that has a mapping")
            page.mapping = inode.mapping

    def dax_fault_iter(k, vma: Vma, at: int, entry: DaxEntry, write: bool) -> bool:
        """Takes no reference (fs/dax.c), until v9 19/20."""
        if not k.dax_iomap_direct_access(vma.vm_file.dax):
            return False
        entry = k.dax_insert_entry(vma.vm_file, at - vma.start, entry)
        return k.dax_insert_mapping(vma, at, entry.page, write)

    # --- GUP ---------------------------------------------------------------------------------------

    def is_pci_p2pdma_page(k, page: Page) -> bool:
        """GUP-fast does not look for P2PDMA pages, which came with v6.2 (mm/gup.c)."""
        return False

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """Holds the pagemap while it takes the page (mm/gup.c, gup_pte_range), until
        "mm/gup: Remove pXX_devmap usage from get_user_pages()" (v6.17), and in effect
        until v9 20/20."""
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags) or flags & FOLL_LONGTERM:
            return None
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
        """__gup_device_huge(): page by page, and the pagemap is put before the second
        look (mm/gup.c)."""
        vma = mm.vma_at[va]
        at = k.huge_start(vma, va)
        entry = table[at]
        if not k.pte_access_permitted(entry, flags) or flags & FOLL_LONGTERM:
            return None
        page = k.subpage(vma, va)
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

    def get_user_pages_locked(k, vma: Vma, va: int, flags: int) -> Page | None:
        """__get_user_pages(): the pagemap that the walk took is put when it returns
        (mm/gup.c)."""
        page: Page | None = None
        pgmap: DevPagemap | None = None
        while vma.linked:
            if not k.check_vma_flags(vma, flags):
                break
            pgmap = k.follow_devmap(vma, va, flags)
            if pgmap is not None:
                page = k.subpage(vma, va)
                break
            if not k.faultin_page(vma, va, flags):
                break
        k.put_dev_pagemap(pgmap)
        return page

    def follow_devmap(k, vma: Vma, va: int, flags: int) -> DevPagemap | None:
        """follow_page_pte(), follow_devmap_pmd(), follow_devmap_pud(): the page is taken
        with its pagemap held; the caller puts that (mm/gup.c, mm/huge_memory.c).  Where the
        pagemap is dead the huge paths return -EFAULT at once, the PTE path faults first,
        which ends in SIGBUS."""
        size = vma.vm_file.size
        if size == "pte":
            return k.follow_devmap_entry(vma.mm.pte, vma, va, va, flags)
        if size == "pmd":
            return k.follow_devmap_entry(vma.mm.pmd, vma, k.huge_start(vma, va), va, flags)
        return k.follow_devmap_entry(vma.mm.pud, vma, k.huge_start(vma, va), va, flags)

    def follow_devmap_entry(k, table: Any, vma: Vma, at: int, va: int, flags: int) -> DevPagemap | None:
        """The walk at one level: the pagemap with the page taken, or None for a fault."""
        pgmap: DevPagemap | None = None
        spin_lock(vma.mm.ptl)
        entry = table[at]
        if k.pte_access_permitted(entry, flags):
            page = k.subpage(vma, va)
            pgmap = k.get_dev_pagemap(page.array)
            if pgmap is not None and not k.try_grab_folio(page, flags):
                k.put_dev_pagemap(pgmap)
                pgmap = None
        spin_unlock(vma.mm.ptl)
        return pgmap
