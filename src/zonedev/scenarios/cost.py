"""The operations whose cost is counted: text 1's and text 4's case in numbers.

Each takes a fresh system, sets it up, and returns the call that is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.kernel import FOLL_PIN, FOLL_WRITE
from zonedev.lang.system import System


def mapped(m: System, touched: bool = True) -> tuple[int, Any]:
    """One task with one device-dax page mapped: the VA and the page."""
    dax = m.k.device_dax(pages=1)
    va = m.task("A").mmap(dax)
    if touched:
        m.task("A").touch(va)
    return va, dax.pages[0]


def get_page(m: System) -> Callable[[], Any]:
    """A reference beside one that is held."""
    _, page = mapped(m)
    return lambda: m.k.get_page(page)


def put_page(m: System) -> Callable[[], Any]:
    """A reference dropped that is not the last."""
    _, page = mapped(m)
    with m.running_as(m.tasks[0]):
        m.k.get_page(page)
    return lambda: m.k.folio_put(page.head)


def gup_fast(m: System) -> Callable[[], Any]:
    """One page pinned without a lock."""
    va, _ = mapped(m)
    return lambda: m.k.gup_fast(va, FOLL_WRITE | FOLL_PIN)


def gup_slow(m: System) -> Callable[[], Any]:
    """One page pinned under mmap_lock and the page-table lock."""
    va, _ = mapped(m)
    return lambda: m.k.pin_user_pages(va)


def unpin(m: System) -> Callable[[], Any]:
    """A pin dropped."""
    va, page = mapped(m)
    m.task("A").pin_user_pages(va)
    return lambda: m.k.unpin_user_page(page)


def fault(m: System) -> Callable[[], Any]:
    """A write fault on a page that is not mapped."""
    va, _ = mapped(m, touched=False)
    return lambda: m.k.do_user_addr_fault(va, True)


def zap(m: System) -> Callable[[], Any]:
    """One mapped page cleared, flushed and put."""
    mapped(m)
    mapping = m.records["Vma"][0].vm_file.mapping  # type: ignore[attr-defined]
    return lambda: m.k.unmap_mapping_range(mapping)


OPERATIONS: dict[str, Callable[[System], Callable[[], Any]]] = {
    "get_page": get_page,
    "put_page": put_page,
    "GUP-fast": gup_fast,
    "GUP-slow": gup_slow,
    "unpin": unpin,
    "fault": fault,
    "zap": zap,
}
