"""Calls: resolved at lowering, and inlined; with the checks that rules hang on their returns."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from types import FunctionType, MethodType
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang import runtime
from zonedev.lang.builtin import PURE, Builtin
from zonedev.lang.errors import LoweringError
from zonedev.lang.frames import Frame, Scope
from zonedev.lang.graph import Unreachable
from zonedev.lang.records import Packed
from zonedev.lang.source import function_ast
from zonedev.lang.system import Monitor, System
from zonedev.lang.values import Dyn, Static, Thunk, Value, truth_value


@cache
def signature(function: Any) -> inspect.Signature:
    return inspect.signature(function)


@cache
def plain(function: Any) -> bool:
    """Whether every argument can be given by its place."""
    return all(p.kind == p.POSITIONAL_OR_KEYWORD for p in signature(function).parameters.values())


@cache
def assigned_names(definition: ast.FunctionDef) -> frozenset[str]:
    return frozenset(
        n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    )


class Calls(Builtin):
    """Calls of functions, methods, lambdas and packed classes."""

    def word(self, function: Any) -> Callable[[ast.Call, Frame], Value] | None:
        """What a word of the language means."""
        raise NotImplementedError

    def block(self, body: list[ast.stmt], frame: Frame) -> None:
        raise NotImplementedError

    def ev_call(self, node: ast.Call, frame: Frame) -> Value:
        if isinstance(node.func, ast.Attribute) and is_super(node.func.value):
            return self.call_super(node.func, node, frame)
        target = self.value(node.func, frame)
        if not isinstance(target, Static):
            raise frame.error(node, "the function that is called has to be fixed at set-up")
        function = target.value
        word = self.word(function) if isinstance(function, FunctionType | type) else None
        if word is not None:
            return word(node, frame)
        if function in (sum, any, all):
            return self.fold(function, node, frame)
        if function is bool and len(node.args) == 1:
            return truth_value(self.condition(node.args[0], frame))
        args, kwargs = self.arguments(node, frame)
        if isinstance(function, type) and issubclass(function, Packed):
            return self.packed(function, None, args, kwargs, frame, node)
        return self.apply(function, args, kwargs, frame, node)

    def arguments(self, node: ast.Call, frame: Frame) -> tuple[list[Value], dict[str, Value]]:
        args = [self.value(a, frame) for a in node.args]
        kwargs: dict[str, Value] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise frame.error(node, "** is not in the language: name each argument")
            kwargs[keyword.arg] = self.value(keyword.value, frame)
        return args, kwargs

    def apply(
        self, function: Any, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.AST
    ) -> Value:
        """The result of calling something that is fixed."""
        watched = getattr(function, "watches", None)
        if watched is not None:
            return self.call_watched(watched, args, kwargs, frame, node)
        if isinstance(function, Thunk):
            return self.thunk(function, frame, node)
        if isinstance(function, MethodType):
            return self.call_method(function, args, kwargs, frame, node)
        if isinstance(function, FunctionType):
            return self.call_function(function, args, kwargs, frame, node)
        if isinstance(function, type | type(len)) and function in PURE:
            return self.pure(function, args, kwargs, frame, node)
        name = getattr(function, "__name__", repr(function))
        raise frame.error(node, f"{name} cannot be called in the language: see docs/language.md")

    def call_function(
        self, function: FunctionType, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.AST
    ) -> Value:
        """A function; a primitive's steps are one access of the calling statement."""
        before = self.steps
        result = self.inline(function, args, kwargs, frame, node)
        if function.__code__ in runtime.PRIMITIVES and self.steps != before:
            self.count(frame, node)
        return result

    def call_method(
        self, method: MethodType, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.AST
    ) -> Value:
        owner, function = method.__self__, method.__func__
        if isinstance(owner, System):
            if method.__name__ != "instances":
                raise frame.error(node, f"{method.__name__}() belongs into set-up, where records are made")
            return self.pure(method, args, kwargs, frame, node)
        if not isinstance(function, FunctionType):
            raise frame.error(node, f"{method.__name__}() cannot be called in the language")
        return self.call_function(function, [Static(owner), *args], kwargs, frame, node)

    def call_watched(
        self,
        watched: tuple[MethodType, str],
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> Value:
        """A call of a design's function, with the checks that rules hang on its return."""
        method, name = watched
        function, args = method.__func__, [Static(method.__self__), *args]
        assert isinstance(function, FunctionType)
        result = self.inline(function, args, kwargs, frame, node)
        for monitor in self.system.monitors:
            if monitor.after == name and not self.ghost:
                known = {**self.bind(function, args, kwargs, frame, node), "result": result}
                self.monitor(monitor, known, frame, node)
        return result

    def monitor(self, monitor: Monitor, known: dict[str, Value], frame: Frame | None, node: ast.AST) -> None:
        """A rule's check, with what it asks for of the arguments and the result."""
        check = monitor.check
        if self.fails.wanted(monitor.rule):
            names = list(signature(check).parameters)[1:]
            with self.inside("ghost"):
                given = {n: known[n] for n in names if n in known}
                self.inline(check, [Static(self.system.k)], given, frame, node)

    def call_super(self, func: ast.Attribute, node: ast.Call, frame: Frame) -> Value:
        """super().name(...), in the class after the one that the function is defined in."""
        assert isinstance(func.value, ast.Call)
        names = frame.scope.function.__code__.co_varnames
        if func.value.args or "__class__" not in frame.scope.closure or not names:
            raise frame.error(node, "super() without arguments, in a method")
        me = self.read(frame, names[0], node)
        defined_in = frame.scope.closure["__class__"].cell_contents
        if isinstance(me, Static):
            mro = type(me.value).__mro__
            for cls in mro[mro.index(defined_in) + 1 :]:
                function = vars(cls).get(func.attr)
                if isinstance(function, FunctionType):
                    args, kwargs = self.arguments(node, frame)
                    return self.call_function(function, [me, *args], kwargs, frame, node)
        raise frame.error(node, f"super() has no function {func.attr}")

    # --- inlining ----------------------------------------------------------------------------------

    def bind(
        self,
        function: Any,
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> dict[str, Value]:
        """The arguments by name, with defaults."""
        shape = signature(function)
        if not kwargs and len(args) == len(shape.parameters) and plain(function):
            return dict(zip(shape.parameters, args, strict=True))
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
        definition = function_ast(function)
        inner = self.entered(function, frame, node)
        stored = assigned_names(definition)
        for name, value in bound.items():
            if name in stored:
                self.assign(inner, name, value, node)
            elif isinstance(value, Dyn) and value.expr[0] not in ("v", "c"):
                inner.scope.bound[name] = self.temp(value.expr, value.kind)
            else:
                inner.scope.bound[name] = value
        outer = self.assigned
        self.block(definition.body, inner)
        self.leave(inner, Static(None), definition)
        value = self.result(inner)
        self.assigned = outer
        return value

    def entered(self, function: FunctionType, frame: Frame | None, node: ast.AST) -> Frame:
        """The frame of a call."""
        primitive = function.__code__ in runtime.PRIMITIVES
        caller = frame
        while caller is not None:
            if caller.scope.function is function and not caller.is_lambda:
                assert frame is not None
                raise frame.error(node, f"{function.__name__}() calls itself: use a loop")
            caller = caller.outer
        calls = frame.calls if frame else ()
        if not primitive:
            calls = (*calls, function.__name__)
        site = (getattr(node, "lineno", 0), getattr(node, "col_offset", 0), self.way, function.__qualname__)
        return Frame(Scope((*(frame.scope.key if frame else ()), site), function), calls, frame, primitive)

    def evaluate(
        self, function: FunctionType, bound: dict[str, Value], frame: Frame | None, node: ast.AST
    ) -> Value:
        """The result of a function over what set-up has fixed."""
        fixed = {n: v.value for n, v in bound.items() if isinstance(v, Static)}
        if len(fixed) != len(bound):
            place = frame.place(node) if frame else function.__qualname__
            raise LoweringError(place, f"the arguments of {function.__name__}() have to be fixed at set-up")
        with runtime.ghost():
            return Static(function(**fixed))

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


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
