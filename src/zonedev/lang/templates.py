"""Calls with the same arguments: the body is walked once, and copied for each further call.

What a call becomes depends on the function, on its arguments and on whether it is inside
atomic or a rule, and on nothing else: not on the caller, nor on what was lowered before.  A
primitive is left out, whose steps are its caller's, and so is a call with a lambda, which
reaches the caller's names.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any

from zonedev.lang.expr import Effect, Expr
from zonedev.lang.graph import Node, nodes_from, successors
from zonedev.lang.records import Kind
from zonedev.lang.values import Dyn, Part, PartKind, Static, Thunk, Value


class Unlike(Exception):
    """Raised for what no other call can share."""


def likeness(function: FunctionType, values: Iterable[Value], *inside: bool) -> Hashable:
    """What a body depends on: of its arguments which locals are the same, not what they are
    called.  None where no other call can be like it."""
    names: dict[Any, int] = {}
    try:
        return function, inside, tuple([shape(v, names) for v in values])
    except (Unlike, TypeError):  # the second is from hash()
        return None


def shape(value: Value, names: dict[Any, int]) -> Hashable:
    if isinstance(value, Static):
        return fixed(value.value)
    if isinstance(value, Part):
        if value.parent.expr[0] != "v":
            raise Unlike
        return shape(value.parent, names), value.path, id(value.field)
    tag, first = value.expr[0], value.expr[1]
    if tag == "c":
        return tag, first, value.kind
    name = first if tag == "v" else len(names)  # other values are put into a local of their own
    return names.setdefault(name, len(names)), value.kind


def fixed(value: Any) -> Hashable:
    """What stands for a fixed value: 1, True and 1.0 are different."""
    if type(value) is tuple:
        return (tuple, *[fixed(v) for v in value])
    if isinstance(value, Thunk):
        raise Unlike
    hash(value)
    return type(value), value


@dataclass(eq=False)
class Template:
    """A call that was walked."""

    start: Node  # what the call began with, after its arguments
    exit: Node
    extent: int  # effects of the exit that are the call's own
    value: Value
    depth: int  # how many functions led to its steps
    steps: int  # begun in it
    functions: frozenset[FunctionType]  # called in it
    names: list[str]  # of its temporaries and locals, in the order in which copies are named
    loads: list[str]  # those of them that hold what a step has read
    temps: list[Kind]
    locals: list[Kind | None]
    assigned: dict[str, Static | Kind | PartKind]  # what the arguments hold that it assigns to
    arguments: list[str]  # the locals that hold its arguments

    @cached_property
    def nodes(self) -> list[Node]:
        """The nodes before the exit."""
        return [] if self.start is self.exit else nodes_from(self.start, self.exit)

    def copy(self, current: Node, names: dict[str, str], calls: tuple[str, ...]) -> tuple[Node, Value]:
        """Copy the nodes behind `current`; returns the exit and the value."""
        copies = {id(n): Node(loop=n.loop, fanout=n.fanout) for n in (*self.nodes, self.exit)}
        copies[id(self.start)] = current
        rename = Renaming(names)
        for node in (*self.nodes, self.exit):
            copied = copies[id(node)]
            if node.step is not None:
                copied.step = node.step.called_by(calls, self.depth)
            if node.lost is not None:
                copied.lost = rename.expr(node.lost)
            if node is self.exit:
                copied.effects += [rename.effect(e) for e in node.effects[: self.extent]]
                break
            copied.effects += [rename.effect(e) for e in node.effects]
            targets = [copies[id(n)] for n in successors(node)]
            condition = [rename.expr(node.term[1])] if node.term[:1] == ("if",) else []
            copied.term = (*node.term[:1], *condition, *targets)
        return copies[id(self.exit)], rename.value(self.value)


class Renaming:
    """Gives locals other names."""

    def __init__(self, names: dict[str, str]) -> None:
        self.names = {old: ("v", new) for old, new in names.items()}
        self.targets = names

    def expr(self, e: Expr) -> Expr:
        tag = e[0]
        if tag == "c":
            return e
        if tag == "v":
            return self.names.get(e[1], e)
        if tag == "ld":
            return e if e[2][0] == "c" else (tag, e[1], self.expr(e[2]))
        if len(e) == 3:
            return (tag, self.expr(e[1]), self.expr(e[2]))
        return (tag, *[self.expr(x) for x in e[1:]])

    def effect(self, effect: Effect) -> Effect:
        tag = effect[0]
        if tag == "let":
            return (tag, self.targets[effect[1]], self.expr(effect[2]))
        if tag == "store":
            return (tag, effect[1], self.expr(effect[2]), self.expr(effect[3]))
        if tag == "choice":
            return (tag, self.targets[effect[1]])
        return (tag, self.expr(effect[1]), *effect[2:])

    def value(self, value: Value) -> Value:
        if isinstance(value, Dyn):
            return Dyn(self.expr(value.expr), value.kind)
        if isinstance(value, Part):
            return Part(Dyn(self.expr(value.parent.expr), value.parent.kind), value.path, value.field)
        return value
