"""zonedev report: the catalogue as a page for a browser."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from zonedev.commands.context import OK, UNDETERMINED, VIOLATED, Context
from zonedev.explore.matrix import pairs
from zonedev.explore.matrix import run as run_cells
from zonedev.explore.pool import pool
from zonedev.lang.errors import ZonedevError
from zonedev.report.life import Life, lives
from zonedev.report.progress import Reporter


def report(context: Context) -> int:
    """Check the scenarios under all designs with an expectation, and write what came of it."""
    from zonedev.report.html import beside, page
    from zonedev.report.html.gathered import gathered

    o, known = context.options, context.catalogue
    file = Path(o.output)
    if not file.absolute().parent.is_dir():
        raise ZonedevError(f"-o {file}: there is no directory {file.parent}")
    others = beside.Beside(
        beside.kernels(o.conform) if o.conform else None,
        beside.mutants(o.mutants) if o.mutants else None,
        beside.peers(o.peers) if o.peers else None,
    )
    names = o.scenario or list(known.scenarios)
    cells = pairs(known, names, everything=False)
    with Reporter("report") as reporter:
        whole = run_cells(context.load, cells, context.limits(), reporter.count, o.jobs, on=o.on, traces=True)
    with Reporter("report: lives of pages") as reporter:
        designs = [d for d in known.designs if any(c.design == d for c in cells)]
        found = lives_of(context, designs, names, reporter)
    text = page.render(gathered(known, cells, found), others)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ZonedevError(f"-o {file}: {error.strerror}") from None
    print(f"wrote {file}, {len(text.encode()) / 1e6:.1f} MB", file=sys.stderr)
    if not whole:
        return UNDETERMINED
    return VIOLATED if any(c.unexpected for c in cells) else OK


def lives_of(
    context: Context, designs: Sequence[str], names: Sequence[str], reporter: Reporter
) -> list[Life]:
    """The lives of pages, design by design."""
    found: list[Life] = []
    with pool(context.options.on, context.options.jobs) as workers:
        asked = [workers.submit(lives, context.load, design, names) for design in designs]
        for number, answer in enumerate(asked, 1):
            found += answer.result()
            reporter.count(number, len(asked))
    return found
