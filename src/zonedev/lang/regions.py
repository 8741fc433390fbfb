"""Cutting a graph into steps: structured bodies that end where the next step begins."""

from __future__ import annotations

from dataclasses import dataclass, field

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
    pcs = {id(n): i + 1 for i, n in enumerate(heads)}
    live = liveness(order)
    region = Region(pcs)
    cuts = []
    for node in heads:
        assert node.step is not None
        body = region.body(node, None, start=True)
        cuts.append(Cut(node.step, body, node.fanout, tuple(sorted(live[id(node)])), node.lost))
    return region.body(entry, None), cuts


def liveness(order: list[Node]) -> dict[int, set[str]]:
    """The locals that are needed from the beginning of each node on."""
    own = [(id(n), [id(s) for s in successors(n)], *uses(n)) for n in reversed(order)]
    live: dict[int, set[str]] = {number: set() for number, *_ in own}
    changed = True
    while changed:
        changed = False
        for number, following, needed, made in own:
            now = needed.union(*(live[nxt] - made for nxt in following))
            if len(now) != len(live[number]):  # it only ever grows
                live[number] = now
                changed = True
    return live


def uses(node: Node) -> tuple[set[str], set[str]]:
    """The locals that a node needs, and those that it gives a value to."""
    needed: set[str] = set()
    made: set[str] = set()
    if node.term and node.term[0] == "if":
        needed.update(ir.locals_of(node.term[1]))
    for effect in reversed(node.effects):
        if effect[0] in ("let", "choice"):
            needed.discard(effect[1])
            made.add(effect[1])
        for e in ir.effect_exprs(effect):
            needed.update(ir.locals_of(e))
    if node.lost is not None:
        needed.update(ir.locals_of(node.lost))
    return needed, made


@dataclass
class Region:
    """Walks the nodes between steps, whose numbers are `pcs`."""

    pcs: dict[int, int]
    _reached: dict[int, list[Node]] = field(default_factory=dict)

    def inner(self, node: Node) -> list[Node]:
        """The successors that belong to the same step."""
        return [n for n in successors(node) if id(n) not in self.pcs]

    def reach(self, node: Node) -> list[Node]:
        """The nodes of the step from `node` on, in topological order."""
        if id(node) in self.pcs:
            return []
        if id(node) not in self._reached:
            order: list[Node] = []
            self.visit(node, {}, set(), order)
            self._reached[id(node)] = order[::-1]
        return self._reached[id(node)]

    def visit(self, node: Node, path: dict[int, str], done: set[int], order: list[Node]) -> None:
        """Depth first; `path` has the nodes that led here and the places of their loops."""
        if id(node) in path:
            loops = list(path.values())[list(path).index(id(node)) :]
            loop = next(place for place in loops if place)
            raise LoweringError(loop, "a loop without a step: every way round it has to touch shared state")
        if id(node) in done:
            return
        path[id(node)] = node.loop
        for nxt in self.inner(node):
            self.visit(nxt, path, done, order)
        del path[id(node)]
        done.add(id(node))
        order.append(node)

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
        theirs = {id(n) for n in self.reach(b)}
        return next((n for n in self.reach(a) if id(n) in theirs), None)
