"""Shared locations: finding, reading and writing them, and the checks that each access needs."""

from __future__ import annotations

import ast

from zonedev.lang import expr as ir
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Frame
from zonedev.lang.graph import Node, Place
from zonedev.lang.records import BIT, Array, Field, Kind, Record
from zonedev.lang.system import Group
from zonedev.lang.values import (
    NUMBERS,
    Dyn,
    Part,
    Static,
    Value,
    choice_of,
    describe,
    element_lengths,
    reach,
    same,
    top_of,
)
from zonedev.lang.variables import Variables

Owner = Static | Dyn  # a record
TWO_PLACES = 'the statement touches two shared places: split it, or use `with atomic("why")`'
TWO_STATEMENTS = "two statements with a step on one line: give each a line of its own"


def last_line(statement: ast.AST) -> int:
    """Where the part of a statement ends that is its step."""
    if isinstance(statement, ast.If | ast.While):
        statement = statement.test
    elif isinstance(statement, ast.With):
        statement = statement.items[-1].context_expr
    elif isinstance(statement, ast.For):
        statement = statement.iter
    end: int | None = getattr(statement, "end_lineno", None)
    return end or 0


class Access(Variables):
    """Accesses to shared locations: they are the steps of a program."""

    # --- steps ---------------------------------------------------------------------------------

    def step(self, frame: Frame, node: ast.AST) -> None:
        """A step begins, for the statement that `frame` is in."""
        if self.current is None:
            return
        at = frame.site
        statement = at.statement or node
        line: int = getattr(statement, "lineno", 0)
        if self.lines.setdefault((at.file, line), statement) is not statement:
            raise at.error(statement, TWO_STATEMENTS)
        self.steps += 1
        begun = Node(step=Place(at.file, line, last_line(statement), at.name, at.calls))
        self.goto(begun)
        self.start(begun)

    def count(self, frame: Frame, node: ast.AST) -> None:
        """One more step of a statement, and of the lambda that it is in."""
        if frame.primitive or not self.system.k.one_access:
            return
        frame.accesses += 1
        if frame.accesses > 1:
            raise frame.error(node, f"{frame.name}: {TWO_PLACES}")
        if frame.is_lambda and frame.outer is not None:
            self.count(frame.outer, node)

    def touch(self, owner: Owner, field: Field, frame: Frame, node: ast.AST) -> None:
        """An access is a step, unless inside atomic or a rule, or to a field of the task's own."""
        if self.ghost:
            return
        if field.private:
            if not isinstance(owner, Static) or top_of(owner.value)[0] is not self.task:
                raise frame.error(node, f"{field.name} is private to the task that owns it: use current()")
        elif not self.atomic:
            self.count(frame, node)
            self.step(frame, node)

    # --- records ---------------------------------------------------------------------------------

    def records_of(self, value: Dyn, frame: Frame, node: ast.AST) -> list[Record]:
        """What a pointer can refer to."""
        if value.kind.what != "ref" or value.kind.cls is None:
            raise frame.error(node, f"a field of {describe(value.kind)}: only records have fields")
        records = self.system.instances(value.kind.cls)
        if not records:
            raise frame.error(node, f"no {describe(value.kind)[2:-8]} exists in this scenario")
        return records

    def not_null(self, pointer: Dyn, frame: Frame) -> None:
        text = f"NULL pointer dereference in {frame.name}"
        self.fail(ir.binary("==", pointer.expr, ir.const(0)), "kernel-asserts", text, always=True)

    def field_of(self, value: Value, name: str, frame: Frame, node: ast.AST) -> tuple[Owner, str, Field]:
        """The record, path and declaration behind `value.name`."""
        cls: type[Record] | None = None
        owner: Owner = Static(None)
        path = name
        if isinstance(value, Part):
            cls, owner, path = value.field.embed, value.parent, f"{value.path}.{name}"
        elif isinstance(value, Dyn) and value.kind.what == "ref":
            cls, owner = type(self.records_of(value, frame, node)[0]), value
            self.not_null(value, frame)
        elif isinstance(value, Static) and isinstance(value.value, Record):
            cls, owner = type(value.value), value
        if cls is None:
            if isinstance(value, Dyn) and value.kind.what == "packed":
                raise frame.error(node, f".{name}: a packed value is changed by replace()")
            raise frame.error(node, f".{name}: only records have fields that can change")
        if name not in cls._fields:
            mend = ": write what it does as a function of the design" if hasattr(cls, name) else ""
            raise frame.error(node, f"{cls.__name__} has no field {name}{mend}")
        return owner, path, cls._fields[name]

    def constant(self, owner: Owner, path: str, frame: Frame, node: ast.AST) -> Value:
        """A field that is fixed at set-up, of a record that may depend on the state."""
        if isinstance(owner, Static):
            return Static(reach(owner.value, path))
        values = [reach(r, path) for r in self.records_of(owner, frame, node)]
        if all(same(values[0], v) for v in values):
            return Static(values[0])
        return self.table(values, ir.binary("-", owner.expr, ir.const(1)), frame, node)

    def table(self, values: list[object], index: Expr, frame: Frame, node: ast.AST) -> Dyn:
        """The value at `index` of a list that is fixed at set-up."""
        items = [Static(v) for v in values]
        kind = self.kind_of(items[0], frame, node)
        for item in items[1:]:
            kind = self.wider(kind, self.kind_of(item, frame, node), frame, node, "the list")
        return Dyn(choice_of([self.encoded(i, frame, node) for i in items], index), kind)

    # --- arrays ------------------------------------------------------------------------------------

    def array_at(self, value: Value) -> tuple[Owner, str, Field] | None:
        """The record, path and declaration of an array, or None for other values."""
        if isinstance(value, Static) and isinstance(value.value, Array):
            array = value.value
            return Static(array._owner), array._field.name, array._field
        if isinstance(value, Part) and value.field.length is not None:
            return value.parent, value.path, value.field
        return None

    def lengths(self, owner: Owner, path: str) -> list[int]:
        """How long the array is in each record that may be meant."""
        if isinstance(owner, Static):
            return element_lengths([owner.value], path)
        return element_lengths(self.system.instances(owner.kind.cls), path)

    def index(self, owner: Owner, path: str, index: Value, frame: Frame, node: ast.AST) -> Expr:
        """An index into an array, which has to be below its length."""
        number, kind = self.encoded(index, frame, node), self.kind_of(index, frame, node)
        if kind.what not in NUMBERS:
            raise frame.error(node, "an index has to be a number")
        lengths = self.lengths(owner, path)
        if kind.lo < 0 or kind.hi >= min(lengths):
            length = ir.const(lengths[0])
            if isinstance(owner, Dyn):
                length = choice_of([ir.const(n) for n in lengths], ir.binary("-", owner.expr, ir.const(1)))
            outside = ir.binary("or", ir.binary("<", number, ir.const(0)), ir.binary(">=", number, length))
            text = f"{frame.site.name}, {frame.place(node)}: the index is outside of {path}"
            self.fail(outside, "counter-range", text, always=True)
        return number

    # --- locations -----------------------------------------------------------------------------------

    def location(
        self, owner: Owner, path: str, field: Field, index: Expr, frame: Frame
    ) -> tuple[Group, Expr]:
        """The group and the element of a field, which has to be alive."""
        if isinstance(owner, Static):
            top, prefix = top_of(owner.value)
            group = self.groups[type(top).__name__, f"{prefix}.{path}" if prefix else path]
            record = ir.const(top._index)
        else:
            name = type(self.system.instances(owner.kind.cls)[0]).__name__
            group = self.groups[name, path]
            record = ir.binary("-", owner.expr, ir.const(1))
        rule = type(group.records[0]).freed_breaks
        if rule is not None and group.path != "live" and not self.ghost and not field.private:
            text = f"{frame.name} reaches {group.cls}.{group.path} after it was freed"
            gone = ir.negate(("ld", self.groups[group.cls, "live"], record))
            self.fail(gone, rule, text, freed=group.cls)
        return group, ir.binary("+", ir.binary("*", record, ir.const(group.length)), index)

    def load(self, owner: Owner, path: str, field: Field, index: Expr, frame: Frame, node: ast.AST) -> Dyn:
        """Read a location."""
        self.touch(owner, field, frame, node)
        group, element = self.location(owner, path, field, index, frame)
        found: Expr = ("ld", group, element)
        if self.ghost:
            return Dyn(found, group.kind)
        read = self.temp(found, group.kind)
        self.loads.add(read.expr[1])
        return read

    def store(
        self, place: tuple[Owner, str, Field], index: Expr, value: Value, frame: Frame, node: ast.AST
    ) -> None:
        """Write a location; a number that leaves its range is an error."""
        owner, path, field = place
        if self.ghost:
            raise frame.error(node, "a rule must not change the state")
        self.touch(owner, field, frame, node)
        group, element = self.location(owner, path, field, index, frame)
        rule = type(group.records[0]).freed_breaks
        if field.name == "live" and rule is not None:
            text = f"{frame.site.name} frees {group.cls} again"
            self.fail(ir.negate(("ld", group, element)), rule, text, freed=group.cls)
        label = f"{group.cls}.{group.path}"
        number = self.ranged(value, group.kind, label, field.below, frame, node)
        self.emit(("store", group, element, number))

    def ranged(
        self, value: Value, kind: Kind, label: str, below: str | None, frame: Frame, node: ast.AST
    ) -> Expr:
        """The number that stands for `value` in a place of the given kind, after the checks."""
        number, mine = self.encoded(value, frame, node), self.kind_of(value, frame, node)
        self.wider(kind, mine, frame, node, label)
        if kind.what in ("int", "enum"):
            where = f"{frame.site.name}, {frame.place(node)}"
            if mine.lo < kind.lo:
                outside = ir.binary("<", number, ir.const(kind.lo))
                text = f"{where}: {label} falls below {kind.lo}"
                self.fail(outside, below or "counter-range", text, always=True)
            if mine.hi > kind.hi:
                outside = ir.binary(">", number, ir.const(kind.hi))
                self.fail(outside, "counter-range", f"{where}: {label} rises above {kind.hi}", always=True)
        elif kind.what == "bool" and mine != BIT:
            number = ir.binary("!=", number, ir.const(0))
        return number
