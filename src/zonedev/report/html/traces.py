"""Counterexamples for the viewer of the report, as small as can be: each text is there once."""

from __future__ import annotations

from typing import Any

from zonedev.explore.matrix import Cell
from zonedev.explore.verdict import Violation
from zonedev.report.columns import columns, drawn, lanes, rows
from zonedev.report.excerpt import excerpt
from zonedev.report.html.gathered import Report
from zonedev.report.text import spoken_of

#: Steps of a counterexample that are drawn at most.
MOST = 60


class Texts:
    """Texts by number."""

    def __init__(self) -> None:
        self.number: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        return self.number.setdefault(text, len(self.number))


def data(report: Report) -> dict[str, Any]:
    """For the viewer: `texts`, the `functions` of the specification by where they begin, for each
    counterexample its lanes, columns and rows, and for each scenario what its go `through`."""
    texts = Texts()
    functions: dict[str, int] = {}
    traces = {}
    for cell in report.cells:
        for violation in shown(cell):
            traces[f"{cell.scenario}/{cell.design}"] = trace(violation, texts, functions)
    through = {s.name: [texts(name) for name in s.functions] for s in report.stories if s.functions}
    return {"texts": list(texts.number), "functions": functions, "traces": traces, "through": through}


def shown(cell: Cell) -> list[Violation]:
    """The counterexample of a cell, if it has one."""
    return [] if cell.found is None or not cell.found.trace else cell.found.counterexamples[:1]


def trace(violation: Violation, texts: Texts, functions: dict[str, int]) -> dict[str, Any]:
    """One counterexample.  A row is the number of its step, its lane, function, call, file and line, the
    function's first line, statement, the columns that have changed since the row before, and quiet
    changes."""
    steps = violation.trace
    kept = spoken_of(steps, violation.rule)
    shown_columns = columns(steps, kept)
    at = {row.step.n: row for row in rows(steps, shown_columns)}
    numbers = {lane.task: n for n, lane in enumerate(lanes(steps))}
    found = []
    before: tuple[str, ...] = tuple(c.initial for c in shown_columns)
    for step in (d.step for d in drawn(steps, MOST, kept, violation.loop)):
        row = at[step.n]
        changed = [n for n, (old, new) in enumerate(zip(before, row.values, strict=True)) if old != new]
        before = row.values
        file, _, line = step.source.rpartition(":")
        around = excerpt(step)
        if around is not None:
            functions.setdefault(f"{file}:{around.first}", texts("\n".join(around.lines)))
        found.append(
            [
                step.n,
                numbers[step.task],
                texts(step.function),
                texts(step.call or step.function),
                texts(file),
                int(line),
                around.first if around else 0,
                texts(step.text),
                [x for n in changed for x in (n, texts(row.values[n]))],
                [texts(f"{c.where} {c.old} -> {c.new}") for c in step.changes if c.quiet and c.old != c.new],
            ]
        )
    return {
        "lanes": [[lane.task, lane.kind] for lane in lanes(steps)],
        "columns": [[texts(c.where), texts(c.group), texts(c.initial)] for c in shown_columns],
        "rows": found,
        "steps": len(steps),
        "loop": violation.loop,
    }
