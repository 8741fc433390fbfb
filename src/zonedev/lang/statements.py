"""Statements: assignments, branches, loops, and the atomic block."""

from __future__ import annotations

import ast
from contextlib import nullcontext

from zonedev.lang import expr as ir
from zonedev.lang import runtime
from zonedev.lang.expressions import BINARY
from zonedev.lang.frames import Frame
from zonedev.lang.graph import Node, Unreachable
from zonedev.lang.refused import not_in_the_language
from zonedev.lang.source import method_name
from zonedev.lang.values import Static, Value
from zonedev.lang.words import Words

ONLY_WITH = 'the only with statement is `with atomic("why"):`'


class Statements(Words):
    """The effect of every kind of statement."""

    def block(self, body: list[ast.stmt], frame: Frame) -> None:
        for statement in body:
            if self.current is None:
                return
            method = getattr(self, method_name("do", type(statement).__name__), None)
            if method is None:
                raise frame.error(statement, not_in_the_language(statement))
            outer = frame.statement, frame.accesses
            frame.statement, frame.accesses = statement, 0
            try:
                method(statement, frame)
            except Unreachable:
                self.current = None
            frame.statement, frame.accesses = outer

    def do_pass(self, node: ast.Pass, frame: Frame) -> None:
        pass

    def do_expr(self, node: ast.Expr, frame: Frame) -> None:
        self.value(node.value, frame)

    def do_return(self, node: ast.Return, frame: Frame) -> None:
        value = Static(None) if node.value is None else self.value(node.value, frame)
        self.leave(frame, value, node)

    # --- assignments -----------------------------------------------------------------------------

    def do_assign(self, node: ast.Assign, frame: Frame) -> None:
        if len(node.targets) != 1:
            raise frame.error(node, "assign to one place at a time")
        self.assign_to(node.targets[0], self.value(node.value, frame), frame)

    def do_annassign(self, node: ast.AnnAssign, frame: Frame) -> None:
        if node.value is not None:
            self.assign_to(node.target, self.value(node.value, frame), frame)

    def do_augassign(self, node: ast.AugAssign, frame: Frame) -> None:
        if not isinstance(node.target, ast.Name):
            place, sign = ast.unparse(node.target), BINARY.get(type(node.op), "?")
            mend = f"write {place} = {place} {sign} ..."
            if not self.atomic:
                mend = 'use a primitive such as atomic_inc(), or `with atomic("why")`'
            raise frame.error(node, f"{sign}= is a read and a write of {place}: {mend}")
        old = self.read(frame, node.target.id, node)
        new = self.arithmetic(node.op, old, self.value(node.value, frame), frame, node)
        self.assign(frame, node.target.id, new, node)

    def assign_to(self, target: ast.expr, value: Value, frame: Frame) -> None:
        if isinstance(target, ast.Name):
            if target.id not in frame.scope.locals:
                raise frame.error(target, f"{target.id} is global: keep the state in a field of a record")
            self.assign(frame, target.id, value, target)
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value, frame)
            place = self.field_of(owner, target.attr, frame, target)
            if place[2].kind is None or place[2].length is not None:
                what = "an array: assign to an element" if place[2].length is not None else "fixed at set-up"
                raise frame.error(target, f"{target.attr} is {what}")
            self.store(place, ir.const(0), value, frame, target)
        elif isinstance(target, ast.Subscript):
            array = self.array_at(self.value(target.value, frame))
            if array is None:
                raise frame.error(target, "only elements of array fields can be assigned to")
            index = self.index(array[0], array[1], self.value(target.slice, frame), frame, target)
            self.store(array, index, value, frame, target)
        else:
            raise frame.error(target, "assign to a name, a field or an array element")

    # --- branches and loops ----------------------------------------------------------------------

    def do_if(self, node: ast.If, frame: Frame) -> None:
        condition = self.condition(node.test, frame)
        if condition[0] == "c":
            self.block(node.body if condition[1] else node.orelse, frame)
            return
        then, other, join = Node(), Node(), Node()
        self.branch(condition, then, other)
        for begin, body in ((then, node.body), (other, node.orelse)):
            self.start(begin)
            self.block(body, frame)
            self.goto(join)
        self.start(join)

    def do_while(self, node: ast.While, frame: Frame) -> None:
        if self.atomic or self.ghost:
            raise frame.error(node, "a while loop inside atomic: loop over range() or records")
        head, body, exhausted, done = Node(loop=frame.place(node)), Node(), Node(), Node()
        self.goto(head)
        self.start(head)
        self.branch(self.condition(node.test, frame), body, exhausted)
        frame.loops.append((head, done))
        self.start(body)
        self.block(node.body, frame)
        self.goto(head)
        frame.loops.pop()
        self.start(exhausted)
        self.block(node.orelse, frame)
        self.goto(done)
        self.start(done)

    def do_break(self, node: ast.Break, frame: Frame) -> None:
        self.goto(frame.loops[-1][1])

    def do_continue(self, node: ast.Continue, frame: Frame) -> None:
        self.goto(frame.loops[-1][0])

    def do_for(self, node: ast.For, frame: Frame) -> None:
        if not isinstance(node.target, ast.Name):
            raise frame.error(node, "a for loop has one variable")
        name, done = node.target.id, Node()
        items = self.items(node.iter, frame)
        if name in frame.scope.bound:
            raise frame.error(node, f"{name} is the variable of an outer loop as well: use another name")
        for number, item in enumerate(items):
            after = Node()
            frame.loops.append((after, done))
            with self.bound(frame, name, item, number):
                self.block(node.body, frame)
            frame.loops.pop()
            self.goto(after)
            self.start(after)
        self.block(node.orelse, frame)
        self.goto(done)
        self.start(done)
        self.assigned -= {(frame.scope.key, name)}

    # --- atomic ------------------------------------------------------------------------------------

    def do_with(self, node: ast.With, frame: Frame) -> None:
        item = node.items[0]
        call = item.context_expr
        word = self.value(call.func, frame) if isinstance(call, ast.Call) else None
        known = word in (Static(runtime.atomic), Static(runtime.ghost))
        if len(node.items) > 1 or item.optional_vars or not known:
            raise frame.error(node, ONLY_WITH)
        if word == Static(runtime.ghost):
            if not self.ghost:
                raise frame.error(node, "ghost() is for rules: kernel code cannot look without a step")
            self.block(node.body, frame)
            return
        assert isinstance(call, ast.Call)
        why = self.value(call.args[0], frame) if len(call.args) == 1 else None
        if not isinstance(why, Static) or not isinstance(why.value, str) or not why.value.strip():
            raise frame.error(node, f"atomic needs a reason: {runtime.REASON}")
        outermost = not self.atomic and not self.ghost
        if outermost:
            self.count(frame, node)
            self.step(frame, node)
        before, self.first = self.first, node.body[0] if outermost else None
        try:
            with self.inside("atomic") if not self.ghost else nullcontext():
                self.block(node.body, frame)
        finally:
            self.first = before
