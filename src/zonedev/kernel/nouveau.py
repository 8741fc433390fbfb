"""Atomic operations of a GPU on system memory, as nouveau does them
(drivers/gpu/drm/nouveau/nouveau_svm.c)."""

from __future__ import annotations

from zonedev.kernel.migrate_device import SELECT_DEVICE_PRIVATE
from zonedev.kernel.page import Page
from zonedev.kernel.test_hmm import DevicePte, Dmirror, DmirrorDevice
from zonedev.kernel.test_hmm_devmem import TestHmmDevmem
from zonedev.lang.primitives import down_read, lock, spin_lock, spin_unlock, unlock, up_read
from zonedev.lang.runtime import atomic, current


class Nouveau(TestHmmDevmem):
    """Exclusive access with a look at the sequence number, as of v7.2.  What nouveau does with its other,
    older notifier is not modelled."""

    def nouveau_dmem_fini(k, device: DmirrorDevice) -> None:
        """The end of the driver: evict once, and wait (drivers/gpu/drm/nouveau/nouveau_dmem.c)."""
        device.remove = True
        k.nouveau_dmem_evict_chunk(device)
        k.remove_device_pagemap(device)

    def nouveau_dmem_evict_chunk(k, device: DmirrorDevice) -> None:
        """The copy of a huge page is huge, but dst does not say so: MIGRATE_PFN_COMPOUND is not set,
        which stands here for a copy that is not (drivers/gpu/drm/nouveau/nouveau_dmem.c)."""
        k.migrate_device_range(device.pgmap)
        for page in device.pages:
            dpage = k.alloc_system_page() if current().migrates[page.number] else None
            if dpage is not None:
                k.folio_lock(dpage)
                current().dst[page.number] = dpage
                k.copy_user_page(dpage, page)
        k.migrate_device_pages(device.pgmap)
        k.migrate_device_finalize(range(len(device.pages)), None)

    def fault_whole_range(k, mirror: Dmirror, va: int) -> None:
        """A CPU fault on a page of the device, for which the driver migrates all of the VMA, as
        drm_pagemap does (drivers/gpu/drm/drm_pagemap.c, __drm_pagemap_migrate_to_ram)."""
        vma = mirror.mm.vma_at[va]
        down_read(vma.mm.mmap_lock)
        spin_lock(vma.mm.ptl)
        page = vma.mm.pte[va].page
        if page is None or not k.folio_trylock(k.page_folio(page)):
            spin_unlock(vma.mm.ptl)
            up_read(vma.mm.mmap_lock)
            return
        k.get_page(page)
        spin_unlock(vma.mm.ptl)
        k.migrate_vma_setup(vma, vma.start, vma.nr, SELECT_DEVICE_PRIVATE, mirror.mdevice, page)
        if k.dmirror_devmem_fault_alloc_and_copy(vma, vma.start, vma.nr, mirror):
            k.migrate_vma_pages(vma, vma.start, vma.nr, mirror.mdevice, page)
        k.migrate_vma_finalize(vma.start, vma.nr, page)
        k.folio_unlock(k.page_folio(page))
        k.folio_put(k.page_folio(page))
        up_read(vma.mm.mmap_lock)

    def gpu_atomic(k, mirror: Dmirror, va: int) -> Page | None:
        """The device adds 1 to what is at an address, faulting as often as it takes; None for a fault
        that cannot be served."""
        while True:
            page = k.device_atomic(mirror, va)
            if page is not None or not k.nouveau_atomic_range_fault(mirror, va):
                return page

    def device_atomic(k, mirror: Dmirror, va: int) -> Page | None:
        """An atomic operation of a device is none of the memory's: it reads and then writes.  None for a
        fault, also where the mapping went in between."""
        old = 0
        with atomic("the read: one transaction"):
            entry = mirror.pt[va]
            if entry.page is not None and entry.atomic:
                old = entry.page.frame.data
        if not entry.atomic:
            return None
        with atomic("the write: one transaction, which is not made where the mapping has gone"):
            if mirror.pt[va] != entry:
                return None
            entry.page.frame.data = (old + 1) % 4
            mirror.mm.written[va] = (mirror.mm.written[va] + 1) % 4
            return entry.page

    def nouveau_atomic_range_fault(k, mirror: Dmirror, va: int) -> bool:
        """Take a page for the device alone, and again if the range was invalidated meanwhile; nouveau
        gives up after a second (drivers/gpu/drm/nouveau/nouveau_svm.c)."""
        k.needs_atomics()
        mm = mirror.mm
        vma = mm.vma_at[va]
        while True:
            k.mmu_interval_read_begin(mirror.notifier)
            down_read(mm.mmap_lock)
            page: Page | None = None
            if vma.linked:
                page = k.make_device_exclusive(vma, va, mirror.mdevice)
            up_read(mm.mmap_lock)
            if page is None:
                return False
            lock(mirror.mutex)
            if not k.mmu_interval_read_retry(mirror.notifier):
                break
            unlock(mirror.mutex)
            k.folio_unlock(k.page_folio(page))
            k.folio_put(k.page_folio(page))
        mirror.pt[va] = DevicePte(page=page, write=True, atomic=True)
        unlock(mirror.mutex)
        k.folio_unlock(k.page_folio(page))
        k.folio_put(k.page_folio(page))
        return True
