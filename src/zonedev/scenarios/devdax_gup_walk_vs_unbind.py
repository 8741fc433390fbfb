"""The lockless walk itself against unbind."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_GET, FOLL_WRITE
from zonedev.lang.primitives import local_irq_disable, local_irq_enable
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import TLB, choose_tlb


class DevdaxGupWalkVsUnbind(Scenario):
    """A lockless walk takes a page and puts it again before interrupts are on, while the device is unbound.

    Where this holds and devdax-gup-fast-vs-unbind does not, the walk is safe and the
    reference that it returns is what nobody waits for.
    """

    source = "mm/gup.c: interrupts are off; lib/percpu-refcount.c: killing takes a grace period"
    scope = {"tlb": TLB}
    orders = ("A B", "B A")
    expected = {
        "linux-4.5": holds("the walk holds the pagemap"),
        "linux-4.12": holds("the IPI of unmap_mapping_range() waits for the walk"),
        "linux-4.13": violated("no-deadlock", "a failed second look leaks the pagemap's reference"),
        "linux-5.10": holds("the walk holds the pagemap"),
        "linux-6.1": holds("the walk holds the pagemap"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": holds("the grace period of percpu_ref_kill() waits for the walk"),
        "linux-7.2": holds("the grace period of percpu_ref_kill() waits for the walk"),
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=1)
        m.va = m.task("A").mmap(m.dax)
        m.mm = m.task("A").task.mm
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        local_irq_disable()
        page = t.gup_fast_pte_range(m.mm, m.va, FOLL_WRITE | FOLL_GET)
        if page is not None:
            t.gup_put_folio(page, FOLL_GET)
        local_irq_enable()

    def lab_A(t: Any, m: Any) -> None:
        t.futex_wake(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)
