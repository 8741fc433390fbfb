"""DAX faults, and the pages of an entry (fs/dax.c)."""

from __future__ import annotations

from zonedev.kernel.dax_entry import DaxEntries
from zonedev.kernel.inode import Inode, PmemDevice
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_inc,
    atomic_read,
    spin_lock,
    spin_unlock,
    srcu_read_lock,
    srcu_read_unlock,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current


class Dax(DaxEntries):
    """fs/dax.c as of v7.2, but for the breaking of layouts."""

    # --- the pages of an entry -------------------------------------------------------------------

    def dax_insert_entry(
        k, inode: Inode, index: int, entry: DaxEntry, new: DaxEntry, shared: bool
    ) -> DaxEntry:
        """Put `new` in the place of the entry that the caller has locked, where that is empty or
        a hole, or the block is shared; any other stays (fs/dax.c)."""
        replaced = shared or entry.empty or (entry.zero and not new.zero)
        if shared or (entry.zero and not new.zero):
            k.unmap_mapping_range(inode.mapping, index, inode.per_folio)
        spin_lock(inode.xa_lock)
        if replaced:
            k.dax_disassociate_entry(inode, index, entry, False)
            k.dax_associate_entry(inode, index, new, shared)
            entry = new
        entry = replace(entry, dirty=entry.dirty or new.dirty)
        k.xas_store(inode, index, replace(entry, locked=True))
        spin_unlock(inode.xa_lock)
        return entry

    def dax_associate_entry(k, inode: Inode, index: int, entry: DaxEntry, shared: bool) -> None:
        """The folio belongs to the file from here on, or to one more.  Under the xa_lock of this
        file only (fs/dax.c)."""
        if entry.empty or entry.zero:
            return
        folio = k.page_folio(entry.page)
        if shared:
            mapping = folio.mapping
            if mapping is not None or k.dax_folio_is_shared(folio):
                k.dax_folio_share_get(folio)
                return
        WARN_ON(folio.mapping is not None, "dax_associate_entry() of a folio that has a mapping")
        k.dax_folio_init(folio)
        folio.mapping = inode.mapping
        folio.index = index

    def dax_folio_share_get(k, folio: Page) -> None:
        """The first file to share a folio takes its mapping away, for one that has several
        (fs/dax.c, dax_folio_make_shared() and dax_associate_entry())."""
        if folio.mapping is not None:
            folio.mapping = None
            folio.index = 1
        share = folio.index
        WARN_ON(share == 0, "dax_associate_entry() of a shared folio that nobody shares")
        folio.index = share + 1

    def dax_folio_is_shared(k, folio: Page) -> bool:
        """fs/dax.c"""
        if folio.mapping is not None:
            return False
        return folio.index != 0

    def dax_folio_init(k, folio: Page) -> None:
        """prep_compound_page() for a PMD: nobody may refer to the page (fs/dax.c)."""
        if folio.large:
            WARN_ON(atomic_read(folio._refcount) != 0, "dax_folio_init() of a folio in use")

    def dax_disassociate_entry(k, inode: Inode, index: int, entry: DaxEntry, trunc: bool) -> None:
        """The entry's folio no longer belongs to the file (fs/dax.c)."""
        if entry.page is not None:
            k.dax_folio_put(k.page_folio(entry.page))

    def dax_folio_put(k, folio: Page) -> None:
        """One file less; the last one takes the folio apart (fs/dax.c)."""
        if k.dax_folio_is_shared(folio):
            share = folio.index
            folio.index = share - 1
            if share > 1:
                return
        k.dax_folio_reset_order(folio)
        WARN_ON(atomic_read(folio._refcount) != 0, "dax_folio_put() of a folio in use")

    def dax_folio_reset_order(k, folio: Page) -> None:
        """Of a PMD's folio 4K pages are made again: it stays one here, for nobody may refer to
        it.  `share` is 0 from here on (fs/dax.c)."""
        folio.mapping = None
        folio.index = 0

    # --- fault -----------------------------------------------------------------------------------

    def dax_iomap_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """For a page that is not mapped or not writable; false for SIGBUS.  There are no PUDs,
        and nothing here falls back to PTEs (fs/dax.c)."""
        if vma.size == "pte":
            return k.dax_iomap_pte_fault(vma, va, write)
        return k.dax_iomap_pmd_fault(vma, k.huge_start(vma, va), write)

    def dax_iomap_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """The entry is locked until the PTE is there (fs/dax.c)."""
        return k.dax_fault_locked(vma, va, write)

    def dax_iomap_pmd_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above, with the PMD that begins at `start` (fs/dax.c)."""
        return k.dax_fault_locked(vma, start, write)

    def dax_fault_locked(k, vma: Vma, at: int, write: bool) -> bool:
        """What dax_iomap_pte_fault() and dax_iomap_pmd_fault() share (fs/dax.c)."""
        inode = vma.vm_file
        index = at - vma.start
        if index >= inode.i_size:
            return False
        entry = k.grab_mapping_entry(inode, index)
        page = k.iomap_begin(inode, index, write)
        shared = k.block_is_shared(inode, index, page)
        sync = k.dax_fault_is_synchronous(vma, write)
        if k.is_cow_fault(vma):
            done = k.dax_fault_cow_page(vma, at, page)
        elif page is None:
            done = not write and k.dax_load_hole(vma, at, entry)
        elif write and shared:
            done = k.dax_fault_cow(vma, at, entry, page)
        else:
            done = k.dax_fault_iter(vma, at, entry, page, write, shared, sync)
        k.dax_unlock_entry(inode, index)
        if done and sync and page is not None:
            done = k.dax_finish_sync_fault(vma, at, page)
        return done

    def dax_fault_is_synchronous(k, vma: Vma, write: bool) -> bool:
        """A write through a MAP_SYNC mapping to a file with metadata that are not committed: the
        file system commits before anything is mapped (fs/dax.c)."""
        if not (write and vma.sync):
            return False
        dirty: bool = vma.vm_file.i_dirty
        return dirty

    def dax_fault_iter(
        k, vma: Vma, at: int, entry: DaxEntry, page: Page, write: bool, shared: bool, sync: bool
    ) -> bool:
        """Enter the block into the file's entries and map it (fs/dax.c)."""
        if not k.dax_iomap_direct_access(vma.vm_file.dax):
            return False
        new = DaxEntry(page=page, dirty=write and not sync)
        k.dax_insert_entry(vma.vm_file, at - vma.start, entry, new, shared)
        return sync or k.dax_insert_mapping(vma, at, page, write)

    def dax_fault_cow_page(k, vma: Vma, at: int, page: Page | None) -> bool:
        """A write to a private mapping: of the block, which `page` is, a copy is mapped; the file
        has no part in it (fs/dax.c)."""
        if not k.copy_cow_page_dax(vma.vm_file, page):
            return False
        k.finish_fault(vma, at)
        return True

    def copy_cow_page_dax(k, inode: Inode, page: Page | None) -> bool:
        """The bytes of a block, or zeroes for a hole; false for EIO (fs/dax.c)."""
        if page is not None and not k.dax_iomap_direct_access(inode.dax):
            return False
        k.copy_user_page(current().cow_page, page)
        return True

    def dax_fault_cow(k, vma: Vma, at: int, entry: DaxEntry, page: Page) -> bool:
        """A write to a shared block: a copy takes its place (fs/dax.c dax_fault_iter(),
        fs/xfs/xfs_iomap.c)."""
        inode = vma.vm_file
        index = at - vma.start
        copy = k.ext4_mb_new_blocks(inode)
        if copy is None or not k.dax_iomap_direct_access(inode.dax):
            return False
        k.dax_iomap_copy_around(inode, page, copy)
        k.dax_insert_entry(inode, index, entry, DaxEntry(page=copy, dirty=True), True)
        done = k.dax_insert_mapping(vma, at, copy, True)
        k.xfs_reflink_end_cow(inode, index, copy)
        return done

    def dax_iomap_copy_around(k, inode: Inode, page: Page, copy: Page) -> None:
        """All of the shared block, for a fault (fs/dax.c)."""
        with atomic("nobody writes to a shared block, and nobody reaches the copy yet"):
            copy.frame.data = page.frame.data

    def dax_insert_mapping(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """The PTE or PMD of dax_fault_iter().  A reference is held meanwhile, since what is
        inserted has to have one, and an idle page has none (fs/dax.c)."""
        folio = k.page_folio(page)
        atomic_inc(folio._refcount)
        done = k.vmf_insert(vma, at, page, write)
        k.folio_put(folio)
        return done

    def vmf_insert(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """By the file's size (fs/dax.c)."""
        if vma.size == "pte":
            return k.vmf_insert_page_mkwrite(vma, at, page, write)
        return k.vmf_insert_folio_pmd(vma, at, k.page_folio(page), write)

    def dax_load_hole(k, vma: Vma, at: int, entry: DaxEntry) -> bool:
        """A read of a hole: dax_load_hole(), dax_pmd_load_hole() (fs/dax.c)."""
        k.dax_insert_entry(vma.vm_file, at - vma.start, entry, DaxEntry(zero=True), False)
        k.insert_zero_page(vma, at)
        return True

    def dax_finish_sync_fault(k, vma: Vma, at: int, page: Page) -> bool:
        """Commit, then map what the fault has found; the invalidate_lock is held from there to
        here (fs/dax.c)."""
        k.fsync(vma.vm_file)
        return k.dax_insert_pfn_mkwrite(vma, at, page)

    def dax_insert_pfn_mkwrite(k, vma: Vma, at: int, page: Page) -> bool:
        """Lock the entry again, unless it has gone, and map the page (fs/dax.c)."""
        inode = vma.vm_file
        index = at - vma.start
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if entry.page is None:
            k.put_unlocked_entry(inode, index, entry)
            spin_unlock(inode.xa_lock)
            return True
        k.xas_store(inode, index, replace(entry, locked=True, dirty=True))
        spin_unlock(inode.xa_lock)
        done = k.dax_insert_mapping(vma, at, page, True)
        k.dax_unlock_entry(inode, index)
        return done

    def dax_iomap_direct_access(k, dax: PmemDevice) -> bool:
        """dax_direct_access() to a device that is alive (fs/dax.c, drivers/dax/super.c)."""
        srcu_read_lock(k.dax.srcu)
        alive = k.dax_alive(dax)
        srcu_read_unlock(k.dax.srcu)
        return alive
