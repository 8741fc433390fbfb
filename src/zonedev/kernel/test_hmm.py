"""A device with a page table of its own: the driver lib/test_hmm.c.

It mirrors address spaces and takes exclusive access; its memory is in test_hmm_devmem.py.

`gpu_` functions are what the device does by itself, faulting through the driver; what the driver has
of other drivers besides is said there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.device_exclusive import DeviceExclusive
from zonedev.kernel.hmm import Hmm
from zonedev.kernel.mmu_notifier import Event, MmuIntervalNotifier
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import indices
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
