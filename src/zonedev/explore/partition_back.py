"""What a partition does when the search is over: which of its states can finish or go round, and which lie
on a shortest way to a violation.

All of that goes in sweeps over some states.  A sweep is made in pieces of three parts: `ask` expands
some states again, and gives for each partition the words of the successors that it keeps; `tell`
says for each of these what it is worth; and `conclude` uses the answers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from zonedev.explore import native_kernels as k
from zonedev.explore.llvmgen import untag
from zonedev.explore.native_post import EDGE
from zonedev.explore.native_shortest import Fails
from zonedev.explore.native_store import CHUNK
from zonedev.explore.partition import Partition

PIECE = 1 << 14  # states that are expanded before the others are asked
FOLLOWED = 1 << 18  # states that are followed before the others are asked
FINISHING, LOOPING = 6, 9  # bytes for each state, while it is looked at who can finish, or goes round
FAR = 1 << 30  # the cost where no shortest way leads on


class Sweep(Protocol):
    """What a sweep is for: the states that it goes over, and what their successors are worth."""

    todo: Any

    def worth(self, numbers: Any) -> Any:
        """Of states of this partition; of -1, the worth of a state that nobody knows."""

    def conclude(self, states: Any, index: Any, tasks: Any, values: Any) -> None:
        """`values` are what the successors of `states` are worth, with the tasks that lead there and
        the indices of the states that they lead from; None for a step that breaks a rule."""


class Marks:
    """A byte for each state, which changes where a successor's is, or where none is, 1."""

    def __init__(self, marks: Any, todo: Any, some: bool) -> None:
        self.marks, self.todo, self.some = marks, todo, some
        self.changed = 0

    def worth(self, numbers: Any) -> Any:
        found = np.zeros(len(numbers), np.uint8)
        known = numbers >= 0
        found[known] = self.marks[numbers[known]]
        return found

    def conclude(self, states: Any, index: Any, tasks: Any, values: Any) -> None:
        leads = np.zeros(len(states), bool)
        leads[index[values == 1]] = True
        changing = states[leads] if self.some else states[~leads]
        self.marks[changing] = int(self.some)
        self.changed += len(changing)


class Costs:
    """The fewest task switches to a target, after each first task: of the states of one level.

    `ahead` are those of the level after it.
    """

    def __init__(self, first: int, end: int, tasks: int, ahead: Rows) -> None:
        self.todo = np.arange(first, end, dtype=np.int64)
        self.ahead, self.tasks = ahead, tasks
        self.numbers: list[Any] = []
        self.rows: list[Any] = []

    def worth(self, numbers: Any) -> Any:
        return self.ahead.of(numbers, self.tasks)

    def conclude(self, states: Any, index: Any, tasks: Any, values: Any) -> None:
        each = np.arange(len(index))
        cost = np.minimum(values[each, tasks], np.minimum(values.min(axis=1) + 1, FAR))
        found = np.full((len(states), self.tasks), FAR, np.int32)
        np.minimum.at(found, (index, tasks), cost)
        on_a_way = found.min(axis=1) < FAR
        self.numbers.append(states[on_a_way])
        self.rows.append(found[on_a_way])

    def found(self) -> Rows:
        if not self.rows:
            return Rows(np.empty(0, np.int64), np.empty((0, self.tasks), np.int32))
        return Rows(np.concatenate(self.numbers), np.concatenate(self.rows))


class Rows:
    """Costs of some states, by their numbers, which ascend."""

    def __init__(self, numbers: Any, costs: Any) -> None:
        self.numbers, self.costs = numbers, costs

    def of(self, numbers: Any, tasks: int) -> Any:
        """The rows of costs of states; FAR in all of it where a state has none."""
        found = np.full((len(numbers), tasks), FAR, np.int32)
        if len(self.numbers):
            at = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
            known = self.numbers[at] == numbers
            found[known] = self.costs[at[known]]
        return found


