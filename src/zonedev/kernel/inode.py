"""Inodes of files on a DAX file system, and their blocks (include/linux/fs.h, fs/ext4, fs/xfs).

A block is what one entry of a file maps: a page, or the pages of a PMD.  Freeing one and giving
it to a file are a step each, where ext4 waits for a journal commit in between, and XFS for its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.mapping import AddressSpace, DaxEntry, VmFile
from zonedev.kernel.page import Page
from zonedev.kernel.sparse import SparseFiles, up_to
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import WARN_ON, Lock, RwSem, atomic_t
from zonedev.lang.records import (
    Record,
    array,
    const,
    count,
    embed,
    flag,
    ref,
)
from zonedev.lang.runtime import at_setup, atomic

#: Files of a device: Frame.owner tells no more apart.
MOST_FILES = 3


class PmemDevice(Record):
    """struct pmem_device with its dax_device and request queue, and the super block of the file
    system on it (drivers/nvdimm/pmem.h)."""

    short = "pmem"
    size: str = const("pte")  # the level at which its files map
    per_folio: int = const(1)
    alive: Any = flag(initial=True)  # DAXDEV_ALIVE
    pgmap: Any = const()
    pages: Any = const(())
    used: int = const(0)  # pages that are in blocks of files at set-up
    inodes: Any = const(())  # s_inodes


class Inode(VmFile):
    """struct inode of a file on a pmem device, with its address_space (include/linux/fs.h).

    `i_size` is in pages.  `extents` are the blocks by index, NULL for a hole: that of a PMD is
    its first page.  `i_count` stands for the struct files, each of which holds the inode.
    """

    short = "inode"
    fsdax: bool = const(True)
    reflinked: bool = const(False)  # whether another file shares its blocks
    i_rwsem: Any = embed(Lock)
    invalidate_lock: Any = embed(RwSem)  # i_mmap_sem before v5.15, XFS's MMAPLOCK
    i_size: Any = count(0, 7)
    i_nlink: Any = count(0, 1, initial=1)
    i_count: Any = atomic_t(0, 7)
    freeing: Any = flag()  # I_FREEING
    i_dirty: Any = flag()  # metadata that no journal commit has written
    extents: Any = array(ref(Page))
    first: int = const(0)  # of the device's pages: where the blocks begin that it has from set-up on
    left: Any = const(())  # ranges of these blocks that a machine by hand has not taken away


class Files(SparseFiles):
    """Inodes and their blocks as of v7.2."""

    #: PAGE_MAPPING_DAX_SHARED of v6.2 to v6.14, PAGE_MAPPING_DAX_COW before: no real mapping.
    dax_shared: AddressSpace | None = None

    # --- set-up --------------------------------------------------------------------------------

    def dax_file(
        self, pmem: PmemDevice, pages: int = 0, blocks: int | None = None, shares: Inode | None = None
    ) -> Inode:
        """A file of `pages` pages (0: as many as the device has), at set-up; the first `blocks`
        of them (all) are allocated and written, the others are a hole.  `shares`: a reflink copy
        of that file instead."""
        nr, has = self.file_shape(pmem, pages, blocks, shares)
        first = self.first_unused(pmem)
        if shares is None:
            pmem.used = first + has
        mapping = self.system.new(AddressSpace)
        inode = self.system.new(
            Inode,
            size=pmem.size,
            per_folio=pmem.per_folio,
            mapping=mapping,
            dax=pmem,
            nr=nr,
            number=len(pmem.inodes) + 1,
            i_size=nr,
            first=shares.first if shares else first,
            left=shares.left if shares else (range(has),),
            reflinked=shares is not None,
        )
        mapping.host = inode
        pmem.inodes = (*pmem.inodes, inode)
        inode._values["extents"].grow(nr)
        self.new_entries(inode)
        self.first_blocks(inode, has, shares)
        self.new_zero_page()
        return inode

    def file_shape(
        self, pmem: PmemDevice, pages: int, blocks: int | None, shares: Inode | None
    ) -> tuple[int, int]:
        """The pages of a new file, and how many of them have blocks; SpecError where the device
        has no room."""
        if not isinstance(pmem, PmemDevice):
            raise SpecError(f"{pmem!r} has no files: give what pmem_device() returned")
        if len(pmem.inodes) == MOST_FILES:
            raise SpecError(f"{pmem!r} has {MOST_FILES} files, and can have no more: give another device")
        if shares is not None:
            if not any(shares is inode for inode in pmem.inodes):
                raise SpecError(f"shares {shares!r}: give a file on {pmem!r}")
            if pages or blocks is not None:
                raise SpecError(f"shares {shares!r}: give no size and no blocks, for the copy has those")
            return shares.nr, shares.nr
        nr = pages or len(pmem.pages)
        has = nr if blocks is None else blocks
        if not 0 < nr <= len(pmem.pages) or nr % pmem.per_folio:
            most = len(pmem.pages)
            raise SpecError(f"a file of {nr} pages: give {up_to(most, pmem, pmem.per_folio)}")
        most = min(nr, len(pmem.pages) - self.first_unused(pmem))
        if not 0 <= has <= most or has % pmem.per_folio:
            raise SpecError(f"a file with blocks for {has} pages: give {up_to(most, pmem)}")
        return nr, has

    def first_unused(self, pmem: PmemDevice) -> int:
        """The first page behind all that files have had."""
        each, pages = pmem.per_folio, iter(pmem.pages)
        owned = [p.number - p.number % each + each for p in pages if p.frame._values["owner"]]
        return max([pmem.used, *owned])

    @at_setup
    def inodes(self) -> Sequence[Inode]:
        """All files."""
        return [inode for inode in self.system.instances(Inode) if isinstance(inode, Inode)]

    def first_blocks(self, inode: Inode, has: int, shares: Inode | None) -> None:
        """Give a new file its blocks: the next `has` pages of the device, or another file's."""
        if shares is None:
            inode.pages = self.device_pages(has, lambda _, index: inode.dax.pages[inode.first + index])
            for page in inode.dax.pages:
                if inode.first <= page.number < inode.first + has:
                    page.frame._values["owner"] = inode.number
        else:
            inode.pages, shares.reflinked = shares.pages, True
            self.dax_shared = self.dax_shared or self.system.new(AddressSpace, "DAX_SHARED")
        extents = inode._values["extents"]
        if self.system.sparse:
            extents.begin_as(lambda index: inode.pages[index] if self.has_untouched(inode, index) else None)
        elif shares is None:
            for index in range(0, has, inode.per_folio):
                extents.poke(index, inode.pages[index])
        if shares is not None:
            for index in shares._values["extents"].touched():
                extents.poke(index, shares._values["extents"].peek(index))

    def entry_names_file(k, entry: DaxEntry) -> bool:
        """Whether the folio of an entry has to name the file: what mapping-exact reckons with."""
        return True

    # --- blocks ----------------------------------------------------------------------------------

    def iomap_begin(k, inode: Inode, index: int, write: bool) -> Page | None:
        """The block at `index`, which a write allocates; None for a hole, or for a device that
        is full (fs/ext4/inode.c ext4_iomap_begin, fs/xfs/xfs_iomap.c)."""
        page = inode.extents[index]
        if page is None and write:
            page = k.ext4_mb_new_blocks(inode)
            inode.extents[index] = page
            inode.i_dirty = True
        return page

    def ext4_mb_new_blocks(k, inode: Inode) -> Page | None:
        """The first free block, zeroed before anyone can see it (fs/ext4/mballoc.c)."""
        with atomic("found and marked as used under the block group's lock"):
            found: Page | None = None
            for head in k.device_blocks(inode.dax):
                if found is None and head.frame.owner == 0:
                    found = head
                    for page in k.block_pages(inode.dax, head):
                        page.frame.owner = inode.number
                        page.frame.data = 0
            return found

    def block_is_shared(k, inode: Inode, index: int, page: Page | None) -> bool:
        """IOMAP_F_SHARED: another file has the block too, at the same index
        (fs/xfs/xfs_reflink.c, xfs_reflink_trim_around_shared)."""
        if not inode.reflinked:
            return False
        with atomic("looked up under the lock of the allocation group's header"):
            files = 0
            for other in inode.dax.inodes:
                if page is not None and index < other.nr and other.extents[index] is page:
                    files = min(files + 1, 2)
            return files > 1

    def xfs_reflink_end_cow(k, inode: Inode, index: int, page: Page) -> None:
        """The copy takes the place of the shared block (fs/xfs/xfs_reflink.c)."""
        old = inode.extents[index]
        if old is not None:
            k.ext4_free_blocks(inode, index, old)
        inode.extents[index] = page

    def ext4_free_blocks(k, inode: Inode, index: int, page: Page) -> None:
        """Take a block from a file; it is free unless another file shares it, at the same
        index (fs/ext4/mballoc.c; for XFS fs/xfs/libxfs/xfs_refcount.c)."""
        with atomic("the transaction that removes the extent frees the block, or drops its share"):
            inode.extents[index] = None
            shared = False
            for other in inode.dax.inodes:
                if index < other.nr and other.extents[index] is page:
                    shared = True
                    page.frame.owner = other.number
            if not shared:
                for head in k.device_blocks(inode.dax):
                    if page is head:
                        # In the kernel an error of the file system, and not a warning: ext4 says so with
                        # ext4_grp_locked_error() and does as the mount option errors= tells; XFS finds
                        # the block in its tree of free space, and the transaction ends with
                        # -EFSCORRUPTED (fs/xfs/libxfs/xfs_alloc.c, xfs_free_ag_extent).
                        WARN_ON(head.frame.owner == 0, "mb_free_blocks(): freeing already freed block")
                        for each in k.block_pages(inode.dax, head):
                            each.frame.owner = 0
