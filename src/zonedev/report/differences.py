"""What two designs do differently, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.explore.diff import Definition, Difference
from zonedev.explore.matrix import Cell
from zonedev.report.json import SCHEMA_VERSION
from zonedev.report.table import verdict_word
from zonedev.report.text import plural, wrapped


def differing(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The scenarios whose two verdicts are not the same."""
    couples = [(cells[i], cells[i + 1]) for i in range(0, len(cells), 2)]
    return [(a, b) for a, b in couples if word(a) != word(b)]


def word(cell: Cell) -> str:
    if cell.error is not None:
        return f"error: {cell.error}"
    return "not checked" if cell.found is None else verdict_word(cell.found.verdict, cell.found.rule)


def render(names: tuple[str, str], functions: Sequence[Difference], cells: Sequence[Cell]) -> str:
    """Functions first, then verdicts."""
    lines = [f"{names[0]} and {names[1]}: {plural(len(functions), 'function differs', 'functions differ')}"]
    for found in functions:
        lines.append(found.name)
        for name, definition in zip(names, (found.first, found.second), strict=True):
            told = "not there" if definition is None else f"{definition.source}: {definition.about}"
            lines.append(wrapped(f"  {name}  {told}", "      "))
    couples = differing(cells)
    lines.append("")
    lines.append(f"{plural(len(couples), 'verdict differs', 'verdicts differ')} of {len(cells) // 2}")
    for a, b in couples:
        lines.append(a.scenario)
        for cell in (a, b):
            lines.append(wrapped(f"  {cell.design}  {word(cell)}", "      "))
    return "\n".join(lines)


def json_object(
    names: tuple[str, str], functions: Sequence[Difference], cells: Sequence[Cell]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "designs": list(names),
        "functions": [
            {"name": f.name, "first": definition_object(f.first), "second": definition_object(f.second)}
            for f in functions
        ],
        "verdicts": [
            {"scenario": a.scenario, "first": word(a), "second": word(b)} for a, b in differing(cells)
        ],
    }


def definition_object(found: Definition | None) -> dict[str, str] | None:
    return None if found is None else {"class": found.cls, "source": found.source, "about": found.about}
