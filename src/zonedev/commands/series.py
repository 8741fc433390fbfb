"""zonedev series: which patch of a series turns which verdict."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from zonedev.commands.checking import cell_object, exit_code_of
from zonedev.commands.context import OK, Context, show
from zonedev.explore.matrix import run as run_cells
from zonedev.lang.errors import ZonedevError
from zonedev.report import series as printed
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.progress import Reporter

if TYPE_CHECKING:
    from zonedev.designs.series import Series


def series(context: Context) -> int:
    """The list of series, the patches of one, or its scenarios at every step."""
    o, known = context.options, context.catalogue
    checks = o.check or o.promote
    if o.name is None:
        if checks:
            raise ZonedevError("name a series: zonedev series lists them")
        return overview(context)
    found = known.patch_series(o.name)
    if o.scenario or checks:
        return check_steps(context, found)
    if context.json:
        show(dump({"schema_version": SCHEMA_VERSION, **printed.series_object(found)}))
    else:
        show(printed.patches(found))
    return OK


def overview(context: Context) -> int:
    known = context.catalogue.series
    if context.json:
        objects = [printed.series_object(s) for s in known.values()]
        show(dump({"schema_version": SCHEMA_VERSION, "series": objects}))
    else:
        show(printed.overview(known) or "no series")
    return OK


def check_steps(context: Context, found: Series) -> int:
    """All scenarios at all steps, in processes; exit code 2 where anything is not as expected."""
    from zonedev.explore.series import cells_of, read_goldens, write_goldens

    o, known = context.options, context.catalogue
    names = [known.scenario(n).name() for n in o.scenario or found.scenarios]
    if not names:
        raise ZonedevError(f"{found.name} has no scenarios of its own: name some")
    cells = cells_of(found, names, {} if o.promote else read_goldens(found))
    with Reporter("series") as reporter:
        complete = run_cells(context.load, cells, context.limits(), reporter.count, o.jobs, o.engine, o.on)
    if o.promote and complete:
        print(f"wrote {os.path.relpath(write_goldens(found, cells))}", file=sys.stderr)
    if context.json:
        show(dump(printed.checked_object(found, cells, [cell_object(c) for c in cells])))
    else:
        show(printed.checked(found, cells))
    return exit_code_of(cells)
