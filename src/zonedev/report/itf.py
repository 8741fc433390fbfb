"""A counterexample in Apalache's ITF (https://apalache-mc.org/docs/adr/015adr-trace.html).

A variable is a location that changes in the trace, under a name that TLA+ can have: page0__refcount
is page0._refcount.  State n is the one after step n.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from zonedev.explore.check import Verdict
from zonedev.explore.trace import TraceStep, shorten
from zonedev.report.columns import columns, rows
from zonedev.report.json import dump

FORMAT = "https://apalache-mc.org/docs/adr/015adr-trace.html"


def render(verdict: Verdict) -> str:
    """The JSON text."""
    return dump(trace_object(verdict))


def trace_object(verdict: Verdict) -> dict[str, Any]:
    """The trace: one state more than steps; in a `loop` the last state is again the loop's first."""
    steps = verdict.trace
    shown = columns(steps, quiet=True)
    table = [tuple(c.initial for c in shown), *(row.values for row in rows(steps, shown))]
    names = variables(c.where for c in shown)
    # A variable has one type: an integer where it never holds anything else.
    numbers = [all(re.fullmatch(r"-?\d+", values[n]) for values in table) for n in range(len(shown))]
    found: dict[str, Any] = {
        "#meta": {
            "format": "ITF",
            "format-description": FORMAT,
            "source": f"{verdict.scenario}, {verdict.design}",
            "status": "violation",
            "description": f"{verdict.rule}: {shorten(verdict.objects or '')}",
            "locations": {name: column.where for name, column in zip(names, shown, strict=True)},
        },
        "vars": names,
        "states": [
            {
                "#meta": about(index, steps),
                **{
                    name: {"#bigint": value} if number else value
                    for name, value, number in zip(names, values, numbers, strict=True)
                },
            }
            for index, values in enumerate(table)
        ],
    }
    if verdict.loop is not None:
        found["loop"] = verdict.loop - 1
    return found


def about(index: int, steps: Sequence[TraceStep]) -> dict[str, Any]:
    """The number of a state, and the step that led to it."""
    if index == 0:
        return {"index": 0}
    step = steps[index - 1]
    return {
        "index": index,
        "task": step.task,
        "function": step.function,
        "source": step.source,
        "text": step.text,
    }


def variables(locations: Iterable[str]) -> list[str]:
    """A name for each location: mm0_pte_0 for mm0.pte[0]."""
    found: list[str] = []
    for where in locations:
        name = re.sub(r"\W", "_", where.replace("]", ""))
        while name in found:
            name += "_"
        found.append(name)
    return found
