"""The crash that text 1 fixes."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated


class GupFastUnderflow(Scenario):
    """GUP-fast takes a page without the pagemap reference that put_page() drops."""

    source = "Dan Williams, mm, zone_device: replace {get,put}_zone_device_page()..., 2017-04-26"
    expected = {
        "linux-4.5": holds("x86's own GUP-fast takes the pagemap"),
        "linux-4.11-generic-gup": violated("refcount-exact", "the pagemap's count underflows"),
        "linux-4.12": holds("put_page() drops no pagemap reference but the last"),
        "linux-4.13": holds("as linux-4.12, with the generic GUP-fast"),
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=1)
        m.va = m.task("A").mmap(m.dax)
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.unpin_user_page(page)
