"""What can be changed in a function: one step, check or atomic operation at a time."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import zonedev
from zonedev.explore.trace import statement_text
from zonedev.lang.runtime import AT_SETUP, Where
from zonedev.lang.source import function_ast
from zonedev.lang.system import Specification
from zonedev.mutate.weak import WEAK

#: The kinds of changes, and what they are in words.
DROP, SKIP, SWAP, NEVER, ALWAYS, IGNORE, SPLIT, WEAKEN = KINDS = (
    "drop",
    "skip",
    "swap",
    "never",
    "always",
    "ignore",
    "split",
    "weaken",
)
WORDS = {
    DROP: "left out",
    SKIP: "not done, as if false",
    SWAP: "after the next",
    NEVER: "as if false",
    ALWAYS: "as if true",
    IGNORE: "not asked",
    SPLIT: "not atomic",
}

#: Assertions, and what is there for those who read: no kernel does anything by them.
TRIVIAL = {"WARN_ON", "BUG_ON", "ensure", "note"}
CITES = re.compile(r"[\w/.-]+\.[chS]\b")
PACKAGE = Path(zonedev.__file__).parent
CHECKS = ast.Compare | ast.BoolOp | ast.UnaryOp


class Change(NamedTuple):
    """What is changed: a kind, a statement or an expression, and its source.

    `forced` is the truth that a check is given, instead of its own.
    """

    kind: str
    node: ast.AST
    text: str
    forced: bool | None = None


@dataclass(frozen=True, eq=False)
class Mutant:
    """A change of one function of a design."""

    number: int  # among all of the design, from 1 on
    owner: type
    function: FunctionType
    ordinal: int  # among those of its function, from 1 on
    change: Change

    @property
    def name(self) -> str:
        """What follows the ~ of a design's name."""
        return f"{self.function.__name__}.{self.ordinal}"

    @property
    def kind(self) -> str:
        return self.change.kind

    @property
    def line(self) -> int:
        return int(getattr(self.change.node, "lineno", 0))

    @property
    def whole(self) -> bool:
        """Whether it is the whole statement of its line that is changed."""
        return not isinstance(self.change.node, ast.expr)

    @property
    def line_text(self) -> str:
        """The statement that begins on its line, without its comment."""
        return statement_text(Where(self.function.__code__.co_filename, self.line, self.function.__name__))

    @property
    def words(self) -> str:
        """What is changed."""
        if self.kind == WEAKEN:
            weak = called(self.change.node, self.function)
            assert weak is not None
            return WEAK[weak][1]
        return WORDS[self.kind]


# --- of a design -------------------------------------------------------------------------------


def definitions(design: type[Specification]) -> Iterator[tuple[type, FunctionType]]:
    """The kernel functions of a design, overridden ones included, each with its class."""
    classes = [c for c in design.__mro__ if issubclass(c, Specification) and c is not Specification]
    names: dict[str, list[tuple[type, FunctionType]]] = {}
    for cls in classes:
        for name, function in vars(cls).items():
            if isinstance(function, FunctionType) and function.__code__ not in AT_SETUP:
                names.setdefault(name, []).append((cls, function))
    for found in names.values():
        if any(of_kernel(f) for _, f in found):
            yield from found


def of_kernel(function: FunctionType) -> bool:
    """Whether a function says which file of the kernel it is from; what users write is not asked."""
    return (
        bool(CITES.search(function.__doc__ or ""))
        or PACKAGE not in Path(function.__code__.co_filename).parents
    )


#: The mutants of every design that was asked for.
KNOWN: dict[type[Specification], tuple[Mutant, ...]] = {}


def mutants_of(design: type[Specification]) -> tuple[Mutant, ...]:
    """All mutants of a design's functions, numbered."""
    if design not in KNOWN:
        KNOWN[design] = tuple(found_in(design))
    return KNOWN[design]


def found_in(design: type[Specification]) -> Iterator[Mutant]:
    ordinals: dict[str, int] = {}
    numbers = count(1)
    for owner, function in definitions(design):
        name = function.__name__
        for change in changes(function):
            ordinals[name] = ordinals.get(name, 0) + 1
            yield Mutant(next(numbers), owner, function, ordinals[name], change)


# --- of a function -------------------------------------------------------------------------------


def changes(function: FunctionType) -> Iterator[Change]:
    """The changes of a function, in the order of its lines."""
    yield from Changes(function).block(function_ast(function).body, last=True)


