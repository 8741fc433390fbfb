"""Faults of every size against unbind."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import PAGES, PMD, PUD, RELEASES, SIZE


class DevdaxFaultVsUnbind(Scenario):
    """Two processes fault on a device-dax mapping, one to write and one to read, while it is unbound."""

    source = "drivers/dax/device.c: faults run under dax_read_lock() and test dax_alive()"
    scope = {"pages": PAGES, "size": SIZE}
    progress = "fault-terminates"
    orders = ("writer reader unbind", "writer unbind reader")
    expected = {
        name: holds("a fault that saw the device alive is over before the mappings are zapped")
        for name in RELEASES
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=m.scope["pages"], size=m.scope["size"])
        m.writer = m.task("writer").mmap(m.dax)
        m.reader = m.task("reader").mmap(m.dax)

    def task_writer(t: Any, m: Any) -> None:
        t.touch(m.writer)

    def task_reader(t: Any, m: Any) -> None:
        t.touch(m.reader, False)

    def task_unbind(t: Any, m: Any) -> None:
        t.unbind(m.dax)


class DevdaxFaultVsUnbindPmd(DevdaxFaultVsUnbind):
    """Two processes fault on a device that maps with PMDs while it is unbound."""

    scope = {"pages": PAGES, "size": PMD}


class DevdaxFaultVsUnbindPud(DevdaxFaultVsUnbind):
    """Two processes fault on a device that maps with PUDs while it is unbound."""

    scope = {"pages": PAGES, "size": PUD}
