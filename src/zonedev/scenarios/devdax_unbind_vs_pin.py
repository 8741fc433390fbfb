"""The question of text 1: does unbind wait for a pin?"""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PAGES, SIZE


class DevdaxUnbindVsPin(Scenario):
    """A task keeps a long-term pin on a device-dax page, and DMA goes on, while the driver is unbound."""

    source = "Dan Williams, mm, zone_device: replace {get,put}_zone_device_page()..., 2017-04-26"
    scope = {"pages": PAGES, "size": SIZE}
    orders = ("A A B A",)
    expected = {
        "linux-4.5": holds("every pin holds the pagemap, and unbind waits before it removes"),
        "linux-4.12": violated("page-lifetime", "waits after the removal: 50f44ee7248a says so"),
        "linux-4.13": violated("page-lifetime", "as linux-4.12"),
        "linux-5.10": holds("memunmap_pages() puts every page and waits for the last put"),
        "linux-6.1": violated("page-lifetime", "27674ef6c73f: page references no longer hold the pagemap"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "as linux-6.1"),
        "linux-7.2": violated("page-lifetime", "as linux-6.1"),
        "linux-4.12-wait-first": violated("no-deadlock", "the pages' own references are put after the wait"),
        "linux-4.12-fixed": holds("50f44ee7248a: kill, put all, wait, remove"),
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=m.scope["pages"], size=m.scope["size"])
        m.va = m.task("A").mmap(m.dax)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va, FOLL_WRITE | FOLL_LONGTERM)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)
