"""Parts of the specification that no scenario of the catalogue reaches."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev.designs.linux_4_12 import Linux412
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import PythonEngine
from zonedev.lang.system import System
from zonedev.lang.transition import TransitionSystem, get, lower


def three_threads(design: type[Linux72]) -> TransitionSystem:
    """Two threads have a page in their TLBs; the third unmaps it."""
    system = System(design)
    with system.running_as(None):
        dax = system.k.device_dax(pages=1)
        va = system.task("A").mmap(dax)
        for name in "BC":
            system.task(name).clone_vm("A")
            system.task(name).touch(va)
    system.run("A", system.k.munmap, va)
    system.seal()
    return lower(system, frozenset())


@pytest.mark.parametrize("design", [Linux412, Linux72])
def test_a_flush_reaches_cpus_in_every_order(design: type[Linux72]) -> None:
    ts = three_threads(design)
    engine = PythonEngine(ts)
    found = engine.explore()
    assert found.ending is None
    tlb = ts.slots["Task", "tlb"]
    left = {(get(s, tlb[1]) != 0, get(s, tlb[2]) != 0) for s in engine.states}
    assert left == {(True, True), (True, False), (False, True), (False, False)}
    native: Any = NativeEngine(ts, 1).explore()
    assert (native.states, native.transitions) == (found.states, found.transitions)


def test_two_devices_are_unbound_side_by_side() -> None:
    system = System(Linux72)
    with system.running_as(None):
        devices = [system.k.device_dax(pages=1) for _ in range(2)]
    for number, dax in enumerate(devices):
        system.run(f"unbind{number}", system.k.unbind, dax)
    system.seal()
    assert len({id(p.task) for p in system.programs}) == len(system.programs) == 4
    found = NativeEngine(lower(system), 2).explore()
    assert found.ending is None and found.stopped is None
    assert found.ends > 0
