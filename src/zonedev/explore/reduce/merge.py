"""Merging: a step that moves to the left of all others is taken together with the one before it.

Where the next step of a task

- moves to the left of every step of every other task (see `movers`),
- can always be taken, and leaves no choice,
- and stands in no loop of its program, or has no say in whether others can take their steps,

nothing is lost if it is taken at once: whatever others do before it, they can do behind it.
So no state is kept in which a task stands there.  The result is a transition system like any
other, with fewer and larger steps, and

    its states are those of the original in which every task stands before a step that is left.

For a way to such a state, or to a broken rule, can be turned into one that takes each such
step at once, by moving it to the left.  Round every loop one step is left.

From that follows, for each kind of rule, that it is broken here where it is broken there:

- A step that breaks a rule: the steps that others have yet to take there move to its left, or
  break a rule themselves; so it is found in a state that is left.
- Deadlock, a lost wake-up, the rules at rest: a task before a merged step can take it, so
  such a state is no end.
- A task that can never finish: from a state before a merged step the same ends can be reached as
  from the one behind it.
- A livelock: whoever can take a step goes round, so all that can stand in loops.  What is merged
  there changes nothing about who can take a step; so with the merged steps taken at once the
  same tasks go round, and the same others wait all the while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zonedev.explore.components import components
from zonedev.explore.fair import looping
from zonedev.explore.reduce.movers import Mover, Movers, targets
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect
from zonedev.lang.transition import TransitionSystem

MOST = 600  # effects of a merged step
DEEPEST = 60  # branches inside of branches

NEVER: list[Effect] = [("guard", ir.const(0)), ("goto", 0)]


@dataclass(frozen=True)
class Merged:
    """A system with merged steps, and for each task the steps that were merged with those before."""

    ts: TransitionSystem
    within: list[frozenset[int]]


def merge(ts: TransitionSystem, movers: Movers) -> Merged:
    """`ts` with all steps merged that can be."""
    tasks, within = [], []
    for number, task in enumerate(ts.tasks):
        mine = movers.steps[number]
        bodies = {pc: s.facts.body for pc, s in mine.items()}
        inner = inner_steps(ts, movers, number)
        fit(bodies, inner)
        merged = Inlining(bodies, inner).result()
        steps = [
            replace(step, body=merged.get(step.pc, NEVER), live=step.live if step.pc in merged else ())
            for step in task.steps
        ]
        tasks.append(replace(task, steps=steps))
        within.append(frozenset(inner))
    return Merged(replace(ts, tasks=tasks), within)


def inner_steps(ts: TransitionSystem, movers: Movers, number: int) -> set[int]:
    """The steps of a task that can be merged with the ones before."""
    first, loops = ts.pcs(ts.initial())[number], looping(ts)[number]
    steps = movers.steps[number]
    inner = {pc for pc, s in steps.items() if pc != first and mergeable(movers, s, in_loop=bool(loops[pc]))}
    after = {pc: inner & set(targets(steps[pc].facts.body)) for pc in inner}
    while rounds := [g for g in components(sorted(after), after.__getitem__) if goes_round(g, after)]:
        for pc in map(min, rounds):
            del after[pc]
        after = {pc: following & after.keys() for pc, following in after.items()}
    return set(after)


def mergeable(movers: Movers, s: Mover, *, in_loop: bool) -> bool:
    """Whether nothing is lost if a step is always taken at once."""
    met = list(movers.meeting(s))
    if not steady(s) or not all(movers.left(s, b) for b in met):
        return False
    return not in_loop or all(movers.quiet(s, b) for b in met)


def goes_round(group: list[int], after: Mapping[int, set[int]]) -> bool:
    return len(group) > 1 or group[0] in after[group[0]]


def steady(s: Mover) -> bool:
    """Whether a step can always be taken, in one way."""
    return not s.guarded and s.facts.step.fanout == 1 and s.facts.step.lost is None


def fit(bodies: Mapping[int, list[Effect]], inner: set[int]) -> None:
    """Take those out of `inner` that would make another step too large."""
    size: dict[int, tuple[int, int]] = {}

    def measure(pc: int) -> tuple[int, int]:
        """How many effects a step has with all that is put into it, and how deep its branches are."""
        if pc not in size:
            n, depth = grown(bodies[pc], 0)
            if n > MOST or depth > DEEPEST:
                inner.difference_update(targets(bodies[pc]))
                n, depth = grown(bodies[pc], 0)
            size[pc] = n, depth
        return size[pc]

    def grown(body: list[Effect], depth: int) -> tuple[int, int]:
        n = len(body)
        for effect in body:
            if effect[0] == "if":
                parts = [grown(b, 1) for b in effect[2:]]
            elif effect[0] == "goto" and effect[1] in inner:
                parts = [measure(effect[1])]
            else:
                continue
            n += sum(p[0] for p in parts)
            depth = max(depth, max(p[1] for p in parts) + (effect[0] == "if"))
        return n, depth

    for pc in inmost_first(bodies):
        measure(pc)


def inmost_first(bodies: Mapping[int, list[Effect]]) -> list[int]:
    """The steps, each behind those that it leads to, as far as no loop is in the way."""
    after = {pc: [t for t in targets(body) if t in bodies] for pc, body in bodies.items()}
    return [pc for group in components(sorted(bodies), after.__getitem__) for pc in group]


class Inlining:
    """Puts the steps `inner` in where others lead to them."""

    def __init__(self, bodies: Mapping[int, list[Effect]], inner: set[int]) -> None:
        self.bodies, self.inner = bodies, inner
        self.done: dict[int, list[Effect]] = {}

    def result(self) -> dict[int, list[Effect]]:
        """The bodies of the steps that are left."""
        for pc in inmost_first(self.bodies):
            self.whole(pc)
        return {pc: self.whole(pc) for pc in self.bodies if pc not in self.inner}

    def whole(self, pc: int) -> list[Effect]:
        """A step's body with all that is put into it."""
        if pc not in self.done:
            self.done[pc] = self.body(self.bodies[pc])
        return self.done[pc]

    def body(self, body: list[Effect]) -> list[Effect]:
        found: list[Effect] = []
        for effect in body:
            if effect[0] == "goto" and effect[1] in self.inner:
                found += self.whole(effect[1])
            elif effect[0] == "if":
                found.append(("if", effect[1], self.body(effect[2]), self.body(effect[3])))
            else:
                found.append(effect)
        return found
