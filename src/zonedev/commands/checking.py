"""zonedev check and matrix."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zonedev.catalogue import Catalogue
from zonedev.commands.context import ERROR, OK, UNDETERMINED, VIOLATED, Context, complain, parse_scope, show
from zonedev.explore import check as checks
from zonedev.explore.available import bounded
from zonedev.explore.check import Verdict, check
from zonedev.explore.matrix import Cell, pairs, write_goldens
from zonedev.explore.matrix import run as run_cells
from zonedev.explore.on import cores
from zonedev.lang.errors import ZonedevError
from zonedev.report import cases, colour, table
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.notes import vacuity_object
from zonedev.report.progress import Reporter

if TYPE_CHECKING:
    from zonedev.explore.native_checkpoint import Checkpoint


def run_check(context: Context) -> int:
    """Check scenarios under designs, one after the other.

    An error ends its own check only; an interrupt ends all, with what was found so far.
    """
    o, known = context.options, context.catalogue
    test = None if o.emit_test is None else new_test(o.emit_test)
    scenarios = [known.scenario(n) for n in o.scenario]
    designs = [(n, known.design(n)) for n in o.design or [known.newest()]]
    wanted = [known.rule(n).name for n in o.rule] or None
    scope = parse_scope(o.scope)
    checkpoint = checkpoint_of(o, len(scenarios) * len(designs))
    workers = o.workers or (1 if o.on is None else cores(o.on))
    limits = context.limits() if o.on else bounded(context.limits())  # each machine knows its own
    verdicts: list[Verdict] = []
    errors = 0
    for scenario, (name, design) in product(scenarios, designs):
        try:
            with Reporter(f"{scenario.name()}, {name}") as reporter:
                verdict = check(
                    scenario,
                    design,
                    scope,
                    wanted,
                    o.engine,
                    workers,
                    limits,
                    reporter.progress,
                    known=known.rules,
                    design_name=name,
                    all_violations=o.all_violations,
                    reductions=o.reduce,
                    checkpoint=checkpoint,
                    on=o.on,
                )
        except ZonedevError as error:
            errors += 1
            complain(str(error))
            continue
        if o.format == "text":
            if verdicts:
                show("")
            colour.show(verdict)
            sys.stdout.flush()
        verdicts.append(verdict)
        if verdict.stopped == "interrupted":
            break
    if o.format != "text" and verdicts:
        show(rendered(verdicts, o.format))
    if test is not None:
        emit(verdicts, test)
    return ERROR if errors else exit_code(verdicts)


def checkpoint_of(options: argparse.Namespace, checks: int) -> Checkpoint | None:
    """Where the search is kept; ZonedevError for what cannot be."""
    if options.checkpoint is None:
        if options.resume:
            raise ZonedevError("--resume: say with --checkpoint DIR from where")
        return None
    if checks > 1:
        raise ZonedevError("--checkpoint is for one check: name one scenario and one design")
    if options.engine == "python":
        raise ZonedevError("--checkpoint is for the native engine: leave --engine python out")
    from zonedev.explore.native_checkpoint import Checkpoint  # here, so that a check without needs none of it

    return Checkpoint(Path(options.checkpoint), resume=options.resume)


def new_test(name: str) -> Path:
    """A file to be written; ZonedevError where it cannot be, or is there already."""
    file = Path(name)
    if file.suffix != ".py":
        raise ZonedevError(f"--emit-test {name}: name a Python file, such as {file.with_suffix('.py')}")
    if not file.absolute().parent.is_dir():
        raise ZonedevError(f"--emit-test {name}: there is no directory {file.parent}")
    if file.exists():
        raise ZonedevError(f"--emit-test {name}: it exists already: remove it, or choose another name")
    return file


def emit(verdicts: Sequence[Verdict], file: Path) -> None:
    """Write the counterexamples as tests."""
    from zonedev.report import emitted

    text = emitted.render(verdicts, file)
    if not text:
        print(f"{file} is not written: there is no counterexample", file=sys.stderr)
        return
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise ZonedevError(f"--emit-test {file}: {error.strerror}") from None
    print(f"wrote {file}", file=sys.stderr)


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
    if o.promote and o.reduce:
        raise ZonedevError("--promote writes counts without reductions: leave --reduce out")
    if o.suite:
        if o.scenario:
            raise ZonedevError("--suite is a matrix of its own: leave SCENARIO out")
        names = [case.name() for case in known.suites[o.suite] if not case.unmodelled]
    else:
        names = o.scenario or list(known.scenarios)
    cells = pairs(known, names, o.all)
    with Reporter("matrix") as reporter:
        limits = context.limits()
        complete = run_cells(context.load, cells, limits, reporter.count, o.jobs, o.engine, o.on, o.reduce)
    if o.promote and complete:
        promote(known, cells)
    if context.json:
        show(dump({"schema_version": SCHEMA_VERSION, "cells": [cell_object(c) for c in cells]}))
    elif o.suite:
        show(cases.table(known.suites[o.suite], cells, list(known.designs)))
    else:
        show(table.matrix(cells, list(known.designs)))
    return exit_code_of(cells)


def exit_code_of(cells: Sequence[Cell]) -> int:
    """1 where any is an error, else 2 where any is not as expected, else 3 where any is open."""
    if any(c.error for c in cells):
        return ERROR
    if any(c.unexpected for c in cells):
        return VIOLATED
    open_ = [c for c in cells if c.found is None or c.found.verdict == checks.UNDETERMINED]
    return UNDETERMINED if open_ else OK


def promote(known: Catalogue, cells: Sequence[Cell]) -> None:
    """Make what was found the goldens, and forget differences from the old ones."""
    files = [s.golden_file() for s in known.everything().values()]
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
        **({"vacuity": vacuity_object(found.vacuity)} if found and found.vacuity else {}),
    }
