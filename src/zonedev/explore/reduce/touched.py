"""What a step's body does to locations: read them, write them, or only clear or set bits of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from zonedev.explore.reduce.walk import Loc, Walk, span_key
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.system import Group


@dataclass
class Touched:
    """What a body does to locations."""

    reads: set[Loc]
    writes: set[Loc]
    clears: dict[Loc, int]  # the bits that stay, where it only clears bits
    sets: dict[Loc, int]  # the bits that are set, where it only sets bits
    awaits: set[Loc]  # it waits for these to be 0, and has no other use for them

    def changed(self) -> set[Loc]:
        return self.writes | self.clears.keys() | self.sets.keys()

    def everything(self) -> set[Loc]:
        return self.changed() | self.reads | self.awaits


def touched(body: list[Effect], walk: Walk, outside: frozenset[str] = frozenset()) -> Touched:
    """What `body`, which `walk` has walked, does; `outside` are the locals that are used behind it."""
    found = Touched(set(), set(), {}, {}, set())
    bits = bit_changes(body, outside)
    for effect in ir.walk(body):
        change = bits.get(id(effect))
        if change is not None:
            note_bits(found, *change)
            continue
        if effect[0] == "store":
            found.writes.update(places(walk, effect[1], effect[2]))
        for e in ir.effect_exprs(effect):
            for x in ir.leaves(e):
                if x[0] == "ld":
                    found.reads.update(places(walk, x[1], x[2]))
    for place in list(found.clears.keys() & found.sets.keys()):
        found.writes.add(place)
        found.reads.add(place)
    return found


def places(walk: Walk, group: Group, index: Expr) -> list[Loc]:
    """The locations that an index can mean."""
    if index[0] == "c":
        return [(group.cls, group.path, index[1])]
    lo, hi = walk.spans.get(span_key(group, index), (0, group.size - 1))
    return [(group.cls, group.path, at) for at in range(lo, hi + 1)]


def note_bits(found: Touched, place: Loc, op: str, number: int) -> None:
    if op == "&":
        found.clears[place] = found.clears.get(place, -1) & number
    elif op == "|":
        found.sets[place] = found.sets.get(place, 0) | number
    elif op == "==":
        found.awaits.add(place)


def bit_changes(body: list[Effect], outside: frozenset[str]) -> dict[int, tuple[Loc, str, int]]:
    """The effects, by id, that only change bits of a location or wait for it to be 0: `t = x`,
    where t has one use, and that is `x = t & n`, `x = t | n` or `guard(t == 0)`."""
    uses: Counter[str] = Counter()
    loads: dict[str, tuple[Effect, Loc] | None] = {}
    for effect in ir.walk(body):
        for e in ir.effect_exprs(effect):
            uses.update(ir.locals_of(e))
        if effect[0] == "let":
            e = effect[2]
            plain = e[0] == "ld" and e[2][0] == "c" and effect[1] not in loads
            loads[effect[1]] = (effect, (e[1].cls, e[1].path, e[2][1])) if plain else None
    once = {n: load for n, load in loads.items() if load and uses[n] == 1 and n not in outside}
    found: dict[int, tuple[Loc, str, int]] = {}
    for block in blocks(body):
        for effect, following in pairwise(block):
            load = once.get(effect[1]) if effect[0] == "let" else None
            if load is None or load[0] is not effect:
                continue
            change = bit_change(following, effect[1], load[1])
            if change is not None:
                found[id(effect)] = (load[1], "", 0)
                found[id(following)] = (load[1], *change)
    return found


def sure_clears(body: list[Effect], outside: frozenset[str]) -> dict[Loc, int]:
    """The bits that stay of locations of which a body clears bits, whichever way it takes."""
    bits = bit_changes(body, outside)
    found: dict[Loc, int] = {}
    for effect in body:
        if effect[0] == "if":
            break
        place, op, number = bits.get(id(effect), (None, "", 0))
        if op == "&" and place is not None:
            found[place] = found.get(place, -1) & number
    return found


def bit_change(effect: Effect, name: str, place: Loc) -> tuple[str, int] | None:
    if effect[0] == "guard":
        return ("==", 0) if effect[1] == ("==", ("v", name), ir.const(0)) else None
    if effect[0] != "store" or effect[2][0] != "c":
        return None
    _, group, index, value = effect
    if (group.cls, group.path, index[1]) != place or value[0] not in ("&", "|"):
        return None
    return (value[0], value[2][1]) if value[1] == ("v", name) and value[2][0] == "c" else None


def blocks(body: list[Effect]) -> Iterable[list[Effect]]:
    yield body
    for effect in body:
        if effect[0] == "if":
            yield from blocks(effect[2])
            yield from blocks(effect[3])
