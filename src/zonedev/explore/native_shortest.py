"""The counterexample of the native engine: the same path that `shortest` finds from edges.

Level by level backwards, the states from which a shortest way leads to a target are
collected with the fewest task switches after each first task; then the path is walked
forwards.  Only those states are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zonedev.explore import native_kernels as k
from zonedev.explore.fair import Path
from zonedev.explore.native_back import FAR
from zonedev.explore.native_store import CHUNK
from zonedev.explore.result import State

if TYPE_CHECKING:
    from zonedev.explore.native_search import Search

Place = tuple[int, int]  # worker and number of a state
Fails = dict[tuple[int, int], int]  # the steps of a state that fail, with what they break


class Trace:
    """Finds the path in the states of a finished search."""

    def __init__(self, search: Search) -> None:
        self.search, self.engine, self.store = search, search.engine, search.store
        self.tasks = len(self.engine.ts.tasks)

    def to(self, targets: Iterable[Place], level: int) -> tuple[Path, Place]:
        """The path to a target, all of which are of one level; and which it is."""
        ends: dict[Place, Fails] = {place: {} for place in targets}
        self.rows: dict[int, list[tuple[Any, Any]]] = {}
        self.kept = 0  # bytes of these
        self.back(level, self.mark_targets(ends, level))
        path, place, _ = self.walk(ends)
        return path, place

    def over(self, ends: Mapping[Place, Fails], level: int) -> tuple[Path, int]:
        """The path over a failing step, which are given by states of one level; and what it breaks."""
        self.rows = {level: [self.before(me, ends) for me in range(self.search.workers)]}
        self.kept = 0
        self.back(level, self.ahead(level))
        path, _, fail = self.walk(ends)
        assert fail is not None
        return path, fail

    def before(self, me: int, ends: Mapping[Place, Fails]) -> tuple[Any, Any]:
        """The states of a worker from which a step fails, as `collect` has them."""
        states = sorted(number for worker, number in ends if worker == me)
        costs = np.full((len(states), self.tasks), FAR, np.int64)
        for row, number in enumerate(states):
            for task, _ in ends[me, number]:
                costs[row, task] = 0
        return np.array(states, np.int64), costs

    def back(self, level: int, ahead: Any) -> None:
        """Collect the levels before one, given what is `ahead` of them."""
        for here in range(level)[::-1]:
            found = self.search.each(
                lambda me: self.collect(me, here, ahead),  # noqa: B023
                sum(self.span(here, me)[1] - self.span(here, me)[0] for me in range(self.search.workers)),
            )
            self.rows[here] = found
            self.kept += sum(states.nbytes + costs.nbytes for states, costs in found)
            self.search.look(self.kept)
            ahead = self.ahead(here)

    def span(self, level: int, me: int) -> tuple[int, int]:
        return self.search.levels[level][me], self.search.level_end(level, me)

    def mark_targets(self, targets: Iterable[Place], level: int) -> Any:
        self.places = []
        ahead = np.zeros((self.search.workers, 4), np.int64)
        for me in range(self.search.workers):
            first, end = self.span(level, me)
            row = np.full(end - first, -1, np.int64)
            row[[n - first for w, n in targets if w == me]] = 0
            self.places.append(row)
            ahead[me] = first, end, row.ctypes.data, 0
        return ahead

    def ahead(self, level: int) -> Any:
        """What `suffixes` needs to know of a level that has been collected."""
        self.places = []
        ahead = np.zeros((self.search.workers, 4), np.int64)
        for me, (states, costs) in enumerate(self.rows[level]):
            first, end = self.span(level, me)
            row = np.full(end - first, -1, np.int64)
            row[states - first] = np.arange(len(states))
            self.places.append(row)
            ahead[me] = first, end, row.ctypes.data, costs.ctypes.data or -8
        return ahead

    def collect(self, me: int, level: int, ahead: Any) -> tuple[Any, Any]:
        """The worker's states of a level from which a shortest way leads on, and their costs."""
        first, end = self.span(level, me)
        states, costs = [], []
        for at in range(first, end, CHUNK):
            stop = min(end, at + CHUNK)
            number = np.empty(stop - at, np.int64)
            cost = np.empty((stop - at, self.tasks), np.int64)
            n = self.search.call(
                "suffixes",
                me,
                at,
                stop,
                ahead.ctypes.data,
                self.tasks,
                cost.ctypes.data,
                number.ctypes.data,
            )
            states.append(number[:n].copy())
            costs.append(cost[:n].copy())
        if not states:
            return np.empty(0, np.int64), np.empty((0, self.tasks), np.int64)
        return np.concatenate(states), np.concatenate(costs)

    def walk(self, ends: Mapping[Place, Fails]) -> tuple[Path, Place, int | None]:
        """The path to one of the ends, or over a step that fails there; the end, and what is broken."""
        path: Path = []
        state = self.engine.ts.initial()
        last = -1
        while ends.get(place := self.place(state)) != {}:
            fails = ends.get(place, {})
            costs = self.costs(len(path), place)
            assert costs is not None
            left = min(c + (t != last and last >= 0) for t, c in enumerate(costs))
            for task, choice, new in self.steps(state):
                after = 0 if (task, choice) in fails else self.after(task, new, len(path) + 1, ends)
                if after is not None and after + (task != last and last >= 0) == left:
                    path.append((task, choice))
                    if isinstance(new, int):
                        return path, place, new
                    state, last = new, task
                    break
            else:
                raise AssertionError("the path breaks off")
        return path, place, None

    def steps(self, state: State) -> list[tuple[int, int, State | int]]:
        """The steps from a state, in the order in which a path takes them."""
        return sorted(self.engine.expand(state), key=lambda edge: edge[:2])

    def after(self, task: int, new: Any, level: int, ends: Mapping[Place, Fails]) -> int | None:
        """The switches after a step, or None where it is on no shortest way."""
        if isinstance(new, int):
            return None
        place = self.place(new)
        if ends.get(place) == {}:
            return 0
        costs = self.costs(level, place)
        return None if costs is None else min(c + (t != task) for t, c in enumerate(costs))

    def costs(self, level: int, place: Place) -> list[int] | None:
        if level not in self.rows:
            return None
        states, costs = self.rows[level][place[0]]
        at = int(np.searchsorted(states, place[1]))
        if at == len(states) or states[at] != place[1]:
            return None
        return [int(c) for c in costs[at]]

    def place(self, state: tuple[int, ...]) -> Place:
        """The worker and the number of a state; -1 and -1 where it was never entered."""
        row = np.array(state, np.int64)
        found = self.search.call("locate", row.ctypes.data)
        return (found >> 32, found & k.LOW) if found >= 0 else (-1, -1)
