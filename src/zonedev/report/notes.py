"""Notes on checks that hold: what they do not show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from zonedev.explore.matrix import Cell
from zonedev.explore.vacuity import Vacuity


def notes(found: Vacuity) -> Iterator[str]:
    """A sentence for each thing."""
    if found.untested:
        yield f"not put to the test: {', '.join(found.untested)}"
    if found.alone:
        meets = "meets" if len(found.alone) == 1 else "meet"
        yield f"{' and '.join(found.alone)} {meets} no other task in a place that one of them writes"
    for task, call in found.unfinished:
        yield f"{task} never comes back from {call}"


def vacuity_object(found: Vacuity) -> dict[str, Any]:
    """The same for JSON: only what there is."""
    whole = {
        "untested": list(found.untested),
        "alone": list(found.alone),
        "unfinished": [{"task": task, "call": call} for task, call in found.unfinished],
    }
    return {key: value for key, value in whole.items() if value}


def of_matrix(cells: Sequence[Cell]) -> Iterator[str]:
    """What is so of a rule in all checks, and of the tasks of a scenario in all of its checks that hold.

    A rule that one scenario or design does not put to the test is no news where another does: of
    those only `check` tells.
    """
    verdicts = [cell.found for cell in cells if cell.found is not None]
    held = [(v.scenario, v.vacuity) for v in verdicts if v.vacuity is not None]
    tested = {v.rule for v in verdicts}.union(*(vacuity.tested for _, vacuity in held))
    untested = (rule for _, vacuity in held for rule in vacuity.untested if rule not in tested)
    yield from notes(Vacuity(untested=tuple(dict.fromkeys(untested))))
    for name in dict.fromkeys(scenario for scenario, _ in held):
        first, *others = (vacuity for scenario, vacuity in held if scenario == name)
        common = Vacuity(
            alone=tuple(t for t in first.alone if all(t in other.alone for other in others)),
            unfinished=tuple(u for u in first.unfinished if all(u in other.unfinished for other in others)),
        )
        for sentence in notes(common):
            yield f"{name}: {sentence}"
