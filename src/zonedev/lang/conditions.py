"""Conditions: comparisons, and what is evaluated only where it matters."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.access import Access
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Frame
from zonedev.lang.graph import Node
from zonedev.lang.records import BIT, Array
from zonedev.lang.refused import not_in_the_language
from zonedev.lang.source import method_name
from zonedev.lang.values import NUMBERS, Dyn, Static, Value, same, truth_value

COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.Is: "==",
    ast.NotEq: "!=",
    ast.IsNot: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


class Conditions(Access):
    """The value of comparisons, `and`, `or` and conditional expressions."""

    def value(self, node: ast.expr, frame: Frame) -> Value:
        method = getattr(self, method_name("ev", type(node).__name__), None)
        if method is None:
            raise frame.error(node, not_in_the_language(node))
        found: Value = method(node, frame)
        return found

    def static(self, compute: Callable[[], Any], frame: Frame, node: ast.AST) -> Static:
        """What ordinary Python makes of values that set-up has fixed."""
        try:
            return Static(compute())
        except Exception as error:
            raise frame.error(node, f"{ast.unparse(node)}: {type(error).__name__}: {error}") from None

    # --- comparisons ---------------------------------------------------------------------------------

    def ev_compare(self, node: ast.Compare, frame: Frame) -> Value:
        left, right = self.value(node.left, frame), self.value(node.comparators[0], frame)
        result = self.comparison(node.ops[0], left, right, frame, node)
        for op, operand in zip(node.ops[1:], node.comparators[1:], strict=True):

            def link(op: ast.cmpop = op, operand: ast.expr = operand) -> Expr:
                nonlocal right
                left, right = right, self.value(operand, frame)
                return self.comparison(op, left, right, frame, node)

            result = self.short_circuit(True, result, link)
        return truth_value(result)

    def comparison(self, op: ast.cmpop, a: Value, b: Value, frame: Frame, node: ast.AST) -> Expr:
        if isinstance(op, ast.In | ast.NotIn):
            found = self.among(a, b, frame, node)
            return ir.negate(found) if isinstance(op, ast.NotIn) else found
        identity = isinstance(op, ast.Is | ast.IsNot)
        if isinstance(a, Static) and isinstance(b, Static):
            if identity:
                return ir.const(same(a.value, b.value) == isinstance(op, ast.Is))
            compare = ir.OPS[COMPARE[type(op)]]
            return ir.const(self.static(lambda: bool(compare(a.value, b.value)), frame, node).value)
        ka, kb = self.kind_of(a, frame, node), self.kind_of(b, frame, node)
        kind = self.wider(ka, kb, frame, node, "the comparison")
        if identity and kind.what not in ("ref", "bool"):
            raise frame.error(node, "`is` compares pointers: use == here")
        if not isinstance(op, ast.Eq | ast.NotEq) and not identity and kind.what not in NUMBERS:
            raise frame.error(node, "only numbers are greater or less than others")
        return ir.binary(COMPARE[type(op)], self.encoded(a, frame, node), self.encoded(b, frame, node))

    def among(self, a: Value, b: Value, frame: Frame, node: ast.AST) -> Expr:
        """a in b"""
        if not isinstance(b, Static) or isinstance(b.value, Array):
            raise frame.error(node, "`in` needs a tuple that is fixed at set-up")
        if isinstance(a, Static):
            return ir.const(self.static(lambda: a.value in b.value, frame, node).value)
        found: Expr = ir.const(0)
        for item in self.static(lambda: list(b.value), frame, node).value:
            found = ir.binary("or", found, self.comparison(ast.Eq(), a, Static(item), frame, node))
        return found

    # --- conditions ------------------------------------------------------------------------------------

    def condition(self, node: ast.expr, frame: Frame) -> Expr:
        """Whether an expression counts as true."""
        if isinstance(node, ast.BoolOp):
            is_and = isinstance(node.op, ast.And)
            return self.all_or_any(is_and, node.values, lambda part: self.condition(part, frame))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ir.negate(self.condition(node.operand, frame))
        return self.truth(self.value(node, frame), frame, node)

    def all_or_any(self, is_and: bool, parts: Iterable[Any], truth: Callable[[Any], Expr]) -> Expr:
        """The `and` or the `or` of the truths of some parts, each looked at only if it matters."""
        result = ir.const(is_and)
        for part in parts:
            result = self.short_circuit(is_and, result, lambda part=part: truth(part))  # type: ignore[misc]
        return result

    def short_circuit(self, is_and: bool, left: Expr, right: Callable[[], Expr]) -> Expr:
        """`left and right` or `left or right`, where `right` is evaluated only if Python does."""
        if left[0] == "c":
            return right() if bool(left[1]) == is_and else left
        before, start, short, join = self.current, Node(assigned=self.assigned), Node(), Node()
        calls = len(self.functions)
        self.start(start)
        result = ""
        with self.reachable():
            truth = right()
            if self.current is start and not start.effects and len(self.functions) == calls:
                self.current = before
                return ir.binary("and" if is_and else "or", left, truth)
            result = self.fresh(BIT)
            self.emit(("let", result, truth))
        end, after = self.current, self.assigned
        self.current, self.assigned = before, start.assigned or frozenset()
        self.branch(left, *((start, short) if is_and else (short, start)))
        self.start(short)
        if result:
            self.emit(("let", result, ir.const(not is_and)))
        self.goto(join)
        self.current, self.assigned = end, after
        self.goto(join)
        self.start(join)
        return ("v", result) if result else ir.const(not is_and)

    def ev_boolop(self, node: ast.BoolOp, frame: Frame) -> Value:
        """As a value, `a or b` is one of the two: of numbers and records only where a is fixed."""
        is_and = isinstance(node.op, ast.And)

        def bool_of(operand: ast.expr) -> Expr:
            return self.bool_of(self.value(operand, frame), frame, node)

        left = self.value(node.values[0], frame)
        for operand in node.values[1:]:
            if not isinstance(left, Static):
                truth = self.bool_of(left, frame, node)
                left = truth_value(self.short_circuit(is_and, truth, lambda e=operand: bool_of(e)))  # type: ignore[misc]
            elif bool(left.value) == is_and:
                left = self.value(operand, frame)
        return left

    def bool_of(self, value: Value, frame: Frame, node: ast.AST) -> Expr:
        """An operand of `and` or `or` whose value is used."""
        if isinstance(value, Dyn) and value.kind == BIT:
            return value.expr
        if isinstance(value, Static) and isinstance(value.value, bool):
            return ir.const(value.value)
        raise frame.error(node, "`and` and `or` of other values than bools: compare, or use `a if a else b`")

    def ev_ifexp(self, node: ast.IfExp, frame: Frame) -> Value:
        condition = self.condition(node.test, frame)
        if condition[0] == "c":
            return self.value(node.body if condition[1] else node.orelse, frame)
        then, other, join = Node(), Node(), Node()
        name = f"<the value of line {node.lineno}, column {node.col_offset}, {self.way}>"
        self.branch(condition, then, other)
        for begin, part in ((then, node.body), (other, node.orelse)):
            self.start(begin)
            with self.reachable():
                self.assign(frame, name, self.value(part, frame), node)
                self.goto(join)
        self.start(join)
        return self.read(frame, name, node)
