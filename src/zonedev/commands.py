"""What the commands do: each takes the parsed options, prints its result, and returns the exit code."""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from bdb import BdbQuit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zonedev import catalogue as catalogues
from zonedev.catalogue import Catalogue
from zonedev.explore import check as checks
from zonedev.explore.check import Verdict, check
from zonedev.explore.matrix import Cell, Loader, pairs, write_goldens
from zonedev.explore.matrix import run as run_cells
from zonedev.explore.result import Limits
from zonedev.lang.errors import ZonedevError
from zonedev.report import table, text
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.progress import Reporter

OK, ERROR, VIOLATED, UNDETERMINED = 0, 1, 2, 3


class Context:
    """The options of one command, and the catalogue that it works on."""

    def __init__(self, options: argparse.Namespace, load: Loader | None = None) -> None:
        self.options = options
        self.load: Loader = load or catalogues.load
        self._load_given = load is not None
        self._catalogue: Catalogue | None = None

    @property
    def catalogue(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = self.load()
        return self._catalogue

    def with_operations(self) -> Catalogue:
        """The catalogue with the operations of `cost`."""
        return self.catalogue if self._load_given else catalogues.load_with_operations()

    @property
    def json(self) -> bool:
        return bool(self.options.format == "json")

    def limits(self) -> Limits:
        o = self.options
        return Limits(o.max_states, o.max_seconds, o.max_memory)


def parse_scope(given: Sequence[str]) -> dict[str, str | int]:
    """``pages=2,tasks=3`` as a mapping; ZonedevError for what is not of that form."""
    found: dict[str, str | int] = {}
    for part in (p for text_ in given for p in text_.split(",")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ZonedevError(f"--scope {part}: write NAME=NUMBER, such as pages=2")
        if name in found:
            raise ZonedevError(f"--scope {part}: {name} is given twice")
        found[name] = value
    return found


def show(value: str) -> None:
    print(value)


# --- lists ------------------------------------------------------------------------------------


def about(design: type) -> str:
    return str(getattr(design, "title", "") or (inspect.getdoc(design) or "").split("\n")[0])


def designs(context: Context) -> int:
    """The designs, from the oldest to the newest."""
    entries = {n: about(d) for n, d in context.catalogue.designs.items()}
    if context.json:
        objects = [
            {"name": n, "title": entries[n], "class": d.__name__, "about": inspect.getdoc(d) or ""}
            for n, d in context.catalogue.designs.items()
        ]
        show(dump({"schema_version": SCHEMA_VERSION, "designs": objects}))
    else:
        show(table.listing(entries))
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
    entries = {}
    for name, scenario in known.items():
        sizes = ", ".join(
            f"{k}={'|'.join(v.choices) if v.choices else f'{v.lo}..{v.hi}'}" for k, v in scenario.scope.items()
        )
        entries[name] = scenario.title() + (f" [{sizes}]" if sizes else "")
    show(table.listing(entries))
    return OK


def rules(context: Context) -> int:
    """The rules."""
    known = context.catalogue.rules
    if context.json:
        objects = [{"name": r.name, "kind": r.kind, "text": r.text} for r in known.values()]
        show(dump({"schema_version": SCHEMA_VERSION, "rules": objects}))
    else:
        show(table.listing({r.name: f"{r.text} ({r.kind})" for r in known.values()}))
    return OK


# --- checks -----------------------------------------------------------------------------------


def run_check(context: Context) -> int:
    """Check scenarios under designs; an interrupt leaves what was found so far."""
    o, known = context.options, context.catalogue
    chosen = [known.scenario(n) for n in o.scenario]
    named = o.design or [known.newest()]
    classes = [(n, known.design(n)) for n in named]
    wanted = [known.rule(n).name for n in o.rule] or None
    scope = parse_scope(o.scope)
    verdicts: list[Verdict] = []
    for scenario in chosen:
        for name, design in classes:
            with Reporter(f"{scenario.name()}, {name}") as reporter:
                verdict = check(
                    scenario,
                    design,
                    scope,
                    wanted,
                    o.engine,
                    o.workers,
                    context.limits(),
                    reporter.progress,
                    known=known.rules,
                    design_name=name,
                )
            verdicts.append(verdict)
            if o.format == "text":
                show(("\n" if len(verdicts) > 1 else "") + text.render(verdict))
                sys.stdout.flush()
            if verdict.stopped == "interrupted":
                break
        if verdicts[-1].stopped == "interrupted":
            break
    if o.format != "text":
        show(rendered(verdicts, o.format))
    return exit_code(verdicts)


def rendered(verdicts: Sequence[Verdict], form: str) -> str:
    if form == "json":
        from zonedev.report import json as module
    elif form == "ktap":
        from zonedev.report import ktap as module  # type: ignore[no-redef]
    else:
        from zonedev.report import junit as module  # type: ignore[no-redef]
    return module.render(verdicts)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """2 where any is violated, else 3 where any is undetermined, else 0."""
    found = {v.verdict for v in verdicts}
    if checks.VIOLATED in found:
        return VIOLATED
    return UNDETERMINED if checks.UNDETERMINED in found else OK


def matrix(context: Context) -> int:
    """All cells, in processes; exit code 2 where anything is not as expected."""
    o, known = context.options, context.catalogue
    for name in o.scenario:
        known.scenario(name)
    cells = pairs(known, o.scenario or list(known.scenarios), o.all)
    with Reporter("matrix") as reporter:
        complete = run_cells(context.load, cells, context.limits(), reporter.count, o.jobs, o.engine)
    if o.promote and complete:
        promote(known, cells)
    if context.json:
        show(dump({"schema_version": SCHEMA_VERSION, "cells": [cell_object(c) for c in cells]}))
    else:
        show(table.matrix(cells, list(known.designs)))
    if any(c.error for c in cells):
        return ERROR
    if any(c.unexpected for c in cells):
        return VIOLATED
    open_ = [c for c in cells if c.found is None or c.found.verdict == checks.UNDETERMINED]
    return UNDETERMINED if open_ else OK


def promote(known: Catalogue, cells: Sequence[Cell]) -> None:
    """Make what was found the goldens, and forget differences from the old ones."""
    files = [s.golden_file() for s in known.scenarios.values()]
    for name in dict.fromkeys(c.scenario for c in cells):
        scenario = known.scenario(name)
        mine = [c for c in cells if c.scenario == name]
        file = write_goldens(scenario, mine, files.count(scenario.golden_file()) > 1)
        print(f"wrote {os.path.relpath(file)}", file=sys.stderr)
    for cell in cells:
        cell.differs = [d for d in cell.differs if not d.startswith("golden ")]


def cell_object(cell: Cell) -> dict[str, Any]:
    found = cell.found
    return {
        "scenario": cell.scenario,
        "design": cell.design,
        "verdict": found.verdict if found else None,
        "rule": found.rule if found else None,
        "states": found.states if found else None,
        "transitions": found.transitions if found else None,
        "depth": found.depth if found else None,
        "engine": found.engine if found else None,
        "seconds": round(found.seconds, 3) if found else None,
        "error": cell.error,
        "differs": cell.differs,
    }


# --- plain runs -------------------------------------------------------------------------------


def run_schedule(context: Context) -> int:
    """One schedule; exit code 2 where a rule breaks on it."""
    from zonedev.explore.run import run
    from zonedev.report import timeline

    o, known = context.options, context.catalogue
    found = run(
        known.scenario(o.scenario), known.design(o.design), parse_scope(o.scope), o.seed, known.rules, o.design
    )
    show(dump(timeline.timeline_object(found)) if context.json else timeline.render(found))
    return VIOLATED if found.ending in known.rules else OK


def replay(context: Context) -> int:
    """The counterexamples of a trace file; exit code 2 where each breaks its rule again."""
    from zonedev.explore import tracefile

    o, known = context.options, context.catalogue
    found = tracefile.read(Path(o.trace), known)
    outcomes = []
    for recorded in found:
        try:
            outcome = tracefile.replay(recorded, known, tracefile.PdbStepper if o.pdb else tracefile.Stepper)
        except (tracefile.QuitDebugger, BdbQuit):
            return OK
        if not outcome.same:
            raise ZonedevError(
                f"{o.trace}: {recorded.scenario}, {recorded.design}: {recorded.rule} does not break any more: "
                "the specification has changed since"
            )
        verdict = Verdict(
            recorded.scenario,
            recorded.design,
            recorded.scope,
            checks.VIOLATED,
            recorded.rule,
            outcome.text,
            depth=len(outcome.steps),
            engine="plain Python",
            trace=outcome.steps,
        )
        outcomes.append(verdict)
    if context.json:
        show(rendered(outcomes, "json"))
    else:
        show("\n\n".join(text.render(v) for v in outcomes))
    return VIOLATED


# --- comparisons ------------------------------------------------------------------------------


def diff(context: Context) -> int:
    """The functions that two designs do not share, and the scenarios whose verdicts differ."""
    from zonedev.explore.diff import differences
    from zonedev.report import differences as printed

    o, known = context.options, context.catalogue
    names = (o.first, o.second)
    functions = differences(known.design(o.first), known.design(o.second))
    cells = [Cell(s, d) for s in known.scenarios for d in names]
    with Reporter("diff") as reporter:
        run_cells(context.load, cells, context.limits(), reporter.count)
    if context.json:
        show(dump(printed.json_object(names, functions, cells)))
    else:
        show(printed.render(names, functions, cells))
    return OK


def cost(context: Context) -> int:
    """The table of costs: steps, and atomic operations after a slash."""
    from zonedev.explore.cost import table as measured

    known = context.with_operations()
    chosen = context.options.design or list(known.designs)
    found = measured({n: known.design(n) for n in chosen}, known.operations)
    if context.json:
        objects = [
            {"operation": op, "design": d, "steps": c.steps, "atomics": c.atomics}
            for op, row in found.items()
            for d, c in row.items()
            if c is not None
        ]
        show(dump({"schema_version": SCHEMA_VERSION, "costs": objects}))
        return OK
    rows = [[op, *("-" if c is None else f"{c.steps}/{c.atomics}" for c in row.values())] for op, row in found.items()]
    show("shared-memory steps / atomic read-modify-writes among them\n")
    show(table.grid(["", *(n.removeprefix("linux-") for n in chosen)], rows))
    return OK


COMMANDS: Mapping[str, Callable[[Context], int]] = {
    "designs": designs,
    "scenarios": scenarios,
    "rules": rules,
    "check": run_check,
    "matrix": matrix,
    "run": run_schedule,
    "replay": replay,
    "diff": diff,
    "cost": cost,
}
