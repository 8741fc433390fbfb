"""Primitives that no scenario of the catalogue exercises alone."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev.explore.python import PythonEngine
from zonedev.lang.errors import RuleBroken
from zonedev.lang.primitives import atomic_cmpxchg, atomic_t
from zonedev.lang.records import Record, count
from zonedev.lang.runtime import free
from zonedev.lang.system import Specification, System
from zonedev.lang.transition import lower


class Thing(Record):
    freed_breaks = "page-lifetime"
    word: Any = atomic_t(0, 3)
    done = count(0, 3)


class Plain(Specification):
    pass


def take_once(thing: Thing) -> None:
    found = atomic_cmpxchg(thing.word, 0, 1)
    if found != 0:
        thing.done = 2


def drop(thing: Thing) -> None:
    free(thing)


def built(function: Any, tasks: int) -> System:
    system = System(Plain)
    thing = system.new(Thing)
    for n in range(tasks):
        system.run(f"T{n}", function, thing)
    system.seal()
    return system


def test_cmpxchg_has_one_winner() -> None:
    system = built(take_once, 2)
    found = PythonEngine(lower(system)).explore()
    assert found.ending is None
    plain = built(take_once, 2).spawn()
    for task in (0, 1, 1):
        plain.step(task)
    assert plain.enabled() == []
    plain.close()


def test_freeing_twice_breaks_the_rule() -> None:
    ts = lower(built(drop, 2))
    found = PythonEngine(ts).explore()
    assert found.ending is not None and found.ending >= 0
    assert ts.fails[found.ending] == ("page-lifetime", "drop frees Thing again")
    plain = built(drop, 2).spawn()
    plain.step(0)
    with pytest.raises(RuleBroken, match="page-lifetime: drop frees thing0 again"):
        plain.step(1)
    plain.close()
