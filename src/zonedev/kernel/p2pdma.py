"""PCI peer-to-peer memory: part of a BAR, with struct pages (drivers/pci/p2pdma.c).

The kernel allocates from a device's pool, and processes map the sysfs file p2pmem/allocate, whose
mmap() allocates.  A page that is mapped goes back to the pool with its last reference; what the kernel
has allocated is not counted in its pages.  Of kernfs there is what keeps mmap() and the removal of a
file apart, with one open file that all share.  fork() of such a mapping is not modelled.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from zonedev.kernel.coherent import Coherent
from zonedev.kernel.mapping import AddressSpace, VmFile
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    WaitQueue,
    atomic_read,
    atomic_set,
    rcu_read_lock,
    rcu_read_unlock,
    spin_lock,
    spin_unlock,
    synchronize_rcu,
    wait_event,
    wake_up,
)
from zonedev.lang.records import Record, array, const, count, embed, enum, flag, ref
from zonedev.lang.runtime import at_setup, atomic, free

#: KN_DEACTIVATED_BIAS, which is negative in the kernel.
KN_DEACTIVATED_BIAS = 8


class Chunk(IntEnum):
    """A page of a pool.  Which pages were allocated together is not in the kernel's bitmap."""

    FREE = 0
    OWNS = 1  # used: its end drops a reference of the pagemap
    REST = 2  # used, as part of what the kernel allocated with the page before


class GenPool(Record):
    """struct gen_pool, with one chunk (lib/genalloc.c)."""

    short = "pool"
    freed_breaks = "page-lifetime"
    used: Any = array(enum(Chunk))


class PciP2pdma(Record):
    """struct pci_p2pdma (drivers/pci/p2pdma.c)."""

    short = "p2pdma"
    freed_breaks = "page-lifetime"
    pool: Any = const()


class PciDev(VmFile):
    """struct pci_dev with peer-to-peer memory; as a file it is p2pmem/allocate."""

    short = "pdev"
    p2pdma: Any = ref(PciP2pdma)
    pgmap: Any = const()
    pool: Any = const()
    active = count(0, 2 * KN_DEACTIVATED_BIAS - 1, quiet=True)  # kn->active
    mmapped: Any = flag(quiet=True)  # of->mmapped
    deactivate_waitq: Any = embed(WaitQueue)


