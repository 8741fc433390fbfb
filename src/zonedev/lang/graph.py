"""Control-flow graphs: nodes of effects, some of which begin a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr


@dataclass(frozen=True)
class Place:
    """Where a step stands: the line, its function and the calls that led there."""

    file: str
    line: int
    end: int
    function: str
    calls: tuple[str, ...]  # outermost first, the last is `function`

    def called_by(self, calls: tuple[str, ...], instead: int) -> Place:
        """The same place, with other calls instead of the first ones."""
        return Place(self.file, self.line, self.end, self.function, calls + self.calls[instead:])


@dataclass(eq=False, slots=True)
class Node:
    """A piece of the control-flow graph.  One that begins a step is a scheduling point; all
    others belong to the step before them."""

    step: Place | None = None  # a step begins here
    effects: list[Effect] = field(default_factory=list)
    term: tuple[Any, ...] = ()  # ("goto", node) | ("if", e, node, node) | ("end",)
    fanout: int = 1
    lost: Expr | None = None  # a sleeper here has lost its wake-up when this holds
    loop: str = ""  # file:line of the loop that begins here
    assigned: frozenset[Any] | None = None  # locals with a value on every way here; None: no way leads here
    before: Node | None = None  # where the only one comes from, if it is a goto


def successors(node: Node) -> tuple[Node, ...]:
    if not node.term or node.term[0] == "end":
        return ()
    return (node.term[1],) if node.term[0] == "goto" else (node.term[2], node.term[3])


def nodes_from(entry: Node, end: Node | None = None) -> list[Node]:
    """All nodes that can be reached, without `end` and what is behind it, in reverse post-order."""
    seen: set[int] = {id(entry), id(end)}
    order: list[Node] = []
    stack: list[tuple[Node, Iterator[Node]]] = [(entry, iter(successors(entry)[::-1]))]
    while stack:
        node, rest = stack[-1]
        for nxt in rest:
            if id(nxt) not in seen:
                seen.add(id(nxt))
                stack.append((nxt, iter(successors(nxt)[::-1])))
                break
        else:
            order.append(node)
            stack.pop()
    return order[::-1]


class Unreachable(Exception):
    """Raised where a program surely does not get further."""


class Graph:
    """Builds a graph from its entry on, at one open node: `current`, None where no way leads."""

    def __init__(self) -> None:
        self.current: Node | None = Node(assigned=frozenset())
        self.assigned: frozenset[Any] = frozenset()

    def start(self, node: Node) -> None:
        """Go on at `node`, if any way leads there."""
        self.current = None if node.assigned is None else node
        self.assigned = node.assigned or frozenset()
        if node.before is not None:
            self.current, node.before = node.before, None
            self.current.term = ()

    def finish(self, term: tuple[Any, ...]) -> None:
        """End the open node."""
        if self.current is not None:
            self.current.term = term
            for target in successors(self.current):
                known = target.assigned
                target.assigned = self.assigned if known is None else known & self.assigned
                single = known is None and term[0] == "goto" and target.step is None and not target.loop
                target.before = self.current if single else None
            self.current = None

    def goto(self, node: Node) -> None:
        self.finish(("goto", node))

    def branch(self, condition: Expr, then: Node, other: Node) -> None:
        if condition[0] == "c":
            self.goto(then if condition[1] else other)
        else:
            self.finish(("if", condition, then, other))

    def emit(self, effect: Effect) -> None:
        if self.current is not None:
            self.current.effects.append(effect)

    @contextmanager
    def reachable(self) -> Iterator[None]:
        """A stretch that the program may not get through."""
        try:
            yield
        except Unreachable:
            self.current = None


def as_expression(node: Node, end: Node, result: Expr, known: dict[str, Expr] | None = None) -> Expr:
    """`result`, as it is at `end`, in terms of what is known at `node`: for paths without loops."""
    known = dict(known or {})

    def here(e: Expr) -> Expr:
        return ir.rewrite(e, lambda x: known.get(x[1], x) if x[0] == "v" else x)

    for effect in node.effects:
        if effect[0] == "let":
            known[effect[1]] = here(effect[2])
    if node is end:
        return here(result)
    if not node.term or node.term[0] == "end":
        return ir.const(0)
    if node.term[0] == "goto":
        return as_expression(node.term[1], end, result, known)
    _, condition, then, other = node.term
    return ir.select(
        here(condition), as_expression(then, end, result, known), as_expression(other, end, result, known)
    )
