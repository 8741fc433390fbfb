"""The entries of a DAX file, which take the place of its page cache, and their lock (fs/dax.c)."""

from __future__ import annotations

from zonedev.kernel.inode import Files, Inode
from zonedev.kernel.mapping import AddressSpace, DaxEntry, file_indices
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, Vma
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    down_read,
    finish_wait,
    prepare_to_wait,
    prepare_to_wait_exclusive,
    rcu_read_lock,
    rcu_read_unlock,
    schedule,
    schedule_exclusive,
    spin_lock,
    spin_unlock,
    up_read,
    wake_up_next,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic

NO_ENTRY = DaxEntry()


class DaxEntries(Files):
    """The lock of an entry, and who takes it beside faults, as of v7.2."""

    # --- the array ---------------------------------------------------------------------------------

    def xas_load(k, inode: Inode, index: int) -> DaxEntry:
        """Under xa_lock or RCU (lib/xarray.c)."""
        entry: DaxEntry = inode.i_pages[index]
        return entry

    def xas_store(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """Under xa_lock (lib/xarray.c)."""
        inode.i_pages[index] = entry

    # --- waiting for an entry ----------------------------------------------------------------------

    def get_next_unlocked_entry(k, inode: Inode, index: int) -> DaxEntry:
        """The entry at `index` once nobody has it locked; xa_lock is dropped meanwhile (fs/dax.c)."""
        entry = k.xas_load(inode, index)
        while entry.locked:
            k.wait_for_entry(inode, index)
            entry = k.xas_load(inode, index)
        return entry

    def wait_entry_unlocked_exclusive(k, inode: Inode, index: int, entry: DaxEntry) -> DaxEntry:
        """As above, for the walks over all entries, which look again where they were: v6.15 went
        on to the next index instead (fs/dax.c)."""
        while entry.locked:
            k.wait_for_entry(inode, index)
            entry = k.xas_load(inode, index)
        return entry

    def wait_for_entry(k, inode: Inode, index: int) -> None:
        """Queue under xa_lock, and sleep without it (fs/dax.c)."""
        prepare_to_wait_exclusive(inode.waiters[index])
        spin_unlock(inode.xa_lock)
        schedule_exclusive(inode.waiters[index], lambda: not inode.i_pages[index].locked)
        spin_lock(inode.xa_lock)

    def put_unlocked_entry(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """For who has waited and does not take the entry: the next may (fs/dax.c)."""
        if entry.there:
            wake_up_next(inode.waiters[index])

    # --- the lock ------------------------------------------------------------------------------------

    def grab_mapping_entry(k, inode: Inode, index: int) -> DaxEntry:
        """Lock the entry at `index`, and make an empty one where there is none; returns it as
        it is without the lock bit (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if not entry.there:
            entry = DaxEntry(empty=True)
        k.xas_store(inode, index, replace(entry, locked=True))
        spin_unlock(inode.xa_lock)
        return entry

    def dax_unlock_entry(k, inode: Inode, index: int) -> None:
        """Unlock, then wake the next (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        entry = k.xas_load(inode, index)
        BUG_ON(not entry.locked, "dax_unlock_entry() of an entry that is not locked")
        k.xas_store(inode, index, replace(entry, locked=False))
        spin_unlock(inode.xa_lock)
        wake_up_next(inode.waiters[index])

    # --- writeback -----------------------------------------------------------------------------------

    def fsync(k, inode: Inode) -> None:
        """vfs_fsync_range(): write back what was dirtied through mappings, then commit the
        journal (fs/ext4/fsync.c)."""
        for index in file_indices(inode, "i_pages", 0):
            k.dax_writeback_one(inode, index)
        inode.i_dirty = False

    def dax_writeback_one(k, inode: Inode, index: int) -> None:
        """Lock a dirty entry, make its mappings read-only, flush, unlock.  One that is locked
        already counts as punched out: get_next_unlocked_entry() returns at once where the walk
        stands on the entry (fs/dax.c, lib/xarray.c xas_find_conflict)."""
        spin_lock(inode.xa_lock)
        entry = k.xas_load(inode, index)
        if not entry.dirty or entry.locked:
            spin_unlock(inode.xa_lock)
            return
        WARN_ON(entry.empty or entry.zero, "dax_writeback_one() of an entry without a block")
        k.dax_writeback_locked(inode, index, entry)

    def dax_writeback_locked(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """The rest of dax_writeback_one(), which returns without xa_lock (fs/dax.c)."""
        k.xas_store(inode, index, replace(entry, locked=True))
        spin_unlock(inode.xa_lock)
        k.mkclean(inode.mapping, index, entry.page)
        spin_lock(inode.xa_lock)
        k.xas_store(inode, index, replace(entry, dirty=False))
        wake_up_next(inode.waiters[index])
        spin_unlock(inode.xa_lock)

    def mkclean(k, mapping: AddressSpace, index: int, page: Page) -> None:
        """pfn_mkclean_range() of every VMA that maps the entry (mm/rmap.c)."""
        down_read(mapping.i_mmap_rwsem)
        for vma in mapping.vmas:
            if vma.in_i_mmap:
                k.page_vma_mkclean_one(vma, vma.start + index, page)
        up_read(mapping.i_mmap_rwsem)

    def page_vma_mkclean_one(k, vma: Vma, at: int, page: Page) -> None:
        """Write-protect and clean one entry, and flush; a private copy is another page (mm/rmap.c;
        mm/page_vma_mapped.c, check_pte)."""
        mm = vma.mm
        table = mm.pte if vma.size == "pte" else mm.pmd
        spin_lock(mm.ptl)
        entry = table[at]
        if entry.present and entry.page is page and (entry.dirty or entry.write):
            with atomic("ptep_clear_flush() begins with one xchg"):
                entry = table[at]
                table[at] = NONE
            k.flush_tlb_mm(mm)
            table[at] = replace(entry, write=False, dirty=False)
        spin_unlock(mm.ptl)

    # --- memory_failure --------------------------------------------------------------------------------

    def memory_failure(k, page: Page) -> bool:
        """The pagemap of the pfn is held meanwhile; false for ENXIO or EBUSY (mm/memory-failure.c,
        memory_failure(), memory_failure_dev_pagemap())."""
        pgmap = k.get_dev_pagemap(page.array)
        if pgmap is None:
            return False
        done = k.mf_generic_kill_procs(page)
        k.put_dev_pagemap(pgmap)
        return done

    def mf_generic_kill_procs(k, page: Page) -> bool:
        """What ext4, XFS without rmapbt and device-dax get: lock the folio's entry, unmap the file,
        unlock; false for EBUSY.  Who had it mapped is killed, which is left out
        (mm/memory-failure.c)."""
        folio = k.page_folio(page)
        if not k.dax_lock_folio(folio):
            return False
        mapping = folio.mapping
        k.unmap_mapping_of(mapping)
        k.dax_unlock_folio(folio)
        return True

    def unmap_mapping_of(k, mapping: AddressSpace) -> None:
        """unmap_mapping_range() of a mapping that was looked up (mm/memory-failure.c)."""
        for dax in k.dax_devices():
            if mapping is dax.mapping:
                k.unmap_mapping_range(dax.mapping)
        for inode in k.inodes():
            if mapping is inode.mapping:
                k.unmap_mapping_range(inode.mapping)

    def dax_lock_folio(k, folio: Page) -> bool:
        """Lock the entry of a folio whose file the caller does not know; false where it has
        none.  That of a device needs no lock (fs/dax.c)."""
        while True:
            rcu_read_lock()
            mapping = folio.mapping
            if mapping is None:
                rcu_read_unlock()
                return False
            for dax in k.dax_devices():
                if mapping is dax.mapping:
                    rcu_read_unlock()
                    return True
            for inode in k.inodes():
                if mapping is inode.mapping:
                    locked = k.dax_lock_entry_of(inode, folio)
                    if locked:
                        return True

    def dax_lock_entry_of(k, inode: Inode, folio: Page) -> bool:
        """One round of dax_lock_folio(), which leaves its RCU section; false to begin again
        (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        if folio.mapping is not inode.mapping:
            spin_unlock(inode.xa_lock)
            rcu_read_unlock()
            return False
        index = folio.index
        entry = k.xas_load(inode, index)
        if entry.locked:
            rcu_read_unlock()
            k.wait_entry_unlocked(inode, index)
            return False
        k.xas_store(inode, index, replace(entry, locked=True))
        spin_unlock(inode.xa_lock)
        rcu_read_unlock()
        return True

    def wait_entry_unlocked(k, inode: Inode, index: int) -> None:
        """Not exclusive: the entry may have moved to where nobody passes the wake-up on; returns
        without xa_lock (fs/dax.c)."""
        prepare_to_wait(inode.waiters[index])
        spin_unlock(inode.xa_lock)
        schedule(inode.waiters[index], lambda: not inode.i_pages[index].locked)
        finish_wait(inode.waiters[index])

    def dax_unlock_folio(k, folio: Page) -> None:
        """Looks the file up once more (fs/dax.c)."""
        mapping = folio.mapping
        BUG_ON(mapping is None, "dax_unlock_folio() follows folio->mapping, which is NULL")
        for inode in k.inodes():
            if mapping is inode.mapping:
                index = folio.index
                k.dax_unlock_entry(inode, index)
