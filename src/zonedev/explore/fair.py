"""Livelocks: tasks that go round for ever although each of them gets its turn.

A fair cycle is a way through the states that comes back to where it began, on which some
task has not finished, and each task

- takes a step, or
- cannot take one in any of the states on the way, because it has finished or waits.

So a task that could run all the time does run, and a task that waits for something, such
as a lock, and finds it free again and again gets it at some time: who merely waits is in
no livelock, but who tries again and again is.  Actors, such as RCU's callbacks, are tasks
like others here.  Nobody is fair about a choice (`choose`): it may be the worst every time.

The tasks that take steps on a fair cycle are all that can take one there.  So for each set
of tasks, the states in which nobody else can take a step are split into their strongly
connected components: where each task of the set takes a step inside of one, that is a
livelock, and there are no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from heapq import heappop, heappush
from itertools import combinations, count, pairwise

from zonedev.explore.components import components
from zonedev.explore.result import State
from zonedev.lang.expr import Effect
from zonedev.lang.transition import TransitionSystem

Move = tuple[int, int, State]  # task, choice, and the new state
Path = list[tuple[int, int]]
Expand = Callable[[State], Iterable[tuple[int, int, State | int]]]
Node = tuple[State, int, int]  # a state, the tasks that still have to take a step, and the last one

FAILED: State = ()  # where a step leads that breaks a rule: to none of the states
TICK = 4096  # states between two looks at the limits
CORE_BYTES = 1500  # of a state that is kept here, with its steps


def looping(ts: TransitionSystem) -> list[bytes]:
    """For each task, by the number of its next step: 1 where the task can come back to that step.

    On a cycle, a task that takes steps stands nowhere else.  So what is looked for can only go
    through states in which all that can take a step stand in a loop: few, mostly.
    """
    found = []
    for task in ts.tasks:
        after = [set[int](), *(set(targets(step.body)) for step in task.steps)]
        flags = bytearray(len(after))
        for group in components(range(len(after)), after.__getitem__):
            if len(group) > 1 or group[0] in after[group[0]]:
                for pc in group:
                    flags[pc] = 1
        found.append(bytes(flags))
    return found


def targets(body: Iterable[Effect]) -> Iterator[int]:
    """The steps that a step can lead to."""
    for effect in body:
        if effect[0] == "goto":
            yield effect[1]
        elif effect[0] == "if":
            yield from targets(effect[2])
            yield from targets(effect[3])


class Unsure(Exception):
    """There are loops, but which task takes which step on them is not known."""


class Livelock:
    """Looks for livelocks in `moves`, the states that `looping` leaves, with all their steps.

    Of all that there are it takes those of the fewest tasks, or with `everything` all that have
    none of fewer tasks inside.  Of these it takes those that begin at the least `level`: `states`
    are where they can be entered, and empty where there is none.  `look` is called from time to
    time, and may raise what ends the search.  Where tasks are `exchanged` between a state and the
    next, any loop at all raises Unsure.
    """

    def __init__(
        self,
        moves: Mapping[State, list[Move]],
        level: Callable[[State], int],
        look: Callable[[], object],
        everything: bool = False,
        *,
        exchanged: bool = False,
    ) -> None:
        self.moves, self.look, self.ticks = moves, look, 0
        if exchanged and self.loops():
            raise Unsure
        self.found = self.smallest(everything)
        self.levels = {state: level(state) for _, among in self.found for state in among}
        self.settle()

    def loops(self) -> bool:
        """Whether one can come back to a state."""
        among = set(self.moves)
        groups = components(among, lambda state: self.inside(state, among))
        return any(self.going(set(group)) for group in groups)

    def settle(self) -> None:
        """Where those that were found begin."""
        levels = {state: self.levels[state] for _, among in self.found for state in among}
        self.level = min(levels.values(), default=-1)
        self.states = sorted(state for state, at in levels.items() if at == self.level)

    def only(self, numbers: Iterable[int]) -> Livelock:
        """Some of the livelocks that were found, and where these begin."""
        part = copy(self)
        part.found = [self.found[number] for number in numbers]
        part.settle()
        return part

    def smallest(self, everything: bool) -> list[tuple[int, set[State]]]:
        """The smallest sets of tasks that go round, and the states in which they do.

        A livelock of two is easier to read than one of three that contains it.
        """
        found: list[tuple[int, set[State]]] = []
        able: dict[int, list[State]] = {}  # by the tasks that can take a step
        for state, out in self.moves.items():
            able.setdefault(mask(task for task, _, _ in out), []).append(state)
        tasks = [n for n in range(max(able, default=0).bit_length()) if any(m >> n & 1 for m in able)]
        for size in range(1, len(tasks) + 1):
            smaller = set[State]().union(*(among for _, among in found))
            for chosen in map(mask, combinations(tasks, size)):
                among = {state for m, states in able.items() if not m & ~chosen for state in states}
                groups = map(set, components(among, lambda state: self.inside(state, among)))  # noqa: B023
                found += [(chosen, g) for g in groups if self.going(g) == chosen and smaller.isdisjoint(g)]
            if found and not everything:
                break
        return found

    def inside(self, state: State, among: set[State]) -> list[State]:
        """Where a step leads to from a state, as far as that is in `among`."""
        self.tick()
        return [new for _, _, new in self.moves[state] if new in among]

    def going(self, among: set[State]) -> int:
        """The tasks that take a step inside of a set of states."""
        return mask(task for state in among for task, _, new in self.moves[state] if new in among)

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks % TICK == 0:
            self.look()

    def lasso(self, expand: Expand, state: State, path: Path) -> tuple[Path, int]:
        """`path`, which leads from `state` to one of the `states`, and one round of the loop after it;
        and the number of steps before the loop.

        A round from where a livelock begins can cut through what a task does in one go.  So
        rounds from where another task goes on are tried as well, for fewer task switches.
        """
        state = after(expand, state, path)
        tasks, among = next((t, a) for t, a in self.found if state in a)
        first = self.round(state, tasks, among, path)
        found = turned(path, first)
        for at in range(1, len(first)):
            if first[at - 1][0] != first[at][0]:
                before = path + first[:at]
                again = self.round(after(expand, state, first[:at]), tasks, among, before)
                found = min(found, turned(before, again), key=lambda lasso: switches(lasso[1]))
        before, loop = found
        return before + loop, len(before)

    def round(self, start: State, tasks: int, among: set[State], before: Path) -> Path:
        """The shortest way from `start` back to it on which each of `tasks` takes a step.

        Of several it is one with the fewest task switches, counted from the end of `before`.
        """
        begin: Node = (start, tasks, before[-1][0] if before else -1)
        best: dict[Node, tuple[int, int]] = {begin: (0, 0)}
        came: dict[Node, tuple[Node, int, int]] = {}
        queue: list[tuple[tuple[int, int], int, Node]] = [((0, 0), 0, begin)]
        pushed = count(1)
        while queue:
            cost, _, node = heappop(queue)
            state, left, last = node
            if state == start and not left:
                return way(came, begin, node)
            if cost > best[node]:
                continue
            self.tick()
            for task, choice, new in sorted(self.moves[state]):
                if new in among:
                    there = (new, left & ~(1 << task), task)
                    more = (cost[0] + 1, cost[1] + (last not in (-1, task)))
                    if there not in best or more < best[there]:
                        best[there], came[there] = more, (node, task, choice)
                        heappush(queue, (more, next(pushed), there))
        raise AssertionError("a component without a way round")


def after(expand: Expand, state: State, path: Path) -> State:
    """The state that a path without failing steps leads to."""
    for step in path:
        state = next(n for t, c, n in expand(state) if (t, c) == step and isinstance(n, tuple))
    return state


def turned(before: Path, loop: Path) -> tuple[Path, Path]:
    """The same lasso, where the steps of a task at both ends of the loop come together at its end."""
    first, last = loop[0][0], loop[-1][0]
    run = next((n for n, (task, _) in enumerate(loop) if task != first), 0) if first == last else 0
    return before + loop[:run], loop[run:] + loop[:run]


def switches(loop: Path) -> int:
    """The task switches of one round, with the one back to where it begins."""
    return sum(a[0] != b[0] for a, b in pairwise(loop + loop[:1]))


def way(came: Mapping[Node, tuple[Node, int, int]], begin: Node, node: Node) -> Path:
    """The steps that led from `begin` to `node`."""
    path = []
    while node != begin:
        node, task, choice = came[node]
        path.append((task, choice))
    return path[::-1]


def mask(tasks: Iterable[int]) -> int:
    """A set of tasks as the bits of a number."""
    found = 0
    for task in tasks:
        found |= 1 << task
    return found
