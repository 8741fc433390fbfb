"""Markdown, as the pages of the reference need it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zonedev.explore.trace import short_path

CODE = re.compile(r"(``?)(.+?)\1", re.DOTALL)


def escaped(text: str) -> str:
    """A docstring: what is between backquotes stays code, all else is said as it stands."""
    found, end = [], 0
    for code in CODE.finditer(text):
        found += [plain(text[end : code.start()]), f"`{code[2]}`"]
        end = code.end()
    return "".join([*found, plain(text[end:])])


def plain(text: str) -> str:
    return re.sub(r"([\\`*_<>\[\]|#$~{}])", r"\\\1", text)


def cell(text: str) -> str:
    """A text in a row of a table, where a bar ends a cell even in code."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(text.split())) or " "


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"\n| {' | '.join(header)} |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield f"| {' | '.join(cell(text) for text in row)} |"
    yield ""


def fenced(text: str, language: str) -> Iterator[str]:
    """A block; one that has backquotes in it gets a longer fence."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}\n{text.rstrip()}\n{fence}\n"


def folded(title: str, text: str) -> Iterator[str]:
    """Python that is shown on a click."""
    yield f"<details><summary>{title}</summary>\n"
    yield from fenced(inspect.cleandoc(text) if text.startswith((" ", "\t")) else text, "python")
    yield "</details>\n"


def place(of: Any) -> str:
    """The file and line of a function or class, as traces have them."""
    line = inspect.getsourcelines(of)[1]
    return f"{short_path(str(Path(inspect.getfile(of))))}:{line}"


def linked(kind: str, name: str) -> str:
    """A name as a link to where the reference has it; of the patches of a series it has none."""
    return plain(name) if "/" in name else f"{{ref}}`{name} <{target(kind, name)}>`"


def target(*words: str) -> str:
    """A label for links from other pages: `words` are a kind and names."""
    return "-".join(re.sub(r"[^a-z0-9]+", "-", word.lower()) for word in words)
