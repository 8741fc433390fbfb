"""zonedev show and schema: a counterexample in other forms, and what the JSON looks like."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from zonedev.commands.context import OK, Context, show
from zonedev.explore.verdict import Verdict
from zonedev.lang.errors import ZonedevError
from zonedev.report import colour
from zonedev.report.json import read


def show_trace(context: Context) -> int:
    """One counterexample of a file: stepped through on a terminal, or printed in a format."""
    o = context.options
    verdict = chosen(o.trace, read(Path(o.trace)), o.number)
    if o.format is None and sys.stdin.isatty() and colour.terminal(sys.stdout):
        from zonedev.report.stepper_app import StepperApp  # it takes a quarter of a second

        StepperApp(verdict).run()
    elif o.format in (None, "text"):
        colour.show(verdict)
    else:
        show(import_module(f"zonedev.report.{o.format}").render(verdict))
    return OK


def chosen(file: str, found: list[Verdict], number: int | None) -> Verdict:
    """The counterexample with that number, or the first; how many there are is said on stderr."""
    many = f"{file} has {len(found)} counterexample{'s' if len(found) > 1 else ''}"
    if number is not None and number > len(found):
        raise ZonedevError(f"--number {number}: {many}")
    if number is None and len(found) > 1:
        print(f"{many}: this is the first; --number 2 shows the second", file=sys.stderr)
    return found[(number or 1) - 1]


def schema(context: Context) -> int:
    """A JSON schema, or the names of all."""
    from zonedev import schema as schemas
    from zonedev.report import table

    name = context.options.name
    show(table.listing(schemas.titles()) if name is None else schemas.text(name))
    return OK
