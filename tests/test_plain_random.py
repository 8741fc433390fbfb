"""Random programs: lowered steps held against the plain run, along random schedules."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plain import Comparison, assert_same, step_plain
from programs import load, programs, source
from zonedev.lang.errors import SpecError

STEPS = 40


def walk(comparison: Comparison, pick: random.Random, steps: int = STEPS) -> str:
    """Take one random schedule; how it ended."""
    ts, engine = comparison.ts, comparison.engine
    state = ts.initial()
    system, run = comparison.along([])
    try:
        assert_same(ts, state, system, run)
        for _ in range(steps):
            moves = engine.expand(state)
            assert sorted({task for task, _, _ in moves}) == run.enabled()
            if not moves:
                comparison.at_end(state, system, run)
                return "end" if engine.finished(state) else "deadlock"
            task, choice, outcome = pick.choice(moves)
            rule = step_plain(run, task, choice)
            assert rule == (ts.fails[outcome][0] if isinstance(outcome, int) else None)
            if isinstance(outcome, int):
                return ts.fails[outcome][0]
            state = outcome
            assert_same(ts, state, system, run)
        return "long"
    finally:
        run.close()


def walks(text: str, directory: Path, seed: int, number: int = 4) -> list[str]:
    """How some random schedules of a program ended; none where the language refuses it."""
    try:
        comparison = Comparison(load(text, directory))
    except SpecError:
        return ["refused"]
    return [walk(comparison, random.Random(seed + n)) for n in range(number)]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=programs(tasks=3, length=5), seed=st.integers(0, 99))
def test_random_programs(text: str, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    walks(text, tmp_path_factory.mktemp("program"), seed)


def test_fixed_programs_end_in_every_way(tmp_path: Path) -> None:
    """Programs of fixed seeds: most are accepted, and they come to all kinds of ends."""
    ends: Counter[str] = Counter()
    for seed in range(120):
        pick = random.Random(seed)
        ends.update(walks(source(pick.randrange, tasks=3, length=5), tmp_path, seed))
    assert ends["refused"] < 30
    assert {"end", "deadlock", "counter-range", "kernel-asserts", "too-low", "lifetime", "sound"} <= set(ends)
