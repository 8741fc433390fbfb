"""Who waits for the entry of a file, blocks that two files share, whether truncate comes to its end,
and random calls on files, run by every engine."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import file_programs
from file_seeds import (
    CopyForgetsShare,
    CopyForgetsUnmap,
    SpinsForMappings,
    SyncFaultForgetsLock,
    WaitsForMappings,
)
from plain import Comparison, State, rest_plain, step_plain
from test_catalogue import facts
from test_dax_files import but
from test_plain_random import walk
from zonedev.designs import DESIGNS
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check, select, set_up
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import DEADLOCK, NO_FINISH, Exploration
from zonedev.lang.primitives import lock, unlock
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.machine import Job, Machine
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import Scenario, full_scope
from zonedev.scenarios.parts import Mutex

# --- waiting for an entry ----------------------------------------------------------------------------


def waiting_for_an_entry(m: Machine) -> tuple[Any, Any, list[Any]]:
    """A file, a task that has its entry locked, and three more that wait for it, in this order."""
    file = m.dax_file(m.pmem_device())
    holder = m.task("holder")
    holder.grab_mapping_entry(file, 0)
    jobs = []
    for name in ("first", "second", "third"):
        task = m.task(name)
        jobs.append(task.grab_mapping_entry(file, 0))
    assert all(isinstance(job, Job) for job in jobs)
    return file, holder, jobs


@pytest.mark.parametrize("design", ["linux-4.12", "linux-5.10", "linux-6.12", "linux-7.2"])
def test_an_unlock_wakes_the_next_and_nobody_else(design: str) -> None:
    with Machine(design, rules=but("lock-balance")) as m:
        file, holder, jobs = waiting_for_an_entry(m)
        for n, job in enumerate(jobs):
            before = len(m.trace())
            holder.dax_unlock_entry(file, 0)
            assert [j.done for j in jobs] == [True] * (n + 1) + [False] * (2 - n)
            moved = {step.task for step in m.trace()[before:]} - {"holder"}
            assert moved == {("first", "second", "third")[n]}
            assert job.result().there
        holder.dax_unlock_entry(file, 0)
        assert not m.pending()


# --- files that share a block, MAP_SYNC --------------------------------------------------------------


class WritesToShared(Scenario):
    """A file is read and then written, whose block another file shares, and has mapped.

    A lock orders the two files, for nothing in the kernel does."""

    @staticmethod
    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(pages=2)
        m.file = m.k.dax_file(m.pmem, pages=1)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.va = m.task("A").mmap(m.file)
        m.copy_va = m.task("B").mmap(m.copy)
        m.task("B").touch(m.copy_va, False)
        m.both = m.new(Mutex)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        lock(m.both.lock)
        t.touch(m.va, False)
        t.touch(m.va)
        unlock(m.both.lock)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        lock(m.both.lock)
        t.munmap(m.copy_va)
        unlock(m.both.lock)


class SyncFaults(Scenario):
    """Two tasks write through MAP_SYNC to the same hole."""

    progress = "fault-terminates"

    @staticmethod
    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(), blocks=0)
        m.mine = m.task("A").mmap(m.file, sync=True)
        m.its = m.task("B").mmap(m.file, sync=True)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.touch(m.mine)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.touch(m.its)


@pytest.mark.parametrize(
    ("scenario", "design", "rule"),
    [
        (WritesToShared, Linux72, None),
        (WritesToShared, CopyForgetsShare, "mapping-exact"),
        (WritesToShared, CopyForgetsUnmap, "kernel-asserts"),
        (SyncFaults, Linux72, None),
        (SyncFaults, SyncFaultForgetsLock, "kernel-asserts"),
    ],
)
def test_each_statement_is_needed(scenario: type[Scenario], design: Any, rule: str | None) -> None:
    assert check(scenario, design).rule == rule


# --- truncate-terminates, by brute force --------------------------------------------------------------


class Whole:
    """All states of a system, and what follows each: no engine's search, and no engine's table."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts, self.code = ts, PythonEngine(ts)
        self.level: dict[State, int] = {}
        self.after: dict[State, list[State]] = {}
        todo, depth = [ts.initial()], 0
        while todo:
            self.level.update(dict.fromkeys(todo, depth))
            for state in todo:
                self.after[state] = [new for _, _, new in self.code.expand(state) if isinstance(new, tuple)]
            todo, depth = list({s for t in todo for s in self.after[t] if s not in self.level}), depth + 1

    def along(self, path: list[tuple[int, int]]) -> State:
        """Where a path leads to."""
        state = self.ts.initial()
        for step in path:
            (state,) = (s for t, c, s in self.code.expand(state) if (t, c) == step and isinstance(s, tuple))
        return state

    def unable(self) -> set[State]:
        """The states from which no end can be reached: each is followed for itself."""
        able: set[State] = set()
        for state in self.level:
            seen, todo = {state}, [state]
            while todo and state not in able:
                here = todo.pop()
                if here in able or self.code.finished(here):
                    able.add(state)
                fresh = [s for s in self.after[here] if s not in seen]
                seen.update(fresh)
                todo += fresh
        return set(self.level) - able

    def asleep(self) -> set[State]:
        """The states in which nobody can move, though somebody has not finished."""
        return {s for s, after in self.after.items() if not after and not self.code.finished(s)}


