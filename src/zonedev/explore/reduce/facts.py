"""What is known at each step of a task, whatever the other tasks do: values that only the task
itself changes, and locks that it surely holds.

The steps of each task are walked until nothing new is learnt.  Two kinds of knowledge last
from step to step:

- A location that one task alone writes has, where that task stands, the value that it gave it
  last: the nesting of its RCU sections, for example, is mostly a number that is known.
- A location is a lock where every store to it either makes 1 of a 0 (it is taken), or 0 where
  the task surely has it (it is released).  A counter is a lock that several can have where
  every store to it adds, or takes away at most what the task has surely added.

Nothing is believed by its name: a store of 0 to a lock by a task that may not have it takes
all it says about that lock away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from zonedev.explore.reduce.walk import Known, Loc, Locks, Values, Walk, common
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect
from zonedev.lang.system import Group
from zonedev.lang.transition import Step, TaskCode, TransitionSystem


@dataclass(frozen=True)
class Facts:
    """What is known of a step."""

    step: Step
    body: list[Effect]  # without what is settled
    values: Values  # of the task's own locations, before the step
    after: Values  # the same behind it, as far as all ways through it agree
    held: frozenset[Loc]  # locks that the task has before it
    walk: Walk


class Analysis:
    """The facts of all steps of a system that can be reached, and its locks."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts = ts
        start = ts.initial()
        pcs = ts.pcs(start)
        self.initial = {(g.cls, g.path, i): n for g, i, n in ts.shared(start)}
        stores = [written(t) for t in ts.tasks]
        self.locks = candidates(ts, self.initial)
        self.facts: list[dict[int, Facts]] = []
        walks = []
        for number, task in enumerate(ts.tasks):
            others = set().union(*(s for n, s in enumerate(stores) if n != number))
            own = frozenset(stores[number] - others)
            walks.append((own, self.settle(task, pcs[number], own)))
        for (own, known), task in zip(walks, ts.tasks, strict=True):
            self.facts.append({pc: self.fact(task, pc, known[pc], own) for pc in sorted(known) if pc})
        none = self.locks.unlike
        self.locks.exclusive -= none
        self.locks.shared -= none
        self.facts = [{pc: replace(f, held=f.held - none) for pc, f in facts.items()} for facts in self.facts]

    def settle(self, task: TaskCode, pc: int, own: frozenset[Loc]) -> dict[int, Known]:
        """What is known before each step, until nothing changes."""
        known = {pc: Known({at: n for at, n in self.initial.items() if at in own})}
        todo = [pc]
        while todo:
            at = todo.pop()
            if at == 0:
                continue
            walk = Walk(own, self.locks, task.kinds, self.ts.system)
            walk.body(task.steps[at - 1].body, known[at].fork())
            for target, found in walk.exits:
                lasting = Known({p: n for p, n in found.values.items() if p in own}, found.held)
                before = known.get(target)
                now = lasting if before is None else before.meet(lasting)
                if before is None or now != before:
                    known[target] = now
                    todo.append(target)
        return known

    def fact(self, task: TaskCode, pc: int, known: Known, own: frozenset[Loc]) -> Facts:
        walk = Walk(own, self.locks, task.kinds, self.ts.system)
        walk.judge = True
        body, _ = walk.body(task.steps[pc - 1].body, known.fork())
        ends = [{p: n for p, n in end.values.items() if p in own} for _, end in walk.exits]
        after = ends[0] if ends else {}
        for end in ends[1:]:
            after = common(after, end)
        return Facts(task.steps[pc - 1], body, known.values, after, known.held, walk)


def written(task: TaskCode) -> set[Loc]:
    """The locations that a task's steps may write."""
    found: set[Loc] = set()
    for step in task.steps:
        for effect in ir.walk(step.body):
            if effect[0] == "store":
                group, index = effect[1], effect[2]
                found.update([(group.cls, group.path, index[1])] if index[0] == "c" else locations(group))
    return found


def candidates(ts: TransitionSystem, initial: Mapping[Loc, int]) -> Locks:
    """The locations that all stores treat as a lock, or as a counter of holders; each is 0 at first."""
    values: defaultdict[Loc, set[str]] = defaultdict(set)
    for body in bodies(ts):
        for effect in ir.walk(body):
            if effect[0] == "store":
                group, index, value = effect[1:]
                kind = "set" if value[0] == "c" else "add" if value[0] in "+-" else "other"
                if index[0] == "c":
                    values[group.cls, group.path, index[1]].add(kind)
                else:
                    for place in locations(group):
                        values[place].add("other")
    free = {place for place, number in initial.items() if number == 0}
    exclusive = {p for p, kinds in values.items() if kinds == {"set"} and p in free}
    return Locks(exclusive, {p for p, kinds in values.items() if kinds == {"add"} and p in free})


def bodies(ts: TransitionSystem) -> Iterable[list[Effect]]:
    return (step.body for task in ts.tasks for step in task.steps)


def locations(group: Group) -> list[Loc]:
    return [(group.cls, group.path, i) for i in range(group.size)]
