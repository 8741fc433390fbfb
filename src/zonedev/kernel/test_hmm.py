"""A device with a page table of its own, and with memory: the driver lib/test_hmm.c.

It mirrors address spaces, migrates pages to its memory and back, and takes exclusive access.  `gpu_`
functions are what the device does by itself, faulting through the driver; what the driver has of
other drivers besides is said there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.device_exclusive import DeviceExclusive
from zonedev.kernel.hmm import Hmm
from zonedev.kernel.migrate_device import SELECT_DEVICE_COHERENT, SELECT_DEVICE_PRIVATE, SELECT_SYSTEM
from zonedev.kernel.mmu_notifier import Event, MmuIntervalNotifier
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import Vma, indices
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import WARN_ON, Lock, down_read, lock, unlock, up_read
from zonedev.lang.records import BIT, Packed, Record, array, const, embed, flag, packed, pointer
from zonedev.lang.runtime import at_setup, atomic, current


class DevicePte(Packed):
    """An entry of dmirror->pt: a page and its tag."""

    write: Any = BIT  # DPT_XA_TAG_WRITE
    atomic: Any = BIT  # DPT_XA_TAG_ATOMIC
    page: Any = pointer(Page)

    def show(self) -> str:
        if self.page is None:
            return "none"
        return f"{self.page!r} {'atomic' if self.atomic else 'write' if self.write else 'read'}"


NO_ENTRY = DevicePte()


class DmirrorDevice(Record):
    """struct dmirror_device with its chunk of memory.  The free list is the pages' `free`."""

    short = "mdevice"
    pgmap: Any = const()
    pages: Any = const(())
    remove: Any = flag(quiet=True)  # chunk->remove: pages that come back stay out of the free list


class Dmirror(Record):
    """struct dmirror: what one open file of a device mirrors."""

    short = "mirror"
    mdevice: Any = const()
    mm: Any = const()
    notifier: Any = const()
    mutex: Any = embed(Lock)
    pt: Any = array(packed(DevicePte))
    fail_alloc: Any = flag(quiet=True)  # HMM_DMIRROR_FLAG_FAIL_ALLOC


