"""Several users of one page while the device goes."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, Scope, holds, violated
from zonedev.scenarios.parts import SIZE, TLB, choose_tlb


class DevdaxPinnersVsUnbind(Scenario):
    """Two to four processes pin or touch one page, with locks and without, while the device is unbound."""

    source = "mm/gup.c, mm/memremap.c"
    scope = {"processes": Scope(2, 2, 4, "processes that use the page"), "size": SIZE, "tlb": TLB}
    orders = ("fast slow fast slow unbind", "fast slow unbind fast slow")
    expected = {
        "linux-4.5": holds("every reference holds the pagemap"),
        "linux-4.12": violated("page-lifetime", "the wait comes after the removal"),
        "linux-4.13": violated("page-lifetime", "as linux-4.12"),
        "linux-5.10": holds("every page holds the pagemap"),
        "linux-6.1": violated("page-lifetime", "nothing holds the pagemap for a pin"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "nothing holds the pagemap for a pin"),
        "linux-7.2": violated("page-lifetime", "nothing holds the pagemap for a pin"),
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.fast = m.task("fast").mmap(m.dax)
        m.slow = m.task("slow").mmap(m.dax)
        m.third = m.task("third").mmap(m.dax) if m.scope["processes"] >= 3 else None
        m.fourth = m.task("fourth").mmap(m.dax) if m.scope["processes"] >= 4 else None
        m.task("fast").touch(m.fast)

    def task_fast(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.fast)
        if page is not None:
            t.unpin_user_page(page)

    def task_slow(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.slow)
        if page is not None:
            t.unpin_user_page(page)

    def task_third(t: Any, m: Any) -> None:
        if m.third is not None:
            page = t.get_user_pages_fast(m.third)
            if page is not None:
                t.put_page(page)

    def task_fourth(t: Any, m: Any) -> None:
        if m.fourth is not None:
            t.touch(m.fourth)

    def task_unbind(t: Any, m: Any) -> None:
        t.unbind(m.dax)
