"""Reductions, held against the search without them: the same answers from fewer states."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import programs
import reduction_programs
from everything import Everything, TooLarge, compare, everything
from seeds import SEEDS
from zonedev import catalogue
from zonedev.designs import DESIGNS
from zonedev.explore import runner
from zonedev.explore.check import check
from zonedev.explore.fair import Unsure
from zonedev.explore.pygen import generate
from zonedev.explore.python import PythonEngine
from zonedev.explore.reduce import facts, merge, movers, por, reduced, symmetry
from zonedev.explore.reduce.touched import Touched, touched
from zonedev.explore.reduce.walk import Loc, Locks
from zonedev.explore.result import LOST_WAKEUP, Limits, Question
from zonedev.lang.errors import SpecError
from zonedev.lang.transition import TransitionSystem, lower

CHOSEN = ["merge", "symmetry", "por", "merge,symmetry,por"]


def system(text: str, directory: Path, rules: frozenset[str] | None = None) -> TransitionSystem:
    return lower(programs.load(text, directory)(), rules)


def held_against(full: Everything, ts: TransitionSystem, names: list[str]) -> Everything:
    """The reduced system has the answers of `full`, and each violation can be walked in the original."""
    smaller = reduced(ts, names)
    less = everything(smaller.ts)
    compare(full, less, smaller.symmetry)
    try:
        found = PythonEngine(smaller.ts).explore()
    except Unsure:
        return less
    if found.path is not None:
        walk(ts, *smaller.path(generate(ts), found.path, found.loop), found.ending)
    return less


def walk(ts: TransitionSystem, path: list[tuple[int, int]], loop: int | None, ending: int | None) -> None:
    """`path` leads through `ts` to what `ending` says, and from step `loop` on it comes back."""
    engine = PythonEngine(ts)
    state: Any = ts.initial()
    begins = state
    for n, step in enumerate(path):
        if n == loop:
            begins = state
        (state,) = (new for task, choice, new in engine.expand(state) if (task, choice) == step)
    if isinstance(state, int):
        assert ending is not None and ts.fails[state][0] == ts.fails[ending][0]
    elif loop is not None:
        assert state == begins
    elif (ending is not None and ending >= 0) or not engine.expand(state):
        stuck = engine.stuck(state, Question())
        assert stuck is not None and ending is not None
        assert stuck == ending or ts.fails[stuck][0] == ts.fails[ending][0]


def differ(text: str, directory: Path, names: list[str]) -> bool:
    """Whether a reduction gives other answers for a program than the search without."""
    ts = system(text, directory)
    try:
        held_against(everything(ts), ts, names)
    except AssertionError:
        return True
    except TooLarge:
        pass
    return False


def fixed(number: int) -> list[str]:
    """Programs of fixed seeds."""
    return [reduction_programs.source(random.Random(seed).randrange, 4) for seed in range(number)]


# --- random programs ------------------------------------------------------------------------------

SETTINGS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(seed=st.integers(0, 1 << 32), names=st.sampled_from(CHOSEN))
def test_random_programs(seed: int, names: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = reduction_programs.source(random.Random(seed).randrange, length=4)
    ts = system(text, tmp_path_factory.mktemp("program"))
    with suppress(TooLarge):
        held_against(everything(ts), ts, names.split(","))


@SETTINGS
@given(text=programs.programs(tasks=3, length=4), names=st.sampled_from(CHOSEN))
def test_wild_random_programs(text: str, names: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each rule by itself, so that one that always breaks hides no other."""
    directory = tmp_path_factory.mktemp("program")
    for rules in (None, frozenset({"sound"}), frozenset({"lifetime"}), frozenset()):
        try:
            ts = system(text, directory, rules)
            held_against(everything(ts), ts, names.split(","))
        except (SpecError, TooLarge):
            return


@pytest.mark.parametrize("names", CHOSEN)
def test_fixed_programs(names: str, tmp_path: Path) -> None:
    """They end in many ways, and get smaller."""
    ends: Counter[object] = Counter()
    before = after = 0
    for text in fixed(60):
        ts = system(text, tmp_path)
        try:
            full = everything(ts)
        except TooLarge:
            continue
        less = held_against(full, ts, names.split(","))
        before, after = before + full.states, after + less.states
        ends.update(full.fails or {"-"})
        ends.update(set(full.ends.values()))
        ends["hopeless"] += full.progress is False
    assert {"sound", None, -1} <= set(ends)
    assert ends["hopeless"] > 3
    assert after < before * 0.97


# --- seeded bugs of the reductions -------------------------------------------------------------------


@pytest.mark.parametrize("text", reduction_programs.RACES.values(), ids=list(reduction_programs.RACES))
@pytest.mark.parametrize("names", CHOSEN)
def test_races(names: str, text: str, tmp_path: Path) -> None:
    assert not differ(text, tmp_path, names.split(","))


def test_a_race_loses_a_wake_up(tmp_path: Path) -> None:
    """So that the reductions are held against one."""
    ts = system(reduction_programs.RACES["sleeps"], tmp_path)
    assert LOST_WAKEUP in everything(ts).ends.values()


def race_differs(what: str, directory: Path, names: str = "merge") -> bool:
    return differ(reduction_programs.RACES[what], directory, [names])


def test_merging_what_waits_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "steady", lambda s: s.facts.step.fanout == 1)
    assert race_differs("waits", tmp_path)


def test_a_lock_that_strangers_release_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """unlock() by a task that does not have the lock."""

    class Deaf(set[Loc]):
        def add(self, place: Loc) -> None:
            pass

    candidates = facts.candidates

    def believing(*args: Any) -> Locks:
        found = candidates(*args)
        found.unlike = Deaf()
        return found

    monkeypatch.setattr(facts, "candidates", believing)
    assert race_differs("strangers", tmp_path)


