"""Inlined calls: their names, and where they stand in the source."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from zonedev.lang.errors import LoweringError
from zonedev.lang.graph import Node

Key = tuple[Any, ...]
PRIMITIVES_FILE = str(Path(__file__).with_name("primitives.py"))


@cache
def local_names(code: CodeType) -> frozenset[str]:
    return frozenset(code.co_varnames + code.co_cellvars)


@dataclass(eq=False)
class Scope:
    """The names of one inlined call, which its lambdas share."""

    key: Key
    function: FunctionType
    bound: dict[str, Any] = field(default_factory=dict)  # arguments never assigned to, variables of for loops

    @property
    def locals(self) -> frozenset[str]:
        return local_names(self.function.__code__)

    @cached_property
    def closure(self) -> dict[str, Any]:
        code = self.function.__code__
        return dict(zip(code.co_freevars, self.function.__closure__ or (), strict=True))


@dataclass(eq=False)
class Frame:
    """One inlined call, or one evaluation of a lambda."""

    scope: Scope
    calls: tuple[str, ...]  # the functions that led here, outermost first
    outer: Frame | None
    primitive: bool  # its steps are steps of the line that calls it
    is_lambda: bool = False  # the same
    statement: ast.stmt | None = None
    accesses: int = 0  # steps of the present statement
    exit: Node = field(default_factory=Node)
    loops: list[tuple[Node, Node]] = field(default_factory=list)  # where continue and break lead
    returns: list[tuple[Node, Any, ast.AST]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.scope.function.__name__

    @property
    def file(self) -> str:
        return self.scope.function.__code__.co_filename

    @property
    def site(self) -> Frame:
        """The call whose lines the steps of this one belong to."""
        at = self
        while (at.primitive or at.is_lambda) and at.outer is not None:
            at = at.outer
        return at

    def place(self, node: ast.AST) -> str:
        """file:line of `node`, or for the language's own primitives that of their call."""
        if self.file == PRIMITIVES_FILE and self.site is not self and self.site.statement is not None:
            return self.site.place(self.site.statement)
        return f"{self.file}:{getattr(node, 'lineno', 0)}"

    def error(self, node: ast.AST, text: str) -> LoweringError:
        return LoweringError(self.place(node), text)
