"""v5.2 to v5.17, as in v5.10: every struct page holds its pagemap until its last put."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.designs.private_5_10 import Private510
from zonedev.kernel.gup import FOLL_LONGTERM, FOLL_PIN
from zonedev.kernel.mapping import AddressSpace
from zonedev.kernel.memremap import DevicePages
from zonedev.kernel.page import GUP_PIN_COUNTING_BIAS, DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.kernel.pmem import PmemDevice
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_add,
    atomic_dec_and_test,
    atomic_dec_return,
    atomic_inc,
    atomic_read,
    atomic_sub,
    down_read,
    down_write,
    up_read,
    up_write,
    wait_for_completion,
    wake_up,
)
from zonedev.lang.runtime import at_setup, current


class Linux510(Private510):
    """v5.10: unbind puts every page and waits until the last one is free.

    The teardown is that of v5.2 to v5.17.  Of what v5.11 to v5.18 changed, most matters
    27674ef6c73f "mm: remove the extra ZONE_DEVICE struct page refcount" (v5.18).
    """

    name = "linux-5.10"
    title = "every page holds its pagemap: unbind waits for pins"

    #: "device-dax: compound devmap support" came with v5.17.
    COMPOUND_DEVMAP = False

    # --- put -----------------------------------------------------------------------------------

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """put_page(), and before it for several references put_compound_head()'s
        subtraction (mm/gup.c, put_page_refs)."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        if refs > 1:
            atomic_sub(folio._refcount, refs - 1)
        if k.devmap_managed():
            pgmap = folio.pgmap
            kind = pgmap.type
            if kind == MemoryType.FS_DAX or (k.private_exists and kind == MemoryType.PRIVATE):
                k.put_devmap_managed_page(folio)
                return
        if atomic_dec_and_test(folio._refcount):
            k.put_zone_device_page(folio)

    def put_devmap_managed_page(k, page: Page) -> None:
        """Idle at 1: wake who waits for that; the type is read after the count fell
        (mm/swap.c, mm/memremap.c free_devmap_managed_page)."""
        left = atomic_dec_return(page._refcount)
        if left == 1:
            pgmap = page.pgmap
            kind = pgmap.type
            if kind == MemoryType.FS_DAX:
                wake_up(page.frame.waiters)
            elif k.private_exists:
                page.anon_vma = None
                k.folio_free(page)
        elif left == 0:
            k.put_zone_device_page(page)

    def put_zone_device_page(k, page: Page) -> None:
        """__put_page(): the page was put for the last time, by memunmap_pages() or by a
        pin that outlived it (mm/swap.c)."""
        pgmap = page.pgmap
        k.put_dev_pagemap(pgmap)

    # --- unbind ----------------------------------------------------------------------------------

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """Kill, put every page, wait, remove (mm/memremap.c), until 27674ef6c73f "mm:
        remove the extra ZONE_DEVICE struct page refcount" (v5.18).  dev_pagemap_cleanup()
        exits the ref before the pages go, until "mm/memremap: fix memunmap_pages() race
        with get_dev_pagemap()" (v6.0)."""
        k.percpu_ref_kill(pgmap.ref)
        for page in pgmap.pages:
            k.folio_put_refs(page, 1)
        wait_for_completion(pgmap.ref.done)
        k.percpu_ref_exit(pgmap.ref)
        k.pageunmap_range(pgmap)

    def unmap_mapping_range(
        k, mapping: AddressSpace, first: int = 0, nr: int = 0, even_cows: bool = False
    ) -> None:
        """Holds i_mmap_rwsem for writing (mm/memory.c)."""
        down_write(mapping.i_mmap_rwsem)
        k.unmap_mapping_range_tree(mapping, first, nr, even_cows)
        up_write(mapping.i_mmap_rwsem)

    # --- files -----------------------------------------------------------------------------------

    def drop_caches(k, pmem: PmemDevice) -> None:
        """DAX entries keep no inode from reclaim, not being counted in nrpages (fs/inode.c,
        inode_lru_isolate), until 51b8c1fe250d "vfs: keep inodes with page cache off the inode
        shrinker LRU" (v5.16)."""
        k.evict_inodes(pmem)

    # --- fault -----------------------------------------------------------------------------------

    def dev_dax_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """page->mapping is set after the PTE, until "device-dax: set mapping prior to
        vmf_insert_pfn{,_pmd,pud}()" (v5.17)."""
        page = vma.vm_file.pages[va - vma.start]
        done = k.vmf_insert_page_mkwrite(vma, va, page, write)
        k.dax_set_mapping(vma, page)
        return done

    def dev_dax_pmd_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above, for each page of the entry (drivers/dax/device.c)."""
        done = k.vmf_insert_folio_pmd(vma, start, vma.vm_file.pages[start - vma.start], write)
        k.dax_set_mappings(vma, start)
        return done

    def dev_dax_pud_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above, for each page of the entry (drivers/dax/device.c)."""
        done = k.vmf_insert_folio_pud(vma, start, vma.vm_file.pages[start - vma.start], write)
        k.dax_set_mappings(vma, start)
        return done

    def dax_set_mappings(k, vma: Vma, start: int) -> None:
        """The loop at the end of dev_dax_huge_fault() (drivers/dax/device.c)."""
        for page in k.pages_of_entry(vma, start):
            k.dax_set_mapping(vma, page)

    @at_setup
    def pages_of_entry(self, vma: Vma, start: int) -> Sequence[Page]:
        """The pages that an entry maps; in a machine by hand those that anybody has touched."""
        file, first = vma.vm_file, start - vma.start
        if isinstance(file.pages, DevicePages):
            return file.pages.made(first, file.per_folio)
        return tuple(file.pages[first : first + file.per_folio])

    # --- GUP ---------------------------------------------------------------------------------------

    def try_grab_folio(k, page: Page, flags: int) -> bool:
        """try_grab_page(): the count is tested and then added to (mm/gup.c)."""
        if WARN_ON(atomic_read(page._refcount) <= 0, "try_grab_page() of a free page"):
            return False
        if flags & FOLL_PIN:
            atomic_add(page._refcount, GUP_PIN_COUNTING_BIAS)
        else:
            atomic_inc(page._refcount)
        return True

    def gup_longterm_locked(k, va: int, flags: int) -> Page | None:
        """__gup_longterm_locked(): a file's page is given back after it was pinned (mm/gup.c),
        until 52650c8b466b "mm/gup: remove the vma allocation from gup_longterm_locked()"
        (v5.11)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        page = k.get_user_pages_locked(vma, va, flags)
        if page is not None and k.check_dax_vmas(vma, flags):
            k.gup_put_folio(page, flags)
            page = None
        up_read(mm.mmap_lock)
        return page

    def check_vma_flags(k, vma: Vma, flags: int) -> bool:
        """Files are not looked for before the walk (mm/gup.c)."""
        return True

    def check_dax_vmas(k, vma: Vma, flags: int) -> bool:
        """No long-term pins of a file's pages (mm/gup.c)."""
        return bool(flags & FOLL_LONGTERM) and k.vma_is_fsdax(vma)

    def gup_device_huge(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """Where the grab fails the pagemap's reference is lost, until "mm: gup: fix
        potential pgmap refcnt leak in __gup_device_huge()" (v5.16)."""
        vma = mm.vma_at[va]
        at = k.huge_start(vma, va)
        entry = table[at]
        if not k.pte_access_permitted(entry, flags) or flags & FOLL_LONGTERM:
            return None
        page = k.subpage(vma, va, entry)
        pgmap = k.get_dev_pagemap(page.array)
        if pgmap is None:
            return None
        if not k.try_grab_folio(page, flags):
            return None
        k.put_dev_pagemap(pgmap)
        if table[at] != entry:
            k.gup_put_folio(page, flags)
            return None
        return page
