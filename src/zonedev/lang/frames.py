"""Inlined calls: their names, and where they stand in the source."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any

from zonedev.lang.errors import LoweringError
from zonedev.lang.graph import Node

Key = tuple[Any, ...]
PRIMITIVES_FILE = str(Path(__file__).with_name("primitives.py"))


@cache
def local_names(code: CodeType) -> frozenset[str]:
    return frozenset(code.co_varnames + code.co_cellvars)


@cache
def cells(function: FunctionType) -> dict[str, CellType]:
    """What a function closes over."""
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


@dataclass(eq=False, slots=True)
class Scope:
    """The names of one inlined call, which its lambdas share."""

    key: int
    function: FunctionType
    bound: dict[str, Any] = field(default_factory=dict)  # arguments never assigned to, variables of for loops
    locals: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        self.locals = local_names(self.function.__code__)

    @property
    def closure(self) -> dict[str, CellType]:
        return cells(self.function)


@dataclass(eq=False, slots=True)
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

    def within(self, functions: Collection[FunctionType]) -> bool:
        """Whether this is in a call of one of them."""
        at: Frame | None = self
        while at is not None:
            if at.scope.function in functions and not at.is_lambda:
                return True
            at = at.outer
        return False

    def place(self, node: ast.AST) -> str:
        """file:line of `node`, or for the language's own primitives that of their call."""
        if self.file == PRIMITIVES_FILE and self.site is not self and self.site.statement is not None:
            return self.site.place(self.site.statement)
        return f"{self.file}:{getattr(node, 'lineno', 0)}"

    def error(self, node: ast.AST, text: str) -> LoweringError:
        return LoweringError(self.place(node), text)
