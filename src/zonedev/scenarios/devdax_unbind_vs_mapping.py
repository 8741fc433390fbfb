"""The question of text 2: what stops memunmap_pages() while VMAs point at the memory?"""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import PAGES, RELEASES, SIZE, TLB, choose_tlb


class DevdaxUnbindVsMapping(Scenario):
    """A task keeps touching its mapping, and faulting, until the unbind of the device ends that."""

    source = "Jason Gunthorpe, Re: mm: support THP migration to device private memory, 2020-11-20"
    scope = {"pages": PAGES, "size": SIZE, "tlb": TLB}
    orders = ("A A B A",)
    expected = {
        name: holds("kill_dax(), SRCU and unmap_mapping_range() come before memunmap_pages()")
        for name in RELEASES
    }

    def setup(m: Any) -> None:
        choose_tlb(m)
        m.dax = m.k.device_dax(pages=m.scope["pages"], size=m.scope["size"])
        m.va = m.task("A").mmap(m.dax)

    def task_A(t: Any, m: Any) -> None:
        while t.touch(m.va) is not None:
            pass

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)
