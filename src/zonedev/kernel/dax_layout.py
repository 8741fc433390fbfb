"""Breaking the layout of a DAX file: nobody may use its blocks before they are freed (fs/dax.c)."""

from __future__ import annotations

from zonedev.kernel.dax import Dax
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry, file_indices
from zonedev.kernel.page import MemoryType, Page
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_read,
    down_write,
    finish_wait,
    prepare_to_wait,
    schedule,
    spin_lock,
    spin_unlock,
    up_write,
    wait_event,
    wake_up_all,
)


class DaxLayout(Dax):
    """Busy pages, and the end of entries, as of v7.2."""

    # --- who is busy -------------------------------------------------------------------------------

    def dax_break_layout(k, inode: Inode) -> None:
        """Wait until no page of the file is used but by the file, then delete its entries: of the
        whole file, for ext4 and XFS ask for no less.  invalidate_lock is held (fs/dax.c)."""
        while True:
            page = k.dax_layout_busy_page(inode)
            if page is None:
                break
            k.wait_page_idle(inode, page)
        k.dax_delete_mapping_range(inode)

    def dax_break_layout_final(k, inode: Inode) -> None:
        """The same of an inode that nobody can reach any more: no lock is held, and nothing
        interrupts the wait (fs/dax.c)."""
        while True:
            page = k.dax_layout_busy_page(inode)
            if page is None:
                break
            k.wait_page_idle_uninterruptible(page)
        k.dax_delete_mapping_range(inode)

    def dax_layout_busy_page(k, inode: Inode) -> Page | None:
        """A page that somebody uses (fs/dax.c)."""
        return k.dax_layout_busy_page_range(inode)

    def dax_layout_busy_page_range(k, inode: Inode, first: int = 0, nr: int = 0) -> Page | None:
        """Unmap `nr` pages of the file (0: all), then look for one that somebody uses
        (fs/dax.c)."""
        k.unmap_mapping_range(inode.mapping, first, nr)
        busy: Page | None = None
        spin_lock(inode.xa_lock)
        for index in file_indices(inode, "i_pages", first, nr):
            entry = k.xas_load(inode, index)
            entry = k.wait_entry_unlocked_exclusive(inode, index, entry)
            busy = k.dax_busy_page(inode, index, entry)
            k.put_unlocked_entry(inode, index, entry)
            if busy is not None:
                break
        spin_unlock(inode.xa_lock)
        return busy

    def dax_busy_page(k, inode: Inode, index: int, entry: DaxEntry) -> Page | None:
        """References beside those of mappings, read one after the other (fs/dax.c)."""
        if entry.page is None:
            return None
        folio = k.page_folio(entry.page)
        refs = atomic_read(folio._refcount)
        maps = atomic_read(folio._mapcount)
        return folio if refs != maps else None

    def wait_page_idle(k, inode: Inode, page: Page) -> None:
        """___wait_var_event() on a count without references; invalidate_lock is dropped to sleep
        (fs/dax.c; fs/ext4/inode.c ext4_wait_dax_page, fs/xfs/xfs_file.c)."""
        prepare_to_wait(page.frame.waiters)
        while not k.dax_page_is_idle(page):
            up_write(inode.invalidate_lock)
            schedule(page.frame.waiters, lambda: k.dax_page_is_idle(page))
            down_write(inode.invalidate_lock)
            prepare_to_wait(page.frame.waiters)
        finish_wait(page.frame.waiters)

    def wait_page_idle_uninterruptible(k, page: Page) -> None:
        """As above, with no lock to drop (fs/dax.c)."""
        wait_event(page.frame.waiters, lambda: k.dax_page_is_idle(page))

    def dax_page_is_idle(k, page: Page) -> bool:
        """fs/dax.c"""
        return atomic_read(page._refcount) == k.initial_count(MemoryType.FS_DAX)

    # --- the end of entries --------------------------------------------------------------------------

    def dax_delete_mapping_range(k, inode: Inode) -> None:
        """The file forgets its blocks; a fault makes new entries (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        for index in file_indices(inode, "i_pages", 0):
            entry = k.xas_load(inode, index)
            entry = k.wait_entry_unlocked_exclusive(inode, index, entry)
            if entry.there:
                k.dax_disassociate_entry(inode, index, entry, True)
                k.xas_store(inode, index, NO_ENTRY)
                wake_up_all(inode.waiters[index])
        spin_unlock(inode.xa_lock)

    def dax_delete_mapping_entry(k, inode: Inode, index: int) -> None:
        """Of an entry that truncate finds (fs/dax.c)."""
        k.dax_invalidate_entry(inode, index)

    def dax_invalidate_entry(k, inode: Inode, index: int) -> None:
        """Delete one entry, whoever may have it locked (fs/dax.c, __dax_invalidate_entry)."""
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if entry.there:
            k.dax_disassociate_entry(inode, index, entry, True)
            k.xas_store(inode, index, NO_ENTRY)
        k.wake_after_delete(inode, index, entry)
        spin_unlock(inode.xa_lock)

    def wake_after_delete(k, inode: Inode, index: int, entry: DaxEntry) -> None:
        """put_unlocked_entry() with WAKE_ALL: nobody waits for its turn at what has gone
        (fs/dax.c)."""
        if entry.there:
            wake_up_all(inode.waiters[index])

    def truncate_inode_pages_range(k, inode: Inode, first: int, nr: int = 0) -> None:
        """Nothing is left to do, for who truncates has broken the layout (mm/truncate.c)."""
        for index in file_indices(inode, "i_pages", first, nr):
            entry = inode.i_pages[index]
            if WARN_ON(entry.there, "truncate finds a DAX entry that nobody has deleted"):
                k.dax_delete_mapping_entry(inode, index)
