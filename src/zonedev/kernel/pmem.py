"""The pmem block driver (drivers/nvdimm/pmem.c)."""

from __future__ import annotations

from zonedev.kernel.inode import PmemDevice
from zonedev.kernel.memory import Memory
from zonedev.kernel.page import MemoryType, Page
from zonedev.lang.runtime import current

__all__ = ["Pmem", "PmemDevice"]


class Pmem(Memory):
    """drivers/nvdimm/pmem.c as of v7.2."""

    def pmem_device(self, pages: int = 1, size: str = "pte", per_folio: int = 0) -> PmemDevice:
        """pmem_attach_disk(): a bound pmem namespace with struct pages, at set-up.  The
        extents of its files map with PTEs, or with PMDs of `per_folio` pages; 0: one for all
        pages, which are two at least (drivers/nvdimm/pmem.c)."""
        pages = pages if size == "pte" else max(pages, 2)
        each = 1 if size == "pte" else per_folio or pages
        pgmap = self.memremap_pages(pages, MemoryType.FS_DAX, each)
        return self.system.new(PmemDevice, size=size, per_folio=each, pgmap=pgmap, pages=pgmap.pages)

    def hold_pin(self, page: Page) -> None:
        """Give the calling task a pin of a small folio at set-up, as of an I/O that began when
        a file was mapped there."""
        page._refcount.value = page._refcount.value + self.PIN_WEIGHT
        page.frame._values["owner"] = 1
        current().pins[page._index] = current().pins[page._index] + 1
        self.hold_pagemap(page)

    def hold_pagemap(self, page: Page) -> None:
        """What a pin holds of the pagemap: nothing."""

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """The devm actions of pmem_attach_disk(), last first (drivers/nvdimm/pmem.c)."""
        k.pmem_release_disk(pmem)
        k.devm_memremap_pages_release(pmem.pgmap)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)

    def pmem_release_disk(k, pmem: PmemDevice) -> None:
        """The DAX device dies, then the disk (drivers/nvdimm/pmem.c)."""
        k.kill_dax(pmem)
        k.del_gendisk(pmem)

    def del_gendisk(k, pmem: PmemDevice) -> None:
        """What fs_bdev_mark_dead() does to a file system that is still mounted: evict what nobody
        has open.  Mappings and open files stay as they are, for ext4 is no holder of the DAX
        device (block/genhd.c, fs/super.c; XFS with rmapbt is one, and unmaps its files in
        kill_dax())."""
        k.evict_inodes(pmem)
