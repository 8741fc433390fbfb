"""Coherent memory: pages of a device that the CPU reaches as well, and pins that must not keep them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PRIVATE_RULES, UNBIND_PRIVATE_RULES, Event, private_page

#: v6.0 has it too, and is no design here.
COHERENT_RELEASES = ("linux-6.1", "linux-6.12", "linux-6.15", "linux-7.2")
LONGTERM = FOLL_WRITE | FOLL_LONGTERM
POINTS = ("idle", "migrated", "pinned", "unpinned", "pinned for long")
ROUNDTRIP = ("migrated", "written", "back")


def counts(points: tuple[str, ...], *values: int) -> Mapping[str, int]:
    return dict(zip(points, values, strict=True))


class CoherentRefcounts(Scenario):
    """A page of coherent memory is idle, taken by a migration, pinned, and left by a long-term pin."""

    source = "Alex Sierra, mm: add zone device coherent type memory support, 2022-07-15"
    observes = True
    progress = "fault-terminates"
    expected = dict.fromkeys(
        COHERENT_RELEASES, holds("as private memory, with pins", counts(POINTS, 0, 1, 1025, 1, 0))
    )

    def setup(m: Any) -> None:
        private_page(m, coherent=True)
        m.page = m.gpu.pages[0]

    def task_A(t: Any, m: Any) -> None:
        t.observe("idle", m.page)
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.observe("migrated", m.page)
        page = t.pin_user_pages_fast(m.va)
        t.observe("pinned", m.page)
        if page is not None:
            t.unpin_user_page(page)
        t.observe("unpinned", m.page)
        page = t.pin_user_pages_fast(m.va, LONGTERM)
        t.observe("pinned for long", m.page)
        if page is not None:
            t.dma_store(m.va, page)
            t.unpin_user_page(page)
        t.touch(m.va, False)


class CoherentRoundtrip(Scenario):
    """A page is migrated to coherent memory, written there by CPU and device, and brought back."""

    source = "lib/test_hmm.c: dmirror_migrate_to_system()"
    observes = True
    progress = "fault-terminates"
    expected = dict.fromkeys(COHERENT_RELEASES, holds("a CPU access is no fault", counts(ROUNDTRIP, 1, 1, 0)))

    def setup(m: Any) -> None:
        private_page(m, coherent=True)
        m.page = m.gpu.pages[0]

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.observe("migrated", m.page)
        t.touch(m.va, True, 2)
        t.gpu_write(m.mirror, m.va, 3)
        t.observe("written", m.page)
        t.dmirror_migrate_to_system(m.mirror, m.va)
        t.observe("back", m.page)
        t.touch(m.va, False)


class CoherentLongtermPin(Scenario):
    """A long-term pin moves the page to the system first, or fails where another thread has it pinned."""

    source = "Alistair Popple, mm/gup: migrate device coherent pages when pinning instead of failing, 2022-07"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(COHERENT_RELEASES, holds("a page that moves is nobody else's"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, coherent=True, migrated=True)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, LONGTERM)
        if page is not None:
            t.must_be_pinnable(page)
            t.dma_store(m.va, page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_store(m.va, page, 2)
            t.unpin_user_page(page)


class CoherentLongtermPinVsReference(CoherentLongtermPin):
    """As coherent-longterm-pin, and the other thread has a plain reference.

    The first look at the count lets one reference too many pass; the second one does not.
    """

    source = "mm/migrate_device.c: migrate_vma_check_page(); mm/migrate.c: folio_migrate_mapping()"

    def task_B(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va)
        if page is not None:
            t.dma_store(m.va, page, 2)
            t.put_page(page)


class CoherentLongtermPinVsTouch(CoherentLongtermPin):
    """As coherent-longterm-pin, and the other thread writes to the page."""

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, True, 2)


class CoherentLongtermPinVsMigration(CoherentLongtermPin):
    """A long-term pin while the driver migrates the page to the device: whichever is first.

    Between the two page tables of the migration the pin waits, and finds the page in coherent memory.
    """

    def setup(m: Any) -> None:
        private_page(m, pages=3, coherent=True)

        m.task("B")

    def task_B(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class CoherentLongtermPinVsEvict(CoherentLongtermPin):
    """As coherent-longterm-pin, and the driver brings the page back itself."""

    def task_B(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_system(m.mirror, m.va)


class CoherentLongtermPinVsMunmap(CoherentLongtermPin):
    """As coherent-longterm-pin, and the other thread unmaps the page.

    pin_user_pages_fast() drops mmap_lock before it migrates, since v6.3, and what is not mapped for the
    moment keeps no anon_vma.
    """

    source = "mm/gup.c: __get_user_pages_locked(); mm/rmap.c: rmap_walk_anon_lock()"
    expected = {
        "linux-6.1": holds("mmap_lock is held all the time"),
        **dict.fromkeys(COHERENT_RELEASES[1:], violated("page-lifetime", "the anon_vma was freed")),
    }

    def task_B(t: Any, m: Any) -> None:
        t.munmap(m.va)


class CoherentLongtermPinLocked(CoherentLongtermPinVsMunmap):
    """As coherent-longterm-pin-vs-munmap, with pin_user_pages(), whose caller holds mmap_lock."""

    expected = dict.fromkeys(COHERENT_RELEASES, holds("mmap_lock orders them"))

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va, LONGTERM)
        if page is not None:
            t.must_be_pinnable(page)
            t.unpin_user_page(page)


class CoherentUnbindVsPin(Scenario):
    """A driver of coherent memory goes while a process does I/O to it: eviction waits for the pin."""

    source = "include/linux/mm.h: folio_is_longterm_pinnable()"
    rules = (*UNBIND_PRIVATE_RULES, "unbind-drained")
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(COHERENT_RELEASES, holds("short-term pins end"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, coherent=True, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_store(m.va, page)
            t.unpin_user_page(page)

    def task_driver(t: Any, m: Any) -> None:
        t.evict_until_empty(m.gpu)
        t.remove_device_pagemap(m.gpu)


class CoherentUnbindVsLongtermPin(CoherentUnbindVsPin):
    """As coherent-unbind-vs-pin, with a pin that does not end before the device has gone."""

    expected = dict.fromkeys(COHERENT_RELEASES, holds("the pin is of another page"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, coherent=True, migrated=True)
        m.gone = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, LONGTERM)
        if page is not None:
            t.wait_for(m.gone)
            t.dma_store(m.va, page)
            t.unpin_user_page(page)

    def task_driver(t: Any, m: Any) -> None:
        t.evict_until_empty(m.gpu)
        t.remove_device_pagemap(m.gpu)
        t.happens(m.gone)


class CoherentUnbindKept(CoherentUnbindVsLongtermPin):
    """As coherent-unbind-vs-longterm-pin, with a pin that was not said to be one for long."""

    expected = dict.fromkeys(
        COHERENT_RELEASES, violated("removal-terminates", "the page cannot move before the pin ends")
    )

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.wait_for(m.gone)
            t.unpin_user_page(page)
