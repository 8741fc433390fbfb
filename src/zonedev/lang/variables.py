"""Locals: what each may hold, joined over all its assignments, and the numbers that stand for values."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple

from zonedev.lang import expr as ir
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Frame, Key
from zonedev.lang.graph import Graph, Node, Unreachable
from zonedev.lang.records import BIT, Kind, Record, record_class
from zonedev.lang.system import Group, System
from zonedev.lang.values import NUMBERS, Dyn, Part, PartKind, Static, Value, describe, same, static_kind

#: What is known of every local, by the key of its call and its name.
Known = dict[Key, Static | Kind | PartKind]


class Fails:
    """The ways in which a step can break a rule, numbered."""

    def __init__(self, rules: frozenset[str] | None) -> None:
        self.rules = rules  # None: all
        self.known: list[tuple[str, str]] = []
        self.freed: dict[int, str] = {}  # the class of what is reached or freed after it was freed
        self.monitors: set[int] = set()  # those that only the monitors of rules look for
        self._numbers: dict[tuple[str, str], int] = {}

    def wanted(self, rule: str) -> bool:
        return self.rules is None or rule in self.rules

    def number(self, rule: str, text: str, freed: str | None = None, monitor: bool = False) -> int:
        number = self._numbers.setdefault((rule, text), len(self.known))
        if number == len(self.known):
            self.known.append((rule, text))
            self.monitors.add(number)
            if freed is not None:
                self.freed[number] = freed
        if not monitor:
            self.monitors.discard(number)
        return number


class Mark(NamedTuple):
    """Where a walk stands."""

    node: Node | None
    effects: int
    assigned: frozenset[Any]
    temps: int
    locals: int
    steps: int
    functions: int
    inside: tuple[int, int, Key]


class Variables(Graph):
    """The walk of one program: its locals and temporaries."""

    def __init__(self, system: System, task: Record | None, fails: Fails) -> None:
        super().__init__()
        self.system, self.task, self.fails = system, task, fails
        self.variables: Known = {}
        self.groups: dict[tuple[str, str], Group] = {(g.cls, g.path): g for g in system.groups()}
        self.changed: list[tuple[str, str]] = []  # locals that may hold more than was thought, and where
        self.atomic = 0  # depth of atomic blocks
        self.ghost = 0  # depth of rule checks, whose reads are no steps
        self.way: Key = ()  # which iterations of unrolled loops and which lambdas this is in
        self.steps = 0  # begun so far
        self.lines: dict[tuple[str, int], ast.AST] = {}  # the statement with a step of each line
        self.functions: list[FunctionType] = []  # that were inlined
        self.temps: list[Kind] = []
        self.loads: set[str] = set()  # the temporaries that hold what a step has read; a rule's are others
        self.locals: list[Key | Kind | None] = []  # in the order of their names; of copies only the kind
        self._names: dict[Key, str] = {}
        self._scopes: dict[Key, int] = {}

    @contextmanager
    def inside(self, what: str) -> Iterator[None]:
        """Within an "atomic" or "ghost" block."""
        setattr(self, what, getattr(self, what) + 1)
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) - 1)

    @contextmanager
    def along(self, turn: object) -> Iterator[None]:
        """Within one of several copies of the same code."""
        self.way += (turn,)
        try:
            yield
        finally:
            self.way = self.way[:-1]

    def fail(
        self, condition: Expr, rule: str, text: str, *, always: bool = False, freed: str | None = None
    ) -> None:
        """The rule breaks when `condition` holds; `freed` is the class of what has been freed then."""
        if condition == ir.const(0) or not (always or self.fails.wanted(rule)):
            return
        self.emit(("fail", condition, self.fails.number(rule, text, freed, self.ghost > 0)))
        if condition[0] == "c":
            self.finish(("end",))
            raise Unreachable

    # --- names in the lowered form -------------------------------------------------------------

    def kinds(self) -> dict[str, Kind]:
        """The kinds of all locals, by their lowered names."""
        found = {f"t{n}": kind for n, kind in enumerate(self.temps, 1)}
        found.update((f"v{n}", kind) for n, kind in enumerate(self.local_kinds(0)) if kind is not None)
        return found

    def local_kinds(self, first: int) -> list[Kind | None]:
        """The kinds of the locals from the given one on."""
        found: list[Kind | None] = []
        for local in self.locals[first:]:
            known = self.variables.get(local) if isinstance(local, tuple) else local
            known = known.parent if isinstance(known, PartKind) else known
            found.append(known if isinstance(known, Kind) else None)
        return found

    def names_since(self, mark: Mark) -> list[str]:
        """The temporaries and locals that were named since, in order."""
        temps = [f"t{n + 1}" for n in range(mark.temps, len(self.temps))]
        return temps + [f"v{n}" for n in range(mark.locals, len(self.locals))]

    def mark(self) -> Mark:
        """Where the walk stands, to come back to or to see what it did since."""
        return Mark(
            self.current,
            0 if self.current is None else len(self.current.effects),
            self.assigned,
            len(self.temps),
            len(self.locals),
            self.steps,
            len(self.functions),
            (self.atomic, self.ghost, self.way),
        )

    def rewind(self, mark: Mark) -> None:
        """Forget what was lowered since, but not what was learned of the locals."""
        self.current, self.assigned, self.steps = mark.node, mark.assigned, mark.steps
        self.atomic, self.ghost, self.way = mark.inside
        if mark.node is not None:
            del mark.node.effects[mark.effects :]
            mark.node.term = ()
        self.loads.difference_update(self.names_since(mark))
        del self.temps[mark.temps :]
        for key in self.locals[mark.locals :]:
            if isinstance(key, tuple):
                del self._names[key]
        del self.locals[mark.locals :]
        del self.functions[mark.functions :]

    def fresh(self, kind: Kind) -> str:
        """The name of a new temporary."""
        self.temps.append(kind)
        return f"t{len(self.temps)}"

    def temp(self, value: Expr, kind: Kind) -> Dyn:
        """A new local that holds `value` from here on."""
        name = self.fresh(kind)
        self.emit(("let", name, value))
        return Dyn(("v", name), kind)

    def scope_key(self, site: Key) -> int:
        """What stands for an inlined call, by its caller and its place: the same whenever it is walked."""
        return self._scopes.setdefault(site, len(self._scopes))

    def lowered_name(self, key: Key) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = f"v{len(self.locals)}"
            self.locals.append(key)
        return name

    # --- assigning and reading -------------------------------------------------------------------

    def assign(self, frame: Frame, name: str, value: Value, node: ast.AST) -> None:
        """Bind a local; what it may hold is joined over all its assignments."""
        if name in frame.scope.bound:
            raise frame.error(node, f"{name} is the variable of a for loop here: assign to another name")
        key = (frame.scope.key, name)
        self.learn(frame, name, [(value, node)])
        after = self.variables[key]
        self.assigned |= {key}
        if isinstance(after, Kind):
            self.emit(("let", self.lowered_name(key), self.encoded(value, frame, node)))
        elif isinstance(after, PartKind):
            assert isinstance(value, Part)
            self.emit(("let", self.lowered_name(key), value.parent.expr))

    def learn(self, frame: Frame, name: str, values: Sequence[tuple[Value, ast.AST]]) -> None:
        """A local may hold these.  What was lowered with less in mind has to be lowered again."""
        key = (frame.scope.key, name)
        before = after = self.variables.get(key)
        for value, node in values:
            after = self.join(after, value, frame, node, name)
        assert after is not None
        self.variables[key] = after
        if before is not None and (type(after) is not type(before) or after != before):
            self.changed.append((name, frame.place(values[-1][1])))

    def join(
        self, before: Static | Kind | PartKind | None, value: Value, frame: Frame, node: ast.AST, name: str
    ) -> Static | Kind | PartKind:
        """What a variable may hold after one more assignment."""
        if isinstance(value, Static) and (
            before is None or (isinstance(before, Static) and same(before.value, value.value))
        ):
            return value
        if isinstance(value, Part) or isinstance(before, PartKind):
            kind = PartKind(value.parent.kind, value.path, value.field) if isinstance(value, Part) else None
            if kind is not None and before in (None, kind):
                return kind
            raise frame.error(node, f"{name} refers to different structures or arrays: use one name for each")
        mine = self.kind_of(value, frame, node)
        if before is None:
            return mine
        theirs = self.kind_of(before, frame, node) if isinstance(before, Static) else before
        assert isinstance(theirs, Kind)
        return self.wider(theirs, mine, frame, node, name)

    def read(self, frame: Frame, name: str, node: ast.AST) -> Value:
        """The value of a local."""
        if name in frame.scope.bound:
            found: Value = frame.scope.bound[name]
            return found
        key = (frame.scope.key, name)
        if key not in self.assigned:
            raise frame.error(node, f"{name} may have no value here: assign it before, outside of any loop")
        known = self.variables[key]
        if isinstance(known, Static):
            return known
        local: Expr = ("v", self.lowered_name(key))
        if isinstance(known, PartKind):
            return Part(Dyn(local, known.parent), known.path, known.field)
        return Dyn(local, known)

    @contextmanager
    def bound(self, frame: Frame, name: str, item: Any, number: int) -> Iterator[None]:
        """One iteration of an unrolled loop, over something that is fixed at set-up."""
        shadowed = frame.scope.bound.get(name)
        frame.scope.bound[name] = Static(item)
        try:
            with self.along(number):
                yield
        finally:
            del frame.scope.bound[name]
            if shadowed is not None:
                frame.scope.bound[name] = shadowed

    # --- kinds and numbers -------------------------------------------------------------------------

    def kind_of(self, value: Value, frame: Frame, node: ast.AST) -> Kind:
        """The kind of a value that has to live in a variable."""
        if isinstance(value, Dyn):
            return value.kind
        kind = static_kind(value.value) if isinstance(value, Static) else None
        if kind is None:
            what = repr(value.value) if isinstance(value, Static) else f"the structure or array {value.path}"
            mend = "use a number, a record or a packed value"
            raise frame.error(node, f"{what} cannot depend on the state: {mend}")
        return kind

    def wider(self, a: Kind, b: Kind, frame: Frame, node: ast.AST, name: str) -> Kind:
        """The kind that holds the values of both."""
        if a == b:
            return a
        if a.what == b.what == "ref":
            if a.cls is None or b.cls is None:
                return b if a.cls is None else a
            if self.concrete(a) == self.concrete(b):
                return a
        if a.what in NUMBERS and b.what in NUMBERS:
            return Kind("int", min(a.lo, b.lo), max(a.hi, b.hi))
        raise frame.error(node, f"{name} holds both {describe(a)} and {describe(b)}: use one name for each")

    def concrete(self, kind: Kind) -> str:
        records = self.system.instances(kind.cls)
        return type(records[0]).__name__ if records else record_class(kind.cls)

    def encoded(self, value: Value, frame: Frame, node: ast.AST) -> Expr:
        """The number that stands for `value`."""
        if isinstance(value, Dyn):
            return value.expr
        kind = self.kind_of(value, frame, node)
        assert isinstance(value, Static)
        return ir.const(self.system.encode(kind, value.value))

    def truth(self, value: Value, frame: Frame, node: ast.AST) -> Expr:
        """Whether a value counts as true."""
        if isinstance(value, Static):
            return ir.const(bool(value.value))
        if isinstance(value, Dyn):
            if value.kind == BIT:
                return value.expr
            if value.kind.what in NUMBERS:
                return ir.binary("!=", value.expr, ir.const(0))
        raise frame.error(node, "a condition has to be a bool or a number: compare with None or another")

    def known_number(self, value: Value) -> int | None:
        """A number that set-up has fixed."""
        return value.value if isinstance(value, Static) and isinstance(value.value, int) else None
