"""Patch series: the list of them, the patches of one, and what turns where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from zonedev.explore.check import Verdict
from zonedev.explore.matrix import Cell, judgement
from zonedev.explore.series import Turn, decided, rows, same, step_of, turns
from zonedev.report.json import SCHEMA_VERSION
from zonedev.report.table import legend, listing, symbol
from zonedev.report.text import WIDTH, plural, wrapped

if TYPE_CHECKING:
    from zonedev.designs.series import Patch, Series

NO_CHANGE = "no change of behaviour"
SAME = "."


def overview(known: Mapping[str, Series]) -> str:
    """All series, one after the other."""
    return listing({name: about(series) for name, series in known.items()})


def about(series: Series) -> str:
    return f"{plural(len(series.patches), 'patch', 'patches')} on {series.base_name()}: {series.title}"


def patches(series: Series) -> str:
    """The patches of a series, and what they change here."""
    width = max(len(p.number) for p in series.patches)
    indent = " " * (width + 2)
    lines = [
        wrapped(f"{series.name}: {series.title}"),
        wrapped(f"{series.source}; on {series.base_name()}"),
        "",
    ]
    for patch in series.patches:
        lines.append(wrapped(f"{patch.number:<{width}}  {patch.subject}", indent))
        lines.append(wrapped(f"{indent}{patch.changes or NO_CHANGE}", indent))
    return "\n".join(lines)


def checked(series: Series, cells: Sequence[Cell]) -> str:
    """Scenarios down, steps across; then what turns where, and what the words mean."""
    lines = [wrapped(f"{series.name}: {series.title}"), ""]
    for table in tables(cells):
        lines += [*table, ""]
    lines += [*turned(turns(series, cells)), ""]
    if any(word == SAME for row in rows(cells).values() for word in words(row)):
        lines.append(f"{SAME:<9} as in the column to its left")
    lines += legend(cells)
    return "\n".join(line.rstrip() for line in lines)


def tables(cells: Sequence[Cell]) -> Iterator[list[str]]:
    """The table in pieces of 80 columns; each begins with the last column of the one before."""
    found = rows(cells)
    first = max(len(name) for name in found)
    size = len(next(iter(found.values())))
    start = end = 0
    while end < size:
        start = max(0, end - 1)
        end = min(start + 2, size)
        while end < size and first + taken(columns(found, start, end + 1)) <= WIDTH:
            end += 1
        shown = columns(found, start, end)
        yield [
            f"{name:{first}}" + "".join(f" {column[at]:<{width(column)}}" for column in shown)
            for at, name in enumerate(["", *found])
        ]


def columns(found: Mapping[str, Sequence[Cell]], start: int, end: int) -> list[list[str]]:
    """Some columns, with their headings."""
    heads = [step_of(cell) for cell in next(iter(found.values()))[start:end]]
    body = [words(row[start:end]) for row in found.values()]
    return [[head, *(row[at] for row in body)] for at, head in enumerate(heads)]


def width(column: Sequence[str]) -> int:
    return max(len(word) for word in column)


def taken(shown: Sequence[Sequence[str]]) -> int:
    """How wide some columns are, with the blanks before them."""
    return sum(1 + width(column) for column in shown)


def words(row: Sequence[Cell]) -> list[str]:
    """What a row shows: a verdict that is also that of its left neighbour is a dot."""
    return [symbol(row[0]), *(SAME if repeats(a, b) else symbol(b) for a, b in pairwise(row))]


def repeats(left: Cell, cell: Cell) -> bool:
    """Whether a cell needs no word of its own beside its left neighbour."""
    a, b = decided(left), decided(cell)
    return a is not None and b is not None and same(a, b) and not cell.unexpected


def turned(found: Sequence[Turn]) -> Iterator[str]:
    """The turns, under the patches that make them."""
    if not found:
        yield "no verdict turns"
        return
    yield "what turns where:"
    last: Patch | None = None
    for turn in found:
        if turn.patch is not last:
            yield wrapped(f"{turn.patch.number} {turn.patch.subject}", "      ")
            last = turn.patch
        told = f"   {turn.scenario}: {word(turn.before)} -> {word(turn.after)}"
        if turn.undecided:
            told += f" (undecided: {', '.join(turn.undecided)})"
        yield wrapped(told, "      ")


def word(verdict: Verdict) -> str:
    return judgement(verdict.verdict, verdict.rule)


def series_object(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "title": series.title,
        "source": series.source,
        "base": series.base_name(),
        "scenarios": list(series.scenarios),
        "patches": [
            {
                "number": p.number,
                "subject": p.subject,
                "changes": p.changes,
                "design": p.design.__name__ if p.design else None,
            }
            for p in series.patches
        ],
    }


def turn_object(turn: Turn) -> dict[str, Any]:
    return {
        "patch": turn.patch.number,
        "subject": turn.patch.subject,
        "scenario": turn.scenario,
        "before": {"verdict": turn.before.verdict, "rule": turn.before.rule},
        "after": {"verdict": turn.after.verdict, "rule": turn.after.rule},
        "undecided": list(turn.undecided),
    }


def checked_object(
    series: Series, cells: Sequence[Cell], cell_objects: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """The cells, each with its step, and the turns."""
    return {
        "schema_version": SCHEMA_VERSION,
        "series": series.name,
        "cells": [{"step": step_of(c), **o} for c, o in zip(cells, cell_objects, strict=True)],
        "turns": [turn_object(t) for t in turns(series, cells)],
    }