class P2pdma(Coherent):
    """drivers/pci/p2pdma.c as of v7.2."""

    #: Whether VM_WARN_ON() of this file warns, in which one of them is the wrong way round for a while.
    CONFIG_DEBUG_VM = False

    # --- set-up --------------------------------------------------------------------------------

    def p2pdma_device(self, pages: int = 1, mapping: int = 0) -> PciDev:
        """pci_p2pdma_add_resource(): a bound device with `pages` pages of peer-to-peer memory, of which
        each mmap() of p2pmem/allocate takes `mapping`; 0: all (drivers/pci/p2pdma.c)."""
        self.p2pdma_exists = True
        pgmap = self.memremap_pages(pages, MemoryType.PCI_P2PDMA)
        pool = self.system.new(GenPool)
        pool._values["used"].grow(pages)
        pdev = self.system.new(
            PciDev,
            mapping=self.system.new(AddressSpace),
            pgmap=pgmap,
            pages=pgmap.pages,
            pool=pool,
            nr=mapping or pages,
        )
        pdev._values["p2pdma"] = self.system.new(PciP2pdma, pool=pool)
        pgmap.provider = pdev
        return pdev

    @at_setup
    def vma_is_p2pmem(self, vma: Vma) -> bool:
        """Whether p2pmem/allocate is mapped there."""
        return isinstance(vma.vm_file, PciDev)

    # --- the pool ------------------------------------------------------------------------------

    def gen_pool_alloc_owner(k, pdev: PciDev, pool: GenPool, nr: int, by_page: bool) -> Page | None:
        """The first gap of `nr` pages, or None; `by_page`: each page will be freed alone.

        chunk->avail is the number of clear bits here.  In the kernel it is a counter of its own, which
        follows the bits a moment later, and the search for a gap does not go back: beside a call under
        way an allocation can fail there although there is room, which is left out (lib/genalloc.c)."""
        found: Page | None = None
        with atomic("one cmpxchg of the word with the bits; who finds it changed searches again"):
            if nr > sum(int(pool.used[i] == Chunk.FREE) for i in range(len(pdev.pages))):
                return None
            for first in range(len(pdev.pages) - nr + 1):
                if found is None and all(pool.used[first + i] == Chunk.FREE for i in range(nr)):
                    for i in range(nr):
                        pool.used[first + i] = Chunk.OWNS if by_page or i == 0 else Chunk.REST
                        pdev.pages[first + i].frame.owner = 1
                    found = pdev.pages[first]
        return found

    def gen_pool_free(k, pdev: PciDev, pool: GenPool, first: Page, nr: int) -> None:
        """gen_pool_free(), gen_pool_free_owner() (lib/genalloc.c)."""
        with atomic("one cmpxchg of the word with the bits, which nobody else frees"):
            for i in range(nr):
                BUG_ON(pool.used[first.number + i] == Chunk.FREE, "gen_pool_free() of what is free")
                pool.used[first.number + i] = Chunk.FREE
                pdev.pages[first.number + i].frame.owner = 0

    def gen_pool_destroy(k, pdev: PciDev, pool: GenPool) -> None:
        """lib/genalloc.c"""
        for i in range(len(pdev.pages)):
            BUG_ON(pool.used[i] != Chunk.FREE, "gen_pool_destroy() with memory in use")
        free(pool)

    def p2pmem_refs(k, pgmap: DevPagemap) -> int:
        """The references of a pagemap that what was allocated holds: for the rules."""
        pool = pgmap.provider.pool
        return sum(int(pool.used[i] == Chunk.OWNS) for i in range(len(pool.used)))

    # --- allocation by the kernel --------------------------------------------------------------

    def rcu_dereference_p2pdma(k, pdev: PciDev) -> PciP2pdma | None:
        """What allocates looks pdev->p2pdma up in an RCU section (include/linux/rcupdate.h)."""
        p2pdma: PciP2pdma | None = pdev.p2pdma
        return p2pdma

    def pci_alloc_p2pmem(k, pdev: PciDev, nr: int = 1) -> Page | None:
        """The first of `nr` pages, or None.  Their counts stay as they are, and the pagemap gets one
        reference for all (drivers/pci/p2pdma.c)."""
        rcu_read_lock()
        p2pdma = k.rcu_dereference_p2pdma(pdev)
        if p2pdma is None:
            rcu_read_unlock()
            return None
        first = k.gen_pool_alloc_owner(pdev, p2pdma.pool, nr, False)
        if first is not None and not k.percpu_ref_tryget_live_rcu(pdev.pgmap.ref):
            k.gen_pool_free(pdev, p2pdma.pool, first, nr)
            first = None
        rcu_read_unlock()
        return first

    def pci_free_p2pmem(k, pdev: PciDev, first: Page, nr: int = 1) -> None:
        """The reference to the pagemap keeps the pool (drivers/pci/p2pdma.c)."""
        p2pdma = pdev.p2pdma
        k.gen_pool_free(pdev, p2pdma.pool, first, nr)
        k.percpu_ref_put(pdev.pgmap.ref)

    # --- allocation by mmap() ------------------------------------------------------------------

    def call_mmap_prepare(k, vma: Vma) -> bool:
        """For a file in sysfs call_mmap(), which finds the VMA in no tree yet (mm/vma.c)."""
        if not k.vma_is_p2pmem(vma):
            return super().call_mmap_prepare(vma)
        mapped = k.kernfs_fop_mmap(vma)
        if not mapped:
            k.unmap_region(vma)
        return mapped

    def unmap_region(k, vma: Vma) -> None:
        """Undo what a driver has mapped before it failed (mm/vma.c, __mmap_new_file_vma)."""
        k.tlb_gather_mmu(vma.mm)
        k.zap_vma(vma)
        k.tlb_finish_mmu(vma.mm)

    def kernfs_fop_mmap(k, vma: Vma) -> bool:
        """The file stays as long as its handler runs (fs/kernfs/file.c)."""
        pdev = vma.vm_file
        if not k.kernfs_get_active(pdev):
            return False
        done = k.p2pmem_alloc_mmap(vma)
        if done:
            pdev.mmapped = True
        k.kernfs_put_active(pdev)
        return done

    def p2pmem_alloc_mmap(k, vma: Vma) -> bool:
        """Allocate what is mapped, and map it at once: there is no fault handler.  The pagemap is held
        meanwhile (drivers/pci/p2pdma.c)."""
        pdev = vma.vm_file
        rcu_read_lock()
        p2pdma = k.rcu_dereference_p2pdma(pdev)
        if p2pdma is None:
            rcu_read_unlock()
            return False
        first = k.gen_pool_alloc_owner(pdev, p2pdma.pool, vma.nr, True)
        if first is None:
            rcu_read_unlock()
            return False
        if not k.percpu_ref_tryget_live_rcu(pdev.pgmap.ref):
            k.gen_pool_free(pdev, p2pdma.pool, first, vma.nr)
            rcu_read_unlock()
            return False
        rcu_read_unlock()
        for i in range(vma.nr):
            page = pdev.pages[first.number + i]
            k.p2pmem_page_init(page)
            if not k.vm_insert_page(vma, vma.start + i, page):
                k.gen_pool_free(pdev, p2pdma.pool, page, vma.nr - i)
                k.p2pmem_insert_failed(pdev, page)
                return False
            k.percpu_ref_get(pdev.pgmap.ref)
            k.folio_put(page)
        k.percpu_ref_put(pdev.pgmap.ref)
        return True

    def p2pmem_page_init(k, page: Page) -> None:
        """A page that was free has no reference; this one will be dropped when the mapping has its own
        (drivers/pci/p2pdma.c, p2pmem_alloc_mmap)."""
        if k.CONFIG_DEBUG_VM:
            WARN_ON(atomic_read(page._refcount) != 0, "p2pmem_alloc_mmap() is given a page in use")
        atomic_set(page._refcount, 1)

    def p2pmem_insert_failed(k, pdev: PciDev, page: Page) -> None:
        """Nothing was mapped, and the page is in the pool again already (drivers/pci/p2pdma.c,
        p2pmem_alloc_mmap)."""
        atomic_set(page._refcount, 0)
        k.percpu_ref_put(pdev.pgmap.ref)

    def vm_insert_page(k, vma: Vma, va: int, page: Page) -> bool:
        """Map a page that is counted, as a normal one; false for -EINVAL (mm/memory.c)."""
        if atomic_read(page._refcount) == 0:
            return False
        spin_lock(vma.mm.ptl)
        k.folio_get(page)
        k.folio_add_file_rmap(page)
        vma.mm.pte[va] = Pte(present=True, write=True, page=page)
        spin_unlock(vma.mm.ptl)
        return True

    def handle_mm_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """SIGBUS where p2pmem/allocate was mapped and is no more (fs/kernfs/file.c,
        kernfs_vma_fault)."""
        return not k.vma_is_p2pmem(vma) and super().handle_mm_fault(vma, va, write)

    def subpage(k, vma: Vma, va: int, entry: Pte) -> Page:
        """What the pool gave."""
        return entry.page if k.vma_is_p2pmem(vma) else super().subpage(vma, va, entry)

    # --- the end of a mapping ------------------------------------------------------------------

    def folio_free(k, folio: Page) -> None:
        """pgmap->ops->folio_free(), of whose memory it is."""
        if k.p2pdma_exists and folio.memory == MemoryType.PCI_P2PDMA:
            k.p2pdma_folio_free(folio)
        else:
            super().folio_free(folio)

    def p2pdma_folio_free(k, folio: Page) -> None:
        """Back to the pool; the last act is to drop the reference to the pagemap
        (drivers/pci/p2pdma.c)."""
        pgmap = folio.pgmap
        pdev = pgmap.provider
        p2pdma = pdev.p2pdma
        k.gen_pool_free(pdev, p2pdma.pool, folio, 1)
        k.percpu_ref_put(pgmap.ref)

    # --- unbind --------------------------------------------------------------------------------

    def unbind_p2pdma(k, pdev: PciDev) -> None:
        """What devres has of pci_p2pdma_add_resource(), last first: of its two allocations the pagemap
        goes before the pool does (drivers/base/devres.c, drivers/pci/p2pdma.c)."""
        k.pci_p2pdma_unmap_mappings(pdev)
        k.devm_memremap_pages_release(pdev.pgmap)
        k.free_pagemap(pdev.pgmap)
        k.pci_p2pdma_release(pdev)

    def pci_p2pdma_unmap_mappings(k, pdev: PciDev) -> None:
        """sysfs_remove_file_from_group(): no mmap() any more, and no mapping (drivers/pci/p2pdma.c;
        fs/kernfs/dir.c, kernfs_drain; fs/kernfs/file.c, kernfs_drain_open_files)."""
        with atomic("atomic_add()"):
            pdev.active = pdev.active + KN_DEACTIVATED_BIAS
        wait_event(pdev.deactivate_waitq, lambda: pdev.active == KN_DEACTIVATED_BIAS)
        if pdev.mmapped:
            k.unmap_mapping_range(pdev.mapping)
            pdev.mmapped = False

    def pci_p2pdma_release(k, pdev: PciDev) -> None:
        """No allocation any more; then wait for those under way (drivers/pci/p2pdma.c)."""
        p2pdma = pdev.p2pdma
        pdev.p2pdma = None
        synchronize_rcu()
        k.gen_pool_destroy(pdev, p2pdma.pool)
        free(p2pdma)

    def kernfs_get_active(k, pdev: PciDev) -> bool:
        """fs/kernfs/dir.c"""
        with atomic("atomic_inc_unless_negative()"):
            if pdev.active >= KN_DEACTIVATED_BIAS:
                return False
            pdev.active = pdev.active + 1
        return True

    def kernfs_put_active(k, pdev: PciDev) -> None:
        """fs/kernfs/dir.c"""
        with atomic("atomic_dec_return()"):
            pdev.active = pdev.active - 1
            last = pdev.active == KN_DEACTIVATED_BIAS
        if last:
            wake_up(pdev.deactivate_waitq)
