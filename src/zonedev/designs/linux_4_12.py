"""v4.12 to v5.1 in what unbind waits for, else as in v4.12: text 1 as merged."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_5_10 import Linux510
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Mm, Pte, Task, Vma, indices
from zonedev.kernel.pmem import PmemDevice
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    atomic_dec_and_test,
    atomic_inc,
    atomic_read,
    down_read,
    down_write,
    spin_lock,
    spin_unlock,
    up_read,
    up_write,
    wait_for_completion,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import current, free


class Linux412(Linux510):
    """v4.12: one pagemap reference a page, and unbind waits after the pages are gone.

    71389703839e "mm, zone_device: Replace {get, put}_zone_device_page() with a single
    reference to fix pmem crash" (Dan Williams, text 1).  Between it and v5.10 lies above
    all 50f44ee7248a "mm/devm_memremap_pages: fix final page put race" (v5.2).
    """

    name = "linux-4.12"
    title = "text 1 as merged: waits too late"

    #: On x86, the only architecture with ZONE_DEVICE, natively.
    TLB_FLUSH_BY_IPI = True
    #: FOLL_PIN and its bias came with 3faa52c03f44 "mm/gup: track FOLL_PIN pages" (v5.7).
    PIN_WEIGHT = 1

    # --- put -----------------------------------------------------------------------------------

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """put_page(): the last put gives the pagemap's reference back (include/linux/mm.h,
        mm/swap.c).  fsdax pages wake at 1 from v4.18 on."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        if atomic_dec_and_test(folio._refcount):
            k.put_zone_device_page(folio)

    def get_page(k, page: Page) -> None:
        """include/linux/mm.h"""
        BUG_ON(atomic_read(page._refcount) <= 0, "get_page() of a page without references")
        atomic_inc(page._refcount)

    def gup_put_folio(k, page: Page, flags: int) -> None:
        """A pin is a plain reference until 3faa52c03f44 (v5.7)."""
        k.folio_put_refs(page, 1)

    # --- GUP ---------------------------------------------------------------------------------------

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """x86's own walk: the page is not looked at again, for the IPI of the flush waits
        until interrupts are on (arch/x86/mm/gup.c, gup_pte_range), until e585513b76f7
        "x86/mm/gup: Switch GUP to the generic get_user_page_fast() implementation" (v4.13)."""
        return k.gup_device_page(mm.pte, mm, va, va, flags)

    def gup_device_huge(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """__gup_device_huge (arch/x86/mm/gup.c)."""
        return k.gup_device_page(table, mm, k.huge_start(mm.vma_at[va], va), va, flags)

    def gup_device_page(k, table: Any, mm: Mm, at: int, va: int, flags: int) -> Page | None:
        """The body of gup_pte_range() and of __gup_device_huge() (arch/x86/mm/gup.c)."""
        entry = table[at]
        if not k.pte_access_permitted(entry, flags):
            return None
        page = k.subpage(mm.vma_at[va], va, entry)
        if k.of_allocator(page):
            k.get_page(page)
            return page
        pgmap = k.get_dev_pagemap(page.array)
        if pgmap is None:
            return None
        k.get_page(page)
        k.put_dev_pagemap(pgmap)
        return page

    def get_user_pages_locked(k, vma: Vma, va: int, flags: int) -> Page | None:
        """__get_user_pages() (mm/gup.c); the pagemap is held inside the walk only."""
        page: Page | None = None
        while vma.linked:
            page = k.follow_page_mask(vma, va, flags)
            if page is not None or not k.faultin_page(vma, va, flags):
                break
        return page

    def check_dax_vmas(k, vma: Vma, flags: int) -> bool:
        """Files may be pinned for long, until 2bb6d2837083 "mm: introduce
        get_user_pages_longterm" (v4.15)."""
        return False

    def follow_page_pte(k, table: Any, mm: Mm, at: int, va: int, flags: int) -> Page | None:
        """follow_page_pte(), follow_devmap_pmd(), follow_devmap_pud(): under the lock
        (mm/gup.c, mm/huge_memory.c)."""
        spin_lock(mm.ptl)
        page = k.gup_device_page(table, mm, at, va, flags)
        spin_unlock(mm.ptl)
        return page

    # --- address spaces ------------------------------------------------------------------------------

    def munmap(k, va: int) -> None:
        """Holds mmap_sem for writing to the end, until dd2283f2605e "mm: mmap: zap pages
        with read mmap_sem in munmap" (v4.20)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        vma.linked = False
        k.tlb_gather_mmu(mm)
        k.zap_vma(vma)
        k.unlink_file_vma(vma)
        k.tlb_finish_mmu(mm)
        up_write(mm.mmap_lock)
        k.fput(vma.vm_file)

    def fork(k, child: Task) -> bool:
        """Copies the page tables, since DAX mappings have VM_MIXEDMAP until e1fb4a086495
        "dax: remove VM_MIXEDMAP for fsdax and device dax" (v4.19); takes no reference."""
        mm = current().mm
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.dup_vma(child.mm.vma_at[start], mm.vma_at[start])
                k.copy_page_range(child.mm.vma_at[start], mm.vma_at[start])
        up_write(mm.mmap_lock)
        child.started = True
        return True

    def copy_page_range(k, dst: Vma, src: Vma) -> bool:
        """The entries of a devmap VMA, as they are (mm/memory.c, copy_one_pte).  Huge
        file entries are not copied: the child faults (mm/huge_memory.c, copy_huge_pmd)."""
        if src.size == "pte":
            spin_lock(dst.mm.ptl)
            for va in indices(src.mm, "pte", src.start, src.nr, 1):
                pte = src.mm.pte[va]
                dst.mm.pte[va] = pte
            spin_unlock(dst.mm.ptl)
        return True

    # --- fault -----------------------------------------------------------------------------------

    def dax_associate_entry(k, inode: Inode, index: int, entry: DaxEntry, shared: bool) -> None:
        """Files set no page->mapping until d2c997c0f145 "fs, dax: use page->mapping to warn if
        truncate collides with a busy page" (v4.17)."""

    def dax_disassociate_entry(k, inode: Inode, index: int, entry: DaxEntry, trunc: bool) -> None:
        """Nor do they clear it, or warn."""

    def entry_names_file(k, entry: DaxEntry) -> bool:
        """No folio names its file."""
        return False

    def ext4_dax_huge_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """A PTE that is there is made writable by ext4_dax_pfn_mkwrite() (mm/memory.c,
        wp_pfn_shared).  A hole is read from a page of the page cache, until 91d25ba8a6b0 "dax: use
        common 4k zero page for dax mmap reads" (v4.14), for which the zero page stands here: it
        has a page_mkwrite(), which is the fault handler."""
        if vma.size == "pte" and not vma.private:
            pte = vma.mm.pte[va]
            if pte.present and not k.is_zero_page(pte.page):
                return not write or pte.write or k.ext4_dax_pfn_mkwrite(vma, va, pte)
        return super().ext4_dax_huge_fault(vma, va, write)

    def ext4_dax_pfn_mkwrite(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """False for SIGBUS beyond the end of the file (fs/ext4/file.c)."""
        inode = vma.vm_file
        down_read(inode.invalidate_lock)
        inside = va - vma.start < inode.i_size
        if inside:
            k.dax_pfn_mkwrite(vma, va, orig_pte)
        up_read(inode.invalidate_lock)
        return inside

    def dax_pfn_mkwrite(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """finish_mkwrite_fault() with the entry locked and dirty (fs/dax.c, mm/memory.c)."""
        inode = vma.vm_file
        index = va - vma.start
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if entry.page is None:
            k.put_unlocked_entry(inode, index, entry)
            spin_unlock(inode.xa_lock)
            return
        inode.i_pages[index] = replace(entry, locked=True, dirty=True)
        spin_unlock(inode.xa_lock)
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            vma.mm.pte[va] = replace(orig_pte, write=True, dirty=True)
        spin_unlock(vma.mm.ptl)
        k.dax_unlock_entry(inode, index)

    def dax_writeback_one(k, inode: Inode, index: int) -> None:
        """Waits for an entry that is locked, until 23c84eb78375 "dax: Fix missed wakeup with
        PMD faults" (v5.3)."""
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        if entry.dirty:
            entry = k.get_next_unlocked_entry(inode, index)
        if entry.page is None or not entry.dirty:
            k.put_unlocked_entry(inode, index, entry)
            spin_unlock(inode.xa_lock)
            return
        k.dax_writeback_locked(inode, index, entry)

    def wake_after_delete(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """One waiter is woken, until 237388320dee "dax: Wake up all waiters after invalidating
        dax entry" (v5.13)."""
        k.put_unlocked_entry(inode, index, entry)

    # --- truncate --------------------------------------------------------------------------------

    def ext4_setattr(k, inode: Inode, size: int) -> None:
        """Nobody looks for pins: i_size first, then mappings, entries and blocks
        (fs/ext4/inode.c), until 430657b6be89 "ext4: handle layout changes to pinned DAX mappings"
        (v4.19; XFS: v4.18)."""
        inode.i_size = size
        down_write(inode.invalidate_lock)
        k.truncate_pagecache(inode, size)
        k.ext4_truncate(inode, size)
        up_write(inode.invalidate_lock)

    def ext4_break_layouts(k, inode: Inode) -> None:
        """There is no such thing, for a hole neither."""

    # --- insertion -------------------------------------------------------------------------------

    def vmf_insert_page_mkwrite(k, vma: Vma, va: int, page: Page, write: bool) -> bool:
        """vm_insert_mixed(): a file's PTE is read-only at first, also after a write fault,
        until b2770da64254 "mm: add vm_insert_mixed_mkwrite()" (v4.14)."""
        return super().vmf_insert_page_mkwrite(vma, va, page, write and not k.vma_is_fsdax(vma))

    def dax_set_mapping(k, vma: Vma, page: Page) -> None:
        """Device-dax sets no page->mapping until 2232c6382a45 "device-dax: Enable
        page_mapping()" (v4.19)."""

    # --- unbind ----------------------------------------------------------------------------------

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """dax_pmem's devm actions from the pagemap on: kill, put every page and remove
        them, and only then wait (drivers/dax/pmem.c, kernel/memremap.c), until
        50f44ee7248a "mm/devm_memremap_pages: fix final page put race" (v5.2)."""
        k.percpu_ref_kill(pgmap.ref)
        k.release_pages(pgmap)
        wait_for_completion(pgmap.ref.done)
        k.percpu_ref_exit(pgmap.ref)

    def release_pages(k, pgmap: DevPagemap) -> None:
        """devm_memremap_pages_release(), after which devres frees the pagemap
        (kernel/memremap.c, drivers/base/devres.c)."""
        for page in pgmap.pages:
            k.folio_put_refs(page, 1)
        k.warn_if_live(pgmap)
        k.arch_remove_memory(pgmap)
        pgmap.array.pgmap = None
        free(pgmap)

    def warn_if_live(k, pgmap: DevPagemap) -> None:
        """The driver has to have killed the ref before (kernel/memremap.c)."""
        if WARN_ON(k.percpu_ref_tryget_live(pgmap.ref), "page mapping is still live!"):
            k.percpu_ref_put(pgmap.ref)

    def free_pagemap(k, pgmap: DevPagemap) -> None:
        """The ref is the driver's, and goes with its data; the pagemap is gone already."""
        free(pgmap.ref)

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """pmem_release_disk, pmem_freeze_queue, devm_memremap_pages_release,
        pmem_release_queue (drivers/nvdimm/pmem.c).  The ref is q_usage_counter, and the
        wait on mq_freeze_wq for its zero stands as the ref's completion."""
        k.pmem_release_disk(pmem)
        k.blk_freeze_queue_start(pmem)
        k.release_pages(pmem.pgmap)
        k.blk_cleanup_queue(pmem)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)

    def blk_freeze_queue_start(k, pmem: PmemDevice) -> None:
        """Kill q_usage_counter (block/blk-mq.c)."""
        k.percpu_ref_kill(pmem.pgmap.ref)

    def blk_cleanup_queue(k, pmem: PmemDevice) -> None:
        """Wait until nobody uses the queue, and exit its counter (block/blk-core.c)."""
        wait_for_completion(pmem.pgmap.ref.done)
        k.percpu_ref_exit(pmem.pgmap.ref)
