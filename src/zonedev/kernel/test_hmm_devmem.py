"""The memory of a device: pages are migrated to it and back, until the device goes (lib/test_hmm.c)."""

from __future__ import annotations

from collections.abc import Sequence

from zonedev.kernel.migrate_device import SELECT_DEVICE_COHERENT, SELECT_DEVICE_PRIVATE, SELECT_SYSTEM
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import Vma
from zonedev.kernel.test_hmm import NO_ENTRY, DevicePte, Dmirror, DmirrorDevice, TestHmm
from zonedev.lang.primitives import down_read, lock, unlock, up_read
from zonedev.lang.runtime import at_setup, atomic, current


class TestHmmDevmem(TestHmm):
    """lib/test_hmm.c as of v7.2: its memory."""

    # --- the free list ---------------------------------------------------------------------------------

    def dmirror_devmem_alloc_page(k, device: DmirrorDevice, large: bool = False) -> Page | None:
        """A free page of the device, or a huge one, held and locked (lib/test_hmm.c)."""
        found: Page | None = None
        with atomic("taken off the free list under mdevice->lock"):
            for page in device.pages:
                if not large or page.second is not None:  # noqa: SIM102  known at set-up
                    if found is None and not device.remove and page.free and k.other_half_free(page, large):
                        k.take_off_free_list(page)
                        if large:
                            k.take_off_free_list(page.second)
                        found = page
        if found is not None:
            if large:
                k.zone_device_page_init(found, device.pgmap, order=1)
            else:
                k.zone_device_page_init(found, device.pgmap)
        return found

    def dmirror_alloc(k, mirror: Dmirror, large: bool = False) -> Page | None:
        """The same on behalf of a mirror (lib/test_hmm.c)."""
        return k.dmirror_devmem_alloc_page(mirror.mdevice, large)

    def dmirror_alloc_page(k, vma: Vma, mirror: Dmirror) -> Page | None:
        """A page of the system for one that a mirror gives up (lib/test_hmm.c)."""
        return k.alloc_page(vma)

    def dmirror_alloc_huge_folio(k, vma: Vma, mirror: Dmirror) -> Page | None:
        """A huge one (lib/test_hmm.c)."""
        return k.alloc_huge_folio(vma)

    def other_half_free(k, page: Page, large: bool) -> bool:
        """Whether a page can be given out as a huge one, where that is wanted."""
        return not large or page.second.free

    def take_off_free_list(k, page: Page) -> None:
        """The page is in use from here on."""
        page.free = False
        page.frame.owner = 1

    def folio_free(k, folio: Page) -> None:
        """dmirror_devmem_free() (lib/test_hmm.c)."""
        with atomic("put on the free list under mdevice->lock; the page that stands behind it is freed"):
            k.put_on_free_list(folio)
            if k.thp_exists and folio.second is not None and folio.order > 0:
                k.put_on_free_list(folio.second)

    def put_on_free_list(k, page: Page) -> None:
        """A page of whichever device it is of."""
        page.zone_device_data = None
        page.frame.owner = 0
        for device in k.devices():
            if device.pgmap is not None and page.array is device.pgmap.array and not device.remove:
                page.free = True

    def folio_split(k, folio: Page, tail: Page) -> None:
        """dmirror_devmem_folio_split(): what the driver knows of a page goes with each part
        (lib/test_hmm.c)."""
        if folio.memory >= 0:
            data = folio.zone_device_data
            tail.zone_device_data = data

    @at_setup
    def devices(self) -> Sequence[DmirrorDevice]:
        """All such devices."""
        return [d for d in self.system.instances(DmirrorDevice) if isinstance(d, DmirrorDevice)]

    # --- migration to the device -----------------------------------------------------------------------

    def dmirror_migrate_to_device(k, mirror: Dmirror, va: int, nr: int = 1) -> bool:
        """HMM_DMIRROR_MIGRATE_TO_DEV: whether the device has a mapping of every page afterwards
        (lib/test_hmm.c)."""
        device = mirror.mdevice
        mm = mirror.mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        if not vma.linked:
            up_read(mm.mmap_lock)
            return False
        k.migrate_vma_setup(vma, va, nr, SELECT_SYSTEM, device, None)
        k.dmirror_migrate_alloc_and_copy(mirror, va, nr)
        k.migrate_vma_pages(vma, va, nr, device, None)
        k.dmirror_migrate_finalize_and_map(mirror, va, nr)
        k.migrate_vma_finalize(va, nr, None)
        up_read(mm.mmap_lock)
        return k.dmirror_do_read(mirror, va, nr)

    def dmirror_migrate_alloc_and_copy(k, mirror: Dmirror, first: int, nr: int) -> None:
        """A huge page for a huge one, if there is room for it, or two (lib/test_hmm.c)."""
        for va in range(first, first + nr):
            if current().migrates[va]:
                large = nr == 2 and va == first and current().compounds[va]
                dpage = k.dmirror_alloc(mirror, True) if large else None
                if dpage is not None:
                    k.dmirror_copy_huge(mirror, va, dpage)
                elif large:
                    k.dmirror_copy_page(mirror, va, current().src[va])
                    second = k.second_of(current().src[va])
                    k.dmirror_copy_page(mirror, va + 1, second)
                else:
                    k.dmirror_copy_page(mirror, va, current().src[va])

    def second_of(k, page: Page | None) -> Page | None:
        """The second page of a huge one, where there is one."""
        return None if page is None else page.second

    def dmirror_copy_page(k, mirror: Dmirror, va: int, spage: Page | None) -> None:
        """One page, if the device has room for it (lib/test_hmm.c)."""
        dpage = k.dmirror_alloc(mirror)
        if dpage is not None:
            dpage.zone_device_data = mirror
            current().dst[va] = dpage
            k.copy_user_page(dpage, spage)

    def dmirror_copy_huge(k, mirror: Dmirror, va: int, dpage: Page) -> None:
        """Both pages of a huge one (lib/test_hmm.c)."""
        dpage.zone_device_data = mirror
        current().dst[va] = dpage
        spage = current().src[va]
        k.copy_user_page(dpage, spage)
        k.copy_user_page(dpage.second, k.second_of(spage))

    def dmirror_migrate_finalize_and_map(k, mirror: Dmirror, first: int, nr: int) -> None:
        """Map the new pages in the device, before the CPU's page table has them
        (lib/test_hmm.c)."""
        lock(mirror.mutex)
        for va in range(first, first + nr):
            dpage = current().dst[va]
            if dpage is not None and current().migrates[va]:
                mirror.pt[va] = DevicePte(page=dpage, write=current().writes[va])
                if va + 1 < first + nr and k.folio_test_large(dpage):
                    mirror.pt[va + 1] = DevicePte(page=dpage.second, write=current().writes[va])
        unlock(mirror.mutex)

    # --- and back --------------------------------------------------------------------------------------

    def migrate_to_ram(k, vma: Vma, va: int, page: Page) -> bool:
        """The CPU needs a page of the device, which was given out for some mirror (lib/test_hmm.c,
        dmirror_devmem_fault)."""
        return k.dmirror_devmem_fault(vma, va, k.dmirror_of(page), page)

    def dmirror_devmem_fault(k, vma: Vma, va: int, mirror: Dmirror, fault_page: Page | None) -> bool:
        """Migrate one page to the system; false for SIGBUS (lib/test_hmm.c)."""
        k.migrate_vma_setup(vma, va, 1, SELECT_DEVICE_PRIVATE, mirror.mdevice, fault_page)
        done = k.dmirror_devmem_fault_alloc_and_copy(vma, va, 1, mirror)
        if done:
            k.migrate_vma_pages(vma, va, 1, mirror.mdevice, fault_page)
        k.migrate_vma_finalize(va, 1, fault_page)
        return done

    def migrate_huge_to_ram(k, vma: Vma, va: int, page: Page) -> None:
        """The same without vmf->pte: the whole range of the folio (lib/test_hmm.c)."""
        mirror = k.dmirror_of(page)
        k.migrate_vma_setup(vma, vma.start, vma.nr, SELECT_DEVICE_PRIVATE, mirror.mdevice, page)
        if k.dmirror_devmem_fault_alloc_and_copy(vma, vma.start, vma.nr, mirror):
            k.migrate_vma_pages(vma, vma.start, vma.nr, mirror.mdevice, page)
        k.migrate_vma_finalize(vma.start, vma.nr, page)

    def dmirror_of(k, page: Page) -> Dmirror:
        """The mirror for which a page of the device is used: its zone_device_data
        (lib/test_hmm.c, dmirror_devmem_fault)."""
        folio = k.page_folio(page)
        mirror: Dmirror = folio.zone_device_data
        return mirror

    def dmirror_devmem_fault_alloc_and_copy(k, vma: Vma, first: int, nr: int, mirror: Dmirror) -> bool:
        """The device loses a page before it is copied; false for VM_FAULT_OOM (lib/test_hmm.c)."""
        for va in range(first, first + nr):
            if current().src[va] is not None and current().migrates[va]:
                huge = va + 1 < first + nr and current().compounds[va]
                dpage = k.dmirror_alloc_huge_folio(vma, mirror) if huge else None
                if dpage is not None:
                    k.dmirror_fault_copy_huge(va, mirror, dpage)
                elif not k.dmirror_fault_copy_page(vma, va, mirror, current().src[va]):
                    return False
                elif huge:
                    second = k.second_of(current().src[va])
                    if not k.dmirror_fault_copy_page(vma, va + 1, mirror, second):
                        return False
        return True

    def dmirror_fault_copy_page(k, vma: Vma, va: int, mirror: Dmirror, spage: Page | None) -> bool:
        """One page; false where there is none in the system (lib/test_hmm.c)."""
        dpage = k.dmirror_alloc_page(vma, mirror)
        if dpage is None:
            return False
        k.folio_lock(dpage)
        current().dst[va] = dpage
        mirror.pt[va] = NO_ENTRY
        k.copy_user_page(dpage, spage)
        return True

    def dmirror_fault_copy_huge(k, va: int, mirror: Dmirror, dpage: Page) -> None:
        """Both pages of a huge one (lib/test_hmm.c)."""
        k.folio_lock(dpage)
        current().dst[va] = dpage
        spage = current().src[va]
        mirror.pt[va] = NO_ENTRY
        k.copy_user_page(dpage, spage)
        mirror.pt[va + 1] = NO_ENTRY
        k.copy_user_page(dpage.second, k.second_of(spage))

    def dmirror_migrate_to_system(k, mirror: Dmirror, va: int, nr: int = 1) -> bool:
        """HMM_DMIRROR_MIGRATE_TO_SYS; false for an error (lib/test_hmm.c)."""
        mm = mirror.mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        if not vma.linked:
            up_read(mm.mmap_lock)
            return False
        k.migrate_vma_setup(vma, va, nr, k.dmirror_select_device(mirror), mirror.mdevice, None)
        done = k.dmirror_devmem_fault_alloc_and_copy(vma, va, nr, mirror)
        if done:
            k.migrate_vma_pages(vma, va, nr, mirror.mdevice, None)
        k.migrate_vma_finalize(va, nr, None)
        up_read(mm.mmap_lock)
        return done

    @at_setup
    def dmirror_select_device(self, mirror: Dmirror) -> int:
        """lib/test_hmm.c"""
        private = mirror.mdevice.pgmap._values["type"] == MemoryType.PRIVATE
        return SELECT_DEVICE_PRIVATE if private else SELECT_DEVICE_COHERENT

    def dmirror_device_evict_chunk(k, device: DmirrorDevice) -> None:
        """Bring every page of the device that is in use to the system, if it is free to go
        (lib/test_hmm.c)."""
        k.migrate_device_range(device.pgmap)
        for page in device.pages:
            if current().migrates[page.number]:
                k.dmirror_evict_page(page)
        k.migrate_device_pages(device.pgmap)
        k.migrate_device_finalize(range(len(device.pages)), None)

    def dmirror_evict_page(k, page: Page) -> None:
        """A page of the same size for one that is evicted (lib/test_hmm.c)."""
        huge = page.second is not None and current().compounds[page.number]
        dpage = k.alloc_huge_folio(k.any_vma()) if huge else k.alloc_system_page()
        if dpage is not None:
            k.folio_lock(dpage)
            current().dst[page.number] = dpage
            k.copy_user_page(dpage, page)
            if huge:
                k.copy_user_page(dpage.second, page.second)

    # --- the end of the device -------------------------------------------------------------------------

    def dmirror_device_remove_chunks(k, device: DmirrorDevice) -> None:
        """HMM_DMIRROR_RELEASE, and the end of the module: no page is given out any more, those in use
        are migrated away, once, and the pagemap goes (lib/test_hmm.c)."""
        device.remove = True
        k.dmirror_device_evict_chunk(device)
        k.remove_device_pagemap(device)

    def remove_device_pagemap(k, device: DmirrorDevice) -> None:
        """memunmap_pages() and kfree(devmem): all that a driver does that evicts nothing
        (lib/test_hmm.c)."""
        k.memunmap_pages(device.pgmap)
        k.free_pagemap(device.pgmap)

    def evict_until_empty(k, device: DmirrorDevice) -> None:
        """What would end: evict until no page is in use any more; by no driver."""
        device.remove = True
        while not k.device_is_empty(device):
            k.dmirror_device_evict_chunk(device)

    def device_is_empty(k, device: DmirrorDevice) -> bool:
        """Whether the driver has all of its pages back."""
        with atomic("counted under mdevice->lock: calloc == cfree"):
            used = sum(int(page.frame.owner != 0) for page in device.pages)
        return used == 0
