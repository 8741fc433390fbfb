"""struct page of device memory, and its references (include/linux/mm.h, mm/swap.c)."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from zonedev.kernel.percpu_ref import PercpuRefOps
from zonedev.lang.primitives import (
    BUG_ON,
    WARN_ON,
    Lock,
    WaitQueue,
    atomic_add_unless_zero,
    atomic_inc,
    atomic_read,
    atomic_set,
    atomic_sub_and_test,
    atomic_t,
    lock,
    trylock,
    wake_up,
)
from zonedev.lang.records import Record, const, count, embed, enum, flag, ref
from zonedev.lang.runtime import atomic

#: FOLL_PIN adds this to _refcount of a small folio (include/linux/mm.h).
GUP_PIN_COUNTING_BIAS = 1024


class MemoryType(IntEnum):
    """enum memory_type (include/linux/memremap.h)."""

    GENERIC = 0
    FS_DAX = 1
    PRIVATE = 2
    COHERENT = 3
    PCI_P2PDMA = 4


class Frame(Record):
    """The memory behind a struct page, which outlives it.

    `owner` is who the memory belongs to: 0 nobody (its region was released, or no file has
    the block), 1 the user of the device, 2 the next one; of a block its file, by number, and of
    a copy in a private mapping the file that it was made of.
    """

    short = "frame"
    owner = count(0, 3, initial=1)
    data = count(0, 3)
    waiters: Any = embed(WaitQueue)  # wait_var_event() on the page: hashed by address, no access to it
    refcount_waiters: Any = embed(WaitQueue)  # the same on its _refcount, where a design tells the two apart
    lock_waiters: Any = embed(WaitQueue)  # folio_waitqueue() of PG_locked, hashed by address as well


class DevPagemap(Record):
    """struct dev_pagemap (include/linux/memremap.h)."""

    short = "pgmap"
    freed_breaks = "page-lifetime"
    ref: Any = const()
    type = enum(MemoryType, quiet=True)
    vmemmap_shift: int = const(0)  # 0: its pages were made single, as those of files are
    pages: Any = const(())
    array: Any = const()  # its entry in pgmap_array
    owner: Any = const()  # of private and coherent memory: the driver's device
    provider: Any = const()  # of peer-to-peer memory: the PCI device


class PgmapArray(Record):
    """The entry of pgmap_array for one range of pfns (mm/memremap.c)."""

    short = "pgmap_array"
    pgmap = ref("DevPagemap")


class Page(Record):
    """struct page and struct folio (include/linux/mm_types.h).

    `_mapcount` counts from 0 here, from -1 in the kernel.  `head` is page_folio():
    device memory is made compound before anyone can see it and stays so.  `index` and
    `share` are one word: the latter, the number of files that share a block, counts where
    `mapping` is NULL.
    """

    short = "page"
    freed_breaks = "page-lifetime"
    _refcount: Any = atomic_t(0, 4 * GUP_PIN_COUNTING_BIAS - 1, below="refcount-exact")
    _mapcount: Any = atomic_t(0, 7, below="refcount-exact")
    _pincount: Any = atomic_t(0, 7, below="refcount-exact")
    pgmap: Any = ref("DevPagemap", quiet=True)
    mapping: Any = ref("AddressSpace", quiet=True)
    index = count(0, 7, below="mapping-exact", quiet=True)
    locked: Any = embed(Lock)  # PG_locked
    anon_vma: Any = ref("AnonVma", quiet=True)  # the mapping of an anonymous page: who may map it
    anon_exclusive: Any = flag(quiet=True)  # PG_anon_exclusive
    zone_device_data: Any = ref("Dmirror", quiet=True)  # the driver's: of a page of test_hmm the mirror
    free: Any = flag(initial=True, quiet=True)  # on the driver's free list
    order = count(0, 1, quiet=True)  # of the folio that begins with it, where huge pages are made and split
    compound_head: Any = ref("Page", quiet=True)
    second: Any = const()  # the other page of the 2M that begin with it
    number: int = const(0)  # in its device
    head: Any = const()
    large: bool = const(False)  # folio_test_large(head)
    memory: int = const(-1)  # the MemoryType of the device that it is of
    anon: bool = const(False)  # from the page allocator, for anonymous memory or a private copy
    frame: Any = const()
    array: Any = const()  # the pgmap_array entry of its pfn


class PageOps(PercpuRefOps):
    """References to device pages as of v7.2."""

    #: Whether a driver has memory of its own: private, coherent or peer-to-peer.
    drivers_memory = False
    #: Whether there is a pagemap at all.
    pagemap_exists = False

    def of_allocator(k, page: Page) -> bool:
        """Whether a page is the page allocator's, and no device's."""
        return not k.pagemap_exists or page.anon

    def page_folio(k, page: Page) -> Page:
        """The folio that carries the counts (include/linux/page-flags.h)."""
        return page.head

    def folio_get(k, folio: Page) -> None:
        """Take a reference beside one that is held (include/linux/mm.h)."""
        BUG_ON(atomic_read(folio._refcount) == 0, "folio_get() of a folio without references")
        atomic_inc(folio._refcount)

    def get_page(k, page: Page) -> None:
        """The reference of a caller that holds one already (include/linux/mm.h)."""
        k.folio_get(k.page_folio(page))

    def folio_try_get(k, folio: Page, refs: int) -> bool:
        """folio_ref_try_add(): take references unless there are none
        (include/linux/page_ref.h)."""
        return atomic_add_unless_zero(folio._refcount, refs)

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """Drop references; the last one frees (include/linux/mm.h)."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        if atomic_sub_and_test(folio._refcount, refs):
            k.free_zone_device_folio(folio)

    def put_anon_folio(k, folio: Page, refs: int) -> None:
        """Drop references to a page that is no device's: it goes back to the allocator
        (mm/swap.c, __folio_put; mm/page_alloc.c)."""
        if atomic_sub_and_test(folio._refcount, refs):
            folio.frame.owner = 0

    def folio_put(k, folio: Page) -> None:
        """Drop a reference (include/linux/mm.h)."""
        k.folio_put_refs(folio, 1)

    def free_zone_device_folio(k, folio: Page) -> None:
        """The last reference is gone, and with it what kept the pagemap alive
        (mm/memremap.c).  memcg is not modelled."""
        pgmap = folio.pgmap
        if WARN_ON(pgmap is None, "a folio without pagemap is freed"):
            return
        kind = pgmap.type
        if kind == MemoryType.GENERIC:
            atomic_set(folio._refcount, 1)
        elif kind == MemoryType.FS_DAX:
            wake_up(folio.frame.waiters)
        elif k.drivers_memory:
            k.free_drivers_folio(folio, pgmap, kind)

    def free_drivers_folio(k, folio: Page, pgmap: DevPagemap, kind: int) -> None:
        """The page goes back to the driver, and then the references of the pagemap; how many is known
        before (mm/memremap.c, free_zone_device_folio)."""
        nr = k.folio_nr_pages(folio)
        if kind != MemoryType.PCI_P2PDMA:
            k.clear_anon_exclusive(folio)
        folio.anon_vma = None
        k.folio_free(folio)
        if kind != MemoryType.PCI_P2PDMA:
            k.percpu_ref_put_many(pgmap.ref, nr)

    def clear_anon_exclusive(k, folio: Page) -> None:
        """__ClearPageAnonExclusive() of every page (include/linux/page-flags.h)."""
        folio.anon_exclusive = False

    def folio_free(k, folio: Page) -> None:
        """The driver's callback: pgmap->ops->folio_free()."""

    def folio_nr_pages(k, folio: Page) -> int:
        """include/linux/mm.h"""
        return 1

    # --- PG_locked -----------------------------------------------------------------------------------

    def folio_trylock(k, folio: Page) -> bool:
        """include/linux/pagemap.h"""
        return trylock(folio.locked)

    def folio_lock(k, folio: Page) -> None:
        """include/linux/pagemap.h"""
        lock(folio.locked)

    def folio_unlock(k, folio: Page) -> None:
        """Clear the bit, then wake who waits for it; the wait queue is hashed by address, so that
        the folio is not touched again (mm/filemap.c)."""
        frame = folio.frame
        with atomic("one xor clears the bit; VM_BUG_ON_FOLIO() looks right before it"):
            BUG_ON(not folio.locked.held, "folio_unlock() of a folio that is not locked")
            folio.locked.held = False
        wake_up(frame.lock_waiters)
