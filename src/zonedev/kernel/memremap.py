"""Pagemaps: creating, looking up and removing the struct pages of a device (mm/memremap.c)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from zonedev.kernel.page import (
    GUP_PIN_COUNTING_BIAS,
    DevPagemap,
    Frame,
    MemoryType,
    Page,
    PageOps,
    PgmapArray,
)
from zonedev.kernel.percpu_ref import PercpuRef
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_read,
    atomic_set,
    rcu_read_lock,
    rcu_read_unlock,
    synchronize_rcu,
    wait_for_completion,
)
from zonedev.lang.runtime import at_setup, atomic, free, ghost

T = TypeVar("T")


class Made(Sequence[T]):
    """Things that are made when they are asked for; iteration sees those that exist."""

    def __init__(self, nr: int, make: Callable[[int], T]) -> None:
        self._nr, self._make = nr, make
        self._made: dict[int, T] = {}

    def __len__(self) -> int:
        return self._nr

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._nr:
            raise IndexError(f"page {index} of a device of {self._nr}")
        if index not in self._made:
            with ghost():
                self._made[index] = self._make(index)
        return self._made[index]

    def exists(self, index: int) -> bool:
        """Whether one has been made."""
        return index in self._made

    def __iter__(self) -> Iterator[T]:
        return iter([self._made[i] for i in sorted(self._made)])


class DevicePages(Made[Page]):
    """The pages of a device."""

    def __init__(self, nr: int, make: Callable[[DevicePages, int], Page]) -> None:
        super().__init__(nr, lambda index: make(self, index))

    def made(self, first: int, nr: int, step: int = 1) -> list[Page]:
        """Those that exist of the `nr` pages from `first` on, or of every `step`th of them."""
        inside = range(first, first + nr, step)
        return [self._made[i] for i in sorted(self._made) if i in inside]


class Memremap(PageOps):
    """mm/memremap.c as of v7.2."""

    #: What a pin of a small folio adds to its count.
    PIN_WEIGHT = GUP_PIN_COUNTING_BIAS
    #: Whether every reference to a page is one to its pagemap as well.
    PGMAP_REF_PER_PAGE_REF = False
    #: Whether every page that has references at all holds one of its pagemap.
    PGMAP_REF_PER_USED_PAGE = False
    #: Whether an entry of a file holds a reference to each of its folios.
    ENTRY_HOLDS_REF = False
    #: Whether a pagemap of type FS_DAX was created.
    fs_dax_exists = False
    #: Whether a device-dax folio is compound and carries one count (vmemmap_shift), or each
    #: page its own; and the same for the pages of a file that one entry maps.
    COMPOUND_DEVMAP = True
    COMPOUND_FSDAX = True
    #: What a page of a driver counts beside its mappings and holders while it is given out.
    IN_USE_COUNT = 0
    #: The zero page, where a file has holes.
    zero_page: Page | None = None

    def actors(self) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
        for pgmap in self.system.instances(DevPagemap):
            name = f"rcu_softirq{pgmap._index or ''}"  # one each: their grace periods overlap
            yield name, self.percpu_ref_switch_to_atomic_rcu, (pgmap._values["ref"],)

    # --- creation, at set-up -----------------------------------------------------------------

    def memremap_pages(self, nr: int, kind: MemoryType, per_folio: int = 1) -> DevPagemap:
        """memremap_pages() and pagemap_range(): enter the range into pgmap_array, make
        the struct pages, take the pagemap's references (mm/memremap.c).  A folio has
        `per_folio` pages."""
        new = self.system.new
        self.fs_dax_exists = self.fs_dax_exists or kind == MemoryType.FS_DAX
        self.drivers_memory = self.drivers_memory or kind > MemoryType.FS_DAX
        self.pagemap_exists = True
        array = new(PgmapArray)
        pgmap = new(DevPagemap, type=kind, array=array, ref=new(PercpuRef))
        if kind == MemoryType.GENERIC and self.COMPOUND_DEVMAP:
            pgmap.vmemmap_shift = per_folio.bit_length() - 1
        array._values["pgmap"] = pgmap
        pgmap.ref.count.value = self.percpu_count_bias() + 1
        pgmap.pages = self.device_pages(nr, lambda pages, i: self.memmap_init(pages, i, pgmap, per_folio))
        return pgmap

    def device_pages(self, nr: int, make: Callable[[DevicePages, int], Page]) -> Sequence[Page]:
        """`nr` pages, each from `make`; a machine by hand asks for them when they are touched."""
        pages = DevicePages(nr, make)
        return pages if self.system.sparse else tuple(pages[i] for i in range(nr))

    def memmap_init(self, pages: DevicePages, i: int, pgmap: DevPagemap, per_folio: int) -> Page:
        """One struct page, and its reference to the pagemap (mm/mm_init.c,
        memmap_init_zone_device).  The pages of a file's folio become one when they are mapped
        (fs/dax.c, dax_folio_init); they are one here before, when nobody refers to them."""
        frame = self.system.new(Frame, owner=int(pgmap.type == MemoryType.GENERIC))
        page = self.system.new(
            Page,
            self.page_name(pgmap),
            number=i,
            frame=frame,
            array=pgmap.array,
            pgmap=pgmap,
            memory=int(pgmap.type),
        )
        page.large = per_folio > 1 and self.compound(pgmap.type)
        first = i - i % per_folio if page.large else i
        page.head = pages[first] if first < i else page
        if page.head is page:
            page._refcount.value = self.initial_count(pgmap.type)
        if self.pagemap_range_refs(pgmap) and (page.head is page or pgmap.vmemmap_shift == 0):
            self.memremap_get(pgmap)
        self.page_created(page)
        return page

    def page_name(self, pgmap: DevPagemap) -> str:
        """Pages of a driver's memory are called so; "" for the next number of all."""
        if pgmap.type <= MemoryType.FS_DAX:
            return ""
        pages: Sequence[Any] = self.system.instances(Page)
        return f"vram{sum(page.memory > MemoryType.FS_DAX for page in pages)}"

    def compound(self, kind: MemoryType) -> bool:
        """Whether the pages that one huge entry maps are one folio."""
        return self.COMPOUND_DEVMAP if kind == MemoryType.GENERIC else self.COMPOUND_FSDAX

    def new_zero_page(self) -> Page:
        """The page that holes of files are read from, at set-up; nobody counts it."""
        if self.zero_page is None:
            self.zero_page = self.system.new(Page, "zero_page", frame=self.system.new(Frame, owner=0))
            self.zero_page.head = self.zero_page
            self.page_created(self.zero_page)
        return self.zero_page

    def new_anon_page(self) -> Page:
        """A page that the allocator has for copies of private mappings, at set-up."""
        pages: Sequence[Any] = self.system.instances(Page)
        name = f"copy{sum(page.anon for page in pages)}"
        page: Page = self.system.new(Page, name, anon=True, frame=self.system.new(Frame, owner=0))
        page.head = page
        self.page_created(page)
        return page

    def is_zero_page(k, page: Page) -> bool:
        """is_zero_pfn(): vm_normal_page() is NULL for it (include/linux/pgtable.h)."""
        return k.zero_page is not None and page is k.zero_page

    def grow(self) -> None:
        """Room for whatever set-up has made, in the tables that are indexed by address or page."""

    def page_created(self, page: Page) -> None:
        """Room for a new page in the tables that are indexed by page."""

    def initial_count(self, kind: MemoryType) -> int:
        """_refcount of an idle page (mm/mm_init.c, __init_zone_device_page)."""
        return 1 if kind == MemoryType.GENERIC else 0

    def memremap_get(self, pgmap: DevPagemap) -> None:
        """pagemap_range() takes a reference for each folio, to be dropped in memunmap_pages()."""
        pgmap.ref.percpu_count.value = pgmap.ref.percpu_count.value + 1

    @at_setup
    def pagemap_range_refs(self, pgmap: DevPagemap) -> bool:
        """Whether the pagemap holds a reference for each folio from the beginning on; private and
        coherent pages take theirs when they are allocated (mm/memremap.c, pagemap_range)."""
        return pgmap._values["type"] not in (MemoryType.PRIVATE, MemoryType.COHERENT)

    @at_setup
    def pfn_len(self, pgmap: DevPagemap) -> int:
        """The number of folios that memremap_pages() made (mm/memremap.c)."""
        return sum(page.head is page or pgmap.vmemmap_shift == 0 for page in pgmap.pages)

    # --- what the rules reckon with --------------------------------------------------------

    @at_setup
    def pgmap_refs(self, pgmap: DevPagemap) -> int:
        """The references of a pagemap that nobody uses, beside its initial one."""
        return self.pfn_len(pgmap) if self.pagemap_range_refs(pgmap) else 0

    @at_setup
    def takes_pagemap_ref(self, pgmap: DevPagemap) -> bool:
        """Whether a page takes a reference of its pagemap when it is allocated, until it is freed."""
        return pgmap._values["type"] in (MemoryType.PRIVATE, MemoryType.COHERENT)

    @at_setup
    def idle_count(self, page: Page) -> int:
        """What the count of a page is when nothing refers to it: tails carry none."""
        return self.initial_count(page.pgmap.type) if page.head is page and not page.anon else 0

    @at_setup
    def members(self, page: Page) -> tuple[Any, ...]:
        """The pages that `page` carries the counts of."""
        if not page.large:
            return (page,)
        return tuple(p for p in page.pgmap.pages if p.head is page)

    # --- lookup ------------------------------------------------------------------------------

    def get_dev_pagemap(k, array: PgmapArray) -> DevPagemap | None:
        """The pagemap of a pfn, with a reference, unless it was killed (mm/memremap.c)."""
        rcu_read_lock()
        pgmap = array.pgmap
        if pgmap is not None and not k.percpu_ref_tryget_live_rcu(pgmap.ref):
            pgmap = None
        rcu_read_unlock()
        return pgmap

    def put_dev_pagemap(k, pgmap: DevPagemap | None) -> None:
        """Drop what get_dev_pagemap() took (include/linux/memremap.h)."""
        if pgmap is not None:
            k.percpu_ref_put(pgmap.ref)

    # --- allocation ----------------------------------------------------------------------------

    def zone_device_page_init(k, page: Page, pgmap: DevPagemap) -> None:
        """A driver hands out a page: with one reference, locked, and with one of the pagemap, which is
        given where the pagemap was killed too, as long as others have some (mm/memremap.c)."""
        page.anon_vma = None
        WARN_ON(atomic_read(page._refcount) != 0, "zone_device_page_init() of a page in use")
        WARN_ON(not k.percpu_ref_tryget_many(pgmap.ref, 1), "zone_device_page_init() after memunmap_pages()")
        atomic_set(page._refcount, 1)
        k.folio_lock(page)

    # --- removal -------------------------------------------------------------------------------

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """The devm action of the pagemap (mm/memremap.c)."""
        k.memunmap_pages(pgmap)

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """Kill the pagemap, wait for its references, remove the struct pages
        (mm/memremap.c).  No page's count is looked at."""
        k.percpu_ref_kill(pgmap.ref)
        if k.pagemap_range_refs(pgmap):
            k.percpu_ref_put_many(pgmap.ref, k.pfn_len(pgmap))
        wait_for_completion(pgmap.ref.done)
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)

    def pageunmap_range(k, pgmap: DevPagemap) -> None:
        """arch_remove_memory(), then pgmap_array_delete() (mm/memremap.c)."""
        k.arch_remove_memory(pgmap)
        pgmap.array.pgmap = None
        synchronize_rcu()

    def free_pagemap(k, pgmap: DevPagemap) -> None:
        """devres frees the pagemap, which the driver had allocated with devm_kzalloc()
        (drivers/base/devres.c)."""
        with atomic("one kfree(): the ref is a member"):
            free(pgmap)
            free(pgmap.ref)

    def arch_remove_memory(k, pgmap: DevPagemap) -> None:
        """The struct pages go (arch/x86/mm/init_64.c, mm/sparse-vmemmap.c)."""
        for page in pgmap.pages:
            free(page)
