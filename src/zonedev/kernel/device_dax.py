"""Device-dax: faults and unbind (drivers/dax/device.c, bus.c, super.c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.fault import Fault
from zonedev.kernel.mapping import AddressSpace, EntryWaiters, VmFile
from zonedev.kernel.memremap import Made
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import Srcu, srcu_read_lock, srcu_read_unlock, synchronize_srcu
from zonedev.lang.records import Record, const, embed, flag
from zonedev.lang.runtime import at_setup


class DaxGlobals(Record):
    """drivers/dax/super.c: one SRCU domain for all devices."""

    short = "dax"
    srcu: Any = embed(Srcu)


class DaxDevice(VmFile):
    """struct dev_dax with its struct dax_device, inode and memory region; it maps at the
    level of its alignment."""

    short = "dax"
    alive: Any = flag(initial=True)  # DAXDEV_ALIVE
    pgmap: Any = const()
    used: int = const(0)  # pages that are the user's: all of them


class DeviceDax(Fault):
    """drivers/dax as of v7.2."""

    dax: DaxGlobals

    def boot(self) -> None:
        self.dax = self.system.new(DaxGlobals)

    # --- set-up --------------------------------------------------------------------------------

    def device_dax(self, pages: int = 1, size: str = "pte", per_folio: int = 0) -> DaxDevice:
        """dev_dax_probe(): a bound device of `pages` pages that maps with PTEs, or with
        entries of `per_folio` pages at "pmd" or "pud" level; 0: one entry for all, which
        are two at least (drivers/dax/device.c)."""
        pages = pages if size == "pte" else max(pages, 2)
        each = 1 if size == "pte" else per_folio or pages
        pgmap = self.memremap_pages(pages, MemoryType.GENERIC, each)
        dax = self.system.new(
            DaxDevice,
            size=size,
            per_folio=each,
            mapping=self.system.new(AddressSpace),
            pgmap=pgmap,
            pages=pgmap.pages,
            nr=pages,
            used=pages,
        )
        dax.dax = dax
        self.new_entries(dax)
        return dax

    @at_setup
    def dax_devices(self) -> Sequence[DaxDevice]:
        """All devices of device-dax."""
        return [dax for dax in self.system.instances(DaxDevice) if isinstance(dax, DaxDevice)]

    def new_entries(self, file: VmFile) -> None:
        """Room for the entries of a file, and for who waits for them, at set-up."""
        file._values["i_pages"].grow(file.nr)
        waiters = Made(file.nr, lambda i: self.entry_waiters())
        file.waiters = waiters
        if not self.system.sparse:
            file.waiters = tuple(waiters[i - i % file.per_folio] for i in range(file.nr))

    def entry_waiters(self) -> EntryWaiters:
        """The wait queue of an entry, with room for every task."""
        queue = self.system.new(EntryWaiters)
        queue._values["first"].grow(len(self.system.tasks))
        return queue

    # --- whether a device is there --------------------------------------------------------------

    def dax_alive(k, dax: Any) -> bool:
        """DAXDEV_ALIVE, which is asked for in an SRCU section (drivers/dax/super.c)."""
        alive: bool = dax.alive
        return alive

    # --- mmap ----------------------------------------------------------------------------------

    def dax_mmap_prepare(k, vma: Vma) -> bool:
        """Refuse to map a dead device; a fault will look again (drivers/dax/device.c)."""
        srcu_read_lock(k.dax.srcu)
        alive = k.dax_alive(vma.vm_file)
        srcu_read_unlock(k.dax.srcu)
        return alive

    # --- fault ---------------------------------------------------------------------------------

    def dev_dax_huge_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """The fault handler of device-dax; false for SIGBUS (drivers/dax/device.c)."""
        srcu_read_lock(k.dax.srcu)
        done = k.dev_dax_fault_size(vma, va, write)
        srcu_read_unlock(k.dax.srcu)
        return done

    def dev_dax_fault_size(k, vma: Vma, va: int, write: bool) -> bool:
        """__dev_dax_pte_fault(), __dev_dax_pmd_fault(), __dev_dax_pud_fault(), by the
        device's alignment (drivers/dax/device.c)."""
        dax = vma.vm_file
        if not k.dax_alive(dax):
            return False
        if dax.size == "pte":
            return k.dev_dax_pte_fault(vma, va, write)
        if dax.size == "pmd":
            return k.dev_dax_pmd_fault(vma, k.huge_start(vma, va), write)
        return k.dev_dax_pud_fault(vma, k.huge_start(vma, va), write)

    def dev_dax_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """__dev_dax_pte_fault (drivers/dax/device.c)."""
        page = vma.vm_file.pages[va - vma.start]
        k.dax_set_mapping(vma, page)
        return k.vmf_insert_page_mkwrite(vma, va, page, write)

    def dev_dax_pmd_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """__dev_dax_pmd_fault (drivers/dax/device.c)."""
        folio = vma.vm_file.pages[start - vma.start]
        k.dax_set_mapping(vma, folio)
        return k.vmf_insert_folio_pmd(vma, start, folio, write)

    def dev_dax_pud_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """__dev_dax_pud_fault (drivers/dax/device.c)."""
        folio = vma.vm_file.pages[start - vma.start]
        k.dax_set_mapping(vma, folio)
        return k.vmf_insert_folio_pud(vma, start, folio, write)

    def dax_set_mapping(k, vma: Vma, page: Page) -> None:
        """Set the mapping of a folio that has none; never cleared (drivers/dax/device.c)."""
        folio = k.page_folio(page)
        if folio.mapping is not None:
            return
        folio.mapping = vma.vm_file.mapping

    # --- unbind ----------------------------------------------------------------------------------

    def unbind(k, dax: DaxDevice) -> None:
        """device_release_driver(): the devm actions of dev_dax_probe(), last first
        (drivers/base/dd.c, drivers/dax/device.c).  cdev_del() touches no page."""
        k.kill_dev_dax(dax)
        k.devm_memremap_pages_release(dax.pgmap)
        k.release_mem_region(dax)
        k.free_pagemap(dax.pgmap)

    def kill_dev_dax(k, dax: DaxDevice) -> None:
        """No new faults, no old mappings (drivers/dax/bus.c)."""
        k.kill_dax(dax)
        k.unmap_mapping_range(dax.mapping)

    def kill_dax(k, dax: Any) -> None:
        """Wait until every fault that saw the device alive is over (drivers/dax/super.c)."""
        dax.alive = False
        synchronize_srcu(k.dax.srcu)

    def release_mem_region(k, dax: Any) -> None:
        """The memory is nobody's from here on (kernel/resource.c)."""
        for page in dax.pages:
            page.frame.owner = 0
