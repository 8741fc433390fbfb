"""What the lowering knows of a value, and the ranges of numbers."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Scope
from zonedev.lang.records import BIT, Array, Field, Kind, Packed, Record

NUMBERS = ("int", "bool", "enum")


# These are made by the hundred thousand, and a frozen dataclass takes twice as long to make.


@dataclass(slots=True)
class Static:
    """A value that set-up has fixed."""

    value: Any


@dataclass(slots=True)
class Dyn:
    """A value that depends on the state."""

    expr: Expr
    kind: Kind


@dataclass(slots=True)
class Part:
    """An embedded structure or an array of a record that depends on the state."""

    parent: Dyn
    path: str
    field: Field


@dataclass(frozen=True)
class PartKind:
    """What a variable holds that refers to a part: which one, of a record of this kind."""

    parent: Kind
    path: str
    field: Field


@dataclass(frozen=True, eq=False)
class Thunk:
    """A lambda with the names that it closes over."""

    node: ast.Lambda
    scope: Scope

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thunk) and self.node is other.node and self.scope.key == other.scope.key

    def __hash__(self) -> int:
        return hash((id(self.node), self.scope.key))


Value = Static | Dyn | Part


def same(a: Any, b: Any) -> bool:
    """Whether two fixed values are the same for a variable: equal, and of one type."""
    if isinstance(a, bool | int) and isinstance(b, bool | int):
        return a == b and isinstance(a, bool) == isinstance(b, bool)
    return a is b or (type(a) is type(b) and bool(a == b))


def static_kind(value: Any) -> Kind | None:
    """The kind of variables that can hold a fixed value; None where none can."""
    if isinstance(value, bool):
        return ONE_BIT
    if isinstance(value, int):
        return one_number(int(value))
    if value is None:
        return NULL
    if isinstance(value, Packed):
        return Kind("packed", cls=type(value))
    if isinstance(value, Record) and value._parent is None:
        return pointer_to(type(value).__name__)
    return None


ONE_BIT = Kind("bool")
NULL = Kind("ref")


@cache
def one_number(value: int) -> Kind:
    return Kind("int", value, value)


@cache
def pointer_to(cls: str) -> Kind:
    return Kind("ref", cls=cls)


def truth_value(truth: Expr) -> Value:
    """A condition as a value."""
    return Static(bool(truth[1])) if truth[0] == "c" else Dyn(truth, BIT)


def describe(kind: Kind) -> str:
    """A kind in an error message."""
    if kind.what == "ref":
        name = kind.cls if isinstance(kind.cls, str) else getattr(kind.cls, "__name__", "NULL")
        return f"a {name} pointer"
    if kind.what == "packed":
        return f"a {kind.cls.__name__}"
    return "a bool" if kind.what == "bool" else f"a number in {kind.lo}..{kind.hi}"


def top_of(record: Record) -> tuple[Record, str]:
    """The outermost record, and the path from it to an embedded one."""
    path: list[str] = []
    while record._parent is not None:
        path.insert(0, record._name.removeprefix(record._parent._name + "."))
        record = record._parent
    return record, ".".join(path)


def reach(record: Record, path: str) -> Any:
    """The embedded structure, array or constant at `path` of a record."""
    value: Any = record
    for name in path.split("."):
        value = value._values[name]
    return value


def element_lengths(records: list[Record], path: str) -> list[int]:
    """How long the arrays at `path` of some records are."""
    return [len(found) for found in (reach(r, path) for r in records) if isinstance(found, Array)]


def choice_of(values: list[Expr], index: Expr) -> Expr:
    """The expression for `values[index]`."""
    chosen = values[-1]
    for position in range(len(values) - 2, -1, -1):
        chosen = ir.select(ir.binary("==", index, ir.const(position)), values[position], chosen)
    return chosen


def interval(sign: str, a: Kind, b: Kind) -> Kind:
    """The range of `a sign b`; the divisor is not 0, and no shift is negative."""
    if sign == "%":
        low, high = (b.lo + 1, 0) if b.hi < 0 else (0, b.hi - 1)
        if a.lo >= 0 and a.hi < b.lo:
            low, high = a.lo, a.hi
        return Kind("int", low, high)
    if sign in ("&", "|", "^"):
        if sign == "&" and (a.lo >= 0 or b.lo >= 0):
            return Kind("int", 0, min(k.hi for k in (a, b) if k.lo >= 0))
        bits = max(abs(end).bit_length() for end in (a.lo, a.hi, b.lo, b.hi))
        low = 0 if a.lo >= 0 and b.lo >= 0 else -(1 << bits)
        return Kind("int", low, (1 << bits) - 1)
    ends = [ir.OPS[sign](x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
    return Kind("int", min(ends), max(ends))
