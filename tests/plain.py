"""Lowered steps held against the plain run: every state that can be reached, every step from it.

The plain run is the oracle.  It is started from scratch for every step, and brought to
the state by a schedule that leads there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zonedev.explore.python import PythonEngine
from zonedev.lang.errors import CounterRange, RuleBroken, SpecError
from zonedev.lang.runtime import Scheduler, ghost
from zonedev.lang.system import System
from zonedev.lang.transition import TransitionSystem, get, lower

Build = Callable[[], System]
State = tuple[int, ...]
Schedule = list[tuple[int, int]]


def values_lowered(ts: TransitionSystem, state: State) -> dict[str, int]:
    found = {}
    for group in ts.system.groups():
        slots = ts.slots.get((group.cls, group.path))
        for index in range(group.size):
            number = get(state, slots[index]) if slots else ts.frozen[group.cls, group.path][index]
            found[group.label(index)] = number
    return found


def values_plain(system: System) -> dict[str, int]:
    return {
        group.label(index): system.encode(group.kind, group.peek(index))
        for group in system.groups()
        for index in range(group.size)
    }


def assert_same(ts: TransitionSystem, state: State, system: System, run: Scheduler) -> None:
    """Every shared location has the same value, and every task stands at the same line."""
    assert values_plain(system) == values_lowered(ts, state)
    for task, pc in enumerate(ts.pcs(state)):
        waiting = run.waiting[task]
        assert (waiting is None) == (pc == 0), f"task {task} is at its end in one of the two only"
        if waiting is not None:
            place = ts.tasks[task].steps[pc - 1].place
            assert waiting.where.file == place.file
            assert place.line <= waiting.where.line <= place.end, (place, waiting.where)


def step_plain(run: Scheduler, task: int, choice: int) -> str | None:
    """Take a step; the rule that it breaks."""
    try:
        run.step(task, choice)
    except RuleBroken as broken:
        return broken.rule
    except (CounterRange, SpecError):
        return "counter-range"
    return None


def rest_plain(system: System) -> str | None:
    """The rule that the state at rest breaks."""
    try:
        with system.running_as(system.tasks[0]), ghost():
            for monitor in system.monitors:
                if monitor.after is None:
                    monitor.check(system.k)
    except RuleBroken as broken:
        return broken.rule
    return None


@dataclass
class Compared:
    """What was covered, for tests that have to know that something happened."""

    states: int = 0
    transitions: int = 0
    broken: set[str] = field(default_factory=set)
    ends: list[dict[str, int]] = field(default_factory=list)
    deadlocks: int = 0


class Comparison:
    """One program, lowered once and run plainly as often as it takes."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.ts = lower(build())
        self.engine = PythonEngine(self.ts)
        self.found = Compared()

    def along(self, schedule: Schedule) -> tuple[System, Scheduler]:
        """A plain run that has taken the steps of `schedule`."""
        system = self.build()
        run = system.spawn()
        assert run.failure is None, run.failure
        for task, choice in schedule:
            run.step(task, choice)
        return system, run

    def state(self, state: State, schedule: Schedule) -> None:
        """Compare a state, and what can happen next."""
        system, run = self.along(schedule)
        try:
            assert_same(self.ts, state, system, run)
            moves = self.engine.expand(state)
            assert sorted({task for task, _, _ in moves}) == run.enabled()
            if not moves:
                self.at_end(state, system, run)
        finally:
            run.close()

    def at_end(self, state: State, system: System, run: Scheduler) -> None:
        if not self.engine.finished(state):
            self.found.deadlocks += 1
            return
        code = self.engine.code.rest(*state)
        rule = self.ts.fails[code][0] if code >= 0 else None
        assert rule == rest_plain(system)
        self.found.ends.append(values_plain(system))
        if rule is not None:
            self.found.broken.add(rule)

    def step(self, schedule: Schedule, task: int, choice: int, outcome: State | int) -> None:
        """Compare one step."""
        system, run = self.along(schedule)
        try:
            rule = step_plain(run, task, choice)
            assert rule == (self.ts.fails[outcome][0] if isinstance(outcome, int) else None)
            if isinstance(outcome, int):
                self.found.broken.add(self.ts.fails[outcome][0])
            else:
                assert_same(self.ts, outcome, system, run)
        finally:
            run.close()

    def everything(self, limit: int = 3000) -> Compared:
        start = self.ts.initial()
        ways: dict[State, Schedule] = {start: []}
        todo = [start]
        while todo:
            state = todo.pop()
            self.found.states += 1
            self.state(state, ways[state])
            for task, choice, outcome in self.engine.expand(state):
                self.found.transitions += 1
                self.step(ways[state], task, choice, outcome)
                if not isinstance(outcome, int) and outcome not in ways:
                    ways[outcome] = [*ways[state], (task, choice)]
                    todo.append(outcome)
            assert self.found.transitions < limit
        return self.found


def compare(build: Build) -> Compared:
    """Hold every step of a small program against the plain run."""
    return Comparison(build).everything()
