"""Changes that provably add no behaviour: swaps that only make a critical section longer.

Where a lock is taken one step earlier, or given back one step later, and that step cannot wait,
every way of the mutant is one of the original: up to the order of steps that commute, the other
tasks do what they would do if they came a little later (Lipton, "Reduction", CACM 1975: taking a
lock is a right mover, and giving it back a left mover).  That is so unless somebody tries the lock
without waiting for it, so PG_locked, of which folio_trylock() exists, is no such lock.
Nor may the step free anything, since the lock could be in it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from types import FunctionType
from typing import Any

from zonedev.lang import primitives
from zonedev.lang.source import function_ast
from zonedev.lang.system import Specification
from zonedev.mutate.mutants import SWAP, Mutant

TAKE = {"lock", "spin_lock", "down_read", "down_write", "rcu_read_lock", "srcu_read_lock"}
GIVE = {"unlock", "spin_unlock", "up_read", "up_write", "rcu_read_unlock", "srcu_read_unlock"}
GIVE |= {"downgrade_write"}  # which gives back a part
#: What can wait, or does otherwise where a lock is held.
WAITS = {
    "lock",
    "trylock",
    "spin_lock",
    "down_read",
    "down_write",
    "wait_event",
    "wait_for_completion",
    "schedule",
    "schedule_exclusive",
    "synchronize_rcu",
    "synchronize_srcu",
    "when",
    "choose",
}
#: What is called and waits for nothing.
PLAIN = {"replace", "min", "max", "bool", "int", "len", "range", "sum", "any", "all", "current", "atomic"}
PLAIN |= {n for n, f in vars(primitives).items() if isinstance(f, FunctionType)} - WAITS


def only_longer(design: type[Specification], mutant: Mutant) -> bool:
    """Whether a mutant only makes a critical section longer, by what cannot wait."""
    if mutant.kind != SWAP:
        return False
    first, second = neighbours(mutant)
    if names_lock(first, GIVE):
        return cannot_wait(design, second)
    return names_lock(second, TAKE) and cannot_wait(design, first)


def neighbours(mutant: Mutant) -> tuple[ast.AST, ast.AST]:
    """The two statements that change places."""
    for node in ast.walk(function_ast(mutant.function)):
        for body in (getattr(node, "body", None), getattr(node, "orelse", None)):
            if isinstance(body, list) and mutant.change.node in body:
                at = body.index(mutant.change.node)
                return body[at], body[at + 1]
    raise AssertionError(mutant)


def names_lock(node: ast.AST, names: set[str]) -> bool:
    """Whether a statement is a call of one of these, and not on PG_locked."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    call = node.value
    tried = any(ast.unparse(a).endswith(".locked") for a in call.args)
    return isinstance(call.func, ast.Name) and call.func.id in names and not tried


def cannot_wait(design: Any, node: ast.AST) -> bool:
    """Whether nothing that a statement calls, and that they call, can wait."""
    return all(waits_not(design, name) for name in called_in(node))


def called_in(node: ast.AST) -> Iterator[str]:
    """The names of what is called; "?" for what is neither a function nor one of the kernel's."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            match part.func:
                case ast.Name(name) | ast.Attribute(ast.Name("k"), name):
                    yield name
                case _:
                    yield "?"


@cache
def waits_not(design: Any, name: str) -> bool:
    """Whether what is called so cannot wait, nor free, in whichever class it is defined; what is
    unknown can."""
    if name in WAITS:
        return False
    if name in PLAIN:
        return True
    found = [vars(c)[name] for c in design.__mro__ if name in vars(c)]
    return bool(found) and all(
        isinstance(f, FunctionType) and cannot_wait(design, function_ast(f)) for f in found
    )
