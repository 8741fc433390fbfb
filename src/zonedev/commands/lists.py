"""zonedev designs, scenarios, rules: what there is."""

from __future__ import annotations

import inspect

from zonedev.commands.context import OK, Context, show
from zonedev.report import series, table
from zonedev.report.json import SCHEMA_VERSION, dump


def designs(context: Context) -> int:
    """The designs, from the oldest to the newest, and the series with a design for each patch."""
    stacked = context.catalogue.series
    entries = {n: table.about_design(d) for n, d in context.catalogue.designs.items()}
    if context.json:
        objects = [
            {"name": n, "title": entries[n], "class": d.__name__, "about": inspect.getdoc(d) or ""}
            for n, d in context.catalogue.designs.items()
        ]
        stacks = [
            {"name": s.name, "title": s.title, "patches": [p.number for p in s.patches]}
            for s in stacked.values()
        ]
        show(dump({"schema_version": SCHEMA_VERSION, "designs": objects, "series": stacks}))
    else:
        show(table.listing(entries))
        if stacked:
            show(f"\nand as of a patch of a series, SERIES/PATCH:\n{series.overview(stacked)}")
    return OK


def scenarios(context: Context) -> int:
    """The scenarios, with their scopes."""
    known = context.catalogue.scenarios
    if context.json:
        objects = [
            {
                "name": n,
                "title": s.title(),
                "source": s.source,
                "rules": list(context.catalogue.rules) if s.rules is None else list(s.rules),
                "scope": {
                    k: {"default": v.default, "choices": list(v.choices)}
                    if v.choices
                    else {"default": v.default, "lo": v.lo, "hi": v.hi}
                    for k, v in s.scope.items()
                },
                "expected": {d: {"verdict": e.verdict, "rule": e.rule} for d, e in s.expected.items()},
            }
            for n, s in known.items()
        ]
        show(dump({"schema_version": SCHEMA_VERSION, "scenarios": objects}))
        return OK
    show(table.listing({n: table.about_scenario(s) for n, s in known.items()}))
    return OK


def rules(context: Context) -> int:
    """The rules."""
    known = context.catalogue.rules
    if context.json:
        objects = [{"name": r.name, "kind": r.kind, "text": r.text} for r in known.values()]
        show(dump({"schema_version": SCHEMA_VERSION, "rules": objects}))
    else:
        show(table.listing({r.name: table.about_rule(r) for r in known.values()}))
    return OK
