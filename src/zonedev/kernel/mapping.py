"""What a VMA maps, and the entries of its address space (include/linux/fs.h, fs/dax.c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.page import Page
from zonedev.lang.primitives import ExclusiveQueue, Lock, RwSem
from zonedev.lang.records import BIT, Packed, Record, array, const, embed, packed, pointer
from zonedev.lang.runtime import at_setup

#: Blocks that a loop in a machine by hand may look at one by one.
FEW = 64


class DaxEntry(Packed):
    """An entry of mapping->i_pages; the zero word where there is none."""

    locked: Any = BIT  # DAX_LOCKED
    empty: Any = BIT  # DAX_EMPTY
    zero: Any = BIT  # DAX_ZERO_PAGE
    dirty: Any = BIT  # PAGECACHE_TAG_DIRTY
    zap: Any = BIT  # DAX_ZAP, of the 2022 proposal
    page: Any = pointer(Page)  # the pfn; DAX_PMD is the file's size

    @property
    def there(self) -> bool:
        """Whether there is an entry."""
        return self.empty or self.zero or self.page is not None

    def show(self) -> str:
        what = "empty" if self.empty else "hole" if self.zero else "none"
        what = what if self.page is None else repr(self.page)
        marks = [m for m in ("locked", "dirty", "zap") if getattr(self, m)]
        return ",".join([what, *marks])


class EntryWaiters(ExclusiveQueue):
    """dax_entry_waitqueue() of one entry (fs/dax.c)."""

    short = "waiters"


class AddressSpace(Record):
    """struct address_space: the VMAs that map a device or file (include/linux/fs.h)."""

    short = "mapping"
    i_mmap_rwsem: Any = embed(RwSem)
    vmas: Any = const(())
    host: Any = const()  # the inode of a file on a DAX file system


class VmFile(Record):
    """What a VMA maps: struct file with its inode, of a device-dax device or on a DAX file system."""

    size: str = const("pte")  # the level at which it maps
    per_folio: int = const(1)  # the pages that one entry maps
    fsdax: bool = const(False)
    dax: Any = const()  # the device that it lies on, or is
    number: int = const(1)  # whose its memory is: Frame.owner
    nr: int = const(0)  # pages that it has or can have; 0: as many as `pages`
    mapping: Any = const()
    pages: Any = const(())
    xa_lock: Any = embed(Lock)
    i_pages: Any = array(packed(DaxEntry))  # by index, that of a huge entry being its first
    waiters: Any = const(())  # by index


@at_setup
def file_indices(file: VmFile, field: str, first: int, nr: int = 0) -> Sequence[int]:
    """Where the blocks of `nr` pages of a file are, from `first` on (0: all that follow); in a
    machine by hand, where these are many, those whose `field` holds something."""
    end = min(first + nr, file.nr) if nr else file.nr
    every = range(first, end, file.per_folio)
    if file._system.sparse and len(every) > FEW:
        return [i for i in file._values[field].touched() if i in every]
    return every
