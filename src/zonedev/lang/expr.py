"""Expressions and effects of lowered steps: plain tuples over integers.

An expression is one of
    ("c", n)  a constant        ("v", name)  a local        ("ld", group, index)  a shared location
    (op, a, b)  with op in + - * // % & | ^ << >> == != < <= > >= and or
    ("not", a)    ("?", condition, a, b)
Effects, in a step's body:
    ("let", name, e)   ("store", group, index, e)   ("guard", e)   ("fail", condition, code)
    ("if", e, body, body)   ("goto", pc)   ("choice", name)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

Expr = tuple[Any, ...]
Effect = tuple[Any, ...]

OPS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")


def const(value: int) -> Expr:
    return ("c", int(value))


def binary(op: str, a: Expr, b: Expr) -> Expr:
    """The expression `a op b`, folded where both are known."""
    if a[0] == "c" and b[0] == "c" and op in OPS:
        return const(OPS[op](a[1], b[1]))
    if op == "and":
        if a[0] == "c":
            return b if a[1] else const(0)
        if b[0] == "c":
            return a if b[1] else const(0)
    elif op == "or":
        if a[0] == "c":
            return const(1) if a[1] else b
        if b[0] == "c":
            return const(1) if b[1] else a
    elif op in ("&", "*") and (a == const(0) or b == const(0)):
        return const(0)
    elif (op in ("*", "//") and b == const(1)) or (op in ("+", "-", "|", "<<", ">>") and b == const(0)):
        return a
    elif op in ("+", "|") and a == const(0):
        return b
    return (op, a, b)


def negate(a: Expr) -> Expr:
    if a[0] == "c":
        return const(not a[1])
    if a[0] == "not":
        return a[1]  # type: ignore[no-any-return]
    return ("not", a)


def select(condition: Expr, a: Expr, b: Expr) -> Expr:
    if condition[0] == "c":
        return a if condition[1] else b
    return a if a == b else ("?", condition, a, b)


def rewrite(e: Expr, leaf: Callable[[Expr], Expr]) -> Expr:
    """`e` with `leaf` applied to every local and location, folded again."""
    tag = e[0]
    if tag == "c":
        return e
    if tag == "v":
        return leaf(e)
    if tag == "ld":
        return leaf(("ld", e[1], rewrite(e[2], leaf)))
    if tag == "not":
        return negate(rewrite(e[1], leaf))
    if tag == "?":
        return select(*(rewrite(x, leaf) for x in e[1:]))
    return binary(tag, rewrite(e[1], leaf), rewrite(e[2], leaf))


def leaves(e: Expr) -> Iterator[Expr]:
    """The locals and locations in `e`."""
    tag = e[0]
    if tag == "v":
        yield e
    elif tag == "ld":
        yield e
        yield from leaves(e[2])
    elif tag != "c":
        for part in e[1:]:
            yield from leaves(part)


def locals_of(e: Expr) -> Iterator[str]:
    return (x[1] for x in leaves(e) if x[0] == "v")


def effect_exprs(effect: Effect) -> tuple[Expr, ...]:
    """The expressions that an effect evaluates, without those of nested bodies."""
    tag = effect[0]
    if tag == "let":
        return (effect[2],)
    if tag == "store":
        return (effect[2], effect[3])
    if tag in ("guard", "fail", "if"):
        return (effect[1],)
    return ()


def walk(body: list[Effect]) -> Iterator[Effect]:
    """All effects of a body, nested ones included."""
    for effect in body:
        yield effect
        if effect[0] == "if":
            yield from walk(effect[2])
            yield from walk(effect[3])
