"""The counterexample of the native engine: the same path that `shortest` finds from edges.

Level by level backwards, the states from which a shortest way leads to a target are
collected with the fewest task switches after each first task; then the path is walked
forwards.  Only those states are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zonedev.explore import native_kernels as k
from zonedev.explore.native_store import CHUNK

if TYPE_CHECKING:
    from zonedev.explore.native import Search

Place = tuple[int, int]  # worker and number of a state


class Trace:
    """Finds the path in the states of a finished search."""

    def __init__(self, search: Search) -> None:
        self.search, self.engine, self.store = search, search.engine, search.store
        self.tasks = len(self.engine.ts.tasks)

    def to(self, targets: dict[Place, int], level: int) -> tuple[list[tuple[int, int]], int]:
        """The path to a target, all of which are of one level, or over a failing step; and its ending."""
        self.rows: dict[int, list[tuple[Any, Any]]] = {}
        ahead = self.mark_targets(targets, level) if targets else None
        for here in range(level if targets else level + 1)[::-1]:
            found = self.search.each(
                lambda me: self.collect(me, here, ahead, not targets),  # noqa: B023
                sum(self.span(here, me)[1] - self.span(here, me)[0] for me in range(self.search.workers)),
            )
            self.rows[here] = found
            self.search.look()
            ahead = self.ahead(here)
        return self.walk(targets)

    def span(self, level: int, me: int) -> tuple[int, int]:
        return self.search.levels[level][me], self.search.level_end(level, me)

    def mark_targets(self, targets: dict[Place, int], level: int) -> Any:
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

    def collect(self, me: int, level: int, ahead: Any, failing: bool) -> tuple[Any, Any]:
        """The worker's states of a level from which a shortest way leads on, and their costs."""
        if ahead is None:
            ahead = np.zeros((self.search.workers, 4), np.int64)
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
                int(failing),
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

    def walk(self, targets: dict[Place, int]) -> tuple[list[tuple[int, int]], int]:
        path: list[tuple[int, int]] = []
        state = self.engine.ts.initial()
        last = -1
        while (place := self.place(state)) not in targets:
            costs = self.costs(len(path), place)
            assert costs is not None
            left = min(c + (t != last and last >= 0) for t, c in enumerate(costs))
            for task, choice, new in sorted(self.engine.expand(state), key=lambda edge: edge[:2]):
                after = self.after(task, new, len(path) + 1, targets)
                if after is not None and after + (task != last and last >= 0) == left:
                    path.append((task, choice))
                    if isinstance(new, int):
                        return path, new
                    state, last = new, task
                    break
            else:
                raise AssertionError("the path breaks off")
        return path, targets[place]

    def after(self, task: int, new: Any, level: int, targets: dict[Place, int]) -> int | None:
        """The switches after a step, or None where it is on no shortest way."""
        if isinstance(new, int):
            return None if targets else 0
        place = self.place(new)
        if place in targets:
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
