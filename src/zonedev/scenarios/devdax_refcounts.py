"""The count ladder of a device-dax page."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import PMD, SIZE, Event

POINTS = (
    "idle",
    "mapped",
    "mapped twice",
    "forked",
    "touched by child",
    "got",
    "direct I/O",
    "pinned",
    "unmapped",
    "unpinned",
)
UNCOUNTED_1 = dict(zip(POINTS, (1, 1, 1, 1, 1, 2, 2, 2, 2, 1), strict=True))
UNCOUNTED = dict(zip(POINTS, (1, 1, 1, 1, 1, 2, 1025, 1025, 1025, 1), strict=True))
COUNTED = dict(zip(POINTS, (1, 2, 3, 3, 4, 5, 1028, 1028, 1025, 1), strict=True))
#: A large folio counts a pin as 1, and apart in _pincount.
LARGE_UNCOUNTED = dict(zip(POINTS, (1, 1, 1, 1, 1, 2, 2, 2, 2, 1), strict=True))
LARGE_COUNTED = dict(zip(POINTS, (1, 2, 3, 3, 4, 5, 5, 5, 2, 1), strict=True))


class DevdaxRefcounts(Scenario):
    """One page is mapped, mapped twice, inherited, pinned, unmapped and unpinned; its count is watched.

    "got" is what vmsplice() takes, "direct I/O" the pin of one that writes to the page.
    Device-dax mappings are shared, and fork() does not copy their page tables: the
    child's mapping counts from its own first access on.
    """

    observes = True
    orders = ("",)
    source = "Alistair Popple, device/dax: Properly refcount device dax pages when mapping, 2024-12-17"
    scope = {"size": SIZE}
    expected = {
        "linux-4.5": holds("a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-4.12": holds("a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-4.13": holds("a pin adds 1, a mapping nothing", UNCOUNTED_1),
        "linux-5.10": holds("a pin adds 1024, a mapping nothing", UNCOUNTED),
        "linux-6.1": holds("a pin adds 1024, a mapping nothing", UNCOUNTED),
        "linux-6.12": holds("as linux-6.1", UNCOUNTED),
        "linux-6.15": holds("a pin adds 1024, a mapping 1", COUNTED),
        "linux-7.2": holds("a pin adds 1024, a mapping 1", COUNTED),
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.page = m.dax.pages[0]
        m.first = m.task("A").mmap(m.dax)
        m.second = m.task("A").mmap(m.dax)
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
        t.unpin_user_page(page)
        page = t.pin_user_pages(m.first, FOLL_WRITE | FOLL_LONGTERM)
        t.observe("pinned", m.page)
        t.happens(m.pinned)
        t.munmap(m.first)
        t.munmap(m.second)
        t.wait_for(m.gone)
        t.observe("unmapped", m.page)
        t.unpin_user_page(page)
        t.observe("unpinned", m.page)

    def task_child(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.observe("forked", m.page)
        t.touch(m.first)
        t.observe("touched by child", m.page)
        t.happens(m.touched)
        t.wait_for(m.pinned)
        t.exit()
        t.happens(m.gone)


class DevdaxRefcountsPmd(DevdaxRefcounts):
    """The same with a huge page: from v5.17 on its folio carries one count for all its pages."""

    scope = {"size": PMD}
    expected = {
        "linux-4.5": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-4.12": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-4.13": holds("each 4K page has its own count", UNCOUNTED_1),
        "linux-5.10": holds("each 4K page has its own count", UNCOUNTED),
        "linux-6.1": holds("the folio counts, a pin adds 1", LARGE_UNCOUNTED),
        "linux-6.12": holds("as linux-6.1", LARGE_UNCOUNTED),
        "linux-6.15": holds("the folio counts, a pin or a mapping adds 1", LARGE_COUNTED),
        "linux-7.2": holds("the folio counts, a pin or a mapping adds 1", LARGE_COUNTED),
    }
