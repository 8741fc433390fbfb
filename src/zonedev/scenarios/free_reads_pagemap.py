"""What the last put touches after the count has fallen."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated


class FreeReadsPagemap(Scenario):
    """The last pin of an fsdax page is dropped; who waited for that unbinds the device at once."""

    source = "mm/memremap.c, free_zone_device_folio(): what is read after the last put"
    expected = {
        "linux-5.10": violated("page-lifetime", "the type is read after the count has fallen to 1"),
        "linux-6.1": holds("the type is read under the reference that is put"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "folio->pgmap is read after the count has fallen to 0"),
        "linux-7.2": violated("page-lifetime", "as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(pages=1)
        m.page = m.pmem.pages[0]
        m.task("io").hold_pin(m.page)

    def task_io(t: Any, m: Any) -> None:
        t.unpin_user_page(m.page)

    def task_evict(t: Any, m: Any) -> None:
        t.wait_page_idle_uninterruptible(m.page)
        t.unbind_pmem(m.pmem)
