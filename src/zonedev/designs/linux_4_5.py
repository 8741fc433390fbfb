"""v4.5 to v4.11: every reference to a page is one to its pagemap."""

from __future__ import annotations

from zonedev.designs.linux_4_12 import Linux412
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.pmem import PmemDevice
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    atomic_dec_and_test,
    atomic_inc,
    atomic_read,
    down_read,
    spin_lock,
    spin_unlock,
    up_read,
    wait_for_completion,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import at_setup, atomic, free


class Linux45(Linux412):
    """v4.5: get_page() and put_page() count the pagemap as well; unbind waits, then removes.

    5c2c2587b132 "mm, dax, pmem: introduce {get|put}_dev_pagemap() for dax-gup" and
    3565fce3a659 "mm, x86: get_user_pages() for dax mappings".  Device-dax, which came
    with v4.7, is that of v4.11.
    """

    name = "linux-4.5"
    title = "every page reference holds the pagemap"

    PGMAP_REF_PER_PAGE_REF = True

    @at_setup
    def pgmap_refs(self, pgmap: DevPagemap) -> int:
        """None: until 71389703839e (v4.12) the struct pages hold no reference themselves."""
        return 0

    def memremap_get(self, pgmap: DevPagemap) -> None:
        """The struct pages take none (kernel/memremap.c)."""

    def hold_pagemap(self, page: Page) -> None:
        """A pin holds the pagemap."""
        ref = page.pgmap.ref
        ref.percpu_count.value = ref.percpu_count.value + 1

    def get_page(k, page: Page) -> None:
        """get_zone_device_page() after the increment (include/linux/mm.h), until
        71389703839e (v4.12)."""
        BUG_ON(atomic_read(page._refcount) <= 0, "get_page() of a page without references")
        atomic_inc(page._refcount)
        if not k.of_allocator(page):
            pgmap = page.pgmap
            k.percpu_ref_get(pgmap.ref)

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """put_zone_device_page() after the decrement (include/linux/mm.h), until
        71389703839e (v4.12).  The count never falls to zero: the first reference stays."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        BUG_ON(atomic_dec_and_test(folio._refcount), "a device page was freed")
        pgmap = folio.pgmap
        k.put_dev_pagemap(pgmap)

    def dax_mmap_prepare(k, vma: Vma) -> bool:
        """dax_mmap() tests alive without a lock (drivers/dax/dax.c of v4.11)."""
        return bool(vma.vm_file.alive)

    # --- files: entries have no lock until ac401cc78242 "dax: New fault locking" (v4.7) ---------------

    def dax_fault_locked(k, vma: Vma, at: int, write: bool) -> bool:
        """__dax_fault(): find the block, then map it (fs/dax.c)."""
        inode = vma.vm_file
        index = at - vma.start
        if index >= inode.i_size:
            return False
        page = k.iomap_begin(inode, index, write)
        if k.is_cow_fault(vma):
            return k.dax_copy_locked(vma, at, page)
        return page is not None and k.dax_insert_block(vma, at, page, write)

    def dax_copy_locked(k, vma: Vma, at: int, page: Page | None) -> bool:
        """The end of __dax_fault() for a copy: i_mmap_rwsem, in the place of a page's lock, keeps
        truncate off until do_cow_fault() has mapped it (fs/dax.c), until v4.11."""
        inode = vma.vm_file
        if not k.copy_cow_page_dax(inode, page):
            return False
        down_read(inode.mapping.i_mmap_rwsem)
        inside: bool = at - vma.start < inode.i_size
        if not inside:
            up_read(inode.mapping.i_mmap_rwsem)
        return inside

    def do_cow_fault(k, vma: Vma, va: int) -> bool:
        """Maps the copy itself, under the lock that the handler returns with (mm/memory.c), until
        v4.11."""
        if not k.folio_prealloc(vma):
            return False
        done = k.ext4_dax_huge_fault(vma, va, False)
        if done:
            k.finish_fault(vma, va)
            up_read(vma.vm_file.mapping.i_mmap_rwsem)
        k.put_unused_copy()
        return done

    def dax_insert_block(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """dax_insert_mapping(): i_size once more, with i_mmap_rwsem held against truncate; then
        the entry and the PTE (fs/dax.c)."""
        inode = vma.vm_file
        index = at - vma.start
        done = False
        down_read(inode.mapping.i_mmap_rwsem)
        inside = index < inode.i_size
        if inside and k.dax_iomap_direct_access(inode.dax):
            k.dax_radix_entry(inode, index, page, write)
            done = k.dax_insert_mapping(vma, at, page, write)
        up_read(inode.mapping.i_mmap_rwsem)
        return done

    def dax_radix_entry(k, inode: Inode, index: int, page: Page | None, dirty: bool) -> None:
        """Enter a block where there is none, and tag the entry; without a block (NO_SECTOR), nothing is
        entered (fs/dax.c).  That a PMD is entered by writes only is left out."""
        spin_lock(inode.xa_lock)
        with atomic("who changes an entry or its tag has tree_lock, and changes it once here"):
            known = inode.i_pages[index]
            if known.page is not None:
                inode.i_pages[index] = replace(known, dirty=known.dirty or dirty)
            elif page is not None:
                inode.i_pages[index] = DaxEntry(page=page, dirty=dirty)
        spin_unlock(inode.xa_lock)

    def dax_pfn_mkwrite(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """The entry is marked as dirty; wp_pfn_shared() then looks whether the PTE is the same
        (fs/dax.c, mm/memory.c)."""
        k.dax_radix_entry(vma.vm_file, va - vma.start, None, True)
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            vma.mm.pte[va] = replace(orig_pte, write=True, dirty=True)
        spin_unlock(vma.mm.ptl)

    def dax_writeback_one(k, inode: Inode, index: int) -> None:
        """Flushes, and protects nothing: the entry stays dirty (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        WARN_ON(entry.dirty and entry.page is None, "dax_writeback_one() of an entry without a block")
        spin_unlock(inode.xa_lock)

    def dax_invalidate_entry(k, inode: Inode, index: int) -> None:
        """clear_exceptional_entry(): deleted as it is (mm/truncate.c)."""
        spin_lock(inode.xa_lock)
        inode.i_pages[index] = NO_ENTRY
        spin_unlock(inode.xa_lock)

    def dax_iomap_direct_access(k, dax: PmemDevice) -> bool:
        """dax_map_atomic(): inside of the queue, whose counter is the pagemap's ref (fs/dax.c
        of v4.11), until v4.12 asks whether the device is alive."""
        if not k.percpu_ref_tryget_live(dax.pgmap.ref):
            return False
        k.percpu_ref_put(dax.pgmap.ref)
        return True

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """dax_pmem's devm actions from the pagemap on: kill and wait, then remove
        (drivers/dax/pmem.c, kernel/memremap.c), until 71389703839e (v4.12)."""
        k.percpu_ref_kill(pgmap.ref)
        wait_for_completion(pgmap.ref.done)
        k.release_pages(pgmap)
        k.percpu_ref_exit(pgmap.ref)

    def release_pages(k, pgmap: DevPagemap) -> None:
        """devm_memremap_pages_release(): no page is put (kernel/memremap.c), until
        71389703839e (v4.12)."""
        k.warn_if_live(pgmap)
        k.arch_remove_memory(pgmap)
        pgmap.array.pgmap = None
        free(pgmap)

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """pmem_release_disk, pmem_release_queue, devm_memremap_pages_release: the queue
        is frozen and waited for at once, and first (drivers/nvdimm/pmem.c), until
        71389703839e (v4.12)."""
        k.pmem_release_disk(pmem)
        k.blk_freeze_queue_start(pmem)
        k.blk_cleanup_queue(pmem)
        k.release_pages(pmem.pgmap)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)