class Back:
    """The sweeps of one partition, one after the other."""

    def __init__(self, partition: Partition, levels: Sequence[int], tasks: int) -> None:
        self.partition, self.levels, self.tasks = partition, list(levels), tasks
        self.count = partition.store.ctx.get(partition.me, k.COUNT)
        self.by_level: dict[int, Rows] = {}
        self.sweep: Sweep | None = None
        self.done = 0  # states of the sweep that are behind

    # --- one piece of a sweep --------------------------------------------------------------------

    def ask(self) -> tuple[Any, ...]:
        """Expand some states; returns for each partition the words of the successors that it keeps."""
        assert self.sweep is not None
        part, words = self.partition, self.partition.model.words
        self.states = np.ascontiguousarray(self.sweep.todo[self.done : self.done + PIECE])
        self.done += len(self.states)
        room = len(self.states) * part.model.most
        edges, states = np.empty((room, EDGE), np.int64), np.empty((room, words), np.int64)
        n = part.call(
            "fan_out",
            part.me,
            self.states.ctypes.data,
            len(self.states),
            edges.ctypes.data,
            states.ctypes.data,
        )
        self.edges = edges[:n].copy()
        return tuple(states[self.edges[self.edges[:, 2] == owner, 3]] for owner in range(part.workers))

    def tell(self, *asked: Any) -> tuple[Any, ...]:
        """What the states are worth that each partition asks about."""
        assert self.sweep is not None
        return tuple(self.sweep.worth(self.numbers(states)) for states in asked)

    def conclude(self, *told: Any) -> bool:
        """Use the answers; whether there is more of the sweep to do."""
        assert self.sweep is not None
        owner = self.edges[:, 2]
        values = self.failing(len(self.edges))
        for other, answers in enumerate(told):
            values[owner == other] = answers
        self.sweep.conclude(self.states, self.edges[:, 0], self.edges[:, 1], values)
        return self.done < len(self.sweep.todo)

    def failing(self, n: int) -> Any:
        """Values for `n` edges, which are right for those that break a rule."""
        if isinstance(self.sweep, Costs):
            return np.full((n, self.tasks), FAR, np.int32)
        return np.zeros(n, np.uint8)

    def numbers(self, states: Any) -> Any:
        """The numbers of states; -1 for those that were never entered here."""
        found = np.empty(len(states), np.int64)
        self.partition.call(
            "numbers_of", self.partition.me, states.ctypes.data, len(states), found.ctypes.data
        )
        return found

    # --- who can finish --------------------------------------------------------------------------

    def begin_finish(self) -> None:
        """Prepare to follow the successors that were kept, one for each state."""
        self.partition.store.look(FINISHING * self.count)
        kept = np.frombuffer(self.partition.store.children[self.partition.me].map, np.uint32, self.count)
        self.kept = kept
        self.jumps = kept.copy()  # how far each state has been followed: END where it can finish

    def ask_jumps(self, first: int) -> tuple[Any, ...]:
        """The states that those from `first` on have been followed to, by their partition."""
        jumps, workers = self.jumps[first : first + FOLLOWED], self.partition.workers
        self.walking = first + np.flatnonzero((jumps != 0) & (jumps != k.END))
        to = self.jumps[self.walking] - 1
        self.owner = to % workers
        return tuple(to[self.owner == other] // workers for other in range(workers))

    def tell_jumps(self, *asked: Any) -> tuple[Any, ...]:
        return tuple(self.jumps[numbers] for numbers in asked)

    def jump(self, *told: Any) -> int:
        """Follow them further; returns how many have come to an end."""
        for other, answers in enumerate(told):
            self.jumps[self.walking[self.owner == other]] = answers
        now = self.jumps[self.walking]
        return int(np.count_nonzero((now == 0) | (now == k.END)))

    def left(self) -> int:
        """The states from which no end was reached; they are swept."""
        todo = np.flatnonzero(self.jumps != k.END)[::-1]
        self.finishing = Marks((self.jumps == k.END).view(np.uint8), todo, some=True)
        self.sweep, self.done = self.finishing, 0
        return len(todo)

    def follow_again(self) -> int:
        """After the sweep: the number of states that can finish after all."""
        todo = self.finishing.todo
        can = self.finishing.marks[todo] == 1
        self.jumps[todo] = np.where(can, k.END, self.kept[todo])
        return self.finishing.changed

    def least_level(self) -> int:
        """The first level that has a state from which no end is reached; -1 for none."""
        left = np.flatnonzero(self.jumps != k.END)
        return bisect_right(self.levels, int(left[0])) - 1 if len(left) else -1

    def unfinished(self, level: int) -> list[int]:
        """Those of that level."""
        first, end = self.span(level)
        return [first + int(n) for n in np.flatnonzero(self.jumps[first:end] != k.END)]

    def span(self, level: int) -> tuple[int, int]:
        return self.levels[level], self.levels[level + 1] if level + 1 < len(self.levels) else self.count

    # --- who goes round --------------------------------------------------------------------------

    def begin_loops(self, table: Any, flags: Any) -> int:
        """Mark the states that may be part of a livelock; returns how many there are."""
        self.partition.store.look(LOOPING * self.count)
        marks = np.zeros(self.count, np.uint8)
        for first in range(0, self.count, CHUNK):
            self.partition.call(
                "in_loops",
                self.partition.me,
                table.ctypes.data,
                len(table),
                flags.ctypes.data,
                first,
                min(self.count, first + CHUNK),
                marks.ctypes.data,
            )
        self.going = Marks(marks, np.flatnonzero(marks)[::-1], some=False)
        self.sweep, self.done = self.going, 0
        return len(self.going.todo)

    def peeled(self) -> tuple[int, int]:
        """After the sweep: how many lost their marks, and how many have them still; prepares another."""
        changed, marks, todo = self.going.changed, self.going.marks, self.going.todo
        self.going = Marks(marks, todo[marks[todo] == 1], some=False)
        self.sweep, self.done = self.going, 0
        return changed, len(self.going.todo)

    def marked(self) -> tuple[Any, Any]:
        """The numbers and the words of the states that have their marks."""
        words = np.empty((len(self.going.todo), self.partition.model.words), np.int64)
        for row, number in zip(words, self.going.todo, strict=True):
            row[:] = self.partition.store.state(self.partition.me, int(number))
        return self.going.todo, words

    # --- the shortest way ------------------------------------------------------------------------

    def breaking(self, level: int, expanded: int) -> dict[int, Fails]:
        """The steps of a level that break a rule, by their states, of which so many were expanded."""
        at, end = self.span(level)
        end = min(end, expanded)
        found: dict[int, Fails] = {}
        room = CHUNK + self.partition.model.most
        while at < end:
            steps = np.empty((room, 2), np.int64)
            until = min(end, at + CHUNK)
            got = self.partition.call("failing", self.partition.me, at, until, steps.ctypes.data, room)
            at = got & k.LOW
            for number, tag in steps[: got >> 32].tolist():
                task, choice, fail = untag(tag)
                found.setdefault(number, {})[task, choice] = fail
        return found

    def aim(self, level: int, ends: Mapping[int, Sequence[tuple[int, int]]]) -> None:
        """The states that are to be reached, or those with steps that are, which are given."""
        numbers = sorted(ends)
        costs = np.full((len(numbers), self.tasks), FAR, np.int32)
        for row, number in enumerate(numbers):
            if not ends[number]:
                costs[row] = 0
            for task, _ in ends[number]:
                costs[row, task] = 0
        self.by_level[level] = Rows(np.array(numbers, np.int64), costs)

    def begin_level(self, level: int) -> None:
        """Prepare the sweep over a level; the one after it has been done."""
        self.level = level
        first, end = self.span(level)
        self.sweep = self.costing = Costs(first, end, self.tasks, self.by_level[level + 1])
        self.done = 0

    def end_level(self) -> None:
        self.by_level[self.level] = self.costing.found()

    def place(self, states: Any) -> list[tuple[int, list[int] | None]]:
        """Of some states the number, -1 where they are not here, and the costs where they have any."""
        return [(int(n), self.costs(int(n))) for n in self.numbers(states)]

    def costs(self, number: int) -> list[int] | None:
        level = bisect_right(self.levels, number) - 1
        if number < 0 or level not in self.by_level:
            return None
        row = self.by_level[level].of(np.array([number]), self.tasks)[0]
        return None if row.min() >= FAR else [int(c) for c in row]
