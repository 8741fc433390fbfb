"""Steps as a reader wants them: known values in their places, and no locals that nobody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr

Known = dict[str, Expr]  # what stands for a local from here on


def tidied(body: list[Effect], live: Mapping[int, Iterable[str]]) -> list[Effect]:
    """The same step with fewer locals.  `live` are those that the steps behind it need, by pc."""
    uses = Counter(n for e in ir.walk(body) for x in ir.effect_exprs(e) for n in ir.locals_of(x))
    return needed(propagated(nested(body), {}, uses)[0], live, frozenset())[0]


def nested(body: list[Effect], rest: list[Effect] = []) -> list[Effect]:  # noqa: B006
    """The same, but so that a branch either has no goto or is the last effect, and ends on all its ways.

    `rest` follows where the body goes on.
    """
    found: list[Effect] = []
    for at, effect in enumerate(body):
        if effect[0] == "goto":
            return [*found, effect]
        if effect[0] == "if" and any(e[0] == "goto" for e in ir.walk([effect])):
            rest = nested(body[at + 1 :], rest)
            return [*found, ("if", effect[1], nested(effect[2], rest), nested(effect[3], rest))]
        found.append(effect)
    return [*found, *rest]


def put_in(e: Expr, known: Known) -> Expr:
    return ir.rewrite(e, lambda x: known.get(x[1], x) if x[0] == "v" else x)


def propagated(body: list[Effect], known: Known, uses: Mapping[str, int]) -> tuple[list[Effect], Known]:
    """The effects with known values put in, and what is known behind them."""
    found: list[Effect] = []
    for effect in body:
        tag = effect[0]
        if tag == "let":
            name, value = effect[1], put_in(effect[2], known)
            known = without(known, lambda x, n=name: x == ("v", n))
            known.pop(name, None)
            if (value[0] in "cv" or uses[name] == 1) and name not in ir.locals_of(value):
                known[name] = value
            found.append(("let", name, value))
        elif tag == "store":
            _, group, index, value = effect
            found.append(("store", group, put_in(index, known), put_in(value, known)))
            known = without(known, lambda x, g=group: x[0] == "ld" and x[1] == g)
        elif tag == "if":
            condition = put_in(effect[1], known)
            if condition[0] == "c":
                inside, known = propagated(effect[2] if condition[1] else effect[3], known, uses)
                found += inside
            else:
                then, a = propagated(effect[2], known, uses)
                other, b = propagated(effect[3], known, uses)
                known = {n: e for n, e in a.items() if b.get(n) == e}
                found.append(("if", condition, then, other))
        elif tag in ("guard", "fail"):
            condition = put_in(effect[1], known)
            if condition != ir.const(tag == "guard"):
                found.append((tag, condition, *effect[2:]))
        else:
            if tag == "choice":
                known = without(known, lambda x, n=effect[1]: x == ("v", n))
            found.append(effect)
    return found, known


def without(known: Known, gone: Any) -> Known:
    """What is still known where some leaves have changed."""
    return {n: e for n, e in known.items() if not any(gone(x) for x in ir.leaves(e))}


def needed(
    body: list[Effect], live: Mapping[int, Iterable[str]], after: frozenset[str]
) -> tuple[list[Effect], frozenset[str]]:
    """The effects without locals that nobody reads, and the locals that they read."""
    found: list[Effect] = []
    reads = after
    for effect in reversed(body):
        tag = effect[0]
        if tag == "goto":
            found, reads = [effect], frozenset(live.get(effect[1], ()))
            continue
        if tag == "let" and effect[1] not in reads:
            continue
        if tag == "if":
            then, a = needed(effect[2], live, reads)
            other, b = needed(effect[3], live, reads)
            if then == other:
                found, reads = [*reversed(then), *found], a
                continue
            effect, reads = ("if", effect[1], then, other), a | b
        if tag in ("let", "choice"):
            reads -= {effect[1]}
        for e in ir.effect_exprs(effect):
            reads |= frozenset(ir.locals_of(e))
        found.append(effect)
    return found[::-1], reads
