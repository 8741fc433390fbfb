"""Fields that never change: their values are put into the bodies of the steps."""

from __future__ import annotations

from collections.abc import Iterable

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.system import System
from zonedev.lang.values import choice_of

Key = tuple[str, str]  # class and path of a group
Frozen = dict[Key, list[int]]


def frozen_values(system: System, bodies: Iterable[list[Effect]]) -> Frozen:
    """The fields that never change, with their values.

    Optimistic: a field is frozen until some store, given all that is frozen, may change
    it.  A field of which only one value exists cannot change.
    """
    frozen: Frozen = {}
    single: set[Key] = set()
    for group in system.groups():
        if type(group.records[0]).given:
            continue
        key = (group.cls, group.path)
        frozen[key] = [system.encode(group.kind, group.peek(i)) for i in range(group.size)]
        if system.bits(group.kind) == 0:
            single.add(key)
    stores = [e for body in bodies for e in ir.walk(body) if e[0] == "store"]
    changed = True
    while changed:
        changed = False
        for _, group, _, value in stores:
            key = (group.cls, group.path)
            if key in frozen and key not in single:
                known = folded(value, frozen)
                if known[0] != "c" or any(v != known[1] for v in frozen[key]):
                    del frozen[key]
                    changed = True
    return frozen


def folded(e: Expr, frozen: Frozen) -> Expr:
    """The expression with frozen locations replaced by what they hold."""

    def leaf(x: Expr) -> Expr:
        values = frozen.get((x[1].cls, x[1].path)) if x[0] == "ld" else None
        if values is None:
            return x
        if x[2][0] == "c":
            return ir.const(values[x[2][1]])
        return choice_of([ir.const(v) for v in values], x[2])

    return ir.rewrite(e, leaf)


def frozen_body(body: list[Effect], frozen: Frozen) -> list[Effect]:
    """The effects with frozen locations replaced, and without stores to them."""
    return [found for effect in body for found in frozen_effect(effect, frozen)]


def frozen_effect(effect: Effect, frozen: Frozen) -> list[Effect]:
    tag = effect[0]
    if tag == "let":
        return [("let", effect[1], folded(effect[2], frozen))]
    if tag == "store":
        if (effect[1].cls, effect[1].path) in frozen:
            return []
        return [("store", effect[1], folded(effect[2], frozen), folded(effect[3], frozen))]
    if tag == "guard":
        return [("guard", folded(effect[1], frozen))]
    if tag == "fail":
        condition = folded(effect[1], frozen)
        return [] if condition == ir.const(0) else [("fail", condition, effect[2])]
    if tag == "if":
        condition = folded(effect[1], frozen)
        if condition[0] == "c":
            return frozen_body(effect[2] if condition[1] else effect[3], frozen)
        return [("if", condition, frozen_body(effect[2], frozen), frozen_body(effect[3], frozen))]
    return [effect]
