"""Scenarios under the steps of a patch series: which patch turns which verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zonedev.explore.check import UNDETERMINED, Verdict
from zonedev.explore.matrix import Cell, Golden, is_golden, kept_of
from zonedev.explore.trace import shorten
from zonedev.lang.errors import ZonedevError

if TYPE_CHECKING:
    from zonedev.designs.series import Patch, Series

#: Goldens by scenario and step.
Goldens = dict[str, dict[str, Golden]]


@dataclass(frozen=True)
class Turn:
    """A patch that turns a verdict; `undecided` are the steps just before it that had no answer."""

    patch: Patch
    scenario: str
    before: Verdict
    after: Verdict
    undecided: tuple[str, ...] = ()


def cells_of(series: Series, scenarios: Iterable[str], goldens: Goldens) -> list[Cell]:
    """A cell for every scenario and step."""
    return [
        Cell(scenario, f"{series.name}/{step}", golden=goldens.get(scenario, {}).get(step))
        for scenario in dict.fromkeys(scenarios)
        for step in series.steps()
    ]


def step_of(cell: Cell) -> str:
    """The step whose cell this is: a patch's number, or base."""
    return cell.design.rpartition("/")[2]


def rows(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The cells of every scenario, in the order of the steps."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        found.setdefault(cell.scenario, []).append(cell)
    return found


def decided(cell: Cell) -> Verdict | None:
    """What a check has found, unless it had to stop."""
    return None if cell.found is None or cell.found.verdict == UNDETERMINED else cell.found


def same(a: Verdict, b: Verdict) -> bool:
    """Whether two verdicts say the same, by whichever path."""
    return (a.verdict, a.rule) == (b.verdict, b.rule)


def turns(series: Series, cells: Sequence[Cell]) -> list[Turn]:
    """What turns where, patch by patch."""
    found = [turn for row in rows(cells).values() for turn in turns_of(series, row)]
    order = list(series.steps())
    return sorted(found, key=lambda t: order.index(t.patch.number))


def turns_of(series: Series, row: Sequence[Cell]) -> list[Turn]:
    """The turns of one scenario; a step that was not decided is passed over."""
    found: list[Turn] = []
    before: Verdict | None = None
    undecided: list[str] = []
    for cell in row:
        after = decided(cell)
        if after is None:
            undecided.append(step_of(cell))
            continue
        if before is not None and not same(before, after):
            patch = series.patch(step_of(cell))
            found.append(Turn(patch, cell.scenario, before, after, tuple(undecided)))
        before, undecided = after, []
    return found


def read_goldens(series: Series) -> Goldens:
    """The goldens of a series; none where there is no file yet."""
    file = series.golden_file()
    if not file.is_file():
        return {}
    try:
        kept: Goldens = json.loads(file.read_text(encoding="utf-8"))
        if all(is_golden(g) for steps in kept.values() for g in steps.values()):
            return kept
    except (ValueError, AttributeError):
        pass
    raise ZonedevError(
        f"{shorten(str(file))}: not a golden file: mend it, or run zonedev series {series.name} --promote"
    )


def write_goldens(series: Series, cells: Iterable[Cell]) -> Path:
    """Replace the goldens of the scenarios that were checked, and forget steps that are no more."""
    try:
        kept = read_goldens(series)
    except ZonedevError:
        kept = {}
    for scenario, row in rows(cells).items():
        found = {step_of(c): kept_of(v) for c in row if (v := decided(c)) is not None}
        kept[scenario] = {**kept.get(scenario, {}), **found}
    steps = series.steps()
    whole = {name: {s: kept[name][s] for s in steps if s in kept[name]} for name in sorted(kept)}
    file = series.golden_file()
    try:
        file.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ZonedevError(f"{shorten(str(file))}: {error.strerror}") from None
    return file
