"""Atomic operations of a GPU on system memory, as nouveau does them
(drivers/gpu/drm/nouveau/nouveau_svm.c)."""

from __future__ import annotations

from zonedev.kernel.page import Page
from zonedev.kernel.test_hmm import DevicePte, Dmirror, TestHmm
from zonedev.lang.primitives import down_read, lock, unlock, up_read
from zonedev.lang.runtime import atomic


class Nouveau(TestHmm):
    """Exclusive access with a look at the sequence number, as of v7.2.  What nouveau does with its other,
    older notifier is not modelled."""

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