class TestHmm(DeviceExclusive):
    """lib/test_hmm.c as of v7.2."""

    __test__ = False  # no class of tests

    # --- set-up --------------------------------------------------------------------------------

    def dmirror_device(self, pages: int = 1, coherent: bool = False, atomics: bool = False) -> DmirrorDevice:
        """A device with `pages` pages of private memory, or of memory that the CPU can reach as well
        (`coherent`); `atomics`: one that takes exclusive access."""
        device = self.system.new(DmirrorDevice)
        self.exclusive_exists = self.exclusive_exists or atomics or self.system.sparse
        if pages:
            kind = MemoryType.COHERENT if coherent else MemoryType.PRIVATE
            self.private_exists = self.private_exists or not coherent
            self.coherent_exists = self.coherent_exists or coherent
            device.pgmap = self.memremap_pages(pages, kind)
            device.pgmap.owner = device
            device.pages = tuple(device.pgmap.pages[i] for i in range(pages))
            for page, second in zip(device.pages[::2], device.pages[1::2], strict=False):
                page.second = second
            self.grow()
        return device

    def dmirror_open(self, device: DmirrorDevice) -> Dmirror:
        """Mirror the calling task's address space (lib/test_hmm.c, dmirror_fops_open)."""
        mm = current().mm
        mirror = self.system.new(Dmirror, mdevice=device, mm=mm)
        mirror.notifier = self.system.new(MmuIntervalNotifier, mm=mm, driver=mirror)
        mm.notifiers = (*mm.notifiers, mirror.notifier)
        mirror._values["pt"].grow(len(mm.vma_at))
        return mirror

    @at_setup
    def mirrors(self) -> Sequence[Dmirror]:
        """All open files of such devices."""
        return [d for d in self.system.instances(Dmirror) if isinstance(d, Dmirror)]

    # --- the mirror --------------------------------------------------------------------------------

    def invalidate(k, sub: MmuIntervalNotifier, event: int, owner: Any, first: int, nr: int) -> None:
        """dmirror_interval_invalidate(): drop what the device has of a range, but for migrations of its
        own, which do so themselves (lib/test_hmm.c); and for its own exclusive access, of which
        nouveau says so (drivers/gpu/drm/nouveau/nouveau_svm.c)."""
        mirror = sub.driver
        if event == Event.MIGRATE and owner is mirror.mdevice:
            return
        if event == Event.EXCLUSIVE and owner is mirror.mdevice:
            return
        lock(mirror.mutex)
        k.mmu_interval_set_seq(sub)
        k.dmirror_do_update(mirror, first, nr)
        unlock(mirror.mutex)

    def dmirror_do_update(k, mirror: Dmirror, first: int, nr: int) -> None:
        """lib/test_hmm.c"""
        for va in indices(mirror, "pt", 0, len(mirror.pt), 1):
            if first <= va < first + nr:
                mirror.pt[va] = NO_ENTRY

    def dmirror_range_fault(k, mirror: Dmirror, first: int, nr: int, write: bool) -> int:
        """Look up a range, and map it unless it was invalidated meanwhile (lib/test_hmm.c)."""
        while True:
            k.mmu_interval_read_begin(mirror.notifier)
            down_read(mirror.mm.mmap_lock)
            result = k.hmm_range_fault(mirror.notifier, mirror.mm, first, nr, True, write, mirror.mdevice)
            up_read(mirror.mm.mmap_lock)
            if result == Hmm.OK:
                lock(mirror.mutex)
                if not k.mmu_interval_read_retry(mirror.notifier):
                    break
                unlock(mirror.mutex)
            elif result != Hmm.EBUSY:
                return result
        done = k.dmirror_do_fault(mirror, first, nr, write)
        unlock(mirror.mutex)
        return Hmm.OK if done else Hmm.EFAULT

    def dmirror_do_fault(k, mirror: Dmirror, first: int, nr: int, write: bool) -> bool:
        """False where a write was asked for and the page is read-only, of which hmm_range_fault() says
        nothing where it is the caller's own (lib/test_hmm.c)."""
        done = True
        for va in range(first, first + nr):
            pfn = current().hmm_pfns[va]
            if WARN_ON(write and not pfn.write, "dmirror_do_fault() of a page that it may not write to"):
                done = False
            elif done:
                mirror.pt[va] = DevicePte(page=pfn.page, write=pfn.write)
        return done

    # --- what the device does ------------------------------------------------------------------------

    def gpu_read(k, mirror: Dmirror, va: int) -> Page | None:
        """The device loads from an address, faulting as often as it takes; None for a fault that
        cannot be served."""
        while True:
            page = k.device_load(mirror, va)
            if page is not None or k.dmirror_range_fault(mirror, va, 1, False) != Hmm.OK:
                return page

    def gpu_write(k, mirror: Dmirror, va: int, value: int = 2) -> Page | None:
        """The device stores `value` to an address; as gpu_read()."""
        while True:
            page = k.device_store(mirror, va, value)
            if page is not None or k.dmirror_range_fault(mirror, va, 1, True) != Hmm.OK:
                return page

    def device_load(k, mirror: Dmirror, va: int) -> Page | None:
        """One load of the device, or None for a fault."""
        with atomic("one transaction: who invalidates waits until those under way are over"):
            entry = mirror.pt[va]
            return entry.page

    def device_store(k, mirror: Dmirror, va: int, value: int) -> Page | None:
        """One store of the device, or None for a fault."""
        with atomic("one transaction: who invalidates waits until those under way are over"):
            entry = mirror.pt[va]
            if entry.page is None or not entry.write:
                return None
            entry.page.frame.data = value
            mirror.mm.written[va] = value
            return entry.page

    # --- memory of the device --------------------------------------------------------------------------

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

    def dmirror_do_read(k, mirror: Dmirror, first: int, nr: int) -> bool:
        """Read a range as the device has it mapped, without a fault; false for -ENOENT
        (lib/test_hmm.c)."""
        found = True
        lock(mirror.mutex)
        for va in range(first, first + nr):
            if found:
                found = k.device_load(mirror, va) is not None
        unlock(mirror.mutex)
        return found

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

    # --- the end of the device ---------------------------------------------------------------------------

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

    # --- exclusive access ----------------------------------------------------------------------------------

    def dmirror_exclusive(k, mirror: Dmirror, va: int, nr: int = 1) -> bool:
        """HMM_DMIRROR_EXCLUSIVE: take pages for the device alone, one by one, and read them.  No sequence
        number is looked at (lib/test_hmm.c)."""
        k.needs_atomics()
        mm = mirror.mm
        done = True
        down_read(mm.mmap_lock)
        for at in range(va, va + nr):
            vma = mm.vma_at[at]
            page: Page | None = None
            if done and vma.linked:
                page = k.make_device_exclusive(vma, at, None)
            if page is None:
                done = False
            else:
                k.dmirror_atomic_map(mirror, at, page)
                k.folio_unlock(k.page_folio(page))
                k.folio_put(k.page_folio(page))
        up_read(mm.mmap_lock)
        return done and k.dmirror_do_read(mirror, va, nr)

    @at_setup
    def needs_atomics(self) -> None:
        """SpecError where no device was made for it: no fault would look for its entries."""
        if not self.exclusive_exists:
            raise SpecError("exclusive access: make the device with dmirror_device(atomics=True)")

    def dmirror_atomic_map(k, mirror: Dmirror, va: int, page: Page) -> None:
        """lib/test_hmm.c"""
        lock(mirror.mutex)
        mirror.pt[va] = DevicePte(page=page, atomic=True)
        unlock(mirror.mutex)
