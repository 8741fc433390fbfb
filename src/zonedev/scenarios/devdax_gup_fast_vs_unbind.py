"""Lockless references against unbind."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PMD, SIZE, TLB, choose_tlb


class DevdaxGupFastVsUnbind(Scenario):
    """A task takes and drops a reference without a lock while the device is unbound."""

    source = "mm/gup.c, mm/memremap.c: what holds the pagemap for the holder of a reference"
    scope = {"size": SIZE, "tlb": TLB}
    orders = ("A B A", "B A")
    expected = {
        "linux-4.5": holds("the reference holds the pagemap"),
        "linux-4.12": violated("page-lifetime", "the wait comes after the removal"),
        "linux-4.13": violated("page-lifetime", "as linux-4.12"),
        "linux-5.10": holds("the page holds the pagemap"),
        "linux-6.1": violated("page-lifetime", "the pagemap is held inside GUP only"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "nothing holds the pagemap"),
        "linux-7.2": violated("page-lifetime", "nothing holds the pagemap"),
        "linux-4.12-fixed": holds("the page holds the pagemap"),
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.va = m.task("A").mmap(m.dax)
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va)
        if page is not None:
            t.put_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)


class DevdaxGupFastVsUnbindPmd(DevdaxGupFastVsUnbind):
    """The same with a device that maps with PMDs, where the flush of remote TLBs need not be an IPI.

    v5.10 tests the count of a page of a huge devmap entry and then adds to it
    (try_grab_page() in __gup_device_huge()), while memunmap_pages() has put the page
    before the grace period.  With --scope tlb=ipi it holds.
    """

    scope = {"size": PMD, "tlb": TLB}
    expected = {
        **DevdaxGupFastVsUnbind.expected,
        "linux-5.10": violated("kernel-asserts", "the page is put before the walk has ended"),
    }
