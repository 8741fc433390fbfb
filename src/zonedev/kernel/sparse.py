"""Files of a machine by hand, whose pages and blocks come into being when they are touched.

A device of a tebibyte has as many as one of a mebibyte until then.  What no page says yet is kept as
ranges: `Inode.first` and `Inode.left` are the blocks that a file has had from set-up on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from zonedev.kernel.device_dax import DeviceDax
from zonedev.kernel.mapping import VmFile
from zonedev.kernel.memremap import DevicePages
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.lang.errors import SpecError
from zonedev.lang.runtime import at_setup

if TYPE_CHECKING:
    from zonedev.kernel.inode import Inode, PmemDevice


class SparseFiles(DeviceDax):
    """Which pages and blocks there are: in a scenario all, and all from the beginning."""

    @at_setup
    def device_blocks(self, pmem: PmemDevice) -> Sequence[Page]:
        """The first page of every block of a device; in a machine by hand of those that somebody
        has touched, and for files of another one that is free."""
        pages, each = pmem.pages, pmem.per_folio
        if not isinstance(pages, DevicePages):
            return tuple(pages[::each])
        free = free_ranges(pmem) if pmem.pgmap.type == MemoryType.FS_DAX else ()
        fresh = next((i for r in free for i in r if not pages.exists(i)), None)
        if fresh is not None:
            pages[fresh]
        return pages.made(0, len(pages), each)

    @at_setup
    def block_pages(self, pmem: PmemDevice, head: Page) -> Sequence[Page]:
        """The pages of the block that begins with `head`."""
        if isinstance(pmem.pages, DevicePages):
            return pmem.pages.made(head.number, pmem.per_folio)
        return tuple(pmem.pages[head.number : head.number + pmem.per_folio])

    @at_setup
    def block_page(self, pmem: PmemDevice, head: Page, offset: int) -> Page:
        """The page at `offset` of the block that begins with `head`."""
        page: Page = pmem.pages[head.number + offset]
        return page

    def memmap_init(self, pages: DevicePages, i: int, pgmap: DevPagemap, per_folio: int) -> Page:
        """A page of a block is its file's: of the file, or files, that had it at set-up if nobody has
        touched it since."""
        page = super().memmap_init(pages, i, pgmap, per_folio)
        if pgmap.type == MemoryType.FS_DAX and self.system.sparse:
            if offset := i % per_folio:
                self.as_its_head(page, pages[i - offset], offset)
            for inode in reversed(self.files_on(pgmap)):
                index = i - inode.first
                if self.has_untouched(inode, index):
                    inode._values["extents"].poke(index, page)
                    page.frame._values["owner"] = inode.number
        return page

    def files_on(self, pgmap: DevPagemap) -> list[Inode]:
        """The files on the device of a pagemap."""
        devices = [p for p in self.system.instances("PmemDevice") if p._values["pgmap"] is pgmap]
        return [inode for p in devices for inode in p._values["inodes"]]

    def as_its_head(self, page: Page, head: Page, offset: int) -> None:
        """A page joins its block, which may be in use."""
        page.frame._values["owner"] = head.frame._values["owner"]
        mapping = head._values["mapping"]
        if mapping is not None and not page.large:
            page._values["mapping"] = mapping
            page._values["index"] = head._values["index"] + (offset if mapping.host is not None else 0)

    def has_untouched(self, inode: Inode, index: int) -> bool:
        """Whether a block at `index` is a file's since set-up, and nobody has touched it."""
        touched = inode._values["extents"].has(index)
        return not touched and index % inode.per_folio == 0 and any(index in r for r in inode.left)

    @at_setup
    def take_untouched(self, inode: Inode, index: int, nr: int) -> None:
        """Free the blocks of `nr` pages from `index` on (0: of all that follow) that no statement has
        come across; SpecError for pages that the file cannot have."""
        check_range(inode, index, nr) if nr else check_size(inode, index)
        if not self.system.sparse:
            return
        end = index + nr if nr else inode.nr
        parts = [(range(r.start, min(r.stop, index)), range(max(r.start, end), r.stop)) for r in inode.left]
        inode.left = tuple(part for both in parts for part in both if part)


def free_ranges(pmem: PmemDevice) -> Iterator[range]:
    """Where blocks are that nobody has touched and no file has; behind all that was given out first."""
    each = pmem.per_folio
    yield range(pmem.used, len(pmem.pages), each)
    taken = sorted((f.first + r.start, f.first + r.stop) for f in pmem.inodes for r in f.left)
    at = 0
    for start, stop in [*taken, (pmem.used, pmem.used)]:
        yield range(at, start, each)
        at = max(at, stop)


def up_to(most: int, file: PmemDevice | VmFile, least: int = 0) -> str:
    """How many pages there can be, in words."""
    return f"{least} to {most}" + (f", in steps of {file.per_folio}" if file.per_folio > 1 else "")


def check_size(file: VmFile, size: int) -> None:
    """SpecError unless a file can be that long."""
    if not 0 <= size <= file.nr or size % file.per_folio:
        raise SpecError(f"a size of {size} pages for {file!r}: give {up_to(file.nr, file)}")


def check_range(file: VmFile, first: int, nr: int) -> None:
    """SpecError unless `nr` pages from `first` on are blocks that a file can have."""
    each = file.per_folio
    if not 0 <= first < first + nr <= file.nr or first % each or nr % each:
        raise SpecError(f"{nr} pages from {first} on of {file!r}: give some of {up_to(file.nr, file)}")
