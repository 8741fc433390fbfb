"""zonedev diff and cost: designs side by side."""

from __future__ import annotations

from zonedev.commands.context import OK, Context, show
from zonedev.explore.matrix import Cell
from zonedev.explore.matrix import run as run_cells
from zonedev.report import table
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.progress import Reporter


def diff(context: Context) -> int:
    """The functions that two designs do not share, and the scenarios whose verdicts differ."""
    from zonedev.explore.diff import differences
    from zonedev.report import differences as printed

    o, known = context.options, context.catalogue
    names = (o.first, o.second)
    functions = differences(known.design(o.first), known.design(o.second))
    asked = [known.scenario(s).name() for s in dict.fromkeys(o.scenario)] or known.scenarios
    cells = [Cell(s, d) for s in asked for d in names]
    with Reporter("diff") as reporter:
        run_cells(context.load, cells, context.limits(), reporter.count, on=o.on)
    if context.json:
        show(dump(printed.json_object(names, functions, cells)))
    else:
        show(printed.render(names, functions, cells))
    return OK


def cost(context: Context) -> int:
    """The table of costs: steps, and atomic operations after a slash."""
    from zonedev.explore.cost import table as measured

    known = context.with_operations()
    chosen = context.options.design or [n for n, d in known.designs.items() if getattr(d, "release", True)]
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
    rows = [
        [op, *("-" if c is None else f"{c.steps}/{c.atomics}" for c in row.values())]
        for op, row in found.items()
    ]
    show("shared-memory steps / atomic read-modify-writes among them\n")
    show(table.grid(["", *(n.removeprefix("linux-") for n in chosen)], rows))
    return OK
