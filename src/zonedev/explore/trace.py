"""What a trace is made of, whoever recorded it: a replay, a run, or the machine by hand."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from zonedev.lang.runtime import Where
from zonedev.lang.source import parsed, source, statements, text_at

PACKAGE = Path(__file__).resolve().parents[1]

#: What a notebook and IPython's prompt call their cells: it differs from run to run.
CELL = re.compile(r"\S*/ipykernel_\d+/\d+\.py|<ipython-input-[^>]*>")


@dataclass(frozen=True)
class Change:
    """A shared location that a step changed; `quiet` ones are left out of text."""

    where: str
    old: str
    new: str
    quiet: bool = False


@dataclass(frozen=True)
class TraceStep:
    """One atomic step, as it was seen in the plain run.

    `call` is the statement of the task's program that the step is in, `calls` the
    functions from there on, outermost first; `source` is "file:line".
    """

    n: int
    task: str
    function: str
    calls: tuple[str, ...]
    source: str
    text: str
    changes: tuple[Change, ...]
    call: str = ""
    choice: int = 0


def short_path(file: str) -> str:
    """A file as traces name it: relative to the package, or else to the working directory; a cell is
    called so."""
    if CELL.fullmatch(file):
        return "cell"
    path = Path(file)
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).as_posix()
    near = os.path.relpath(file)
    return path.as_posix() if near.startswith("..") else Path(near).as_posix()


def shorten(text: str) -> str:
    """A message with the paths in it as `short_path` has them."""
    text = CELL.sub("cell", text)
    return text.replace(f"{PACKAGE}{os.sep}", "").replace(f"{Path.cwd()}{os.sep}", "")


def source_of(where: Where) -> str:
    return f"{short_path(where.file)}:{where.line}"


@cache
def _statements(text: str, file: str) -> list[tuple[int, int]]:
    """First and last line of every statement of a text; of compound ones, the header."""
    found = []
    for node in statements(parsed(text, file)):
        if isinstance(node, ast.If | ast.While):
            found.append((node.lineno, node.test.end_lineno or node.lineno))
        elif isinstance(node, ast.With | ast.For | ast.FunctionDef | ast.ClassDef | ast.Try):
            found.append((node.lineno, node.lineno))
        else:
            found.append((node.lineno, node.end_lineno or node.lineno))
    return found


def statement_text(where: Where) -> str:
    """The statement that a line belongs to, on one line."""
    known = _statements(source(where.file), where.file)
    spans = [s for s in known if s[0] <= where.line <= s[1]]
    first, last = max(spans, default=(where.line, where.line))
    return text_at(where.file, first, last)


def call_text(stack: Sequence[Where], program: str) -> str:
    """The statement of the function `program` that a stack is in; "" where it is at its top."""
    for depth, where in enumerate(stack):
        if where.function == program:
            return statement_text(where) if depth + 1 < len(stack) else ""
    return ""


def shared_calls(a: Sequence[str], b: Sequence[str]) -> Sequence[str]:
    """The calls that two stacks have in common, from the outermost on; at least that one."""
    shared = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        shared += 1
    return a[: max(shared, 1)]
