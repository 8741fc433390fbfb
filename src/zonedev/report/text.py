"""Verdicts as text: at most 80 columns of plain ASCII, the same from run to run.

A counterexample is told task by task.  Under the system call that the task is in there
is one line for each kernel function that changed something, with the net changes; where
the story moves to another task, the statement that was executed last is shown too, as
what it read is often the point.  The most detailed of a few such tellings that fits
into `MAX_LINES` is printed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from zonedev.explore.check import HOLDS, UNDETERMINED, VIOLATED, Verdict
from zonedev.explore.trace import Change, TraceStep, shorten

WIDTH = 80
MAX_LINES = 20
NAME_WIDTH = 24
INDENT = 4


@dataclass
class Row:
    """Consecutive steps that are told in one line."""

    function: str
    last: int  # the number of the last step
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: str = ""  # a statement, shown where nothing changed

    def add(self, step: TraceStep, changes: Iterable[Change]) -> None:
        """Fold a step's changes in, old -> new over all of them."""
        self.last = step.n
        for change in changes:
            old = self.changes.get(change.where, (change.old, ""))[0]
            self.changes[change.where] = (old, change.new)

    def text(self) -> str:
        net = [f"{w} {old} -> {new}" for w, (old, new) in self.changes.items() if old != new]
        return ", ".join(net) or self.said


@dataclass
class Group:
    """Consecutive steps of one task in one system call."""

    task: str
    call: str
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Detail:
    """How much is told: a row per function or per system call, and with last statements or not."""

    by_function: bool
    last_statements: bool


TELLINGS = (Detail(True, True), Detail(True, False), Detail(False, True), Detail(False, False))


def render(verdict: Verdict) -> str:
    """One verdict; several lines where it is a counterexample."""
    where = f"{verdict.scenario}, {verdict.design}{scope_text(verdict)}"
    if verdict.verdict == HOLDS:
        return wrapped(f"{where}: holds ({counts(verdict)}, depth {verdict.depth})")
    if verdict.verdict == UNDETERMINED:
        return wrapped(
            f"{where}: undetermined: stopped by {verdict.stopped}, "
            f"complete to depth {verdict.covered} ({counts(verdict)})"
        )
    assert verdict.verdict == VIOLATED
    head = wrapped(f"{where}: violated: {verdict.rule}")
    tail = wrapped(f"=> {verdict.rule}: {shorten(verdict.objects or '')}", "   ")
    steps = verdict.trace
    switches = sum(a.task != b.task for a, b in zip(steps, steps[1:], strict=False))
    last = f"   step {verdict.depth}"
    if steps:
        last += f", {steps[-1].function} ({steps[-1].source})"
    last = wrapped(f"{last}; {plural(switches, 'task switch', 'task switches')}; {counts(verdict)}", "   ")
    room = MAX_LINES - sum(part.count("\n") + 1 for part in (head, tail, last))
    return "\n".join([head, *story(steps, room), tail, last])


def story(steps: Sequence[TraceStep], room: int) -> list[str]:
    """The steps in `room` lines, or in the tersest telling where none fits."""
    told: list[str] = []
    for detail in TELLINGS:
        told = list(lines_of(grouped(steps, detail)))
        if len(told) <= room:
            break
    return told


def grouped(steps: Sequence[TraceStep], detail: Detail) -> list[Group]:
    """The steps by task and system call, net changes by function."""
    groups: list[Group] = []
    for at, step in enumerate(steps):
        if not groups or groups[-1].task != step.task or groups[-1].call != step.call:
            groups.append(Group(step.task, step.call))
        rows = groups[-1].rows
        loud = [c for c in step.changes if not c.quiet]
        name = step.function if detail.by_function else outer_function(step)
        final = at + 1 == len(steps)
        leaving = final or steps[at + 1].task != step.task
        if loud:
            if not rows or rows[-1].said or rows[-1].function != name:
                rows.append(Row(name, step.n))
            rows[-1].add(step, loud)
        elif leaving and (detail.last_statements or final or not rows):
            rows.append(Row(step.function, step.n, said=step.text))
    return [g for g in groups if g.rows]


def outer_function(step: TraceStep) -> str:
    """The system call that a step is in."""
    return step.calls[1] if len(step.calls) > 1 else step.function


def lines_of(groups: Sequence[Group]) -> Iterator[str]:
    rows = [r for g in groups for r in g.rows]
    width = min(NAME_WIDTH, max((len(r.function) for r in rows), default=0))
    for group in groups:
        yield cut(f"{group.task}: {group.call}" if group.call else f"{group.task}:")
        for row in group.rows:
            yield from row_lines(row, width)


def row_lines(row: Row, width: int) -> Iterator[str]:
    start = f"{row.last:>{INDENT}}  {row.function:<{width}}  "
    indent = " " * (INDENT + 2 + width + 2)
    text = row.text()
    if row.said:
        yield cut(start + text)
        return
    parts = text.split(", ")
    line = start
    for n, part in enumerate(parts):
        part += "," if n + 1 < len(parts) else ""
        if len(line.rstrip()) + 1 + len(part) > WIDTH and line.strip() != start.strip():
            yield line.rstrip()
            line = indent
        line += part + " "
    yield cut(line.rstrip())


def counts(verdict: Verdict) -> str:
    return f"{verdict.states} states, {verdict.transitions} transitions"


def scope_text(verdict: Verdict) -> str:
    if not verdict.scope:
        return ""
    return " (" + ", ".join(f"{n}={v}" for n, v in verdict.scope.items()) + ")"


def plural(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def wrapped(text: str, indent: str = "    ") -> str:
    """`text` in lines of at most 80 columns, the later ones indented."""
    own = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(
        text.strip(), WIDTH, initial_indent=own, subsequent_indent=indent, break_on_hyphens=False
    )


def cut(line: str) -> str:
    """`line`, shortened to 80 columns."""
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
