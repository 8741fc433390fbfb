"""Cutting a graph into steps: structured bodies that end where the next step begins."""

from __future__ import annotations

from dataclasses import dataclass

from zonedev.lang import expr as ir
from zonedev.lang.errors import LoweringError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.graph import Node, Place, nodes_from, successors


@dataclass
class Cut:
    """A step of the graph: where it stands, its body, and the locals that it needs."""

    place: Place
    body: list[Effect]
    fanout: int
    live: tuple[str, ...]
    lost: Expr | None


def cut(entry: Node) -> tuple[list[Effect], list[Cut]]:
    """What comes before the first step, and the steps; ("goto", n) leads to the n-th, 0 ends."""
    order = nodes_from(entry)
    heads = [n for n in order if n.step is not None]
    live = liveness(order, heads)
    region = Region(entry, heads)
    cuts = []
    for node, needed in zip(heads, live, strict=True):
        assert node.step is not None
        cuts.append(Cut(node.step, region.body(node, None, start=True), node.fanout, needed, node.lost))
    return region.body(entry, None), cuts


# --- which locals are needed -------------------------------------------------------------------


def liveness(order: list[Node], heads: list[Node]) -> list[tuple[str, ...]]:
    """The locals that are needed from the beginning of each of the `heads` on."""
    bits = Bits()
    own = [(id(n), [id(s) for s in successors(n)], *uses(n, bits)) for n in reversed(order)]
    live = dict.fromkeys([number for number, *_ in own], 0)
    changed = True
    while changed:
        changed = False
        for number, following, needed, kept in own:
            for nxt in following:
                needed |= live[nxt] & kept
            if needed != live[number]:
                live[number] = needed
                changed = True
    return [bits.names(live[id(n)]) for n in heads]


class Bits(dict[str, int]):
    """Locals by their bit in a number that stands for a set of them."""

    def __init__(self) -> None:
        self.every: list[str] = []

    def __missing__(self, name: str) -> int:
        self[name] = bit = 1 << len(self)
        self.every.append(name)
        return bit

    def names(self, those: int) -> tuple[str, ...]:
        """The locals of a set, in order."""
        found = []
        while those:
            lowest = those & -those
            found.append(self.every[lowest.bit_length() - 1])
            those ^= lowest
        return tuple(sorted(found))

    def of(self, e: Expr) -> int:
        """The locals in an expression."""
        tag = e[0]
        if tag == "c":
            return 0
        if tag == "v":
            return self[e[1]]
        if tag == "ld":
            return self.of(e[2])
        found = 0
        for part in e[1:]:
            found |= self.of(part)
        return found


def uses(node: Node, bits: Bits) -> tuple[int, int]:
    """The locals that a node needs, and all but those that it gives a value to."""
    needed, kept = 0, -1
    if node.term and node.term[0] == "if":
        needed = bits.of(node.term[1])
    for effect in reversed(node.effects):
        if effect[0] in ("let", "choice"):
            others = ~bits[effect[1]]
            needed &= others
            kept &= others
        for e in ir.effect_exprs(effect):
            needed |= bits.of(e)
    if node.lost is not None:
        needed |= bits.of(node.lost)
    return needed, kept


# --- bodies ------------------------------------------------------------------------------------


class Region:
    """Walks the nodes between steps."""

    def __init__(self, entry: Node, heads: list[Node]) -> None:
        self.pcs = {id(n): pc for pc, n in enumerate(heads, 1)}
        self.order: list[Node] = []  # within a step, from its last nodes to its first
        self.number: dict[int, int] = {}  # of each node in that order
        #: What a step reaches from each node on: bit 0 is the node itself, bit i the i-th before it.
        self.reached: list[int] = []
        for node in (entry, *heads):
            if id(node) not in self.number:
                self.visit(node)

    def inner(self, node: Node) -> list[Node]:
        """The successors that belong to the same step."""
        return [n for n in successors(node) if id(n) not in self.pcs]

    def visit(self, first: Node) -> None:
        """Number the nodes from one on, depth first."""
        path = {id(first): first}
        rest = [iter(self.inner(first))]
        while rest:
            node = next(rest[-1], None)
            if node is None:
                rest.pop()
                self.close(path.popitem()[1])
            elif id(node) in path:
                loop = [*path.values()][[*path].index(id(node)) :]
                place = next(n.loop for n in loop if n.loop)
                raise LoweringError(
                    place, "a loop without a step: every way round it has to touch shared state"
                )
            elif id(node) not in self.number:
                path[id(node)] = node
                rest.append(iter(self.inner(node)))

    def close(self, node: Node) -> None:
        """Number a node; those behind it have theirs."""
        at = self.number[id(node)] = len(self.order)
        self.order.append(node)
        behind = [self.number[id(n)] for n in self.inner(node)]
        reached = 1
        for number in behind:
            reached |= self.reached[number] << at - number
        self.reached.append(reached)

    def body(self, node: Node, stop: Node | None, *, start: bool = False) -> list[Effect]:
        """The effects from `node` up to `stop` or to the next steps."""
        found: list[Effect] = []
        current = node
        while current is not stop:
            if id(current) in self.pcs and not start:
                return [*found, ("goto", self.pcs[id(current)])]
            start = False
            found += current.effects
            if not current.term or current.term[0] == "end":
                return [*found, ("goto", 0)]
            if current.term[0] == "goto":
                current = current.term[1]
                continue
            _, condition, then, other = current.term
            join = self.join(then, other) or stop
            found.append(("if", condition, self.body(then, join), self.body(other, join)))
            if join is None:
                return found
            current = join
        return found

    def join(self, a: Node, b: Node) -> Node | None:
        """Where two ways of one step first meet again."""
        if id(a) in self.pcs or id(b) in self.pcs:
            return None
        one, other = self.number[id(a)], self.number[id(b)]
        top = max(one, other)
        both = self.reached[one] << top - one & self.reached[other] << top - other
        if not both:
            return None
        first = (both & -both).bit_length() - 1
        if both & ~(self.reached[top - first] << first) == 0:
            return self.order[top - first]
        # They meet at several nodes, none before all others: the first on the way of `a`.
        return next(n for n in self.way(a) if both >> top - self.number[id(n)] & 1)

    def way(self, first: Node) -> list[Node]:
        """The nodes of a step from one on, in topological order."""
        order: list[Node] = []
        done = {id(first)}
        path = [(first, iter(self.inner(first)))]
        while path:
            node = next((n for n in path[-1][1] if id(n) not in done), None)
            if node is None:
                order.append(path.pop()[0])
            else:
                done.add(id(node))
                path.append((node, iter(self.inner(node))))
        return order[::-1]
