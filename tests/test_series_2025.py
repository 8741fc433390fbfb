"""The merged series of 2025, patch by patch: what turns where, and that it ends in v6.15."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from zonedev.catalogue import load
from zonedev.designs.dax_refcount_2025 import DAX_REFCOUNT_2025, DaxRefcount19
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_6_15 import Linux615
from zonedev.designs.series import BASE
from zonedev.explore.check import Verdict, check
from zonedev.machine import Machine
from zonedev.scenarios.base import Scenario
from zonedev.scenarios.parts import FILE_SIZE


class EvictUnused(Scenario):
    """A file that was touched, and that nobody uses any more, goes."""

    scope = {"size": FILE_SIZE}
    progress = alone = "truncate-terminates"

    @staticmethod
    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.va = m.task("A").mmap(m.file)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)
        t.munmap(m.va)
        t.unlink(m.file)


def checked(scenario: str | type[Scenario], step: str, **scope: str) -> Verdict:
    """The verdict of a scenario, by its name, at a step of the series."""
    found = load().scenario(scenario) if isinstance(scenario, str) else scenario
    return check(found, DAX_REFCOUNT_2025.at(step), scope=scope)


def counts(found: Verdict) -> tuple[object, ...]:
    return found.verdict, found.rule, found.states, found.transitions, found.depth, found.observed


def test_each_patch_is_on_top_of_those_before() -> None:
    steps = DAX_REFCOUNT_2025.steps()
    assert list(steps) == [BASE, "02", "03", "04", "06", "07", "08", "15", "19", "20"]
    assert (steps[BASE], steps["19"], steps["20"]) == (Linux612, DaxRefcount19, Linux615)
    stacked = [steps[number] for number in steps if number != "20"]
    assert all(issubclass(after, before) for before, after in pairwise(stacked))


@pytest.mark.parametrize("scenario", ["truncate-vs-pin", "gup-pmd-recheck"])
def test_files_are_those_of_6_15_before_the_last_patch(scenario: str) -> None:
    assert counts(checked(scenario, "19")) == counts(checked(scenario, "20"))


def test_devices_are_those_of_6_12_before_the_last_patch() -> None:
    assert counts(checked("devdax-refcounts", "19")) == counts(checked("devdax-refcounts", BASE))


TURNS = [
    ("truncate-vs-pin", {}, "03", None),
    ("truncate-vs-pin", {}, "04", "no-lost-wakeup"),
    ("truncate-vs-pin", {}, "18", "no-lost-wakeup"),
    ("truncate-vs-pin-unmapped", {}, "01", "block-reuse"),
    ("truncate-vs-pin-unmapped", {}, "02", None),
    ("evict-vs-pin", {}, "06", "block-reuse"),
    ("evict-vs-pin", {}, "07", "no-lost-wakeup"),
    ("evict-vs-pin", {}, "19", None),
    (EvictUnused, {}, "05", None),
    (EvictUnused, {}, "06", "kernel-asserts"),
    (EvictUnused, {"size": "pmd"}, "07", None),
    ("reflink-share", {}, "07", "mapping-exact"),
    ("reflink-share", {}, "08", "kernel-asserts"),
    ("devdax-refcounts", {"size": "pud"}, "15", "refcount-exact"),
    ("devdax-refcounts", {"size": "pmd"}, "18", None),
    ("devdax-refcounts", {"size": "pmd"}, "19", "refcount-exact"),
    ("devdax-refcounts", {"size": "pud"}, "20", None),
]


@pytest.mark.parametrize(("scenario", "scope", "step", "rule"), TURNS)
def test_what_turns_where(
    scenario: str | type[Scenario], scope: dict[str, str], step: str, rule: str | None
) -> None:
    found = checked(scenario, step, **scope)
    assert (found.verdict, found.rule) == ("holds" if rule is None else "violated", rule)


def test_a_device_beside_a_file_before_the_last_patch() -> None:
    """Files are counted when they are mapped, devices are not, and the rules know that."""
    with Machine("dax-refcount-2025/19") as machine:
        a = machine.task("A")
        device, file = a.mmap(machine.device_dax()), a.mmap(machine.dax_file(machine.pmem_device()))
        a.write(device, b"x")
        a.write(file, b"x")
        seen = [(machine.page(va)._refcount, machine.page(va)._mapcount) for va in (device, file)]
        assert seen == [(1, 0), (1, 1)]
        page, other = a.pin_user_pages_fast(device), a.pin_user_pages_fast(file)
        a.munmap(device)
        a.munmap(file)
        assert [machine.page(p)._refcount for p in (page, other)] == [1025, 1024]
        a.unpin_user_page(page)
        a.unpin_user_page(other)
        assert [machine.page(p)._refcount for p in (page, other)] == [1, 0]
