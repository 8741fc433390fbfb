"""What a step does as a function of the state before it, in a form in which order says nothing.

Two bodies of the same form do the same.  A form can be taken under a `Renaming`, which exchanges
records, and tasks in the sets of tasks (`Field.mask`): so one sees whether a step does for one
task what another step does for another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.system import Group
from zonedev.lang.transition import TransitionSystem

MOST = 4000  # branches of a body

Loc = tuple[str, str, Any]  # class, path, and the element: a number, or an expression
Form = tuple[object, ...]

NEUTRAL = {"|": 0, "&": -1}  # operations in whose chains order and repetition say nothing


WHOLE = "all"  # a group as one value, where what is touched depends on the state


class NoForm(Exception):
    """A body that the forms do not cover."""


@dataclass
class Renaming:
    """Records by class and number, and tasks by the bit that stands for them."""

    records: dict[str, dict[int, int]] = field(default_factory=dict)
    bits: dict[int, int] = field(default_factory=dict)

    def index(self, group: Group, at: int) -> int:
        record, element = divmod(at, group.length)
        return self.records.get(group.cls, {}).get(record, record) * group.length + element

    def moves(self, group: Group) -> bool:
        return any(a != b for a, b in self.records.get(group.cls, {}).items())

    def mask(self, number: int) -> int:
        """A set of tasks, as a number."""
        found = number
        for a, b in self.bits.items():
            found = found & ~(1 << b) | (number >> a & 1) << b
        return found


class Normal:
    """Takes the forms of the bodies of a system under a renaming."""

    def __init__(self, ts: TransitionSystem, renaming: Renaming) -> None:
        self.ts, self.renaming = ts, renaming
        self.groups = {(g.cls, g.path): g for g in ts.system.groups()}
        self.left = MOST

    def concerns(self, body: list[Effect]) -> bool:
        """Whether a body touches anything that has another name under the renaming."""
        return any(group.field.mask or self.renaming.moves(group) for group, _ in accesses(body))

    def form(self, body: Sequence[Effect], live: Mapping[int, tuple[str, ...]]) -> Form:
        """The form of a step's body; `live` are the locals that the steps behind it need."""
        self.live, self.left = live, MOST
        self.dynamic = {
            (g.cls, g.path)
            for g, index in accesses(body)
            if index[0] != "c" and not g.field.mask and not self.renaming.moves(g)
        }
        return self.rest(list(body), {}, {})

    def rest(self, body: list[Effect], known: dict[str, Expr], stored: dict[Loc, Expr]) -> Form:
        """The form of what is left of a body: `known` are its locals, `stored` is what it wrote."""
        self.left -= 1
        if self.left < 0:
            raise NoForm
        for at, effect in enumerate(body):
            tag = effect[0]
            if tag == "goto":
                return self.end(effect[1], known, stored)
            if tag in ("guard", "fail"):
                conditions = {self.plain(self.value(effect[1], known, stored))}
                what = self.ts.fails[effect[2]][0] if tag == "fail" else ""
                behind: Any = self.rest(body[at + 1 :], known, stored)
                if behind[:2] == (tag, what):  # the next one is of the same kind: they have no order
                    conditions.update(behind[2])
                    behind = behind[3]
                return (tag, what, tuple(sorted(conditions, key=repr)), behind)
            if tag == "if" and controls(effect):
                condition = self.plain(self.value(effect[1], known, stored))
                ways = [self.rest([*way, *body[at + 1 :]], dict(known), dict(stored)) for way in effect[2:]]
                return ("if", condition, *ways)
            self.effect(effect, known, stored)
        return self.end(0, known, stored)

    def effect(self, effect: Effect, known: dict[str, Expr], stored: dict[Loc, Expr]) -> None:
        """Take over what an effect gives a value to, where it leads nowhere else."""
        tag = effect[0]
        if tag == "let":
            known[effect[1]] = self.value(effect[2], known, stored)
        elif tag == "choice":
            known[effect[1]] = ("choice",)
        elif tag == "store":
            _, group, index, value = effect
            place = self.element(group, index, known, stored)
            new = self.value(value, known, stored)
            if place[2] == WHOLE:
                new = ("put", stored.get(place, ("at", *place)), self.value(index, known, stored), new)
            stored[place] = new
        else:
            condition = self.value(effect[1], known, stored)
            ways = []
            for way in effect[2:]:
                ways.append((dict(known), dict(stored)))
                for inner in way:
                    self.effect(inner, *ways[-1])
            for mine, a, b in zip((known, stored), *ways, strict=True):
                self.join(mine, condition, a, b)

    def join(
        self, mine: dict[Any, Expr], condition: Expr, a: Mapping[Any, Expr], b: Mapping[Any, Expr]
    ) -> None:
        """The values behind a branch."""
        for name in [*a, *(n for n in b if n not in a)]:
            x, y = (w[name] if name in w else self.before(name) for w in (a, b))
            mine[name] = select(condition, x, y)

    def before(self, name: Any) -> Expr:
        """A local or a location as it is before the step."""
        if isinstance(name, str):
            return ("v", name)
        cls, path, at = name
        return ("at", cls, path, at)

    def value(self, e: Expr, known: Mapping[str, Expr], stored: Mapping[Loc, Expr]) -> Expr:
        """An expression over what was before the step."""
        tag = e[0]
        if tag == "c":
            return e
        if tag == "v":
            return known.get(e[1], e)
        if tag == "ld":
            place = self.element(e[1], e[2], known, stored)
            found = stored.get(place, ("at", *place))
            return ("get", found, self.value(e[2], known, stored)) if place[2] == WHOLE else found
        parts = [self.value(x, known, stored) for x in e[1:]]
        if tag == "?":
            return select(*parts)
        if tag == "not":
            return ("not", parts[0])
        return flat(tag, *parts) if tag in NEUTRAL else (tag, *parts)

    def element(
        self, group: Group, index: Expr, known: Mapping[str, Expr], stored: Mapping[Loc, Expr]
    ) -> Loc:
        """A location of a group, or all of it; in a set of tasks none may be touched by two names."""
        if (group.cls, group.path) in self.dynamic:
            return group.cls, group.path, WHOLE
        at: Any = index[1] if index[0] == "c" else self.value(index, known, stored)
        same = [other for cls, path, other in stored if (cls, path) == (group.cls, group.path)]
        if not isinstance(at, int):
            if self.renaming.moves(group) or any(other != at for other in same):
                raise NoForm
        elif not all(isinstance(other, int) for other in same):
            raise NoForm
        return group.cls, group.path, at

    # --- under the renaming ------------------------------------------------------------------------

    def end(self, pc: int, known: Mapping[str, Expr], stored: Mapping[Loc, Expr]) -> Form:
        """Where a body leads to, and with what."""
        values = tuple(self.plain(known.get(n, ("v", n))) for n in self.live.get(pc, ()))
        writes = []
        for (cls, path, at), value in stored.items():
            if value != ("at", cls, path, at):
                is_set = self.groups[cls, path].field.mask
                new = self.as_mask(value) if is_set else self.plain(value)
                writes.append((self.place(("at", cls, path, at)), new))
        return ("goto", pc, values, tuple(sorted(writes, key=repr)))

    def is_mask(self, e: Expr) -> bool:
        """Whether an expression is a set of tasks, of which something is read."""
        if e[0] == "at":
            return self.groups[e[1], e[2]].field.mask
        return (e[0] in ("|", "&", "?")) and any(self.is_mask(x) for x in e[1:])

    def place(self, e: Expr) -> Expr:
        """A location, renamed."""
        at = e[3]
        if at == WHOLE:
            return e
        new = self.renaming.index(self.groups[e[1], e[2]], at) if isinstance(at, int) else self.plain(at)
        return ("at", e[1], e[2], new)

    def as_mask(self, e: Expr) -> Expr:
        """A set of tasks, renamed."""
        tag = e[0]
        if tag == "c":
            return ir.const(self.renaming.mask(e[1]))
        if tag == "at" and self.is_mask(e):
            return self.place(e)
        if tag in ("|", "&"):
            return flat(tag, *(self.as_mask(x) for x in e[1:]))
        if tag == "?":
            return select(self.plain(e[1]), self.as_mask(e[2]), self.as_mask(e[3]))
        raise NoForm

    def plain(self, e: Expr) -> Expr:
        """Any other value, renamed: of a set of tasks only whether it is empty, and who is in it."""
        tag = e[0]
        if tag in ("c", "v", "choice"):
            return e
        tested = self.tested(e)
        if tested is not None:
            return tested
        if tag in ("==", "!=") and self.is_mask(e[1]) and e[2] == ir.const(0):
            return (tag, self.tested(e[1]) or self.as_mask(e[1]), e[2])
        if tag == "at":
            if self.is_mask(e):
                raise NoForm
            return self.place(e)
        if tag in NEUTRAL:
            return flat(tag, *(self.plain(x) for x in e[1:]))
        if tag == "?":
            return select(*(self.plain(x) for x in e[1:]))
        return (tag, *(self.plain(x) for x in e[1:]))

    def tested(self, e: Expr) -> Expr | None:
        """Whether a task is in a set, if that is what an expression says."""
        if e[0] != "&" or len(e) != 3 or ir.const(1) not in e[1:]:
            return None
        shifted, bit = next(x for x in e[1:] if x != ir.const(1)), 0
        if shifted[0] == ">>" and shifted[2][0] == "c":
            shifted, bit = shifted[1], shifted[2][1]
        if not self.is_mask(shifted):
            return None
        return ("bit", self.as_mask(shifted), self.renaming.bits.get(bit, bit))


