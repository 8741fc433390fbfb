"""Partial-order reduction: where one task's step is as good now as later, nobody else takes one.

In a state, the next step of a task is enough where it

- can be taken,
- moves to the left of every step of others that can come before it (see `movers`): of all that
  their programs can lead to from where they stand, not past a step that waits for a lock which
  the task has,
- and stands in no loop of its program.

This is an ample set of one task; which task that is depends on nothing but where all of them
stand.  The states are some of the original's, and so are their steps.  Nothing is lost:

- A way to a broken rule, or to a state without steps, from such a state: where the step is on that
  way, it moves to its beginning.  Where it is not, it can still be taken at the end, so that there is
  no state without steps; and put before a way to a broken rule, it breaks the same one or another.
- Every loop of the reduced system has a state in which all steps are taken, since a task that
  only takes steps outside of loops comes to an end.  So nobody is put off for ever.
- A task that can never finish: the step changes nothing about that, as above.
- A livelock: whoever can take a step there stands in a loop.  So in its states all steps are taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from zonedev.explore.fair import looping
from zonedev.explore.reduce.movers import Mover, Movers, targets
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.records import Field
from zonedev.lang.system import Group
from zonedev.lang.transition import TransitionSystem

#: The most stretches of steps of others that are asked for, for one step.
MOST = 40

#: Where the tasks stand, as if that were a field of a record.
PLACES = Group("", "pc", Field(None), (), 0)


def ample(ts: TransitionSystem, movers: Movers) -> TransitionSystem:
    """`ts` with the choice of a task that takes a step alone."""
    loops = looping(ts)
    before = [sources(steps) for steps in movers.steps]
    alone: list[Effect] = []
    for number, steps in enumerate(movers.steps):
        asked = {pc: free(conflicts(movers, before, s)) for pc, s in steps.items() if not loops[number][pc]}
        enough = {pc: (("fail", e, number),) for pc, e in asked.items() if e != ir.const(0)}
        alone += by_place(number, stretches(enough))
    slots = {**ts.slots, (PLACES.cls, PLACES.path): [task.pc for task in ts.tasks]}
    return replace(ts, alone=alone, slots=slots)


def sources(steps: dict[int, Mover]) -> dict[int, set[int]]:
    """The steps that lead to each step of a task."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for pc, s in steps.items():
        for target in targets(s.facts.body):
            found[target].add(pc)
    return found


def conflicts(movers: Movers, before: list[dict[int, set[int]]], s: Mover) -> tuple[frozenset[int], ...]:
    """For each other task, where it stands when it can come to a step that `s` does not move to the
    left of, while `s` is not taken."""
    found = []
    for number, steps in enumerate(movers.steps):
        away: set[int] = set()
        if number != s.task:
            away = {pc for pc in movers.meeting_of(s, number) if not movers.left(s, steps[pc])}
            todo = list(away)
            while todo:
                for pc in before[number].get(todo.pop(), set()) - away:
                    if not steps[pc].facts.walk.zero & s.facts.held:
                        away.add(pc)
                        todo.append(pc)
        found.append(frozenset(away))
    return tuple(found)


Leaf = tuple[Effect, ...]


def stretches(enough: Mapping[int, Leaf]) -> list[tuple[int, Leaf]]:
    """Where each stretch of steps begins that have the same effects, none for those between."""
    found: list[tuple[int, Leaf]] = [(0, ())]
    for pc in sorted({*enough, *(pc + 1 for pc in enough)}):
        if enough.get(pc, ()) != found[-1][1]:
            found.append((pc, enough.get(pc, ())))
    return found


def by_place(task: int, parts: Sequence[tuple[int, Leaf]]) -> list[Effect]:
    """The effects of the stretch that a task stands in."""
    if len(parts) == 1:
        return list(parts[0][1])
    half = len(parts) // 2
    before = ir.binary("<", ("ld", PLACES, ir.const(task)), ir.const(parts[half][0]))
    return [("if", before, by_place(task, parts[:half]), by_place(task, parts[half:]))]


def free(conflicts: Sequence[frozenset[int]]) -> Expr:
    """Whether no task stands where it is in conflict; false where that takes too long to find out."""
    away = [(task, *span) for task, pcs in enumerate(conflicts) for span in spans(pcs)]
    if len(away) > MOST:
        return ir.const(0)
    found: Expr = ir.const(1)
    for task, first, last in away:
        place: Expr = ("ld", PLACES, ir.const(task))
        before, behind = ir.binary("<", place, ir.const(first)), ir.binary(">", place, ir.const(last))
        found = ir.binary("and", found, ir.binary("or", before, behind))
    return found


def spans(pcs: Collection[int]) -> Iterator[tuple[int, int]]:
    """The first and the last of those that follow each other."""
    for pc in sorted(pcs):
        if pc - 1 not in pcs:
            last = pc
            while last + 1 in pcs:
                last += 1
            yield pc, last
