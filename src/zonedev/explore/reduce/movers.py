"""Which steps move to the left: taken at once, they change nothing for anybody.

A step s of a task moves to the left of a step b of another task, where s can be taken, if
whatever b and then s does, s and then b does as well: the same state, or the same broken
rule; and b does not keep s from being taken.  That is so where

- the two can never meet, because the task of s has a lock that b's task has or waits for.
  The release of a lock is such an s for all who take the lock by waiting, and so is every
  access to what the same lock protects; a trylock() finds out, and it is no such b;
- they touch different locations, or only read;
- s changes what only its own task writes, in a way that b does not see: with the values from
  before s and with those from behind it, b is the same.  Disabling preemption with interrupts
  off is such an s for who starts a grace period;
- both clear bits, or set bits, or other bits; or s clears bits and b waits for the whole number to be
  0.  The end of an RCU section is such an s for a grace period: a reader that the grace
  period has just noted is taken off its list, and one that has left before is not noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from zonedev.explore.reduce.facts import Analysis, Facts
from zonedev.explore.reduce.touched import Touched, bit_changes, sure_clears, touched
from zonedev.explore.reduce.walk import Known, Loc, Locks, Values, Walk
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect

NOTHING = Locks(set(), set())


class Mover:
    """A step, with all that is asked of it when it meets another."""

    def __init__(self, facts: Facts, task: int, outside: frozenset[str]) -> None:
        self.facts, self.task, self.outside = facts, task, outside
        body = without_idle(facts.body, outside)
        self.touched = touched(body, facts.walk, outside)
        self.early = touched(without_idle(facts.walk.early or [], frozenset()), facts.walk)
        self.guarded = any(e[0] == "guard" for e in ir.walk(facts.body))
        t = self.touched
        self.surely = {at: n for at, n in sure_clears(body, outside).items() if at not in t.reads}
        #: Own locations that it changes from one known value to another.
        self.changes = {
            at: (facts.values[at], facts.after[at])
            for at in t.writes
            if at in facts.values and at in facts.after
        }
        self.writes = frozenset(t.writes - self.changes.keys())


NONE: frozenset[int] = frozenset()


def by_place(steps: Mapping[int, Mover], ask: Callable[[Touched], set[Loc]]) -> dict[Loc, set[int]]:
    """The steps by the locations that `ask` gives of what they do."""
    found: dict[Loc, set[int]] = {}
    for pc, s in steps.items():
        for at in ask(s.touched):
            found.setdefault(at, set()).add(pc)
    return found


class Movers:
    """The steps of a system, and which of them move to the left of which."""

    def __init__(self, analysis: Analysis) -> None:
        self.locks = analysis.locks
        self.steps: list[dict[int, Mover]] = []
        for number, (task, facts) in enumerate(zip(analysis.ts.tasks, analysis.facts, strict=True)):
            movers = {}
            for pc, fact in facts.items():
                live = (task.steps[n - 1].live for n in targets(fact.body) if n)
                movers[pc] = Mover(fact, number, frozenset().union(*live))
            self.steps.append(movers)
        #: By task and location the steps that touch it, and those that change it.
        self.touching = [by_place(steps, Touched.everything) for steps in self.steps]
        self.changing = [by_place(steps, Touched.changed) for steps in self.steps]

    def meeting(self, s: Mover) -> Iterator[Mover]:
        """The steps of other tasks that change what `s` touches, or touch what it changes."""
        for number, steps in enumerate(self.steps):
            if number != s.task:
                yield from (steps[pc] for pc in self.meeting_of(s, number))

    def meeting_of(self, s: Mover, number: int) -> set[int]:
        """The steps of one other task that do."""
        touching, changing = self.touching[number], self.changing[number]
        found: set[int] = set()
        for at in s.touched.changed():
            found |= touching.get(at, NONE)
        for at in s.touched.everything():
            found |= changing.get(at, NONE)
        return found

    def left(self, s: Mover, b: Mover) -> bool:
        """Whether `s`, which can be taken, moves to the left of `b`, a step of another task."""
        if any(self.locks.exclude(mine, other) for mine in s.facts.held for other in b.facts.held):
            return True
        if s.facts.held & b.facts.walk.zero and not hits(s, b.early):
            return True
        theirs = b.touched
        if any(at in theirs.reads or at in theirs.awaits for at in s.changes):
            same = self.unseen(s, b)
            if same is None:
                return False
            theirs = same
        return commute(s, theirs)

    def quiet(self, s: Mover, b: Mover) -> bool:
        """Whether `s`, which moves to the left of `b`, has no say in whether `b` can be taken."""
        if not b.guarded or any(
            self.locks.exclude(mine, other) for mine in s.facts.held for other in b.facts.held
        ):
            return True
        return s.touched.changed().isdisjoint(b.touched.reads | b.touched.awaits)

    def unseen(self, s: Mover, b: Mover) -> Touched | None:
        """What `b` does with the values from behind `s`, if that is what it does before `s`, too."""
        same = {at: number for at, number in s.facts.values.items() if at not in s.touched.writes}
        before, _ = specialised(b, same | {at: old for at, (old, _) in s.changes.items()})
        after, walk = specialised(b, same | {at: new for at, (_, new) in s.changes.items()})
        if without_idle(cleared(before, s.surely, b.outside), b.outside) != after:
            return None
        return touched(after, walk, b.outside)


def hits(s: Mover, theirs: Touched) -> bool:
    """Whether `s` writes anything that is looked at there."""
    return not theirs.reads.isdisjoint(s.touched.changed())


def commute(s: Mover, theirs: Touched) -> bool:
    """Whether the order does not matter, as far as the own values of `s` are not concerned."""
    mine = s.touched
    read = theirs.reads | theirs.awaits
    if s.writes & (read | theirs.writes | theirs.clears.keys() | theirs.sets.keys()):
        return False
    if s.changes.keys() & (read | theirs.writes):
        return False
    if theirs.writes & (mine.reads | mine.awaits | mine.clears.keys() | mine.sets.keys()):
        return False
    if (mine.clears.keys() | mine.sets.keys()) & theirs.reads or mine.sets.keys() & theirs.awaits:
        return False
    if mine.reads & (theirs.clears.keys() | theirs.sets.keys()) or mine.awaits & theirs.sets.keys():
        return False
    return bits_commute(mine, theirs) and bits_commute(theirs, mine)


def bits_commute(a: Touched, b: Touched) -> bool:
    """Whether no bit is cleared by `a` and set by `b`."""
    return all(number & a.clears.get(at, -1) == number for at, number in b.sets.items())


# --- bodies, as they are where more is known -----------------------------------------------------


def specialised(b: Mover, values: Values) -> tuple[list[Effect], Walk]:
    """The body of a step where these locations have these values."""
    walk = Walk(frozenset(), NOTHING, b.facts.walk.kinds, b.facts.walk.system)
    body, _ = walk.body(b.facts.body, Known(dict(values)))
    return without_idle(body, b.outside), walk


def without_idle(body: list[Effect], outside: frozenset[str]) -> list[Effect]:
    """The effects without locals that nobody uses, and branches without effects."""
    while True:
        used = {n for effect in ir.walk(body) for e in ir.effect_exprs(effect) for n in ir.locals_of(e)}
        left = idle(body, used | outside)
        if left == body:
            return left
        body = left


def idle(body: list[Effect], used: set[str] | frozenset[str]) -> list[Effect]:
    found: list[Effect] = []
    for effect in body:
        if effect[0] == "let" and effect[1] not in used:
            continue
        if effect[0] == "if":
            then, other = idle(effect[2], used), idle(effect[3], used)
            if then or other:
                found.append(("if", effect[1], then, other))
        else:
            found.append(effect)
    return found


def cleared(body: list[Effect], clears: dict[Loc, int], outside: frozenset[str]) -> list[Effect]:
    """The body without setting bits that are cleared right behind it."""
    bits = bit_changes(body, outside)

    def left(block: list[Effect]) -> list[Effect]:
        found: list[Effect] = []
        for effect in block:
            place, op, number = bits.get(id(effect), (None, "", 0))
            if op == "|" and place in clears and number & clears[place] == 0:
                continue
            if effect[0] == "if":
                effect = ("if", effect[1], left(effect[2]), left(effect[3]))
            found.append(effect)
        return found

    return left(body)


def targets(body: Iterable[Effect]) -> Iterable[int]:
    """The steps that a body leads to."""
    return (effect[1] for effect in ir.walk(list(body)) if effect[0] == "goto")