class Changes:
    """Goes through a function's statements."""

    def __init__(self, function: FunctionType) -> None:
        self.function = function
        self.atomic = False

    def block(self, body: list[ast.stmt], last: bool = False) -> Iterator[Change]:
        """`last`: the function returns behind it."""
        for at, node in enumerate(body):
            following = body[at + 1] if at + 1 < len(body) else None
            yield from self.statement(node, last and following is None)
            if following is not None and self.plain(node) and self.plain(following) and not self.atomic:
                yield Change(SWAP, node, source(node))

    def statement(self, node: ast.stmt, last: bool) -> Iterator[Change]:
        if isinstance(node, ast.If | ast.While):
            yield from self.branch(node, last)
        elif isinstance(node, ast.For):
            yield from self.block(node.body)
            yield from self.block(node.orelse, last)
        elif isinstance(node, ast.With):
            yield Change(DROP, node, source(node))
            if not self.atomic:
                yield Change(SPLIT, node, source(node))
            outer, self.atomic = self.atomic, True
            yield from self.block(node.body, last)
            self.atomic = outer
        elif self.plain(node) or self.leaves(node, last):
            yield Change(DROP, node, source(node))
        value = getattr(node, "value", None)
        if isinstance(node, ast.Return | ast.Assign | ast.AnnAssign | ast.Expr) and value is not None:
            if not isinstance(node, ast.Expr):
                yield from self.checks(asked(value))
            yield from self.weakened(value)

    @staticmethod
    def leaves(node: ast.stmt, last: bool) -> bool:
        """Whether a statement goes elsewhere than to the next."""
        return isinstance(node, ast.Break | ast.Continue) or (isinstance(node, ast.Return) and not last)

    def branch(self, node: ast.If | ast.While, last: bool) -> Iterator[Change]:
        if self.calls(node.test) & TRIVIAL:
            return
        yield from self.checks(node.test)
        if isinstance(node, ast.If) and self.calls(node.test):
            yield Change(SKIP, node, source(node.test))
        yield from self.weakened(node.test)
        yield from self.block(node.body, last and isinstance(node, ast.If))
        yield from self.block(node.orelse, last)

    def checks(self, node: ast.expr) -> Iterator[Change]:
        """A condition as if false, as if true, and without each of its parts."""
        if isinstance(node, ast.Constant) or not isinstance(
            node, CHECKS | ast.Call | ast.Name | ast.Attribute
        ):
            return
        yield Change(NEVER, node, source(node), False)
        yield Change(ALWAYS, node, source(node), True)
        yield from self.parts(node)

    def parts(self, node: ast.expr) -> Iterator[Change]:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            yield from self.parts(node.operand)
        elif isinstance(node, ast.BoolOp):
            for operand in node.values:
                yield Change(IGNORE, operand, source(operand), isinstance(node.op, ast.And))
                yield from self.parts(operand)

    def weakened(self, node: ast.expr) -> Iterator[Change]:
        """The atomic operations of an expression, without those of lambdas in it."""
        for part in outside_lambdas(node):
            if isinstance(part, ast.Call) and called(part, self.function) in WEAK:
                yield Change(WEAKEN, part, source(part))

    def plain(self, node: ast.stmt) -> bool:
        """Whether a statement can be a step, and decides nothing."""
        if isinstance(node, ast.Expr):
            return isinstance(node.value, ast.Call) and not self.calls(node.value) & TRIVIAL
        if isinstance(node, ast.Assign | ast.AnnAssign):
            return True
        return isinstance(node, ast.With)

    def calls(self, node: ast.AST) -> set[str]:
        """What is called in an expression, by name."""
        found = (n.func for n in ast.walk(node) if isinstance(n, ast.Call))
        return {
            f.id if isinstance(f, ast.Name) else f.attr
            for f in found
            if isinstance(f, ast.Name | ast.Attribute)
        }


def asked(node: ast.expr) -> ast.expr:
    """The condition whose truth is a value; a constant where it is none."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "bool":
        return node.args[0]
    truth = isinstance(node, ast.Compare | ast.BoolOp) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    )
    return node if truth else ast.Constant(None)


def outside_lambdas(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.Lambda):
            yield from outside_lambdas(child)


def called(node: ast.AST, function: FunctionType) -> Callable[..., Any] | None:
    """The function at the top of a module that a call names; None for others."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        found = function.__globals__.get(node.func.id)
        if isinstance(found, FunctionType):
            return found
    return None


def source(node: ast.AST) -> str:
    """A statement's own line, or an expression."""
    if isinstance(node, ast.With):
        return f"with {ast.unparse(node.items[0])}:"
    return ast.unparse(node)
