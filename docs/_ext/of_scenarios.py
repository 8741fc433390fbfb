"""The pages of the scenarios and of the rules."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import groupby

from markup import escaped, folded, linked, place, plain, table, target
from zonedev.catalogue import Catalogue
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario


def scenarios(known: Catalogue) -> Iterator[str]:
    """Each scenario: its story, who tells it, its sizes, and what is expected of which design."""
    yield "# Scenarios\n"
    yield "What `zonedev matrix` checks. [scenarios.md](../scenarios.md) tells the stories.\n"
    named = sorted(known.scenarios.items(), key=lambda item: item[1].__module__)
    for module, group in groupby(named, key=lambda item: item[1].__module__):
        yield f"\n## {plain(module.rpartition('.')[2])}\n"
        for name, scenario in group:
            yield f"({target('scenario', name)})="
            yield f"### {name}\n"
            yield from told(scenario)


def told(scenario: type[Scenario]) -> Iterator[str]:
    yield escaped(inspect.getdoc(scenario) or "") + "\n"
    if scenario.source:
        yield f"Source: {escaped(scenario.source)}.\n"
    rules = [linked("rule", r) for r in scenario.rules or ()]
    yield f"Rules: {', '.join(rules) or 'all'}. Who can never finish breaks {scenario.progress}.\n"
    sizes = [
        (f"`{n}`", str(s.default), "|".join(s.choices) or f"{s.lo} to {s.hi}", escaped(s.meaning))
        for n, s in scenario.scope.items()
    ]
    yield from table(("scope", "default", "values", ""), [[plain(t) for t in r[:3]] + [r[3]] for r in sizes])
    rows = [
        (linked("design", d), verdict(e.verdict, e.rule), escaped(e.why))
        for d, e in scenario.expected.items()
    ]
    yield from table(("design", "verdict", "why"), rows)
    yield from folded(place(scenario), inspect.getsource(scenario))


def verdict(word: str, rule: str | None) -> str:
    return f"{word} {linked('rule', rule)}" if rule else word


def rules(known: Catalogue) -> Iterator[str]:
    """Each rule, with what checks it."""
    yield "# Rules\n"
    yield "[rules.md](../rules.md) tells where each comes from, and which bugs it was tried on.\n"
    for rule in known.rules.values():
        yield f"({target('rule', rule.name)})="
        yield f"## {rule.name}\n"
        yield f"{escaped(rule.text)} ({rule.kind}).\n"
        yield from checks(rule)


def checks(rule: Rule) -> Iterator[str]:
    """The functions that hang on kernel functions, or look at the state at rest."""
    functions = dict.fromkeys(m.check for m in rule.monitors)
    if not functions:
        yield "Checked by the language or the engines themselves.\n"
    for function in functions:
        yield from folded(f"{function.__name__}(), {place(function)}", inspect.getsource(function))
