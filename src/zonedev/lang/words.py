"""The words of the language: when, choose, ensure, free, current, tasks, note, replace."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang import runtime
from zonedev.lang.calls import Calls
from zonedev.lang.frames import Frame
from zonedev.lang.graph import Node, as_expression
from zonedev.lang.inline import signature
from zonedev.lang.records import Kind, Packed, replace
from zonedev.lang.values import Dyn, Static, Thunk, Value


class Words(Calls):
    """What the words of `runtime` mean in a transition system."""

    first: ast.stmt | None = None  # the first statement of the atomic block that this is in

    def word(self, function: Any) -> Callable[[ast.Call, Frame], Value] | None:
        name = WORDS.get(function)
        return None if name is None else getattr(self, name)

    def parts(self, function: Any, node: ast.Call, frame: Frame) -> dict[str, ast.expr]:
        """The arguments of a word by name, not yet evaluated; further ones by number."""
        names = [n for n, p in signature(function).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        names += [str(n) for n in range(len(node.args))]
        found = dict(zip(names, node.args, strict=False))
        found.update((k.arg, k.value) for k in node.keywords if k.arg is not None)
        for p in signature(function).parameters.values():
            needed = p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
            if needed and p.name not in found:
                raise frame.error(node, f"{function.__name__}() lacks its argument {p.name}")
        return found

    # --- waiting and choosing ------------------------------------------------------------------

    def sp_when(self, node: ast.Call, frame: Frame) -> Value:
        parts = self.parts(runtime.when, node, frame)
        if self.first is None or frame.statement is not self.first or self.current is None:
            raise frame.error(node, "when() has to be the first statement of an atomic block")
        step = self.current
        guard = self.called(parts["guard"], frame)
        self.emit(("guard", self.truth(guard, frame, node)))
        if "lost" in parts and self.value(parts["lost"], frame) != Static(None):
            step.lost = self.observed(parts["lost"], frame)
        return Static(None)

    def called(self, node: ast.expr, frame: Frame) -> Value:
        """The result of a function without arguments, such as a lambda."""
        function = self.value(node, frame)
        known = function.value if isinstance(function, Static) else None
        if not isinstance(known, Thunk | FunctionType | MethodType):
            raise frame.error(node, "when() takes a lambda: when(lambda: ...)")
        return self.apply(known, [], {}, frame, node)

    def observed(self, node: ast.expr, frame: Frame) -> ir.Expr:
        """A condition as one expression over the state, for a look from outside."""
        before, assigned, begin = self.current, self.assigned, Node(assigned=self.assigned)
        self.start(begin)
        truth, end = ir.const(0), begin
        with self.reachable(), self.inside("ghost"):
            truth = self.truth(self.called(node, frame), frame, node)
            assert self.current is not None
            end = self.current
        self.current, self.assigned = before, assigned
        return as_expression(begin, end, truth)

    def sp_choose(self, node: ast.Call, frame: Frame) -> Value:
        count = self.known_number(self.value(self.parts(runtime.choose, node, frame)["n"], frame))
        if count is None or count < 1:
            raise frame.error(node, "choose() needs a number above 0 that is fixed at set-up")
        if self.atomic or self.ghost:
            raise frame.error(node, "choose() is a step of its own: not inside atomic, nor in a rule")
        self.count(frame, node)
        self.step(frame, node)
        if count == 1:
            return Static(0)
        kind = Kind("int", 0, count - 1)
        name = self.fresh(kind)
        self.emit(("choice", name))
        if self.current is not None:
            self.current.fanout = count
        return Dyn(("v", name), kind)

    # --- tasks -----------------------------------------------------------------------------------

    def sp_current(self, node: ast.Call, frame: Frame) -> Value:
        return Static(self.task)

    def sp_tasks(self, node: ast.Call, frame: Frame) -> Value:
        return Static(tuple(self.system.tasks))

    # --- rules -----------------------------------------------------------------------------------

    def sp_ensure(self, node: ast.Call, frame: Frame) -> Value:
        parts = self.parts(runtime.ensure, node, frame)
        rule = self.value(parts["rule"], frame)
        if not isinstance(rule, Static) or not isinstance(rule.value, str):
            raise frame.error(node, "the rule of ensure() is a name")
        broken = ir.negate(self.condition(parts["holds"], frame))
        if not self.ghost:  # what the text is made of is read in a plain run, so it is read here
            for name, part in parts.items():
                if name not in ("rule", "holds"):
                    self.value(part, frame)
        at = frame.site
        self.fail(broken, rule.value, f"{at.name}, {at.place(at.statement or node)}")
        return Static(None)

    def sp_note(self, node: ast.Call, frame: Frame) -> Value:
        if not self.ghost:
            self.arguments(node, frame)
        return Static(None)

    # --- records -----------------------------------------------------------------------------------

    def sp_free(self, node: ast.Call, frame: Frame) -> Value:
        record = self.value(self.parts(runtime.free, node, frame)["record"], frame)
        place = self.field_of(record, "live", frame, node)
        self.store(place, ir.const(0), Static(False), frame, node)
        return Static(None)

    def sp_replace(self, node: ast.Call, frame: Frame) -> Value:
        args, given = self.arguments(node, frame)
        old = args[0] if len(args) == 1 else None
        cls = old.kind.cls if isinstance(old, Dyn) else type(old.value) if isinstance(old, Static) else None
        if not isinstance(cls, type) or not issubclass(cls, Packed):
            raise frame.error(node, "replace() takes a packed value, and its new members by name")
        return self.packed(cls, old, [], given, frame, node)


WORDS: dict[Any, str] = {
    runtime.when: "sp_when",
    runtime.choose: "sp_choose",
    runtime.current: "sp_current",
    runtime.tasks: "sp_tasks",
    runtime.ensure: "sp_ensure",
    runtime.free: "sp_free",
    runtime.note: "sp_note",
    replace: "sp_replace",
}
