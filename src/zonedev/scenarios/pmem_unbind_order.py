"""Text 1: wait for the references before or after the release?"""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PAGES


class PmemUnbindOrder(Scenario):
    """The pmem driver is unbound while an I/O still holds a pin on one of its pages."""

    source = "Dan Williams, mm, zone_device: replace {get,put}_zone_device_page()..., 2017-04-26"
    scope = {"pages": PAGES}
    expected = {
        "linux-4.5": holds("the pin holds the queue, which is waited for first"),
        "linux-4.12": violated("page-lifetime", "as posted: the wait comes after the removal"),
        "linux-4.13": violated("page-lifetime", "as linux-4.12"),
        "linux-4.12-wait-first": violated("no-deadlock", "the pages' own references are put after the wait"),
        "linux-4.12-fixed": holds("kill, put all, wait, remove"),
        "linux-5.10": violated("page-lifetime", "put_devmap_managed_page() reads the pagemap after its put"),
        "linux-6.1": violated("page-lifetime", "27674ef6c73f: references no longer hold the pagemap"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "as linux-6.1"),
        "linux-7.2": violated("page-lifetime", "as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(pages=m.scope["pages"])
        m.page = m.pmem.pages[0]
        m.task("io").hold_pin(m.page)

    def task_io(t: Any, m: Any) -> None:
        t.dma_write(m.page)
        t.unpin_user_page(m.page)

    def task_unbind(t: Any, m: Any) -> None:
        t.unbind_pmem(m.pmem)
