"""Files on a DAX file system: faults, and entries instead of a page cache (fs/dax.c).

A file has all of its blocks from the beginning, so that there are no holes and no zero pages.
Nothing truncates it: i_size and the locks that hold truncate off a fault are left out.
"""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import AddressSpace, Vma, VmFile
from zonedev.kernel.pmem import Pmem, PmemDevice
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    Lock,
    WaitQueue,
    atomic_inc,
    atomic_read,
    spin_lock,
    spin_unlock,
    srcu_read_lock,
    srcu_read_unlock,
    wait_event,
    wake_up,
)
from zonedev.lang.records import BIT, Packed, array, const, embed, packed, pointer, replace


class DaxEntry(Packed):
    """An entry of mapping->i_pages; the zero word where there is none."""

    locked: Any = BIT  # DAX_LOCKED
    empty: Any = BIT  # DAX_EMPTY
    page: Any = pointer(Page)  # the pfn; DAX_PMD is the file's size

    def show(self) -> str:
        what = "empty" if self.empty else repr(self.page) if self.page is not None else "none"
        return f"{what},locked" if self.locked else what


class Inode(VmFile):
    """struct inode of a file on a pmem device, with the entries of its address_space
    (include/linux/fs.h)."""

    short = "inode"
    fsdax: bool = const(True)
    dax: Any = const()  # the pmem device
    xa_lock: Any = embed(Lock)
    i_pages: Any = array(packed(DaxEntry))  # by index, that of a PMD entry being its first
    waiters: Any = embed(WaitQueue)  # dax_entry_waitqueue(): shared, as by a hash collision


