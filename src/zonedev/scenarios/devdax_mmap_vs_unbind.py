"""A mapping that comes while the device goes."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import RELEASES, SIZE


class DevdaxMmapVsUnbind(Scenario):
    """A process maps a device-dax device and touches it while the device is unbound."""

    source = "drivers/dax/device.c: mmap() and every fault test dax_alive()"
    scope = {"size": SIZE}
    orders = ("A B A", "B A")
    expected = {
        name: holds("whoever maps too late for unmap_mapping_range() finds the device dead when it faults")
        for name in RELEASES
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.va = m.task("A").reserve(m.dax)

    def task_A(t: Any, m: Any) -> None:
        if t.mmap_fixed(m.va):
            t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.unbind(m.dax)
