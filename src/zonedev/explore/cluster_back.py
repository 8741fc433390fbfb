"""What a search on a cluster does when all states are known, with sweeps (see partition_back).

The answers are those of native_finish, native_loops and native_shortest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from zonedev.explore.fair import Path
from zonedev.explore.native_loops import Loops
from zonedev.explore.native_shortest import Fails, Place, Trace
from zonedev.explore.partition_back import FOLLOWED
from zonedev.explore.result import MOST_IN_CYCLES, State, Stop

if TYPE_CHECKING:
    from zonedev.explore.cluster import Cluster


def sweep(search: Cluster) -> None:
    """Do the sweep that all partitions have begun."""
    while any(search.exchange("ask", "tell", "conclude")):
        search.look()


# --- who can finish ------------------------------------------------------------------------------


def cannot_finish(search: Cluster) -> tuple[list[Place], int]:
    """The states of the first level that has any which cannot finish, and the level."""
    search.all("sweep", "begin_finish")
    follow(search)
    while any(search.all("sweep", "left")):
        sweep(search)
        if not any(search.all("sweep", "follow_again")):
            return first_level(search)
        follow(search)
    return [], -1


def follow(search: Cluster) -> None:
    """Follow the successors that were kept, of all states at once, twice as far each time."""
    most = max(search.counts())
    going_on = True
    while going_on:
        going_on = False
        for first in range(0, most, FOLLOWED):
            going_on |= any(search.exchange("ask_jumps", "tell_jumps", "jump", first))
            search.look()


def first_level(search: Cluster) -> tuple[list[Place], int]:
    """The states that cannot finish that are in the least level, and that level."""
    level = min(n for n in search.all("sweep", "least_level") if n >= 0)
    bad = search.all("sweep", "unfinished", level)
    return [(me, number) for me, numbers in enumerate(bad) for number in numbers], level


# --- who goes round ------------------------------------------------------------------------------


class FarLoops(Loops):
    """As Loops, where the states are in partitions."""

    def __init__(self, search: Cluster) -> None:
        super().__init__(search)
        self.cluster = search
        self.words: dict[Place, State] = {}

    def candidates(self, loops: list[bytes]) -> list[Any]:
        return self.cluster.all("sweep", "begin_loops", *self.tables(loops))

    def peeled(self, marks: list[Any]) -> list[Any]:
        left, taken = sum(marks), True
        while taken and left:
            sweep(self.cluster)
            found = self.cluster.all("sweep", "peeled")
            taken, left = any(t for t, _ in found), sum(n for _, n in found)
        if left > MOST_IN_CYCLES:
            raise Stop(f"more than {MOST_IN_CYCLES} states in cycles")
        kept = []
        for me, (numbers, states) in enumerate(self.cluster.all("sweep", "marked")):
            kept.append(numbers)
            for number, words in zip(numbers.tolist(), states.tolist(), strict=True):
                self.words[me, number] = tuple(words)
        return kept

    def state(self, me: int, number: int) -> State:
        return self.words[me, number]


# --- the shortest way ----------------------------------------------------------------------------


class FarTrace(Trace):
    """As Trace, where the states are in partitions."""

    def __init__(self, search: Cluster) -> None:
        super().__init__(search)
        self.cluster = search
        self.known: dict[State, Place] = {}
        self.known_costs: dict[Place, list[int] | None] = {}

    def to(self, targets: Iterable[Place], level: int) -> tuple[Path, Place]:
        ends: dict[Place, Fails] = {place: {} for place in targets}
        self.aim(ends, level)
        path, place, _ = self.walk(ends)
        return path, place

    def over(self, ends: Mapping[Place, Fails], level: int) -> tuple[Path, int]:
        self.aim(ends, level)
        path, _, fail = self.walk(ends)
        assert fail is not None
        return path, fail

    def aim(self, ends: Mapping[Place, Fails], level: int) -> None:
        """Collect the levels before `ends`, each in its partition."""
        cluster = self.cluster
        for me, process in enumerate(cluster.processes):
            mine = {number: list(fails) for (worker, number), fails in ends.items() if worker == me}
            cluster.get(process.sweep.remote("aim", level, mine))
        for here in range(level)[::-1]:
            cluster.all("sweep", "begin_level", here)
            sweep(cluster)
            cluster.all("sweep", "end_level")
        self.find([self.engine.ts.initial()])

    def find(self, states: list[State]) -> None:
        """Ask for the places and the costs of some states."""
        if not states:
            return
        words = np.array(states, np.int64)
        self.known.update(dict.fromkeys(states, (-1, -1)))
        for me, found in enumerate(self.cluster.all("sweep", "place", words)):
            for state, (number, costs) in zip(states, found, strict=True):
                if number >= 0:
                    self.known[state] = me, number
                    self.known_costs[me, number] = costs

    def steps(self, state: State) -> list[tuple[int, int, State | int]]:
        steps = super().steps(state)
        self.find([new for _, _, new in steps if not isinstance(new, int) and new not in self.known])
        return steps

    def place(self, state: State) -> Place:
        return self.known[state]

    def costs(self, level: int, place: Place) -> list[int] | None:
        me, number = place
        if number < 0 or bisect_right(self.search.levels, number, key=lambda begins: begins[me]) - 1 != level:
            return None
        return self.known_costs[place]
