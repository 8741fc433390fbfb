"""A counterexample as the messages of a sequence diagram, for Mermaid and PlantUML.

As in the text there is one message for each kernel function that changed something, under the
system call that the task is in.  What is too much for a diagram is told more tersely, in the
same way; of what is still too much the end is kept.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from zonedev.explore.check import Verdict
from zonedev.explore.trace import TraceStep, shorten
from zonedev.report.columns import Lane, lanes
from zonedev.report.text import Group, drop_statement, grouped, merge_nearest, scope_text, spoken_of

MOST = 60


@dataclass(frozen=True)
class Message:
    """What a task does: a system call, or a function of it with its net changes (`notes`).

    `number` is that of its last step, 0 for a system call.  `said` is a statement that only read.
    """

    task: str
    text: str
    number: int = 0
    notes: tuple[str, ...] = ()
    said: str = ""

    @property
    def beside(self) -> Sequence[str]:
        """The lines of the note beside it."""
        return [self.said] if self.said else self.notes


@dataclass(frozen=True)
class Diagram:
    """The messages before a loop and those of it; `left_out` is how many there were before the first."""

    title: str
    lanes: Sequence[Lane]
    messages: Sequence[Message]
    loop: Sequence[Message]
    end: str
    left_out: int = 0

    def ids(self) -> dict[str, str]:
        """What each lane is called in the diagram's text, by its task."""
        return {lane.task: f"t{n}" for n, lane in enumerate(self.lanes)}

    def ends(self) -> list[str]:
        """The first lane and the last, by these names: what a note over all of them spans."""
        names = list(self.ids().values())
        return names if len(names) == 1 else [names[0], names[-1]]


def diagram(verdict: Verdict, most: int = MOST) -> Diagram:
    """A counterexample in at most `most` messages."""
    steps = verdict.trace
    begin = len(steps) if verdict.loop is None else verdict.loop - 1
    kept = spoken_of(steps, verdict.rule)
    again = told(steps[begin:], kept, most * 2 // 3)
    before = told(steps[:begin], kept, most - len(again))
    room = most - min(len(again), most)
    return Diagram(
        f"{verdict.scenario}, {verdict.design}{scope_text(verdict)}: violated: {verdict.rule}",
        lanes(steps) or [Lane("(no step)")],
        before[max(0, len(before) - room) :],
        again[-most:],
        f"{verdict.rule}: {shorten(verdict.objects or '')}",
        max(0, len(before) - room),
    )


def told(steps: Sequence[TraceStep], kept: Set[str], most: int) -> list[Message]:
    """The messages of some steps: `most` of them, as far as telling them more tersely gets there."""
    groups = grouped(steps, kept)
    while sum(map(_size, groups)) > most and (drop_statement(groups) or merge_nearest(groups)):
        pass
    return [message for group in groups for message in _messages(group)]


def _size(group: Group) -> int:
    return len(group.rows) + bool(group.call)


def _messages(group: Group) -> list[Message]:
    head = [Message(group.task, group.call)] if group.call else []
    rows = [Message(group.task, row.function, row.last, tuple(row.net()), row.said) for row in group.rows]
    return [*head, *rows]
