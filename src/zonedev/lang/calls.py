"""Calls, resolved at lowering; with the checks that rules hang on their returns."""

from __future__ import annotations

import ast
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import Any

from zonedev.lang import runtime
from zonedev.lang.builtin import PURE
from zonedev.lang.frames import Frame
from zonedev.lang.inline import Inlining, signature
from zonedev.lang.records import Packed
from zonedev.lang.system import Monitor, System
from zonedev.lang.values import Static, Thunk, Value, truth_value


class Calls(Inlining):
    """Calls of functions, methods, lambdas and packed classes."""

    def word(self, function: Any) -> Callable[[ast.Call, Frame], Value] | None:
        """What a word of the language means."""
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


def is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
