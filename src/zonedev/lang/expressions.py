"""Expressions, evaluated in Python's order."""

from __future__ import annotations

import ast
import builtins
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.conditions import Conditions
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Frame
from zonedev.lang.records import BIT, Kind, Packed, Record
from zonedev.lang.system import member_low
from zonedev.lang.values import NUMBERS, Dyn, Part, Static, Thunk, Value, interval, truth_value

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}


class Expressions(Conditions):
    """The value of the other kinds of expression but calls."""

    def inline(
        self, function: Any, args: list[Value], kwargs: dict[str, Value], frame: Frame | None, node: ast.AST
    ) -> Value:
        """The body of `function` in place of a call."""
        raise NotImplementedError

    # --- atoms -----------------------------------------------------------------------------------

    def ev_constant(self, node: ast.Constant, frame: Frame) -> Value:
        return Static(node.value)

    def ev_joinedstr(self, node: ast.JoinedStr, frame: Frame) -> Value:
        parts = [p for p in node.values if isinstance(p, ast.FormattedValue)]
        for part in parts:
            if not isinstance(self.value(part.value, frame), Static):
                raise frame.error(node, "an f-string of what can change: hand the value to ensure() itself")
        return Static(ast.unparse(node))

    def ev_tuple(self, node: ast.Tuple, frame: Frame) -> Value:
        parts = [self.value(e, frame) for e in node.elts]
        if all(isinstance(p, Static) for p in parts):
            return Static(tuple(p.value for p in parts if isinstance(p, Static)))
        raise frame.error(node, "a tuple of values that depend on the state: use one name for each")

    def ev_lambda(self, node: ast.Lambda, frame: Frame) -> Value:
        if ast.unparse(node.args):
            raise frame.error(node, "a lambda has no arguments here: it sees the names around it")
        return Static(Thunk(node, frame.scope))

    def ev_name(self, node: ast.Name, frame: Frame) -> Value:
        scope = frame.scope
        if node.id in scope.locals or node.id in scope.bound:
            return self.read(frame, node.id, node)
        if node.id in scope.closure:
            return self.static(lambda: scope.closure[node.id].cell_contents, frame, node)
        if node.id in scope.function.__globals__:
            return Static(scope.function.__globals__[node.id])
        if hasattr(builtins, node.id):
            return Static(getattr(builtins, node.id))
        raise frame.error(node, f"the name {node.id} is not defined")

    # --- attributes and elements -----------------------------------------------------------------

    def ev_attribute(self, node: ast.Attribute, frame: Frame) -> Value:
        value = self.value(node.value, frame)
        if isinstance(value, Static):
            if value.value is None:
                text = f"NULL pointer dereference in {frame.name}"
                self.fail(ir.const(1), "kernel-asserts", text, always=True)
            if node.attr in ("_index", "_name") or not isinstance(value.value, Record):
                fixed = value.value
                return self.static(lambda: getattr(fixed, node.attr), frame, node)
        if isinstance(value, Dyn) and value.kind.what == "packed":
            return self.member(value, node, frame)
        if isinstance(value, Dyn) and node.attr == "_index":
            count = len(self.records_of(value, frame, node))
            self.not_null(value, frame)
            return Dyn(ir.binary("-", value.expr, ir.const(1)), Kind("int", 0, count - 1))
        owner, path, field = self.field_of(value, node.attr, frame, node)
        if field.kind is None and field.embed is None:
            return self.constant(owner, path, frame, node)
        if field.embed is not None or field.length is not None:
            if isinstance(owner, Dyn):
                return Part(owner, path, field)
            return Static(owner.value._values[node.attr])
        return self.load(owner, path, field, ir.const(0), frame, node)

    def member(self, value: Dyn, node: ast.Attribute, frame: Frame) -> Value:
        """A member of a packed word, or a property of it."""
        cls: type[Packed] = value.kind.cls
        if node.attr in cls._members:
            shift, width, kind = self.member_bits(cls, node.attr)
            return Dyn(ir.binary("+", bits_of(value.expr, shift, width), ir.const(member_low(kind))), kind)
        found = getattr(cls, node.attr, None)
        if isinstance(found, property):
            return self.inline(found.fget, [value], {}, frame, node)
        raise frame.error(node, f"{cls.__name__} has no member or property {node.attr}")

    def member_bits(self, cls: type[Packed], name: str) -> tuple[int, int, Kind]:
        """Where a member of a packed word is: its shift, width and kind."""
        shift = 0
        for member, kind in cls._members.items():
            if member == name:
                break
            shift += self.system.bits(kind)
        return shift, self.system.bits(kind), kind

    def ev_subscript(self, node: ast.Subscript, frame: Frame) -> Value:
        base = self.value(node.value, frame)
        index = self.value(node.slice, frame)
        array = self.array_at(base)
        if array is not None:
            owner, path, field = array
            element = self.index(owner, path, index, frame, node)
            return self.load(owner, path, field, element, frame, node)
        if isinstance(base, Static) and isinstance(index, Static):
            return self.static(lambda: base.value[index.value], frame, node)
        if isinstance(base, Static) and isinstance(base.value, tuple | list) and isinstance(index, Dyn):
            return self.chosen(list(base.value), index, frame, node)
        raise frame.error(node, "index an array field, or a tuple that is fixed at set-up")

    def chosen(self, values: list[Any], index: Dyn, frame: Frame, node: ast.Subscript) -> Value:
        """An element of a tuple, by an index that depends on the state."""
        if index.kind.what not in NUMBERS or index.kind.lo < 0 or not values:
            raise frame.error(node, "the index of a tuple can be negative: Python counts from its end then")
        if index.kind.hi >= len(values):
            text = f"{frame.site.name}, {frame.place(node)}: the index is outside of the tuple"
            outside = ir.binary(">=", index.expr, ir.const(len(values)))
            self.fail(outside, "counter-range", text, always=True)
        return self.table(values, index.expr, frame, node)

    # --- arithmetic --------------------------------------------------------------------------------

    def ev_unaryop(self, node: ast.UnaryOp, frame: Frame) -> Value:
        if isinstance(node.op, ast.Not):
            return truth_value(ir.negate(self.condition(node.operand, frame)))
        value = self.value(node.operand, frame)
        if isinstance(node.op, ast.Invert):
            return self.arithmetic(ast.Sub(), Static(-1), value, frame, node)
        zero = Static(0)
        if isinstance(node.op, ast.UAdd):
            return self.arithmetic(ast.Add(), zero, value, frame, node)
        return self.arithmetic(ast.Sub(), zero, value, frame, node)

    def ev_binop(self, node: ast.BinOp, frame: Frame) -> Value:
        left = self.value(node.left, frame)
        return self.arithmetic(node.op, left, self.value(node.right, frame), frame, node)

    def arithmetic(self, op: ast.operator, a: Value, b: Value, frame: Frame, node: ast.AST) -> Value:
        sign = BINARY.get(type(op))
        if sign is None:
            raise frame.error(node, f"the operator {type(op).__name__} is not in the language")
        if isinstance(a, Static) and isinstance(b, Static):
            return self.static(lambda: ir.OPS[sign](a.value, b.value), frame, node)
        ka, kb = self.kind_of(a, frame, node), self.kind_of(b, frame, node)
        if ka.what not in NUMBERS or kb.what not in NUMBERS:
            raise frame.error(node, "arithmetic needs numbers")
        if sign in ("//", "%") and kb.lo <= 0 <= kb.hi:
            raise frame.error(node, "the divisor can be 0: use max(), or a number with a fixed sign")
        if sign in ("<<", ">>") and not 0 <= kb.lo <= kb.hi <= 62:
            raise frame.error(node, f"the shift is by {kb.lo}..{kb.hi}: it has to be in 0..62")
        found = ir.binary(sign, self.encoded(a, frame, node), self.encoded(b, frame, node))
        both_bits = sign in ("&", "|", "^") and ka == kb == BIT
        return Dyn(found, BIT if both_bits else interval(sign, ka, kb))


def bits_of(word: Expr, shift: int, width: int) -> Expr:
    return ir.binary("&", ir.binary(">>", word, ir.const(shift)), ir.const((1 << width) - 1))
