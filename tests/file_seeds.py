"""Designs with one bug each in what they do with the files of a DAX file system."""

from __future__ import annotations

from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import AddressSpace, DaxEntry, file_indices
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import (
    atomic_inc,
    atomic_read,
    down_write,
    lock,
    rcu_read_lock,
    rcu_read_unlock,
    spin_lock,
    spin_unlock,
    unlock,
    up_write,
    wake_up_all,
    wake_up_next,
)
from zonedev.lang.records import replace

# --- faults ------------------------------------------------------------------------------------------


class FileFaultForgetsPut(Linux72):
    """A fault on a file keeps the reference that it maps the page with."""

    def dax_insert_mapping(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """No folio_put()."""
        folio = k.page_folio(page)
        atomic_inc(folio._refcount)
        return k.vmf_insert(vma, at, page, write)


class FileFaultTakesNone(Linux72):
    """A fault on a file takes no reference: what it inserts is a page that nobody holds."""

    def dax_insert_mapping(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """No folio_ref_inc(), no folio_put()."""
        return k.vmf_insert(vma, at, page, write)


class FaultWithoutInvalidateLock(Linux72):
    """A fault on a file does not keep truncate away."""

    def ext4_dax_huge_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """No invalidate_lock."""
        return k.dax_iomap_fault(vma, va, write)


class SyncFaultMapsFirst(Linux72):
    """A fault through a MAP_SYNC mapping maps the new block, and commits it then."""

    def dax_finish_sync_fault(k, vma: Vma, at: int, page: Page) -> bool:
        """The two the other way round."""
        done = k.dax_insert_pfn_mkwrite(vma, at, page)
        k.fsync(vma.vm_file)
        return done


class SyncFaultForgetsLock(Linux72):
    """After its commit a MAP_SYNC fault takes the entry as it is, locked or not."""

    def dax_insert_pfn_mkwrite(k, vma: Vma, at: int, page: Page) -> bool:
        """No get_next_unlocked_entry()."""
        inode = vma.vm_file
        index = at - vma.start
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        inode.i_pages[index] = replace(entry, locked=True, dirty=True)
        spin_unlock(inode.xa_lock)
        done = k.dax_insert_mapping(vma, at, page, True)
        k.dax_unlock_entry(inode, index)
        return done


# --- the lock of an entry ----------------------------------------------------------------------------


class EntryUnlockForgetsWake(Linux72):
    """Nobody is woken who waits for the entry of a file."""

    def dax_unlock_entry(k, inode: Inode, index: int) -> None:
        """No dax_wake_entry()."""
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        inode.i_pages[index] = replace(entry, locked=False)
        spin_unlock(inode.xa_lock)


class EntryNotWaitedFor(Linux72):
    """A fault on a file does not wait for the one that has the entry locked."""

    def get_next_unlocked_entry(k, inode: Inode, index: int) -> DaxEntry:
        """Returns the entry as it is."""
        return inode.i_pages[index]


class DeleteIgnoresLock(Linux72):
    """Truncate takes entries away that somebody has locked."""

    def wait_entry_unlocked_exclusive(k, inode: Inode, index: int, entry: DaxEntry) -> DaxEntry:
        """Does not wait."""
        return entry


class DeleteWithoutXaLock(Linux72):
    """Truncate looks at an entry and deletes it while others change it."""

    def dax_delete_mapping_range(k, inode: Inode) -> None:
        """No xa_lock, and so nobody to wait for."""
        for index in file_indices(inode, "i_pages", 0):
            entry = inode.i_pages[index]
            if entry.there and not entry.locked:
                k.dax_disassociate_entry(inode, index, entry, True)
                inode.i_pages[index] = NO_ENTRY
                wake_up_all(inode.waiters[index])


class FsyncWaits(Linux72):
    """fsync() waits for an entry that is locked, as it did until v5.3: no bug, but somebody who waits."""

    def dax_writeback_one(k, inode: Inode, index: int) -> None:
        """As of v5.2."""
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if entry.page is None or not entry.dirty:
            k.put_unlocked_entry(inode, index, entry)
            spin_unlock(inode.xa_lock)
            return
        k.dax_writeback_locked(inode, index, entry)


class DeleteWakesOne(FsyncWaits):
    """Of those who wait for an entry that has gone, one is told."""

    def dax_delete_mapping_range(k, inode: Inode) -> None:
        """wake_up_next() for wake_up_all()."""
        spin_lock(inode.xa_lock)
        for index in file_indices(inode, "i_pages", 0):
            entry = inode.i_pages[index]
            entry = k.wait_entry_unlocked_exclusive(inode, index, entry)
            if entry.there:
                k.dax_disassociate_entry(inode, index, entry, True)
                inode.i_pages[index] = NO_ENTRY
                wake_up_next(inode.waiters[index])
        spin_unlock(inode.xa_lock)


class PutForgetsWake(FsyncWaits):
    """Who has waited for an entry and does not take it leaves the next one asleep."""

    def put_unlocked_entry(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """No dax_wake_entry()."""


# --- folio->mapping ----------------------------------------------------------------------------------


class NeverNamed(Linux72):
    """A fault does not tell the folio whose it is."""

    def dax_associate_entry(k, inode: Inode, index: int, entry: DaxEntry, shared: bool) -> None:
        """No folio->mapping."""


class NamesWrongIndex(Linux612):
    """A page is told its number in the device instead of that in the file."""

    def dax_associate_page(k, inode: Inode, index: int, page: Page, shared: bool) -> None:
        """The number of its pfn."""
        super().dax_associate_page(inode, page.number + 1, page, shared)


class NeverForgotten(Linux72):
    """A folio goes on to name the file that has lost it."""

    def dax_folio_reset_order(k, folio: Page) -> None:
        """Neither mapping nor index is cleared."""


class ForgottenLate(Linux72):
    """Truncate deletes the entries, and clears folio->mapping when others can look again."""

    def dax_delete_mapping_range(k, inode: Inode) -> None:
        """dax_disassociate_entry() without xa_lock."""
        for index in file_indices(inode, "i_pages", 0):
            spin_lock(inode.xa_lock)
            entry = inode.i_pages[index]
            entry = k.wait_entry_unlocked_exclusive(inode, index, entry)
            if entry.there:
                inode.i_pages[index] = NO_ENTRY
                wake_up_all(inode.waiters[index])
            spin_unlock(inode.xa_lock)
            k.dax_disassociate_entry(inode, index, entry, True)


class CopyForgetsShare(Linux72):
    """A write to a shared block leaves it to the file that has a copy now."""

    def dax_insert_entry(
        k, inode: Inode, index: int, entry: DaxEntry, new: DaxEntry, shared: bool
    ) -> DaxEntry:
        """No dax_disassociate_entry() of what was there."""
        if shared and entry.page is not None:
            entry = DaxEntry(empty=True)
        return super().dax_insert_entry(inode, index, entry, new, shared)


class CopyForgetsUnmap(Linux72):
    """A write to a shared block leaves it mapped where its file was mapped to be read."""

    def dax_insert_entry(
        k, inode: Inode, index: int, entry: DaxEntry, new: DaxEntry, shared: bool
    ) -> DaxEntry:
        """No unmap_mapping_range()."""
        spin_lock(inode.xa_lock)
        k.dax_disassociate_entry(inode, index, entry, False)
        k.dax_associate_entry(inode, index, new, shared)
        inode.i_pages[index] = replace(new, locked=True)
        spin_unlock(inode.xa_lock)
        return new


class CopyForgetsToShare(Linux72):
    """A write to a shared block writes to what another file reads."""

    def block_is_shared(k, inode: Inode, index: int, page: Page | None) -> bool:
        """IOMAP_F_SHARED is not set."""
        return False


# --- truncate and eviction ---------------------------------------------------------------------------


class FreesFirst(Linux72):
    """Truncate frees the blocks before it unmaps them."""

    def ext4_setattr(k, inode: Inode, size: int) -> None:
        """ext4_truncate() comes first."""
        down_write(inode.invalidate_lock)
        inode.i_size = size
        k.ext4_truncate(inode, size)
        k.ext4_break_layouts(inode)
        k.truncate_pagecache(inode, size)
        up_write(inode.invalidate_lock)


class NeverUnmaps(Linux72):
    """Truncate looks for pins, writes i_size, and leaves the file mapped."""

    def unmap_mapping_range(
        k, mapping: AddressSpace, first: int = 0, nr: int = 0, even_cows: bool = True
    ) -> None:
        """Does nothing."""


class WaitsForNobody(Linux72):
    """Truncate unmaps, and takes the blocks that are pinned."""

    def ext4_break_layouts(k, inode: Inode) -> None:
        """No look at the counts."""
        k.unmap_mapping_range(inode.mapping)
        k.dax_delete_mapping_range(inode)


class EvictionWaitsForNobody(Linux72):
    """The end of an inode takes the blocks that are pinned."""

    def dax_break_layout_final(k, inode: Inode) -> None:
        """No look at the counts."""
        k.dax_delete_mapping_range(inode)


class WaitsForMappings(Linux72):
    """Truncate waits until nobody refers to a page that it leaves mapped."""

    def dax_layout_busy_page_range(k, inode: Inode, first: int = 0, nr: int = 0) -> Page | None:
        """No unmap_mapping_range(), and a mapping counts as a pin."""
        busy: Page | None = None
        spin_lock(inode.xa_lock)
        for index in file_indices(inode, "i_pages", first, nr):
            entry = inode.i_pages[index]
            if entry.page is not None and atomic_read(k.page_folio(entry.page)._refcount) != 0:
                busy = k.page_folio(entry.page)
        spin_unlock(inode.xa_lock)
        return busy


class SpinsForMappings(WaitsForMappings):
    """Truncate looks again and again at a page that it leaves mapped."""

    def wait_page_idle(k, inode: Inode, page: Page) -> None:
        """Does not sleep."""
        up_write(inode.invalidate_lock)
        down_write(inode.invalidate_lock)


class TruncatesFromWithin(Linux72):
    """Who truncates a file waits with a lock that the one who holds the page wants."""

    def unpin_user_page(k, page: Page) -> None:
        """The end of I/O takes i_rwsem, which ftruncate() keeps while it waits."""
        lock(k.inodes()[0].i_rwsem)
        super().unpin_user_page(page)
        unlock(k.inodes()[0].i_rwsem)


class TruncateKeepsLock(Linux72):
    """ftruncate() returns with the inode locked."""

    def ftruncate(k, inode: Inode, size: int) -> None:
        """No unlock()."""
        lock(inode.i_rwsem)
        k.ext4_setattr(inode, size)


class TruncateUnlocksTwice(Linux72):
    """ftruncate() unlocks the inode once more."""

    def ftruncate(k, inode: Inode, size: int) -> None:
        super().ftruncate(inode, size)
        unlock(inode.i_rwsem)


class TruncatesUnlocked(Linux72):
    """ftruncate() takes no lock."""

    def ftruncate(k, inode: Inode, size: int) -> None:
        """Only what is done under it."""
        k.ext4_setattr(inode, size)


class FaultsUnderRcu(Linux72):
    """A fault on a file reads under RCU, and takes a lock that may sleep."""

    def ext4_dax_huge_fault(k, vma: Vma, va: int, write: bool) -> bool:
        rcu_read_lock()
        done = super().ext4_dax_huge_fault(vma, va, write)
        rcu_read_unlock()
        return done


class FsyncLeavesWritable(Linux72):
    """fsync() clears the tag of an entry, and leaves its mappings writable."""

    def mkclean(k, mapping: AddressSpace, index: int, page: Page) -> None:
        """Nothing."""
