"""The end of an inode against the pins of its pages."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES, FILE_SIZE, Event, two_files


class EvictVsPin(Scenario):
    """The last name and the last descriptor of a file go while I/O runs that nobody else knows of."""

    source = "Dan Williams, Fix the DAX-gup mistake (cover letter), after Dave Chinner, 2022-10-14"
    scope = {"size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("io io A A io",)
    expected = {
        "linux-4.5": violated("block-reuse", "eviction waits for nobody"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-4.13": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": violated("block-reuse", "as linux-4.5"),
        "linux-6.1": violated("block-reuse", "as linux-4.5"),
        "linux-6.12": violated("block-reuse", "as linux-4.5"),
        "linux-6.15": holds("0e2f80afcfa6: eviction waits until all pages are idle"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("05/25: eviction waits, entry by entry"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("io").mmap(m.file)
        m.task("A").open(m.file)
        m.unmapped = m.new(Event)

    def task_io(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        t.munmap(m.va)
        t.happens(m.unmapped)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_A(t: Any, m: Any) -> None:
        t.wait_for(m.unmapped)
        t.unlink(m.file)
        t.close(m.file)
        t.pwrite(m.other, 0)


class EvictVsOwnPin(Scenario):
    """A task holds a page of a file that it was the last to map, as after vmsplice() to its own pipe."""

    source = "Dan Williams, 05/25 of Fix the DAX-gup mistake, 2022-10-14: what an eviction that waits risks"
    scope = {"size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A A A A",)
    expected = {
        "linux-4.5": violated("block-reuse", "eviction waits for nobody"),
        "linux-5.10": violated("block-reuse", "as linux-4.5"),
        "linux-6.1": violated("block-reuse", "as linux-4.5"),
        "linux-6.12": violated("block-reuse", "as linux-4.5"),
        "linux-6.15": violated("truncate-terminates", "the task waits for itself, and cannot be killed"),
        "linux-7.2": violated("truncate-terminates", "as linux-6.15"),
        "dax-gup-fix-2022": violated("truncate-terminates", "as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va)
        t.unlink(m.file)
        t.munmap(m.va)
        if page is not None:
            t.put_page(page)


class EvictCachedVsPin(Scenario):
    """An inode that nobody has open may be reclaimed; the file is opened again, and truncated."""

    source = "found by reading: eviction without unlink forgets the pin's entry"
    scope = {"size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("io io A A A io",)
    expected = {
        "linux-5.10": violated("block-reuse", "the entry has gone with the inode: truncate sees no pin"),
        "linux-6.1": violated("block-reuse", "51b8c1fe250d: the inode stays, but nobody has it mapped"),
        "linux-6.12": violated("block-reuse", "as linux-6.1"),
        "linux-6.15": holds("the inode stays, and truncate waits for the pin"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("io").mmap(m.file)
        m.unmapped = m.new(Event)

    def task_io(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        t.munmap(m.va)
        t.happens(m.unmapped)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_A(t: Any, m: Any) -> None:
        t.wait_for(m.unmapped)
        t.drop_caches(m.pmem)
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)
