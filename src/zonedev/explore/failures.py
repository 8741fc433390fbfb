"""All failures of a scenario, in groups that a developer would call the same bug.

A search for all failures goes on after the first one: a step that breaks a rule leads
nowhere, and everything else is explored to its end.  The same bug are

- steps at which the same check does not hold: the line of an assertion, of a rule, or of a
  counter that falls below zero, whoever comes there;
- steps of the same system call that reach something after it was freed, by its class: where in
  the call this happens first is chance, and so is which task it is;
- states at rest in which the same check does not hold;
- states in which tasks wait for ever in the same system calls (of a lost wake-up, those that
  sleep), or go round in the same ones.

Of each there is one shortest way, with the fewest task switches, and the number of steps or
states is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from zonedev.explore.fair import Expand, Livelock, Path
from zonedev.explore.result import LIVELOCK, LOST_WAKEUP, Failure, State
from zonedev.explore.trace import shared_calls
from zonedev.lang.transition import TransitionSystem

Ends = dict[State, dict[tuple[int, int], int]]  # by state: the steps that fail, with what they break
#: Finds the shortest way to one of the ends of a level, and says what its last step breaks, if it does.
Way = Callable[[int, Ends], tuple[Path, int | None]]
Calls = Sequence[str]  # functions, outermost first


@dataclass
class Group:
    """Failures that are the same bug.  `ends` are those of the least level: a state with what fails there,
    or with nothing where the state itself is the failure."""

    level: int
    ending: int
    count: int = 0
    calls: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    ends: Ends = field(default_factory=dict)

    def failure(self, way: Way) -> Failure:
        path, fail = way(self.level, self.ends)
        ending = self.ending if fail is None else fail
        return Failure(path, ending, tuple(sorted(self.calls)), tuple(sorted(self.functions)), self.count)


class Failures:
    """Collects failures, by ascending level."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts = ts
        self.groups: dict[tuple[object, ...], Group] = {}

    def step(
        self, level: int, task: int, pc: int, fail: int, count: int, among: Iterable[tuple[State, int]]
    ) -> None:
        """`count` steps of a task from `pc` fail; `among` are the states and the choices."""
        calls = self.ts.tasks[task].steps[pc - 1].place.calls
        rule, text = self.ts.fails[fail]
        freed = self.ts.freed.get(fail)
        key = (rule, text) if freed is None else (rule, freed, system_call(calls))
        group = self.group(key, level, fail, [calls], count)
        if group.level == level:
            for state, choice in among:
                group.ends.setdefault(state, {})[task, choice] = fail

    def state(self, level: int, state: State, ending: int) -> None:
        """A state that is a failure itself: tasks wait for ever, or a rule breaks at rest."""
        calls = [] if ending >= 0 else list(self.waiting(state, ending))
        what = self.ts.fails[ending] if ending >= 0 else sorted({system_call(c) for c in calls})
        key = (min(ending, 0), *what)  # those at rest are apart from steps
        group = self.group(key, level, ending, calls, 1)
        if group.level == level:
            group.ends[state] = {}

    def waiting(self, state: State, ending: int) -> Iterable[Calls]:
        """The calls of the tasks that wait in a state; of a lost wake-up, of those that sleep."""
        for task, pc in zip(self.ts.tasks, self.ts.pcs(state), strict=True):
            if pc and not task.actor:
                step = task.steps[pc - 1]
                if ending != LOST_WAKEUP or step.lost is not None:
                    yield step.place.calls

    def group(
        self, key: tuple[object, ...], level: int, ending: int, calls: Iterable[Calls], count: int
    ) -> Group:
        group = self.groups.setdefault(key, Group(level, ending))
        group.count += count
        for each in calls:
            group.calls.add(system_call(each))
            group.functions.add(each[-1])
        return group

    def found(self, way: Way) -> list[Failure]:
        """One of each group, the shortest first."""
        return sorted((group.failure(way) for group in self.groups.values()), key=order)


def order(failure: Failure) -> tuple[int, int, Path]:
    """The shortest first, and of those the one with the fewest task switches, as a check has it."""
    return len(failure.path), sum(a[0] != b[0] for a, b in pairwise(failure.path)), failure.path


def system_call(calls: Calls) -> str:
    """The function that a task's program has called; of an actor its own."""
    return calls[1] if len(calls) > 1 and calls[0].startswith("task_") else calls[0]


def livelocks(ts: TransitionSystem, found: Livelock, expand: Expand, way: Way) -> list[Failure]:
    """All livelocks, in groups by the system calls that go round."""
    going: dict[int, list[Calls]] = {}  # by the number of a livelock in what was found
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, (tasks, among) in enumerate(found.found):
        going[number] = calls_of(ts, found, tasks, among)
        groups.setdefault(tuple(sorted({system_call(c) for c in going[number]})), []).append(number)
    failures = []
    for calls, numbers in groups.items():
        part = found.only(numbers)
        path, _ = way(part.level, {state: {} for state in part.states})
        path, loop = part.lasso(expand, ts.initial(), path)
        states = set[State]().union(*(among for _, among in part.found))
        functions = sorted({c[-1] for number in numbers for c in going[number]})
        failures.append(Failure(path, LIVELOCK, calls, tuple(functions), len(states), loop))
    return sorted(failures, key=order)


def calls_of(ts: TransitionSystem, found: Livelock, tasks: int, among: set[State]) -> list[Calls]:
    """The functions that each task of a livelock is in all the while."""
    calls: dict[int, Calls] = {}
    for state in among:
        pcs = ts.pcs(state)
        for task, _, new in found.moves[state]:
            if new in among and tasks >> task & 1:
                here = ts.tasks[task].steps[pcs[task] - 1].place.calls
                calls[task] = shared_calls(calls.get(task, here), here)
    return list(calls.values())
