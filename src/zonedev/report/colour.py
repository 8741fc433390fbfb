"""Verdicts on a terminal: the lines of the plain text, in colour.

NO_COLOR and TERM=dumb are obeyed: then, as off a terminal, the text is plain.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TextIO

from zonedev.explore.check import HOLDS, VIOLATED, Verdict
from zonedev.report import text
from zonedev.report.columns import lanes

if TYPE_CHECKING:
    from rich.text import Text

VERDICTS = {HOLDS: "bold green", VIOLATED: "bold red"}
OPEN = "bold yellow"  # undetermined
CHANGE, BROKEN, ASIDE = "bold", "bold red", "dim"
#: Lines that are not the story.
ASIDES = ("note:", "   observed:", "--")
#: Of tasks, by the order of their first steps; red, green and yellow are the verdicts'.
TASKS = ("cyan", "magenta", "blue", "bright_cyan", "bright_magenta", "bright_blue")

Span = tuple[int, int, str]


def terminal(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def coloured(stream: TextIO) -> bool:
    """Whether what goes to a stream is to be in colour (https://no-color.org)."""
    return terminal(stream) and not os.environ.get("NO_COLOR")


def show(verdict: Verdict) -> None:
    """Print a verdict on stdout, in colour where that is a terminal."""
    plain = text.render(verdict)
    if not coloured(sys.stdout):
        print(plain)
        return
    from rich.console import Console  # only where it is seen: it costs a tenth of a second

    console = Console(file=sys.stdout, highlight=False)
    console.print(styled(verdict, plain), soft_wrap=True)


def styled(verdict: Verdict, plain: str) -> Text:
    """The plain text of a verdict with styles: without them it is the same, letter for letter."""
    from rich.text import Text

    found = Text(plain)
    rule = rf"(?::\s+{re.escape(verdict.rule)})?" if verdict.rule else ""
    word = re.search(rf":\s+({verdict.verdict}{rule})", plain)
    if word:
        found.stylize(VERDICTS.get(verdict.verdict, OPEN), *word.span(1))
    for start, end, style in spans(plain, task_styles(verdict)):
        found.stylize(style, start, end)
    return found


def task_styles(verdict: Verdict) -> dict[str, str]:
    """A colour for each task, the same in all counterexamples of a verdict."""
    tasks = dict.fromkeys(
        lane.task for violation in verdict.counterexamples for lane in lanes(violation.trace)
    )
    return {task: TASKS[n % len(TASKS)] for n, task in enumerate(tasks)}


def spans(plain: str, tasks: Mapping[str, str]) -> Iterator[Span]:
    """What is styled, line by line; what broke may take several."""
    at = 0
    ending = False
    for line in plain.split("\n"):
        ending = line.startswith("=>") or (ending and line.startswith("   "))
        if line.startswith(ASIDES) or (ending and line.startswith("   step ")):
            yield at, at + len(line), ASIDE
        elif ending:
            yield at, at + len(line), BROKEN
        else:
            yield from ((at + start, at + end, style) for start, end, style in of_line(line, tasks))
        at += len(line) + 1


def of_line(line: str, tasks: Mapping[str, str]) -> Iterator[Span]:
    """The task in front of a line, or the number of its step; and the values that are new."""
    head = re.match(r"([^\s:]+):(?= |$)", line)
    if head and head[1] in tasks:
        yield 0, head.end(), f"bold {tasks[head[1]]}"
    number = re.match(r" *\d+  (?=\S)", line)
    if number:
        yield *number.span(), ASIDE
    # Values have no comma with a blank in them, and no change goes on in the next line.
    for change in re.finditer(r" -> (.+?)(?=, |,?$)", line):
        yield *change.span(1), CHANGE