def accesses(body: Sequence[Effect]) -> Iterator[tuple[Group, Expr]]:
    """The locations that a body reads and writes, by group and index."""
    for effect in ir.walk(list(body)):
        if effect[0] == "store":
            yield effect[1], effect[2]
        for e in ir.effect_exprs(effect):
            yield from ((x[1], x[2]) for x in ir.leaves(e) if x[0] == "ld")


def controls(effect: Effect) -> bool:
    """Whether a branch may lead out of the body."""
    return any(e[0] in ("goto", "fail", "guard") for e in ir.walk([effect]))


def flat(op: str, *parts: Expr) -> Expr:
    """A chain of one operation, in an order that says nothing."""
    members: set[Expr] = set()
    number = NEUTRAL[op]
    for part in parts:
        for member in part[1:] if part[0] == op else (part,):
            if member[0] == "c":
                number = ir.OPS[op](number, member[1])
            else:
                members.add(member)
    if number != NEUTRAL[op] or not members:
        members.add(ir.const(number))
    return (op, *sorted(members, key=repr)) if len(members) > 1 else members.pop()


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    """`a` where the condition holds, else `b`; where one adds members to the other, only these depend."""
    if a == b:
        return a
    if condition[0] == "c":
        return a if condition[1] else b
    for op in ("|", "&"):
        one = set(a[1:]) if a[0] == op else {a}
        other = set(b[1:]) if b[0] == op else {b}
        if other < one or one < other:
            more = one - other or other - one
            nothing = ir.const(NEUTRAL[op])
            ways = (flat(op, *more), nothing) if other < one else (nothing, flat(op, *more))
            return flat(op, *(one & other), ("?", condition, *ways))
    return ("?", condition, a, b)
