"""The table of `matrix --suite`: a case a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zonedev.explore.check import UNDETERMINED, VIOLATED
from zonedev.explore.matrix import Cell
from zonedev.report.table import heading
from zonedev.report.text import plural, wrapped
from zonedev.scenarios.base import Case


def table(suite: Sequence[type[Case]], cells: Sequence[Cell], designs: Sequence[str]) -> str:
    """Cases down, designs across, then what differs."""
    columns = [d for d in designs if any(c.design == d for c in cells)]
    rows = list(dict.fromkeys((case.test(), case.variant()) for case in suite))
    first = max(len(test) for test, _ in rows)
    second = max(len(variant) for _, variant in rows)
    lines = [f"{'':{first}}  {'':{second}}" + "".join(f"  {heading(d):<4}" for d in columns)]
    for test, variant in rows:
        rounds = [case for case in suite if (case.test(), case.variant()) == (test, variant)]
        lines += line(f"{test:{first}}  {variant:{second}}", rounds, cells, columns)
    return "\n".join(text.rstrip() for text in [*lines, "", *ending(suite, cells, len(rows))])


def line(
    name: str, rounds: Sequence[type[Case]], cells: Sequence[Cell], columns: Sequence[str]
) -> Iterator[str]:
    """What became of a case, all rounds together."""
    why = next((case.unmodelled for case in rounds if case.unmodelled), "")
    if why:
        yield wrapped(f"{name}  not modelled: {why}", "      ")
        return
    names = {case.name() for case in rounds}
    words = [word([c for c in cells if c.scenario in names and c.design == d]) for d in columns]
    left = " *" if any(case.leaves_out for case in rounds) else ""
    yield name + "".join(f"  {w:<4}" for w in words) + left


def word(cells: Sequence[Cell]) -> str:
    """One word for the rounds under a design, marked where one is not as it should be."""
    mark = "!" if any(c.unexpected for c in cells) else ""
    verdicts = [c.found.verdict if c.found else None for c in cells]
    if not cells:
        return "-"
    if any(c.error for c in cells):
        return "error!"
    if VIOLATED in verdicts:
        return f"fail{mark}"
    if None in verdicts:
        return "..."
    return f"?{mark}" if UNDETERMINED in verdicts else f"pass{mark}"


def ending(suite: Sequence[type[Case]], cells: Sequence[Cell], rows: int) -> Iterator[str]:
    for case in suite:
        if vars(case).get("leaves_out"):
            yield wrapped(f"* {case.test()}: not modelled: {case.leaves_out}", "      ")
    unexpected = [c for c in cells if c.unexpected]
    for cell in unexpected:
        yield wrapped(f"! {cell.scenario}, {cell.design}: {cell.error or '; '.join(cell.differs)}", "      ")
    missing = len({(case.test(), case.variant()) for case in suite if case.unmodelled})
    yield f"{plural(rows, 'case', 'cases')}, {missing} not modelled"
    agreed = f"{len(unexpected)} not" if unexpected else "all"
    yield f"{plural(len(cells), 'check', 'checks')}, {agreed} as expected"
