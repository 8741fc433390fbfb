"""Lockless pins against munmap()."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import SIZE, TLB, choose_tlb


class DevdaxGupFastVsMunmap(Scenario):
    """A thread pins a page without a lock while another unmaps it and reuses it if it is idle."""

    source = "mm/gup.c: the second look at the entry; fs/dax.c: what dax_layout_busy_page() relies on"
    scope = {"size": SIZE, "tlb": TLB}
    orders = ("A B B A A", "B B A")
    expected = {
        "linux-4.5": holds("the IPI of the flush waits for the walk"),
        "linux-4.12": holds("the IPI of the flush waits for the walk"),
        "linux-4.13": violated("refcount-exact", "a failed second look leaks the pagemap's reference"),
        "linux-5.10": holds("the second look"),
        "linux-6.1": holds("the second look"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": holds("the second look"),
        "linux-7.2": holds("the second look"),
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.page = m.dax.pages[0]
        m.va = m.task("A").mmap(m.dax)
        m.task("B").clone_vm("A")
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page, 1)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.munmap(m.va)
        t.reuse_if_idle(m.page)
