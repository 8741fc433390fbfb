"""The pmem block driver (drivers/nvdimm/pmem.c)."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.device_dax import DeviceDax
from zonedev.kernel.page import MemoryType, Page
from zonedev.lang.primitives import atomic_read, wait_event
from zonedev.lang.records import Record, const, flag
from zonedev.lang.runtime import current


class PmemDevice(Record):
    """struct pmem_device with its dax_device and request queue."""

    short = "pmem"
    size: str = const("pte")  # the level at which its files map
    per_folio: int = const(1)
    alive: Any = flag(initial=True)  # DAXDEV_ALIVE
    pgmap: Any = const()
    pages: Any = const(())


class Pmem(DeviceDax):
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
        current().pins[page._index] = current().pins[page._index] + 1
        self.hold_pagemap(page)

    def hold_pagemap(self, page: Page) -> None:
        """What a pin holds of the pagemap: nothing."""

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """The devm actions of pmem_attach_disk(), last first.  The block device is gone
        with del_gendisk(), which touches no page (drivers/nvdimm/pmem.c)."""
        k.pmem_release_disk(pmem)
        k.devm_memremap_pages_release(pmem.pgmap)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)

    def pmem_release_disk(k, pmem: PmemDevice) -> None:
        """kill_dax() of the device (drivers/nvdimm/pmem.c, drivers/dax/super.c)."""
        k.kill_dax(pmem)

    def wait_page_idle(k, page: Page) -> None:
        """What the last iput() of a file does before its blocks are freed: wait until
        nobody refers to the page (fs/dax.c, wait_page_idle_uninterruptible)."""
        idle = k.initial_count(MemoryType.FS_DAX)
        wait_event(page.frame.waiters, lambda: atomic_read(page._refcount) == idle)
