"""The lines of the specification that a step stands in."""

from __future__ import annotations

import ast
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zonedev.explore.trace import PACKAGE, TraceStep, statement_text
from zonedev.lang.runtime import Where
from zonedev.lang.source import lines


@dataclass(frozen=True)
class Excerpt:
    """A function as it is in its file: its lines, the number of the first, and that of the step's line.

    `changed`: the file no longer has the step's statement there.
    """

    source: str
    lines: Sequence[str]
    first: int
    at: int
    changed: bool


def excerpt(step: TraceStep) -> Excerpt | None:
    """The function around the line of a step; None where its file, or the line, is not there."""
    file, _, number = step.source.rpartition(":")
    path = place(file)
    if path is None or not number.isdecimal() or not 1 <= int(number) <= len(lines(path)):
        return None
    first, last = around(path, int(number))
    changed = statement_text(Where(path, int(number), step.function)) != step.text
    return Excerpt(step.source, lines(path)[first - 1 : last], first, int(number), changed)


def place(short: str) -> str | None:
    """The Python file that a trace names: of the package, or else from the working directory on."""
    for file in (PACKAGE / short, Path(short)):
        if file.suffix == ".py" and file.is_file():
            return os.fspath(file)
    return None


@cache
def around(file: str, line: int) -> tuple[int, int]:
    """First and last line of the innermost function that `line` is in, or of what is near it."""
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse("\n".join(lines(file)), file))
        if isinstance(node, ast.FunctionDef)
    ]
    near = (max(1, line - 5), min(len(lines(file)), line + 5))
    return max((s for s in spans if s[0] <= line <= s[1]), default=near)
