"""Counterexamples as tests of one's own: a pytest file that runs on zonedev alone."""

from __future__ import annotations

import json
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from zonedev.explore.check import Verdict, Violation
from zonedev.explore.trace import TraceStep, shorten

WIDTH = 100

HEAD = '''"""Counterexamples of zonedev, each as the order in which the tasks take their steps.

A test passes as long as its schedule breaks the rule, and so shows the bug.  Set `fixed` to True
when the bug is mended: from then on the test fails if it comes back.

No test depends on line numbers, nor on functions that no task calls; each depends on all the
steps that its tasks take.
"""

'''


def render(verdicts: Sequence[Verdict], file: Path) -> str:
    """The text of `file`, with a test for each counterexample; "" where there is none."""
    found = [(verdict, violation) for verdict in verdicts for violation in verdict.counterexamples]
    names = numbered([name_of(*each) for each in found])
    tests = [test(name, *each, file) for name, each in zip(names, found, strict=True)]
    head = HEAD
    if any(is_file(verdict.design) for verdict, _ in found):
        head += "from pathlib import Path\n\n"
    return head + "from zonedev.explore.schedule import Schedule\n" + "".join(tests) if tests else ""


def is_file(design: str) -> bool:
    """Whether a design is named as FILE.py:CLASS."""
    return design.rpartition(":")[0].endswith(".py")


def numbered(names: Sequence[str]) -> list[str]:
    """The names, with a number where one comes again."""
    return [
        f"{name}_{names[:at].count(name) + 1}" if name in names[:at] else name
        for at, name in enumerate(names)
    ]


def name_of(verdict: Verdict, violation: Violation) -> str:
    """The name of a test."""
    parts = ("test", verdict.scenario, verdict.design.rpartition(":")[2], violation.rule)
    return "_".join(re.sub(r"\W+", "_", part) for part in parts).lower()


def test(name: str, verdict: Verdict, violation: Violation, file: Path) -> str:
    """One test."""
    trace = violation.trace
    arguments = [
        ("scenario", quoted(verdict.scenario)),
        ("design", design_of(verdict.design, file)),
        ("scope", json.dumps(verdict.scope)),
        ("rule", quoted(violation.rule)),
        ("objects", text_of(shorten(violation.objects))),
        ("function", quoted(trace[-1].function if trace else "")),
        *([] if violation.loop is None else [("loop", str(violation.loop))]),
        ("steps", "\n".join(["[", *steps_of(trace), "        ]"])),
    ]
    lines = [f"def {name}() -> None:"]
    lines.append("    fixed = False  # set this to True when the bug is mended")
    lines.append("    schedule = Schedule(")
    lines += [f"        {key}={value}," for key, value in arguments]
    lines += ["    )", "    schedule.check(fixed)", ""]
    return "\n\n" + "\n".join(lines)


def quoted(text: str) -> str:
    """A string of Python."""
    return json.dumps(text)


def text_of(text: str) -> str:
    """A string that may be long, in several lines."""
    parts = textwrap.wrap(text, WIDTH - 20, drop_whitespace=False, break_on_hyphens=False)
    if len(parts) < 2:
        return quoted(text)
    return "\n".join(["(", *(f"            {quoted(part)}" for part in parts), "        )"])


def design_of(design: str, file: Path) -> str:
    """A design by its name; a file of the user's from where the test lies."""
    if not is_file(design):
        return quoted(design)
    path, _, name = design.rpartition(":")
    there = Path(os.path.relpath(path, file.parent)).as_posix()
    return f"str(Path(__file__).parent / {quoted(there)}) + {quoted(':' + name)}"


def steps_of(trace: Sequence[TraceStep]) -> Iterator[str]:
    """A line for each step, under the statement of the scenario that it is in."""
    for (task, call), steps in groupby(trace, key=lambda step: (step.task, step.call)):
        yield shortened(f"            # {task}: {call}")
        for step in steps:
            entry = quoted(step.task) if step.choice == 0 else f"({quoted(step.task)}, {step.choice})"
            yield f"            {entry},  # {step.n} {step.function}"


def shortened(line: str) -> str:
    """A comment that fits."""
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
