"""Private mappings of a file: what is written goes to a copy, which is nobody's block."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import BLOCK_RULES, RELEASES, two_files

PAGE_POINTS = ("page idle", "page read", "page copied")
COPY_POINTS = ("copy mapped", "copy pinned", "copy punched", "copy truncated", "copy unpinned")
COPY_1 = dict(zip(COPY_POINTS, (1, 2, 2, 1, 0), strict=True))
COPY = dict(zip(COPY_POINTS, (1, 1025, 1025, 1024, 0), strict=True))
UNCOUNTED = dict.fromkeys(PAGE_POINTS, 1)
COUNTED = dict(zip(PAGE_POINTS, (0, 1, 0), strict=True))
ENTERED = dict(zip(PAGE_POINTS, (0, 1, 1), strict=True))


class PrivateMappingRefcounts(Scenario):
    """A private mapping is read, written, pinned; the file is punched, then truncated.

    The copy is an ordinary page: one reference for its mapping, and the pin's.  It outlives a hole
    that is punched where it was copied from (`even_cows` is 0), and goes with a truncate, which
    does not wait for its pin.
    """

    source = "mm/memory.c: do_wp_page(), unmap_mapping_range(); mm/truncate.c"
    observes = True
    expected = {
        "linux-4.5": holds("a copy is counted as any page is", UNCOUNTED | COPY_1),
        "linux-4.12": holds("as linux-4.5", UNCOUNTED | COPY_1),
        "linux-4.13": holds("as linux-4.5", UNCOUNTED | COPY_1),
        "linux-5.10": holds("a pin adds 1024", UNCOUNTED | COPY),
        "linux-6.1": holds("as linux-5.10", UNCOUNTED | COPY),
        "linux-6.12": holds("as linux-5.10", UNCOUNTED | COPY),
        "linux-6.15": holds("the page of the file is counted while it is mapped", COUNTED | COPY),
        "linux-7.2": holds("as linux-6.15", COUNTED | COPY),
        "dax-gup-fix-2022": holds("the entry holds a reference to the page", ENTERED | COPY),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size="pte"))
        m.va = m.task("A").mmap(m.file, private=True)
        m.page = m.file.pages[0]
        m.copy = m.task("A").task.mm.vma_at[m.va].copies[0]

    def task_A(t: Any, m: Any) -> None:
        t.observe("page idle", m.page)
        t.touch(m.va, False)
        t.observe("page read", m.page)
        t.touch(m.va)
        t.observe("page copied", m.page)
        t.observe("copy mapped", m.copy)
        page = t.pin_user_pages(m.va, FOLL_WRITE)
        t.observe("copy pinned", m.copy)
        t.punch_hole(m.file, 0, 1)
        t.observe("copy punched", m.copy)
        t.ftruncate(m.file, 0)
        t.observe("copy truncated", m.copy)
        t.unpin_user_page(page)
        t.observe("copy unpinned", m.copy)


class PrivateVsTruncate(Scenario):
    """A private mapping is copied on write, and the copy pinned; truncate takes the block away.

    wp_page_copy() holds no lock of the file while it copies.
    """

    source = "mm/memory.c: wp_page_copy(); mm/truncate.c: truncate_pagecache()"
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A A A B A",)
    expected = {
        **dict.fromkeys(RELEASES, holds("the page table is looked at again before the copy is mapped")),
        "linux-6.15": holds("truncate waits for who copies, and for no copy"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.touch(m.va)
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)
