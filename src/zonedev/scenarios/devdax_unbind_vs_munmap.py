"""What unbind does not wait for: another task that is unmapping."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, violated
from zonedev.scenarios.parts import PAGES, SIZE, TLB, choose_tlb


class DevdaxUnbindVsMunmap(Scenario):
    """A process unmaps a device-dax page; the device is unbound before the process has flushed and put."""

    source = "mm/mmu_gather.c keeps the page's reference until the flush; mm/memremap.c waits for no page"
    scope = {"pages": PAGES, "size": SIZE, "tlb": TLB}
    orders = ("A B", "B A")
    expected = {
        "linux-4.5": violated("unbind-drained", "the VMA is unlinked before its TLB entries are flushed"),
        "linux-4.12": violated("unbind-drained", "as linux-4.5"),
        "linux-4.13": violated("unbind-drained", "as linux-4.5"),
        "linux-5.10": violated("unbind-drained", "as linux-4.5"),
        "linux-6.1": violated("unbind-drained", "as linux-4.5"),
        "linux-6.12": violated("unbind-drained", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "the put of the mapping's reference comes too late"),
        "linux-7.2": violated("page-lifetime", "as linux-6.15"),
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=m.scope["pages"], size=m.scope["size"])
        m.va = m.task("A").mmap(m.dax)
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)
