"""The count ladder of a page of a file."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_WRITE
from zonedev.scenarios.base import holds
from zonedev.scenarios.devdax_refcounts import POINTS, DevdaxRefcounts
from zonedev.scenarios.parts import FILE_PMD, FILE_SIZE, Event

FILE_POINTS = tuple(point for point in POINTS if point != "pinned")
UNCOUNTED_1 = dict(zip(FILE_POINTS, (1, 1, 1, 1, 1, 2, 2, 2, 1), strict=True))
UNCOUNTED = dict(zip(FILE_POINTS, (1, 1, 1, 1, 1, 2, 1025, 1025, 1), strict=True))
COUNTED = dict(zip(FILE_POINTS, (0, 1, 2, 2, 3, 4, 1027, 1024, 0), strict=True))
#: A large folio counts a pin as 1, and apart in _pincount.
LARGE_COUNTED = dict(zip(FILE_POINTS, (0, 1, 2, 2, 3, 4, 4, 1, 0), strict=True))


class FsdaxRefcounts(DevdaxRefcounts):
    """One page of a file is mapped, inherited, got, under direct I/O, unmapped; its count is watched.

    "got" is what vmsplice() takes, "direct I/O" the pin of one that writes to the page.  No
    long-term pin is possible.  Shared mappings of files are not copied by fork() either.
    The child is that of devdax-refcounts.
    """

    source = "Alistair Popple, fs/dax: Properly refcount fs dax pages, 2025-02-28"
    scope = {"size": FILE_SIZE}
    expected = {
        "linux-4.5": holds("idle at 1; a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-4.12": holds("idle at 1; a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-4.13": holds("idle at 1; a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-5.10": holds("idle at 1; a pin adds 1024, a mapping nothing", UNCOUNTED),
        "linux-6.1": holds("idle at 1; a pin adds 1024, a mapping nothing", UNCOUNTED),
        "linux-6.12": holds("as linux-6.1", UNCOUNTED),
        "linux-6.15": holds("idle at 0; a pin adds 1024, a mapping 1", COUNTED),
        "linux-7.2": holds("idle at 0; a pin adds 1024, a mapping 1", COUNTED),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.page = m.file.pages[0]
        m.first = m.task("A").mmap(m.file)
        m.second = m.task("A").mmap(m.file)
        m.task("A").may_fork("child")
        m.child = m.task("child").task
        m.touched, m.pinned, m.gone = m.new(Event), m.new(Event), m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.observe("idle", m.page)
        t.touch(m.first)
        t.observe("mapped", m.page)
        t.touch(m.second)
        t.observe("mapped twice", m.page)
        t.fork(m.child)
        t.wait_for(m.touched)
        page = t.get_user_pages_fast(m.first)
        t.observe("got", m.page)
        t.put_page(page)
        page = t.pin_user_pages_fast(m.first, FOLL_WRITE)
        t.observe("direct I/O", m.page)
        t.happens(m.pinned)
        t.munmap(m.first)
        t.munmap(m.second)
        t.wait_for(m.gone)
        t.observe("unmapped", m.page)
        t.unpin_user_page(page)
        t.observe("unpinned", m.page)


class FsdaxRefcountsPmd(FsdaxRefcounts):
    """The same with a PMD: from v6.15 on its pages are one folio with one count."""

    scope = {"size": FILE_PMD}
    expected = {
        "linux-4.5": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-4.12": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-4.13": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-5.10": holds("each 4K page has its own count", UNCOUNTED),
        "linux-6.1": holds("each 4K page has its own count", UNCOUNTED),
        "linux-6.12": holds("as linux-6.1", UNCOUNTED),
        "linux-6.15": holds("the folio counts, a pin or a mapping adds 1", LARGE_COUNTED),
        "linux-7.2": holds("the folio counts, a pin or a mapping adds 1", LARGE_COUNTED),
    }