@pytest.mark.parametrize(
    ("scenario", "design", "ending"),
    [
        ("truncate-vs-fault", Linux72, None),
        ("truncate-vs-fault", SpinsForMappings, NO_FINISH),
        ("truncate-vs-fault", WaitsForMappings, DEADLOCK),
        ("truncate-vs-refault", DESIGNS["linux-6.15"], DEADLOCK),
        ("truncate-vs-refault", DESIGNS["linux-6.12"], None),
    ],
)
def test_truncate_terminates_by_brute_force(scenario: str, design: Any, ending: int | None) -> None:
    cls = SCENARIOS[scenario]
    selection = select(cls, RULES, ["truncate-terminates", "no-deadlock", "no-lost-wakeup"])
    ts = lower(set_up(cls, design, full_scope(cls, {}), selection.monitors), selection.names)
    found = PythonEngine(ts).explore(selection.question)
    whole = Whole(ts)
    wrong = {None: whole.unable(), NO_FINISH: whole.unable(), DEADLOCK: whole.asleep()}[ending]
    assert found.ending == ending
    assert bool(wrong) == (ending is not None)
    if wrong:
        assert found.depth == min(whole.level[s] for s in wrong)
        assert whole.along(found.path or []) in wrong


# --- random calls ----------------------------------------------------------------------------------------

#: v4.5 and v4.12 have entries of other kinds; the proposal counts otherwise.
RANDOM = ("linux-4.5", "linux-4.12", "linux-6.1", "linux-6.15", "linux-7.2", "dax-gup-fix-2022")
SEEDS = 18


def random_system(directory: Path, seed: int) -> Comparison:
    scenario = file_programs.load(file_programs.source(random.Random(seed)), directory, f"random{seed}")
    design = DESIGNS[RANDOM[seed % len(RANDOM)]]
    monitors = tuple(monitor for rule in RULES.values() for monitor in rule.monitors)
    return Comparison(lambda: set_up(scenario, design, {}, monitors))


def test_random_calls_under_every_engine(tmp_path: Path) -> None:
    """The same counts, paths and endings; and what they say of a step, a plain run does."""
    endings: Counter[str] = Counter()
    for seed in range(SEEDS):
        comparison = random_system(tmp_path, seed)
        found = comparison.engine.explore()
        for workers in (1, 2):
            assert facts(NativeEngine(comparison.ts, workers).explore()) == facts(found), seed
        endings[broken(comparison, found)] += 1
        walk(comparison, random.Random(seed), 400)
    assert endings["holds"] >= SEEDS // 3
    assert {"block-reuse", "kernel-asserts", "waits"} <= set(endings), endings


def broken(comparison: Comparison, found: Exploration) -> str:
    """The rule that an exploration found broken, which is that of a plain run along its path."""
    if found.path is None or found.ending is None:
        return "holds"
    if found.ending < 0:
        return "waits"
    rule: str = comparison.ts.fails[found.ending][0]
    system, run = comparison.along(found.path[:-1])
    try:
        assert rule in (step_plain(run, *found.path[-1]), rest_plain(system))
    finally:
        run.close()
    return rule
