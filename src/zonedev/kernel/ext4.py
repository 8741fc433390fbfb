"""A file system with DAX: ext4, whose steps on these paths are those of XFS (fs/ext4, fs/inode.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.dax_layout import DaxLayout
from zonedev.kernel.inode import Inode, PmemDevice
from zonedev.kernel.mapping import file_indices
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import (
    atomic_inc,
    down_read,
    down_write,
    lock,
    unlock,
    up_read,
    up_write,
)
from zonedev.lang.runtime import atomic


class Ext4(DaxLayout):
    """fs/ext4 and fs/inode.c as of v7.2."""

    # --- fault -----------------------------------------------------------------------------------

    def ext4_dax_huge_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """No truncate or punch while the fault is on its way (fs/ext4/file.c;
        fs/xfs/xfs_file.c xfs_dax_fault_locked)."""
        down_read(vma.vm_file.invalidate_lock)
        done = k.dax_iomap_fault(vma, va, write)
        up_read(vma.vm_file.invalidate_lock)
        return done

    # --- truncate --------------------------------------------------------------------------------

    def ftruncate(k, inode: Inode, size: int) -> None:
        """Give a file `size` pages (fs/open.c, do_truncate)."""
        lock(inode.i_rwsem)
        k.ext4_setattr(inode, size)
        unlock(inode.i_rwsem)

    def ext4_setattr(k, inode: Inode, size: int) -> None:
        """Break the layout, before anything is changed; then i_size, mappings and blocks
        (fs/ext4/inode.c; fs/xfs/xfs_iops.c xfs_setattr_size)."""
        down_write(inode.invalidate_lock)
        k.ext4_break_layouts(inode)
        inode.i_size = size
        k.truncate_pagecache(inode, size)
        k.ext4_truncate(inode, size)
        up_write(inode.invalidate_lock)

    def ext4_break_layouts(k, inode: Inode) -> None:
        """fs/ext4/inode.c; fs/xfs/xfs_file.c xfs_break_dax_layouts"""
        k.dax_break_layout(inode)

    def truncate_pagecache(k, inode: Inode, first: int, nr: int = 0) -> None:
        """Unmap, drop what is cached, and unmap what was copied on write meanwhile
        (mm/truncate.c)."""
        k.unmap_mapping_range(inode.mapping, first, nr, even_cows=True)
        k.truncate_inode_pages_range(inode, first, nr)
        k.unmap_mapping_range(inode.mapping, first, nr, even_cows=True)

    def ext4_truncate(k, inode: Inode, first: int, nr: int = 0) -> None:
        """Free the blocks of `nr` pages from `first` on; 0: of all that follow
        (fs/ext4/inode.c, fs/ext4/extents.c ext4_ext_remove_space)."""
        for index in file_indices(inode, "extents", first, nr):
            page = inode.extents[index]
            if page is not None:
                k.ext4_free_blocks(inode, index, page)
        k.take_untouched(inode, first, nr)

    def punch_hole(k, inode: Inode, index: int, nr: int) -> None:
        """fallocate(FALLOC_FL_PUNCH_HOLE): the layout of the whole file is broken
        (fs/ext4/extents.c ext4_fallocate, fs/xfs/xfs_file.c)."""
        lock(inode.i_rwsem)
        down_write(inode.invalidate_lock)
        k.ext4_break_layouts(inode)
        k.ext4_punch_hole(inode, index, nr)
        up_write(inode.invalidate_lock)
        unlock(inode.i_rwsem)

    def ext4_punch_hole(k, inode: Inode, index: int, nr: int) -> None:
        """truncate_pagecache_range() unmaps once, for copies of private mappings survive a hole
        (fs/ext4/inode.c, mm/truncate.c)."""
        k.unmap_mapping_range(inode.mapping, index, nr)
        k.truncate_inode_pages_range(inode, index, nr)
        k.ext4_truncate(inode, index, nr)

    # --- read and write ------------------------------------------------------------------------------

    def pwrite(k, inode: Inode, index: int) -> bool:
        """write(2) of the page at `index`, which allocates its block; false for ENOSPC or EIO
        (fs/ext4/file.c ext4_dax_write_iter, fs/dax.c dax_iomap_rw)."""
        lock(inode.i_rwsem)
        page = k.iomap_begin(inode, index, True)
        done = page is not None and k.dax_iomap_direct_access(inode.dax)
        if done and page is not None:
            page.frame.data = inode.number
        unlock(inode.i_rwsem)
        return done

    # --- the life of an inode ------------------------------------------------------------------------

    def open(self, inode: Inode) -> None:
        """Let somebody have the file open, at set-up, until close()."""
        inode.i_count.value = inode.i_count.value + 1

    def get_file(k, file: Any) -> None:
        """A VMA holds what it maps (include/linux/fs.h)."""
        if file.fsdax:
            atomic_inc(file.i_count)

    def fput(k, file: Any) -> None:
        """A VMA has gone, or a descriptor was closed; the rest runs when the task returns to
        user space (fs/file_table.c)."""
        if file.fsdax:
            k.iput(file)

    def close(k, inode: Inode) -> None:
        """close(2) of a descriptor that open() has made (fs/open.c)."""
        k.fput(inode)

    def unlink(k, inode: Inode) -> None:
        """The name goes, and with it the last link (fs/namei.c, fs/ext4/namei.c)."""
        atomic_inc(inode.i_count)
        lock(inode.i_rwsem)
        k.ext4_unlink(inode)
        unlock(inode.i_rwsem)
        k.iput(inode)

    def ext4_unlink(k, inode: Inode) -> None:
        """drop_nlink(), ext4_orphan_add() (fs/ext4/namei.c, fs/ext4/orphan.c)."""
        inode.i_nlink = 0

    def iput(k, inode: Inode) -> None:
        """The last user of an inode without links evicts it (fs/inode.c)."""
        with atomic("atomic_dec_and_lock() takes i_lock, which is held until I_FREEING is set"):
            inode.i_count.value = inode.i_count.value - 1
            last = inode.i_count.value == 0 and inode.i_nlink == 0 and not inode.freeing
            if last:
                inode.freeing = True
        if last:
            k.evict(inode)

    def evict(k, inode: Inode) -> None:
        """Nobody can open or map the file any more, but pins do not hold it (fs/inode.c)."""
        k.ext4_evict_inode(inode)

    def ext4_evict_inode(k, inode: Inode) -> None:
        """Wait for all pages, then let go of them, and of the blocks unless the file has a name
        (fs/ext4/inode.c; fs/xfs/xfs_super.c xfs_fs_evict_inode, which frees blocks later)."""
        k.dax_break_layout_final(inode)
        k.truncate_inode_pages_range(inode, 0)
        if inode.i_nlink == 0:
            k.ext4_truncate(inode, 0)

    # --- the super block -----------------------------------------------------------------------------

    def evict_inodes(k, pmem: PmemDevice) -> None:
        """Evict what nobody has open: umount does, and unbind of the device (fs/inode.c)."""
        for inode in pmem.inodes:
            with atomic("i_count is tested and I_FREEING set under i_lock"):
                unused = inode.i_count.value == 0 and not inode.freeing
                if unused:
                    inode.freeing = True
            if unused:
                k.evict(inode)

    def umount(k, pmem: PmemDevice) -> bool:
        """False for EBUSY, while a file is open or mapped (fs/namespace.c, fs/super.c
        generic_shutdown_super)."""
        with atomic("the mount's count of users is tested under mount_lock"):
            busy = any(inode.i_count.value > 0 for inode in pmem.inodes)
        if busy:
            return False
        k.evict_inodes(pmem)
        return True

    def drop_caches(k, pmem: PmemDevice) -> None:
        """drop_slab(): inodes without users and without page cache go, as they do for reclaim
        (fs/drop_caches.c; fs/inode.c inode_lru_isolate, mapping_shrinkable)."""
        for inode in pmem.inodes:
            with atomic("under i_lock, and the page cache is one read of its root"):
                unused = inode.i_count.value == 0 and not inode.freeing
                if unused and any(inode.i_pages[i].there for i in file_indices(inode, "i_pages", 0)):
                    unused = False
                if unused:
                    inode.freeing = True
            if unused:
                k.evict(inode)
