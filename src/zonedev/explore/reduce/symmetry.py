"""Symmetry: of states that differ in which of several like tasks is which, one is kept.

Two tasks are alike where exchanging them, with the records that each has for itself, makes of the
system the same one.  That is found out, not declared:

- the steps of the two are walked side by side, and what is at the same place in both is
  exchanged: their own records, such as the CPU that runs them;
- then every step of every task, the rules at rest and the state at first, all renamed so, have to be
  what the system has anyway (see `normal`).  What tells tasks, pages or devices apart refuses that,
  such as a loop that looks at them in order and stops at the first, or a pointer to one.

So an exchange takes each state to one with the same future, in which the exchanged tasks take
each other's steps.  After each step the state is put in order: like tasks by where they stand and by
what they have.  Every exchange that this takes is one of those found, so that a state in order
stands for the one it was made of, whatever of them is kept.

- A step that breaks a rule, a deadlock, a lost wake-up, the rules at rest, and whether all tasks
  can still finish are the same in a state and in what stands for it.
- A livelock is not: which task is which would have to be followed round the loop.  So where there is
  any loop among the states in which all that can take a step stand in loops, the search is
  made again without this reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from zonedev.explore.pygen import State, generate
from zonedev.explore.reduce.normal import NoForm, Normal, Renaming, accesses
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.layout import Slot
from zonedev.lang.records import Field
from zonedev.lang.system import Group
from zonedev.lang.transition import TaskCode, TransitionSystem

#: The words' pieces of the tasks, as if they were a field of a record.
PIECES = Group("", "piece", Field(None), (), 1)


Swaps = dict[tuple[int, int], list[Effect]]


@dataclass(frozen=True)
class Symmetry:
    """The sets of like tasks of `ts`, with the effects that exchange two of them."""

    ts: TransitionSystem
    classes: list[tuple[list[int], Swaps]]

    def ordered(self, ts: TransitionSystem) -> TransitionSystem:
        """`ts`, made of the same steps, with the body that puts states in order."""
        body = [effect for tasks, swaps in self.classes for effect in ordering(self.ts, tasks, swaps)]
        return replace(ts, slots=with_pieces(ts), order=body)

    def like(self, task: int) -> list[int]:
        """The tasks that a task can be exchanged with, itself first."""
        return [task, *(n for tasks, _ in self.classes if task in tasks for n in tasks if n != task)]

    @cached_property
    def exchanges(self) -> list[Callable[..., State]]:
        return [ordering_of(self.ts, body) for _, swaps in self.classes for body in swaps.values()]

    def same(self, state: State, other: State) -> bool:
        """Whether exchanges lead from one state to the other."""
        seen, todo = {state}, [state]
        while todo and other not in seen:
            now = todo.pop()
            new = {exchange(*now) for exchange in self.exchanges} - seen
            seen |= new
            todo += new
        return other in seen


def symmetry(ts: TransitionSystem, within: Sequence[frozenset[int]]) -> Symmetry:
    """What is alike in `ts`; `within` are the steps of each task that were merged."""
    return Symmetry(ts, list(classes(ts, within)))


def classes(ts: TransitionSystem, within: Sequence[frozenset[int]]) -> Iterator[tuple[list[int], Swaps]]:
    """Sets of like tasks, with the effects that exchange two of them."""
    left = list(range(len(ts.tasks)))
    while left:
        alike, swaps = [left.pop(0)], Swaps()
        for n in list(left):
            more = {(a, n): exchange(ts, a, n) for a in alike if within[a] == within[n]}
            effects = {pair: body for pair, body in more.items() if body is not None}
            if len(effects) == len(alike):
                swaps.update(effects)
                alike.append(n)
                left.remove(n)
        if swaps:
            yield alike, swaps


def exchange(ts: TransitionSystem, a: int, b: int) -> list[Effect] | None:
    """The effects that exchange two tasks, or None where the system would be another."""
    one, other = ts.tasks[a], ts.tasks[b]
    if not same_shape(one, other):
        return None
    renaming = paired(ts, a, b)
    try:
        if not unchanged(ts, renaming, {a: b, b: a}):
            return None
    except NoForm:
        return None
    body = swapping(ts, renaming, a, b)
    start = ts.initial()
    return body if ordering_of(ts, body)(*start) == start else None


def same_shape(one: TaskCode, other: TaskCode) -> bool:
    """Whether two tasks have steps of the same places and forms, and pieces of the same layout."""
    if one.actor != other.actor or len(one.steps) != len(other.steps):
        return False
    shapes = [
        (
            [(s.place.file, s.place.line, s.fanout, s.live, s.lost is None) for s in t.steps],
            [(n, s.shift - t.pc.shift, s.width, s.low) for n, s in t.locals.items()],
        )
        for t in (one, other)
    ]
    return shapes[0] == shapes[1]


# --- what is exchanged -----------------------------------------------------------------------------


def paired(ts: TransitionSystem, a: int, b: int) -> Renaming:
    """The records that stand at the same places in two tasks, as far as that is without contradiction."""
    tasks = [ts.system.programs[n].task._index for n in (a, b)]
    found = Renaming(bits=dict(zip(tasks, reversed(tasks), strict=True)))
    pair(found, type(ts.system.programs[a].task).__name__, *tasks)
    for x, y in zip(ts.tasks[a].steps, ts.tasks[b].steps, strict=True):
        for (group, at), (same, other) in zip(accesses(x.body), accesses(y.body), strict=False):
            if (group.cls, group.path) == (same.cls, same.path) and at[0] == other[0] == "c":
                pair(found, group.cls, at[1] // group.length, other[1] // group.length)
    return found


def pair(found: Renaming, cls: str, a: int, b: int) -> None:
    """Exchange two records, if neither is exchanged with another."""
    records = found.records.setdefault(cls, {})
    if a != b and a not in records and b not in records:
        records[a], records[b] = b, a


def unchanged(ts: TransitionSystem, renaming: Renaming, tasks: dict[int, int]) -> bool:
    """Whether the system, renamed, is the same."""
    there, here = Normal(ts, renaming), Normal(ts, Renaming())
    nothing: dict[int, tuple[str, ...]] = {}
    if there.form(ts.rest, nothing) != here.form(ts.rest, nothing):
        return False
    for number, task in enumerate(ts.tasks):
        live = {s.pc: s.live for s in task.steps}
        for step, like in zip(task.steps, ts.tasks[tasks.get(number, number)].steps, strict=True):
            if step is like and not there.concerns(step.body):
                continue
            if there.form(step.body, live) != here.form(like.body, live):
                return False
            if step.lost is not None and like.lost is not None:
                ends = [[("fail", s.lost, 0), ("goto", 0)] for s in (step, like)]
                if there.form(ends[0], nothing) != here.form(ends[1], nothing):
                    return False
    return True


# --- the effects that do it ------------------------------------------------------------------------


def own(ts: TransitionSystem, renaming: Renaming) -> Iterator[tuple[Group, int, int]]:
    """The locations that are exchanged."""
    for group in ts.system.groups():
        if (group.cls, group.path) in ts.slots:
            for at in range(group.size):
                other = renaming.index(group, at)
                if at < other:
                    yield group, at, other


def swapping(ts: TransitionSystem, renaming: Renaming, a: int, b: int) -> list[Effect]:
    """The effects that exchange two tasks, their records, and their bits in sets of tasks."""
    body: list[Effect] = []
    for group, at, other in [(PIECES, a, b), *own(ts, renaming)]:
        x, y = (("ld", group, ir.const(n)) for n in (at, other))
        body += [("let", "x", x), ("let", "y", y)]
        body += [("store", group, ir.const(at), ("v", "y")), ("store", group, ir.const(other), ("v", "x"))]
    low, high = sorted(renaming.bits)
    for group in ts.system.groups():
        if group.field.mask and (group.cls, group.path) in ts.slots:
            for at in range(group.size):
                body += exchanged_bits(group, at, low, high)
    return body


def exchanged_bits(group: Group, at: int, low: int, high: int) -> list[Effect]:
    x: Expr = ("v", "x")
    differ = ("&", ("^", (">>", x, ir.const(low)), (">>", x, ir.const(high))), ir.const(1))
    flips = ("*", ("v", "y"), ir.const(1 << low | 1 << high))
    return [
        ("let", "x", ("ld", group, ir.const(at))),
        ("let", "y", differ),
        ("store", group, ir.const(at), ("^", x, flips)),
    ]


def ordering(ts: TransitionSystem, tasks: list[int], swaps: Swaps) -> list[Effect]:
    """The effects that put like tasks in order, exchanging neighbours."""
    body: list[Effect] = []
    for end in range(len(tasks) - 1, 0, -1):
        for a, b in pairwise(tasks[: end + 1]):
            places = [(PIECES, a, b), *own(ts, paired(ts, a, b))]
            body.append(("if", greater(places), swaps[a, b], []))
    return body


def greater(places: Sequence[tuple[Group, int, int]]) -> Expr:
    """Whether the first place in which two tasks differ is greater in the first one."""
    found: Expr = ir.const(0)
    for group, a, b in reversed(places):
        x, y = (("ld", group, ir.const(n)) for n in (a, b))
        found = ir.binary("or", (">", x, y), ir.binary("and", ("==", x, y), found))
    return found


def with_pieces(ts: TransitionSystem) -> dict[tuple[str, str], list[Slot]]:
    return {**ts.slots, (PIECES.cls, PIECES.path): [t.own for t in ts.tasks]}


def ordering_of(ts: TransitionSystem, body: list[Effect]) -> Callable[..., State]:
    """The function of a state that has some effects."""
    order = generate(replace(ts, slots=with_pieces(ts), order=body)).order
    assert order is not None
    return order
