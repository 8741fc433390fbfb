"""Inlining: the body of a function in place of its call."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Hashable
from functools import cache
from types import FunctionType
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang import runtime
from zonedev.lang.builtin import Builtin
from zonedev.lang.errors import LoweringError, SpecError
from zonedev.lang.frames import Frame, Scope
from zonedev.lang.graph import Node, Unreachable
from zonedev.lang.records import Record
from zonedev.lang.source import function_ast
from zonedev.lang.system import System
from zonedev.lang.templates import Template, likeness
from zonedev.lang.values import Dyn, Part, Static, Thunk, Value
from zonedev.lang.variables import Fails, Mark

MAX_PASSES = 12


@cache
def signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


@cache
def plain(function: Any) -> tuple[str, ...] | None:
    """The parameters, where every argument can be given by its place."""
    shape = signature(function).parameters
    return tuple(shape) if all(p.kind == p.POSITIONAL_OR_KEYWORD for p in shape.values()) else None


@cache
def assigned_names(function: FunctionType) -> frozenset[str]:
    inner = ast.walk(function_ast(function))
    return frozenset(n.id for n in inner if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))


class Inlining(Builtin):
    """Puts bodies in place of calls: walked, or copied from a call that was like it."""

    def __init__(self, system: System, task: Record | None, fails: Fails) -> None:
        super().__init__(system, task, fails)
        self.templates: dict[Hashable, Template] = {}

    def block(self, body: list[ast.stmt], frame: Frame) -> None:
        raise NotImplementedError

    def bind(
        self,
        function: Any,
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> dict[str, Value]:
        """The arguments by name, with defaults."""
        names = plain(function)
        if names is not None and not kwargs and len(args) == len(names):
            return dict(zip(names, args, strict=True))
        shape = signature(function)
        file = function.__code__.co_filename
        place = frame.place(node) if frame else f"{file}:{getattr(node, 'lineno', 0)}"
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in shape.parameters.values()):
            raise LoweringError(place, f"{function.__name__}() takes * arguments: name each argument")
        try:
            bound = shape.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise LoweringError(place, f"{function.__name__}(): {error}") from None
        return {n: bound[n] if n in bound else Static(p.default) for n, p in shape.parameters.items()}

    def inline(
        self,
        function: Any,
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> Value:
        """The body of `function` in place of a call."""
        bound = self.bind(function, args, kwargs, frame, node)
        if function.__code__ in runtime.AT_SETUP:
            return self.evaluate(function, bound, frame, node)
        key = None
        if function.__code__ not in runtime.PRIMITIVES and self.current is not None:
            key = likeness(function, bound.values(), self.ghost > 0, self.atomic > 0)
        template = None if key is None else self.templates.get(key)
        if template is not None and (frame is None or not frame.within(template.functions)):
            return self.copied(template, self.entered(function, frame, node), bound, node)
        return self.walked(function, bound, frame, node, key)

    def walked(
        self,
        function: FunctionType,
        bound: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
        key: Hashable,
    ) -> Value:
        """Walk the body until no local holds more than was thought, and keep it by its `key`."""
        definition = function_ast(function)
        mark, known = self.mark(), len(self.changed)
        for _ in range(MAX_PASSES):
            inner = self.entered(function, frame, node)
            begun = self.opened(inner, bound, node)
            try:
                self.block(definition.body, inner)
                self.leave(inner, Static(None), definition)
                value = self.result(inner)
            except (LoweringError, Unreachable):
                if len(self.changed) == known:
                    raise
            else:
                if len(self.changed) == known:
                    self.assigned = mark.assigned
                    if key is not None and likeness(function, [value]) is not None:
                        self.templates[key] = self.template(inner, bound, begun, value)
                    return value
            name, place = self.changed[-1]
            del self.changed[known:]
            self.rewind(mark)
        raise SpecError(f"{place}: {name} grows without bound: use min() or %, or loop over range()")

    def template(self, inner: Frame, bound: dict[str, Value], begun: Mark, value: Value) -> Template:
        """What was walked since `begun`, for calls that are like it."""
        assert begun.node is not None and self.current is not None
        start = Node(effects=begun.node.effects[begun.effects :], term=begun.node.term)
        names = self.names_since(begun)
        return Template(
            start=start,
            exit=start if self.current is begun.node else self.current,
            extent=len(self.current.effects if self.current is not begun.node else start.effects),
            value=value,
            depth=len(inner.calls),
            steps=self.steps - begun.steps,
            functions=frozenset(self.functions[begun.functions :]),
            names=names,
            loads=[name for name in names if name in self.loads],
            temps=self.temps[begun.temps :],
            locals=self.local_kinds(begun.locals),
            assigned={n: self.variables[inner.scope.key, n] for n in bound if n not in inner.scope.bound},
            arguments=self.holders(inner, bound),
        )

    def copied(self, template: Template, inner: Frame, bound: dict[str, Value], node: ast.AST) -> Value:
        """A call like one that was walked."""
        outer = self.assigned
        self.variables.update(((inner.scope.key, n), known) for n, known in template.assigned.items())
        begun = self.opened(inner, bound, node)
        self.temps += template.temps
        self.locals += template.locals
        self.steps += template.steps
        self.functions += template.functions
        names = dict(zip(template.names, self.names_since(begun), strict=True))
        self.loads.update(names[name] for name in template.loads)
        names.update(zip(template.arguments, self.holders(inner, bound), strict=True))
        assert begun.node is not None
        self.current, value = template.copy(begun.node, names, inner.calls)
        self.assigned = outer
        return value

    def opened(self, inner: Frame, bound: dict[str, Value], node: ast.AST) -> Mark:
        """Give a call its arguments; what comes from here on is its body's."""
        stored = assigned_names(inner.scope.function)
        for name, value in bound.items():
            if name in stored:
                self.assign(inner, name, value, node)
            elif isinstance(value, Dyn) and value.expr[0] not in ("v", "c"):
                inner.scope.bound[name] = self.temp(value.expr, value.kind)
            else:
                inner.scope.bound[name] = value
        return self.mark()

    def holders(self, inner: Frame, bound: dict[str, Value]) -> list[str]:
        """The locals that hold a call's arguments."""
        found = []
        for name in bound:
            key = inner.scope.key, name
            value = inner.scope.bound.get(name)
            held = value.parent if isinstance(value, Part) else value
            if isinstance(held, Dyn) and held.expr[0] == "v":
                found.append(held.expr[1])
            elif value is None and not isinstance(self.variables[key], Static):
                found.append(self.lowered_name(key))
        return found

    def entered(self, function: FunctionType, frame: Frame | None, node: ast.AST) -> Frame:
        """The frame of a call."""
        if frame is not None and frame.within((function,)):
            raise frame.error(node, f"{function.__name__}() calls itself: use a loop")
        self.functions.append(function)
        primitive = function.__code__ in runtime.PRIMITIVES
        calls = frame.calls if frame else ()
        if not primitive:
            calls = (*calls, function.__name__)
        place = getattr(node, "lineno", 0), getattr(node, "col_offset", 0), self.way, function.__qualname__
        key = self.scope_key((frame.scope.key if frame else None, *place))
        return Frame(Scope(key, function), calls, frame, primitive)

    def evaluate(
        self, function: FunctionType, bound: dict[str, Value], frame: Frame | None, node: ast.AST
    ) -> Value:
        """The result of a function over what set-up has fixed."""
        fixed = {n: v.value for n, v in bound.items() if isinstance(v, Static)}
        if len(fixed) != len(bound):
            place = frame.place(node) if frame else function.__qualname__
            raise LoweringError(place, f"the arguments of {function.__name__}() have to be fixed at set-up")
        try:
            with runtime.ghost():
                return Static(function(**fixed))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            place = frame.place(node) if frame else function.__qualname__
            said = f"{function.__name__}() fails at set-up: {type(error).__name__}: {error}"
            raise LoweringError(place, said) from error

    def leave(self, frame: Frame, value: Value, node: ast.AST) -> None:
        """Go to the exit of the inlined call with a result."""
        if self.current is not None:
            frame.returns.append((self.current, value, node))
            self.goto(frame.exit)

    def result(self, inner: Frame) -> Value:
        """What an inlined call returns: one value, or a variable that its returns set."""
        self.start(inner.exit)
        if self.current is None:
            raise Unreachable
        if len(inner.returns) > 1:
            after, assigned = self.current, self.assigned
            self.learn(inner, "the result", [(returned, place) for _, returned, place in inner.returns])
            for node, returned, place in inner.returns:
                self.current = node
                self.assign(inner, "the result", returned, place)
                assigned |= self.assigned
            self.current, self.assigned = after, assigned
            return self.read(inner, "the result", inner.returns[0][2])
        value: Value = inner.returns[0][1]
        if isinstance(value, Dyn) and not self.ghost and any(x[0] == "ld" for x in ir.leaves(value.expr)):
            return self.temp(value.expr, value.kind)
        return value

    def thunk(self, thunk: Thunk, caller: Frame, node: ast.AST) -> Value:
        """The body of a lambda; its access is a step of the statement that calls it."""
        inner = Frame(thunk.scope, caller.calls, caller, primitive=False, is_lambda=True)
        with self.along((getattr(node, "lineno", 0), getattr(node, "col_offset", 0))):
            return self.value(thunk.node.body, inner)
