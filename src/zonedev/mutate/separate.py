"""The ways of mutants, each on its own: no way through a step is one of two mutants.

Where a branch on the switch has been taken, it is known up to the end of the step which
mutant is on, and the branches on others are closed.  So what follows is copied for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zonedev.lang.expr import Expr
from zonedev.lang.graph import Node, nodes_from, successors
from zonedev.lang.records import Record, count

MOST = (1 << 13) - 1


class Switch(Record):
    """Which mutant is on."""

    given = True
    number = count(0, MOST, quiet=True)


def switch_of(e: Expr) -> int | None:
    """The mutant that a condition asks for; None for other conditions."""
    if e[0] == "==" and e[1][0] == "ld" and e[1][1].cls == "Switch":
        return int(e[2][1])
    return None


class Separation:
    """Gives every mutant copies of the nodes that it comes through; `looping` are those that go
    round without a step, which is refused of them."""

    def __init__(self, entry: Node) -> None:
        order = nodes_from(entry)
        self.terms = {id(n): n.term for n in order}
        self.copies: dict[int, dict[int, Node]] = {}  # by mutant, then by the original
        self.looping: set[int] = set()
        branches = [n for n in order if n.term[:1] == ("if",) and switch_of(n.term[1]) is not None]
        for node in branches:
            _, condition, then, other = node.term
            node.term = ("if", condition, self.copied(then, switch_of(condition)), other)
        for number, copies in self.copies.items():
            if goes_round(copies.values()):
                self.looping.add(number)
        for node in branches:
            if switch_of(node.term[1]) in self.looping:
                node.term = ("goto", node.term[3])

    def copied(self, first: Node, number: Any) -> Node:
        """What a mutant comes to, up to the next steps."""
        copies = self.copies.setdefault(number, {})
        todo, new = [first], []
        while todo:
            node = todo.pop()
            if node.step is None and id(node) not in copies:
                copies[id(node)] = Node(effects=node.effects, loop=node.loop)
                new.append(node)
                todo += self.following(node, number)
        for node in new:
            there = [copies.get(id(n), n) for n in self.following(node, number)]
            term = self.terms[id(node)]
            head = term[:2] if len(there) == 2 else ("goto",) if there else ("end",)
            copies[id(node)].term = (*head, *there)
        return copies.get(id(first), first)

    def following(self, node: Node, number: int) -> list[Node]:
        """Where a mutant goes on."""
        term = self.terms[id(node)]
        asks = switch_of(term[1]) if term[:1] == ("if",) else None
        if asks is not None:
            return [term[2] if asks == number else term[3]]
        return list(term[2:] if term[:1] == ("if",) else term[1:])


def goes_round(nodes: Any) -> bool:
    """Whether some of the nodes are a loop."""
    done: set[int] = set()
    for first in nodes:
        path: list[tuple[Node, Iterator[Node]]] = []
        if id(first) not in done:
            path.append((first, iter(successors(first))))
        on = {id(first)}
        while path:
            node = next((n for n in path[-1][1] if n.step is None and id(n) not in done), None)
            if node is None:
                left = path.pop()[0]
                done.add(id(left))
                on.discard(id(left))
            elif id(node) in on:
                return True
            else:
                on.add(id(node))
                path.append((node, iter(successors(node))))
    return False
