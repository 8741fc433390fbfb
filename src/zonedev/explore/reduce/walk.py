"""One way through a step's body: what is known at each point of it, and of which locks.

Knowledge comes from stores of numbers, from conditions that turned out true or false, and from stores
that take a lock or release it.  What is settled by it is left out of the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.records import Kind
from zonedev.lang.system import Group, System

Loc = tuple[str, str, int]  # class, path and element of a group
Values = dict[Loc, int]

ZERO = ir.const(0)
END: Effect = ("goto", 0)  # behind what nobody gets past


@dataclass
class Known:
    """What is known at a point of a step: `values` and `held` last, the rest ends with the step."""

    values: Values
    held: frozenset[Loc] = frozenset()
    locals: dict[str, int] = field(default_factory=dict)
    copies: dict[str, Loc] = field(default_factory=dict)  # locals that are what a location is now
    nonzero: set[str] = field(default_factory=set)  # locals that are not 0

    def fork(self) -> Known:
        return Known(dict(self.values), self.held, dict(self.locals), dict(self.copies), set(self.nonzero))

    def meet(self, other: Known) -> Known:
        """What is known on both of two ways."""
        return Known(
            common(self.values, other.values),
            self.held & other.held,
            common(self.locals, other.locals),
            common(self.copies, other.copies),
            self.nonzero & other.nonzero,
        )

    def place(self, e: Expr) -> Loc | None:
        """The one location that an expression reads, if it is nothing but that."""
        if e[0] == "v":
            return self.copies.get(e[1])
        if e[0] == "ld" and e[2][0] == "c":
            return e[1].cls, e[1].path, e[2][1]
        return None

    def learn(self, condition: Expr, truth: bool) -> None:
        """A condition has turned out to be true or false."""
        tag = condition[0]
        if tag == "not":
            self.learn(condition[1], not truth)
        elif tag == ("and" if truth else "or"):
            self.learn(condition[1], truth)
            self.learn(condition[2], truth)
        elif tag == ("==" if truth else "!=") and condition[2][0] == "c":
            self.equal(condition[1], condition[2][1])
        elif tag in ("==", "!=") and condition[1][0] == "v" and condition[2] == ZERO:
            self.nonzero.add(condition[1][1])
        elif tag in ("v", "ld") and not truth:
            self.equal(condition, 0)
        elif tag == "v":
            self.nonzero.add(condition[1])

    def equal(self, e: Expr, number: int) -> None:
        place = self.place(e)
        if e[0] == "v":
            self.locals[e[1]] = number
        if place is not None:
            self.values[place] = number


def common(a: Mapping, b: Mapping) -> dict:  # type: ignore[type-arg]
    return {k: v for k, v in a.items() if k in b and b[k] == v}


@dataclass
class Locks:
    """The locations that are stored to as locks are; `shared` are counters of holders."""

    exclusive: set[Loc]
    shared: set[Loc]
    #: The locations that are 0, or had by the task itself, at every store that takes a lock.
    free: dict[Loc, frozenset[Loc]] = field(default_factory=dict)
    unlike: set[Loc] = field(default_factory=set)  # that turned out to be none

    def taken(self, place: Loc, known: Known) -> None:
        zero = frozenset(at for at, number in known.values.items() if number == 0)
        own = frozenset(at for at in known.held if at in self.exclusive)
        free = zero | own
        self.free[place] = self.free[place] & free if place in self.free else free
        if place in self.exclusive and place not in zero:
            self.unlike.add(place)

    def exclude(self, mine: Loc, other: Loc) -> bool:
        """Whether two tasks cannot have these two at the same time."""
        return other in self.free.get(mine, ()) and mine in self.free.get(other, ())


class Walk:
    """One way through a step's body: what is known after it, and the body without what that settles."""

    def __init__(self, own: frozenset[Loc], locks: Locks, kinds: Mapping[str, Kind], system: System) -> None:
        self.own, self.locks, self.kinds, self.system = own, locks, kinds, system
        self.exits: list[tuple[int, Known]] = []
        self.zero: set[Loc] = set()  # 0 wherever the step gets past its first guard
        self.early: list[Effect] | None = None  # what comes before the first guard, which it gets to anyway
        self.plain = True  # no branch and no store yet
        self.judge = False  # whether stores to locks are looked at
        #: The elements that an index that depends on the state can mean, by class, path and index.
        self.spans: dict[Expr, tuple[int, int]] = {}

    def fold(self, e: Expr, known: Known) -> Expr:
        """An expression with what is known put in."""

        def leaf(x: Expr) -> Expr:
            if x[0] == "v":
                number = known.locals.get(x[1])
            elif x[2][0] == "c":
                number = known.values.get((x[1].cls, x[1].path, x[2][1]))
            else:
                self.note_span(x[1], x[2], known)
                number = None
            return x if number is None else ir.const(number)

        return ir.rewrite(e, leaf)

    def note_span(self, group: Group, index: Expr, known: Known) -> tuple[int, int]:
        """Remember which elements an index can mean."""
        lo, hi = self.bounds(index, known) or (0, group.size)
        lo, hi = max(lo, 0), min(hi, group.size - 1)
        key = span_key(group, index)
        if key in self.spans:
            lo, hi = min(lo, self.spans[key][0]), max(hi, self.spans[key][1])
        self.spans[key] = lo, hi
        return lo, hi

    def bounds(self, e: Expr, known: Known) -> tuple[int, int] | None:
        """The least and the greatest value of an index, where its form tells."""
        tag = e[0]
        if tag == "c":
            return e[1], e[1]
        if tag == "v" and e[1] in self.kinds:
            kind = self.kinds[e[1]]
            if kind.what == "packed":
                return None
            lo, hi = kind.lo, kind.hi
            if kind.what == "ref":
                lo, hi = 0, len(self.system.instances(kind.cls))
            return (1 if lo == 0 and e[1] in known.nonzero else lo), hi
        if tag == "&" and e[2][0] == "c" and e[2][1] >= 0:
            return 0, e[2][1]
        if tag in ("+", "-", "*"):
            a, b = self.bounds(e[1], known), self.bounds(e[2], known)
            if a is not None and b is not None:
                ends = [ir.OPS[tag](x, y) for x in a for y in b]
                return min(ends), max(ends)
        return None

    def body(self, body: list[Effect], known: Known) -> tuple[list[Effect], Known | None]:
        """The effects, as far as they are reached; and what is known behind them, None: nothing is."""
        found: list[Effect] = []
        for effect in body:
            tag = effect[0]
            if tag == "let":
                value = self.fold(effect[2], known)
                self.let(effect[1], value, effect[2], known)
                found.append(("let", effect[1], value))
            elif tag == "store":
                found.append(self.store(effect, known))
            elif tag == "guard":
                condition = self.fold(effect[1], known)
                if condition == ZERO:
                    return [*found, ("guard", ZERO), END], None
                before = dict(known.values)
                known.learn(effect[1], truth=True)
                if self.plain and self.early is None:
                    self.early = list(found)
                    self.zero = {p for p, n in known.values.items() if n == 0 and before.get(p) != 0}
                if condition[0] != "c":
                    found.append(("guard", condition))
            elif tag == "fail":
                condition = self.fold(effect[1], known)
                if condition == ZERO:
                    continue
                found.append(("fail", condition, effect[2]))
                if condition[0] == "c":
                    return [*found, END], None
                known.learn(effect[1], truth=False)
            elif tag == "if":
                after = self.branch(effect, known, found)
                if after is None:
                    return found, None
                known = after
            else:
                if tag == "choice":
                    self.forget_local(effect[1], known)
                found.append(effect)
                if tag == "goto":
                    self.exits.append((effect[1], known))
                    return found, None
        return found, known

    def let(self, name: str, value: Expr, source: Expr, known: Known) -> None:
        self.forget_local(name, known)
        if value[0] == "c":
            known.locals[name] = value[1]
        place = known.place(source)
        if place is not None:
            known.copies[name] = place

    def forget_local(self, name: str, known: Known) -> None:
        known.locals.pop(name, None)
        known.copies.pop(name, None)
        known.nonzero.discard(name)

    def branch(self, effect: Effect, known: Known, found: list[Effect]) -> Known | None:
        condition = self.fold(effect[1], known)
        if condition[0] == "c":
            known.learn(effect[1], bool(condition[1]))
            body, after = self.body(effect[2] if condition[1] else effect[3], known)
            found += body
            return after
        self.plain = False
        other = known.fork()
        known.learn(effect[1], truth=True)
        other.learn(effect[1], truth=False)
        then, a = self.body(effect[2], known)
        otherwise, b = self.body(effect[3], other)
        found.append(("if", condition, then, otherwise))
        if a is None or b is None:
            return a or b
        return a.meet(b)

    def store(self, effect: Effect, known: Known) -> Effect:
        _, group, index, value = effect
        self.plain = False
        index, new = self.fold(index, known), self.fold(value, known)
        lo, hi = (index[1], index[1]) if index[0] == "c" else self.note_span(group, index, known)
        places = [(group.cls, group.path, at) for at in range(lo, hi + 1)]
        change = added(value, known)
        for place in places:
            self.lock(place, new, change, known)
            for name in [n for n, at in known.copies.items() if at == place]:
                del known.copies[name]
            known.values.pop(place, None)
        if index[0] == "c" and new[0] == "c":
            known.values[places[0]] = new[1]
        return ("store", group, index, new)

    def lock(self, place: Loc, new: Expr, change: tuple[Loc, int] | None, known: Known) -> None:
        """A store to what may be a lock: taken, or released?"""
        locks = self.locks
        if place in locks.exclusive:
            takes = new[0] == "c" and new[1] != 0
            fine = takes or new == ZERO
        elif place in locks.shared:
            takes = change is not None and change[1] > 0
            fine = change is not None and change[0] == place and (takes or change[1] == -1)
        else:
            return
        if self.judge:
            if not fine or (not takes and place not in known.held):
                locks.unlike.add(place)
            elif takes:
                locks.taken(place, known)
        known.held = known.held | {place} if fine and takes else known.held - {place}


def span_key(group: Group, index: Expr) -> Expr:
    return group.cls, group.path, hashable(index)


def hashable(e: Expr) -> Expr:
    """An expression with the names of its groups."""
    if e[0] == "ld":
        return "ld", e[1].cls, e[1].path, hashable(e[2])
    return tuple(hashable(x) if isinstance(x, tuple) else x for x in e)


def added(value: Expr, known: Known) -> tuple[Loc, int] | None:
    """A location and the number, where a value is that location and a number added to it."""
    if value[0] in ("+", "-") and value[2][0] == "c":
        place = known.place(value[1])
        if place is not None:
            return place, value[2][1] if value[0] == "+" else -value[2][1]
    return None