@pytest.mark.parametrize("part", ["reads", "writes", "awaits", "sets", "clears"])
def test_a_forgotten_conflict_is_caught(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step does in one of these ways is left out."""

    def less(*args: Any) -> Touched:
        found = touched(*args)
        getattr(found, part).clear()
        return found

    monkeypatch.setattr(movers, "touched", less)
    assert race_differs(part, tmp_path)
    assert race_differs(part, tmp_path, "por")


def test_a_merged_acquire_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock is not released by whatever writes to it."""
    left = movers.Movers.left

    def believing(self: movers.Movers, s: movers.Mover, b: movers.Mover) -> bool:
        places = s.touched.writes & (self.locks.exclusive | self.locks.shared)
        return left(self, s, b) or bool(places and places == s.touched.writes)

    monkeypatch.setattr(movers.Movers, "left", believing)
    monkeypatch.setattr(merge, "steady", lambda s: True)
    assert race_differs("locks", tmp_path)


def test_going_round_alone_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the proviso, a task in a loop keeps the others from what they would do."""
    assert not race_differs("spins", tmp_path, "por")
    monkeypatch.setattr(por, "looping", lambda ts: [bytes(len(t.steps) + 1) for t in ts.tasks])
    assert race_differs("spins", tmp_path, "por")


def test_forgetting_what_others_come_to_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not enough that the next steps of others do not matter."""
    monkeypatch.setattr(por, "sources", lambda steps: {})
    assert race_differs("later", tmp_path, "por")


def test_like_tasks_that_somebody_tells_apart_are_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another task looks at them in order."""
    text = reduction_programs.WATCHED
    assert reduced(system(text, tmp_path), ["symmetry"]).symmetry is None
    assert not differ(text, tmp_path, ["symmetry"])
    monkeypatch.setattr(symmetry, "unchanged", lambda *_: True)
    assert differ(text, tmp_path, ["symmetry"])


def test_like_tasks_are_found(tmp_path: Path) -> None:
    """Three of them: a sixth of the states where they are far apart, and nothing of the ends is lost."""
    ts = system(reduction_programs.ALIKE, tmp_path)
    full = everything(ts)
    less = held_against(full, ts, ["symmetry"])
    assert less.states < full.states / 4


# --- checks ------------------------------------------------------------------------------------------

EVERY = ("merge", "symmetry", "por")


@pytest.mark.parametrize(
    ("rule", "engine"),
    [*((rule, "python") for rule in SEEDS), ("page-lifetime", "native"), ("no-lost-wakeup", "native")],
)
def test_a_check_finds_the_seeded_bug(rule: str, engine: str) -> None:
    """The same counterexample as without, since the shortest one is looked for without."""
    seed = SEEDS[rule]
    scenario = catalogue.load().everything()[seed.scenario]
    plain = check(scenario, seed.design, engine=engine)
    found = check(scenario, seed.design, engine=engine, reductions=EVERY)
    assert (found.verdict, found.rule, found.depth) == ("violated", rule, plain.depth)
    assert found.trace == plain.trace
    assert found.reductions == ()


@pytest.mark.parametrize("engine", ["python", "native"])
def test_a_check_that_holds_names_the_reductions(engine: str) -> None:
    scenario = catalogue.load().everything()["entry-lock-waiters"]
    found = check(scenario, DESIGNS["linux-7.2"], engine=engine, reductions=EVERY)
    assert (found.verdict, found.reductions) == ("holds", EVERY)
    assert found.states < 18_505 / 20


@pytest.mark.parametrize("design", ["linux-5.10", "linux-6.15"])  # the second is violated
def test_large_spaces_are_merged(design: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless somebody says that they should not be; the next time at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runner, "SMALL", 1000)
    scenario = catalogue.load().everything()["devdax-pinners-vs-unbind"]
    plain = check(scenario, DESIGNS[design], reductions=())
    monkeypatch.setattr(runner, "LARGE", 5000)
    assert check(scenario, DESIGNS[design], reductions=()).states == plain.states
    first = check(scenario, DESIGNS[design])
    monkeypatch.setattr(runner.Runner, "python", None)  # it is not asked any more
    again = check(scenario, DESIGNS[design], limits=Limits(seconds=100.0))
    for found in (first, again):
        assert (found.verdict, found.rule, found.engine) == (plain.verdict, plain.rule, "native")
        if plain.verdict == "holds":
            assert found.reductions == ("merge",) and found.states < plain.states / 2
        else:
            assert found.reductions == () and found.trace == plain.trace


def test_few_states_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(runner, "SMALL", 1000)
    monkeypatch.setattr(runner, "LARGE", 5000)
    scenario = catalogue.load().everything()["devdax-pinners-vs-unbind"]
    found = check(scenario, DESIGNS["linux-5.10"], limits=Limits(states=4000))
    assert (found.verdict, found.stopped, found.reductions) == ("undetermined", "--max-states 4000", ())
    found = check(scenario, DESIGNS["linux-5.10"], limits=Limits(states=40_000))
    assert (found.verdict, found.reductions) == ("holds", ("merge",))  # of 34,231 states


def test_a_long_way_is_walked_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the search without reductions is out of proportion, the counterexample is the reduced one's."""
    monkeypatch.setattr(runner, "SHORTEST_FACTOR", 0)
    monkeypatch.setattr(runner, "SHORTEST_STATES", 10)
    scenario = catalogue.load().everything()["entry-lock-waiters"]
    found = check(scenario, DESIGNS["linux-4.12"], engine="python", reductions=EVERY)
    assert (found.verdict, found.rule, found.reductions) == ("violated", "no-lost-wakeup", ("merge", "por"))
    assert len(found.trace) == found.depth