class Dax(Pmem):
    """fs/dax.c as of v7.2."""

    # --- set-up --------------------------------------------------------------------------------

    def dax_file(self, pmem: PmemDevice, pages: int = 0) -> Inode:
        """A file whose blocks are the first `pages` of a pmem device (0: all), at set-up."""
        nr = pages or len(pmem.pages)
        if not 0 < nr <= len(pmem.pages) or nr % pmem.per_folio:
            each, most = pmem.per_folio, len(pmem.pages)
            raise SpecError(f"a file of {nr} pages: give a multiple of {each}, up to {most}")
        inode = self.system.new(
            Inode,
            size=pmem.size,
            per_folio=pmem.per_folio,
            mapping=self.system.new(AddressSpace),
            pages=self.device_pages(nr, lambda _, i: pmem.pages[i]),
            dax=pmem,
        )
        inode._values["i_pages"].grow(nr)
        return inode

    # --- the lock of an entry --------------------------------------------------------------------

    def grab_mapping_entry(k, inode: Inode, index: int) -> DaxEntry:
        """Lock the entry at `index`, and make an empty one where there is none; returns it as
        it is without the lock bit (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        entry = k.get_next_unlocked_entry(inode, index)
        if entry.page is None:
            entry = DaxEntry(empty=True)
        inode.i_pages[index] = replace(entry, locked=True)
        spin_unlock(inode.xa_lock)
        return entry

    def get_next_unlocked_entry(k, inode: Inode, index: int) -> DaxEntry:
        """Wait until nobody has the entry locked; xa_lock is dropped meanwhile (fs/dax.c).
        All waiters are woken, and not one by one."""
        entry = inode.i_pages[index]
        while entry.locked:
            spin_unlock(inode.xa_lock)
            wait_event(inode.waiters, lambda: not inode.i_pages[index].locked)
            spin_lock(inode.xa_lock)
            entry = inode.i_pages[index]
        return entry

    def dax_unlock_entry(k, inode: Inode, index: int) -> None:
        """Unlock, then wake (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        BUG_ON(not entry.locked, "dax_unlock_entry() of an entry that is not locked")
        inode.i_pages[index] = replace(entry, locked=False)
        spin_unlock(inode.xa_lock)
        wake_up(inode.waiters)

    # --- the pages of an entry -------------------------------------------------------------------

    def dax_insert_entry(k, inode: Inode, index: int, entry: DaxEntry) -> DaxEntry:
        """Replace an empty entry, which the caller has locked, by one with the file's block;
        any other stays (fs/dax.c)."""
        spin_lock(inode.xa_lock)
        if entry.empty:
            entry = DaxEntry(page=inode.pages[index])
            k.dax_associate_entry(inode, index)
            inode.i_pages[index] = replace(entry, locked=True)
        spin_unlock(inode.xa_lock)
        return entry

    def dax_associate_entry(k, inode: Inode, index: int) -> None:
        """The folio belongs to the file from here on, and to no other: reflink is not
        modelled (fs/dax.c)."""
        folio = k.page_folio(inode.pages[index])
        WARN_ON(folio.mapping is not None, "dax_associate_entry() of a folio that has a mapping")
        k.dax_folio_init(folio)
        folio.mapping = inode.mapping

    def dax_folio_init(k, folio: Page) -> None:
        """prep_compound_page() for a PMD: nobody may refer to the page (fs/dax.c)."""
        if folio.large:
            WARN_ON(atomic_read(folio._refcount) != 0, "dax_folio_init() of a folio in use")

    # --- fault -----------------------------------------------------------------------------------

    def handle_mm_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """A fault under mmap_lock or the VMA's lock, by the file's handler; false for
        SIGBUS (mm/memory.c)."""
        if k.vma_is_fsdax(vma):
            return k.dax_iomap_fault(vma, va, write)
        return k.dev_dax_huge_fault(vma, va, write)

    def dax_iomap_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """The fault handler of ext4 and XFS, for a page that is not mapped or not writable.
        There are no PUDs, and nothing here falls back to PTEs (fs/dax.c)."""
        if vma.vm_file.size == "pte":
            return k.dax_iomap_pte_fault(vma, va, write)
        return k.dax_iomap_pmd_fault(vma, k.huge_start(vma, va), write)

    def dax_iomap_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """The entry is locked until the PTE is there (fs/dax.c)."""
        entry = k.grab_mapping_entry(vma.vm_file, va - vma.start)
        done = k.dax_fault_iter(vma, va, entry, write)
        k.dax_unlock_entry(vma.vm_file, va - vma.start)
        return done

    def dax_iomap_pmd_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above, with the PMD that begins at `start` (fs/dax.c)."""
        entry = k.grab_mapping_entry(vma.vm_file, start - vma.start)
        done = k.dax_fault_iter(vma, start, entry, write)
        k.dax_unlock_entry(vma.vm_file, start - vma.start)
        return done

    def dax_fault_iter(k, vma: Vma, at: int, entry: DaxEntry, write: bool) -> bool:
        """Enter the block into the file's entries and map it.  A reference is held meanwhile,
        since what is inserted has to have one, and an idle page has none (fs/dax.c)."""
        if not k.dax_iomap_direct_access(vma.vm_file.dax):
            return False
        entry = k.dax_insert_entry(vma.vm_file, at - vma.start, entry)
        folio = k.page_folio(entry.page)
        atomic_inc(folio._refcount)
        done = k.dax_insert_mapping(vma, at, entry.page, write)
        k.folio_put(folio)
        return done

    def dax_insert_mapping(k, vma: Vma, at: int, page: Page, write: bool) -> bool:
        """The PTE or PMD of dax_fault_iter (fs/dax.c)."""
        if vma.vm_file.size == "pte":
            return k.vmf_insert_page_mkwrite(vma, at, page, write)
        return k.vmf_insert_folio_pmd(vma, at, k.page_folio(page), write)

    def dax_iomap_direct_access(k, dax: PmemDevice) -> bool:
        """dax_direct_access() to a device that is alive (fs/dax.c, drivers/dax/super.c)."""
        srcu_read_lock(k.dax.srcu)
        alive: bool = dax.alive
        srcu_read_unlock(k.dax.srcu)
        return alive
