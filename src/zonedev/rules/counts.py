"""refcount-exact: at rest, the counts are what refers to the page, and nothing else."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.mapping import file_indices
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, MIGRATION, Pte, indices
from zonedev.lang.records import replace
from zonedev.lang.runtime import ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule


def entries(k: Any, page: Page) -> int:
    """How many page-table entries map the folio of `page`, at any level."""
    return sum(entries_in(mm, page) for mm in k.system.instances("Mm"))


def entries_in(mm: Any, page: Page) -> int:
    """How many of them are in one address space; the entry of a migration maps nothing."""
    ptes = sum(int(maps(mm.pte[va], page)) for va in indices(mm, "pte", 0, len(mm.pte), 1))
    pmds = sum(int(maps(mm.pmd[va], page)) for va in indices(mm, "pmd", 0, len(mm.pmd), 1))
    puds = sum(int(mm.pud[va].page is page) for va in indices(mm, "pud", 0, len(mm.pud), 1))
    return ptes + pmds + puds


def entry_at(mm: Any, va: int) -> Pte:
    """What the page tables of an address space have at an address: a PTE, or one out of a huge entry."""
    if va < len(mm.vma_at) and mm.vma_at[va].thp:
        pmd = mm.pmd[mm.vma_at[va].start]
        if pmd.page is not None:
            return pmd if va == mm.vma_at[va].start else replace(pmd, page=pmd.page.second)
    entry: Pte = mm.pte[va]
    return entry


def maps(entry: Pte, page: Page) -> bool:
    """Whether an entry, present or not, maps a page."""
    return entry.page is page and entry.leaf != MIGRATION


def unmapped_entries(k: Any, page: Page) -> int:
    """How many of the entries of a folio hold a reference, but are no mappings."""
    if not k.exclusive_exists or k.EXCLUSIVE_IS_MAPPED:
        return 0
    if k.thp_exists:
        if page.compound_head is not None:
            return 0
        if page.second is not None and page.order > 0:
            return exclusive_entries(k, page) + exclusive_entries(k, page.second)
    return exclusive_entries(k, page)


def exclusive_entries(k: Any, page: Page) -> int:
    """How many entries of a page are a device's alone."""
    return sum(
        int(mm.pte[va].page is page and mm.pte[va].leaf == DEVICE_EXCLUSIVE)
        for mm in k.system.instances("Mm")
        for va in indices(mm, "pte", 0, len(mm.pte), 1)
    )


def at_rest(k: Any) -> None:
    """Every folio and every pagemap that still exists is counted exactly."""
    for pgmap in k.system.instances("DevPagemap"):
        if pgmap.live and not pgmap.ref.percpu_count_ptr.dead:
            pagemap_counted(k, pgmap)
    for page in k.system.instances("Page"):
        if not k.is_zero_page(page) and page.live:
            counted(k, page)


def pagemap_counted(k: Any, pgmap: DevPagemap) -> None:
    """A live pagemap has its initial reference, and those that the design lets pages hold."""
    right = 1 + k.pgmap_refs(pgmap)
    if k.PGMAP_REF_PER_PAGE_REF:
        right = 1 + sum(t.pins[p._index] + t.gets[p._index] for t in k.system.tasks for p in pgmap.pages)
    if k.PGMAP_REF_PER_USED_PAGE or (k.drivers_memory and k.takes_pagemap_ref(pgmap)):
        used = sum(int(p.live and in_use(k, p)) for p in pgmap.pages)
        right = 1 + k.pgmap_refs(pgmap) + used
    if pgmap.provider is not None:
        right = 1 + k.pgmap_refs(pgmap) + k.p2pmem_refs(pgmap)
    found = pgmap.ref.count.value - k.percpu_count_bias() + pgmap.ref.percpu_count.value
    ensure("refcount-exact", found == right, "{} has {} references instead of {}", pgmap, found, right)


def mappings(k: Any, page: Page) -> int:
    """The entries that the count of a page has to have: of a folio all, of its tail none."""
    if not (page.anon or page.memory > MemoryType.FS_DAX or k.mapping_holds_ref(page)):
        return 0
    if k.thp_exists:
        if page.compound_head is not None:
            return 0
        if page.second is not None and page.order > 0:
            return entries(k, page) + entries(k, page.second)
    return entries(k, page)


def unused_count(k: Any, page: Page) -> int:
    """What the count of a page is without mappings and holders."""
    if k.thp_exists and page.compound_head is not None:
        return 0
    if page.memory in (MemoryType.PRIVATE, MemoryType.COHERENT) and not page.free:
        return int(k.IN_USE_COUNT)
    if page.memory == MemoryType.PCI_P2PDMA and page._mapcount.value + holders(k, page) > 0:
        return 0
    return int(k.idle_count(page))


def holders(k: Any, page: Page) -> int:
    """The pins and plain references of a page of 4K."""
    held: int = sum(t.pins[page._index] + t.gets[page._index] for t in k.system.tasks)
    return held


def in_use(k: Any, page: Page) -> bool:
    """Whether a page, or the folio that it is of, has references."""
    if k.thp_exists and page.compound_head is not None:
        return page.compound_head._refcount.value > 0
    return page._refcount.value > 0


def counted(k: Any, page: Page) -> None:
    """The count is idle + mappings (where the design counts them) + pins + plain references."""
    mapped = mappings(k, page)
    rmaps = mapped - unmapped_entries(k, page)
    pins = sum(t.pins[p._index] for t in k.system.tasks for p in k.members(page))
    gets = sum(t.gets[p._index] for t in k.system.tasks for p in k.members(page))
    weight = 1 if page.large else k.PIN_WEIGHT
    entered = entries_of_files(k, page) if k.ENTRY_HOLDS_REF and not page.anon else 0
    right = unused_count(k, page) + mapped + entered + pins * weight + gets
    ensure(
        "refcount-exact",
        page._refcount.value == right,
        "{} has _refcount {}, but {} mappings, {} pins and {} references make {}",
        page,
        page._refcount.value,
        mapped,
        pins,
        gets,
        right,
    )
    ensure(
        "refcount-exact",
        page._mapcount.value == rmaps,
        "{} has _mapcount {}, but {} entries map it",
        page,
        page._mapcount.value,
        rmaps,
    )
    pinned = pins if page.large else 0
    ensure(
        "refcount-exact",
        page._pincount.value == pinned,
        "{} has _pincount {}, but {} pins",
        page,
        page._pincount.value,
        pinned,
    )


def entries_of_files(k: Any, page: Page) -> int:
    """How many entries of files that were not zapped are for the folio of `page`."""
    return sum(
        int(k.entry_has(file, file.i_pages[at], page))
        for file in k.entered_files()
        for at in file_indices(file, "i_pages", 0)
    )


def observed(k: Any, label: str, page: Page) -> None:
    """A scenario looks at a count while nothing else moves: it has to be exact there too."""
    counted(k, page.head)


REFCOUNT_EXACT = Rule(
    "refcount-exact",
    "safety",
    "At rest a page's count is its mappings, pins and named holders; it is never below zero.",
    (
        Monitor("refcount-exact", at_rest),
        Monitor("refcount-exact", observed, after="observe"),
    ),
)
