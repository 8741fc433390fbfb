"""What changes places and nobody sees it: told apart from what somebody sees, and from where nobody comes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pytest

import toys
from zonedev import catalogue as catalogues
from zonedev.catalogue import Catalogue
from zonedev.explore.check import HOLDS
from zonedev.explore.result import Limits
from zonedev.lang.primitives import lock, unlock
from zonedev.lang.runtime import atomic
from zonedev.mutate import campaign, trial
from zonedev.mutate.campaign import SURVIVED, UNSEEN
from zonedev.mutate.mutants import SPLIT, SWAP, mutants_of
from zonedev.mutate.window import beside, contended, leads, window
from zonedev.report import mutants
from zonedev.scenarios.base import Scenario, holds

LIMITS = Limits(states=20_000)


class Halves(toys.ToyNew):
    """Two words that are written one after the other, and together, and read by others."""

    name = "toy-halves"

    def mark(k, dev: toys.Device, a: toys.Page, b: toys.Page) -> None:
        lock(dev.lock)
        a.dirty = True
        b.dirty = True
        unlock(dev.lock)

    def mark_both(k, dev: toys.Device, a: toys.Page, b: toys.Page) -> None:
        lock(dev.lock)
        with atomic("one store of both"):
            a.dirty = True
            b.dirty = True
        unlock(dev.lock)

    def look(k, a: toys.Page, b: toys.Page, found: toys.Page) -> None:
        """Whether the first is seen without the second."""
        first = a.dirty
        second = b.dirty
        found.dirty = first and not second

    def look_locked(k, dev: toys.Device, a: toys.Page, b: toys.Page, found: toys.Page) -> None:
        lock(dev.lock)
        k.look(a, b, found)
        unlock(dev.lock)


class Written(Scenario):
    """Somebody writes, and nobody looks."""

    rules = ("no-deadlock",)
    expected = {"toy-halves": holds()}

    @staticmethod
    def setup(m: Any) -> None:
        m.dev = m.k.device()
        m.a, m.b, m.found = (m.new(toys.Page) for _ in range(3))

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.mark(m.dev, m.a, m.b)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.mark_both(m.dev, m.a, m.b)

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        """Nobody looks."""


class WrittenAlone(Written):
    """One task, and who comes besides touches other words."""

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.look(m.found, m.found, m.found)


class LookedAt(Written):
    """Somebody looks without the lock."""

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        t.look(m.a, m.b, m.found)


class LookedAtLocked(Written):
    """Who looks has the lock."""

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        t.look_locked(m.dev, m.a, m.b, m.found)


SCENARIOS = (WrittenAlone, LookedAt, LookedAtLocked)


def catalogue(*scenarios: type[Scenario]) -> Catalogue:
    plain = toys.catalogue()
    return replace(plain, designs={"toy-halves": Halves}, scenarios={s.name(): s for s in scenarios})


def states_of(*scenarios: type[Scenario]) -> dict[str, str]:
    """What becomes of each swap and each split of the writers, by function, kind and line."""
    functions = ["mark", "mark_both"]
    found = campaign.run(partial(catalogue, *scenarios), "toy-halves", functions, most=20_000, jobs=1)
    return {
        f"{o.mutant.function.__name__} {o.mutant.kind} {o.mutant.change.text}": o.state
        for o in found.outcomes
        if o.mutant.kind in (SWAP, SPLIT)
    }


def test_under_a_lock_that_all_take_nobody_sees_the_order() -> None:
    found = states_of(LookedAtLocked)
    assert found["mark swap a.dirty = True"] == UNSEEN
    assert found["mark_both split with atomic('one store of both'):"] == UNSEEN


def test_who_looks_without_the_lock_sees_it() -> None:
    """No rule breaks, but the words are others when all is over."""
    found = states_of(LookedAt)
    assert found["mark swap a.dirty = True"] == SURVIVED
    assert found["mark_both split with atomic('one store of both'):"] == SURVIVED


def test_one_scenario_in_which_it_is_seen_is_enough() -> None:
    found = states_of(LookedAt, LookedAtLocked)
    assert found["mark swap a.dirty = True"] == SURVIVED


def test_where_nobody_comes_nothing_is_said() -> None:
    found = states_of(WrittenAlone)
    assert found["mark swap a.dirty = True"] == SURVIVED


def test_a_lock_that_is_taken_later_is_seen() -> None:
    found = states_of(LookedAtLocked)
    assert found["mark swap lock(dev.lock)"] == SURVIVED


def test_it_is_said_and_counted_apart() -> None:
    found = campaign.run(partial(catalogue, LookedAtLocked), "toy-halves", ["mark"], most=20_000, jobs=1)
    said = mutants.rendered(found)
    assert f"{found.count(UNSEEN)} that change no state beyond their own steps" in " ".join(said.split())
    assert found.count(UNSEEN) == 1
    assert found.counted == len(found.outcomes) - 1
    told = {m["state"] for m in mutants.json_object(found)["mutants"]}
    assert UNSEEN in told


# --- the window ----------------------------------------------------------------------------------


def benches() -> Iterator[tuple[trial.Bench, list[int]]]:
    for scenario in SCENARIOS:
        known = catalogue(scenario)
        every = mutants_of(Halves)
        mine = [m for m in every if m.kind in (SWAP, SPLIT)]
        bench = trial.Bench(known, scenario, Halves, mine)
        bench.judged(LIMITS)
        yield bench, sorted(bench.met() & bench.switches.steps - set(bench.switches.refused))


def test_the_window_is_what_only_one_of_both_comes_to() -> None:
    """By exploring: the steps that only the original takes, and those that only the mutant takes."""
    compared = 0
    for bench, numbers in benches():
        bench.turn(0)
        bench.judged(LIMITS)
        plain = set(bench.taken())
        for number in numbers:
            bench.turn(number)
            if bench.judged(LIMITS).verdict != HOLDS:
                continue  # and has not explored all
            mutant = set(bench.taken())
            found = window(bench.ts.tasks, number)
            assert found is not None
            assert plain - mutant == found.original & plain
            assert mutant - plain == found.mutant & mutant
            compared += bool(found.original)
    assert compared > 10


def test_a_window_of_linux_is_small() -> None:
    """And ends where both meet: not a step behind it is in it."""
    known = catalogues.load()
    design = known.design("linux-6.15")
    mine = [m for m in mutants_of(design) if m.function.__name__ == "insert_page_into_pte_locked"]
    bench = trial.Bench(known, known.scenario("threads-fault-pmd"), design, mine)
    swaps = [m for m in mine if m.kind == SWAP]
    assert swaps
    for mutant in swaps:
        found = window(bench.ts.tasks, mutant.number)
        assert found is not None
        for at, pc in found.original:
            place = bench.ts.tasks[at].steps[pc - 1].place
            assert "insert_page_into_pte_locked" in place.calls


def test_meeting() -> None:
    """The same place of two tasks, of which one writes; an index that is not known may be any."""
    for scenario, met in product(SCENARIOS, (True, False)):
        bench = trial.Bench(catalogue(scenario), scenario, Halves, [])
        bench.judged(LIMITS)
        taken = set(bench.taken())
        inside = {(0, pc) for at, pc in taken if at == 0}
        others = taken if met else {(at, pc) for at, pc in taken if at == 0}
        expected = met and scenario is not WrittenAlone
        assert contended(bench.ts.tasks, inside, others) == expected, scenario


GOTO = [("goto", 7)]
ASKS = ("==", ("ld", type("Group", (), {"cls": "Switch"})(), ("c", 0)), ("c", 3))


@pytest.mark.parametrize(
    ("number", "pcs", "through"),
    [(0, {5, 7}, False), (3, {6}, False), (4, {5, 7}, False)],
)
def test_where_a_body_leads(number: int, pcs: set[int], through: bool) -> None:
    body: list[Any] = [
        ("if", ASKS, [("goto", 6)], [("if", ("v", "x"), [("goto", 5)], [])]),
        *GOTO,
        ("goto", 8),
    ]
    assert leads(body, number) == (pcs, through)
    assert set(beside(body, 3)) == {5, 7}
    assert set(beside(body, 4)) == set()


def test_a_branch_before_the_mutants_is_not_in_its_window() -> None:
    inner: Any = ("if", ASKS, [("goto", 6)], [])
    body: list[Any] = [("if", ("v", "x"), [("goto", 5)], [inner]), *GOTO]
    assert set(beside(body, 3)) == {7}
    assert leads(body, 3) == ({5, 6}, False)
    assert leads([inner], 0) == (set(), True)
