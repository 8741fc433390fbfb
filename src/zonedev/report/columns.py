"""A trace as a table: a column for each location that matters, a row for each step.

The terminal's stepper and the HTML report show the same columns, and the diagrams the same
choice of steps.  Quiet locations (locks, preempt_count) have no column, other than those that
a page's reader asks for first: what it belongs to and who has it pinned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby

from zonedev.explore.trace import Change, TraceStep

#: The names of pages: of a device, of device memory, of system memory.
PAGE = r"(?:(?:page|vram|copy)\d+|zero_page)"

#: Groups of columns in the order in which they are read, each with the patterns of its fields in
#: theirs.  A location belongs to the first that fits.
GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("page", (
        PAGE + r"\._refcount", PAGE + r"\._mapcount", PAGE + r"\._pincount", r".*\.(pins|gets)\[\d+\]",
        PAGE + r"\.mapping", PAGE + r"\.index", PAGE + r"\..*",
    )),
    ("pagemap", (
        r"ref\d+\.percpu_count_ptr", r"ref\d+\.percpu_count", r"ref\d+\.count", r"ref\d+\..*", r"pgmap.*",
    )),
    ("page tables", (
        r"mm\d+\.(pte|pmd|pud)\[\d+\]", r"mirror\d*\.pt\[\d+\]", r".*\.tlb\[\d+\]", r"vma\d+\..*",
    )),
    ("file", (
        r"inode\d+\.i_pages\[\d+\]", r"inode\d+\.extents\[\d+\]", r"inode\d+\..*", r"mapping\d+\..*",
        r"dax\d*\.i_pages\[\d+\]", r"pmem\d+\..*",
    )),
    ("memory", (r"frame\d+\..*",)),
)  # fmt: skip
REST = "other"

#: Quiet fields that have a column all the same.
SHOWN_ANYWAY = re.compile(PAGE + r"\.(mapping|index)|.*\.(pins|gets)\[\d+\]")

#: Tasks that stand for a device; that of an actor, such as a softirq, is known by its calls.
DEVICE = re.compile(r"gpu\d*|dma\d*|device\d*")
TASK_KINDS = ("task", "device", "actor")

_PATTERNS = [(rank, at, re.compile(p)) for rank, (_, ps) in enumerate(GROUPS) for at, p in enumerate(ps)]


@dataclass(frozen=True)
class Column:
    """A location that changes: `where` as in the trace, its `group`, the value before the first step."""

    where: str
    group: str
    initial: str

    @property
    def owner(self) -> str:
        """The object: page0 of page0._refcount."""
        return self.where.partition(".")[0]

    @property
    def field(self) -> str:
        """What of it: _refcount of page0._refcount; "" where the object is one value."""
        return self.where.partition(".")[2]


@dataclass(frozen=True)
class Row:
    """The values after a step, column by column, and the numbers of the columns that it changed."""

    step: TraceStep
    values: tuple[str, ...]
    changed: frozenset[int]


@dataclass(frozen=True)
class Drawn:
    """A step that is drawn, and how many before it, since the last that is, are not."""

    step: TraceStep
    folded: int = 0


@dataclass(frozen=True)
class Lane:
    """A task of a trace: `kind` is one of TASK_KINDS."""

    task: str
    kind: str = field(default="task")


def tells(change: Change, kept: Set[str] = frozenset()) -> bool:
    """Whether a change is worth a place; `kept` are quiet locations that are, in this trace."""
    seen = not change.quiet or change.where in kept or SHOWN_ANYWAY.fullmatch(change.where) is not None
    return seen and change.old != change.new


def rank(where: str) -> tuple[int, int]:
    """The place of a location among the others: number of its group, and of its field there."""
    return next(((r, at) for r, at, p in _PATTERNS if p.fullmatch(where)), (len(GROUPS), 0))


def group(where: str) -> str:
    """The name of a location's group."""
    number, _ = rank(where)
    return GROUPS[number][0] if number < len(GROUPS) else REST


def columns(steps: Iterable[TraceStep], kept: Set[str] = frozenset(), quiet: bool = False) -> list[Column]:
    """The locations that change, in reading order: group by group, object by object.

    `kept` are quiet locations with a column, `quiet` gives them all one.
    """
    first: dict[str, str] = {}
    for change in (c for s in steps for c in s.changes):
        if tells(change, kept) or (quiet and change.old != change.new):
            first.setdefault(change.where, change.old)
    found = [Column(where, group(where), old) for where, old in first.items()]
    return sorted(found, key=lambda c: (rank(c.where)[0], _about(c), rank(c.where)[1], _natural(c.where)))


def _about(column: Column) -> tuple[tuple[str, int], ...]:
    """The object that a column stands beside: a pin is read with its page."""
    pinned = re.fullmatch(r".*\.(?:pins|gets)\[(\d+)\]", column.where)
    return _natural(f"page{pinned[1]}" if pinned else column.owner if column.group != REST else "")


def _natural(text: str) -> tuple[tuple[str, int], ...]:
    """A key that sorts page2 before page10."""
    return tuple((part, int(number or 0)) for part, number in re.findall(r"(\D+)(\d*)", text))


def rows(steps: Iterable[TraceStep], shown: Sequence[Column]) -> list[Row]:
    """A row for each step."""
    at = {c.where: n for n, c in enumerate(shown)}
    values = [c.initial for c in shown]
    found = []
    for step in steps:
        changed = set()
        for change in step.changes:
            number = at.get(change.where)
            if number is not None and change.old != change.new:
                values[number] = change.new
                changed.add(number)
        found.append(Row(step, tuple(values), frozenset(changed)))
    return found


def drawn(
    steps: Sequence[TraceStep], most: int = 60, kept: Set[str] = frozenset(), loop: int | None = None
) -> list[Drawn]:
    """The steps that are drawn, at most `most` of them; the last is always one.

    They change something that has a column, or begin or end a task's turn, or the `loop` with
    that step number.  Of too many the changes of pages are kept first, and what is near the end.
    """
    worth = {n: _worth(step, kept) for n, step in enumerate(steps)}
    for _, turn in groupby(enumerate(steps), lambda pair: pair[1].task):
        numbers = [n for n, _ in turn]
        worth[numbers[0]] = min(worth[numbers[0]], len(GROUPS) + 2)
        worth[numbers[-1]] = min(worth[numbers[-1]], len(GROUPS) + 1)
    for n, step in enumerate(steps):
        if n + 1 == len(steps) or step.n == loop:
            worth[n] = -1
    order = sorted((n for n, w in worth.items() if w < _NOTHING), key=lambda n: (worth[n], -n))
    chosen = sorted(order[: max(most, 1)])
    before = [-1, *chosen]
    return [Drawn(steps[n], n - last - 1) for last, n in zip(before, chosen, strict=False)]


_NOTHING = len(GROUPS) + 3


def _worth(step: TraceStep, kept: Set[str]) -> int:
    """How early a step is drawn for what it changes: the number of a group, or `_NOTHING`."""
    return min((rank(c.where)[0] for c in step.changes if tells(c, kept)), default=_NOTHING)


def lanes(steps: Iterable[TraceStep]) -> list[Lane]:
    """The tasks in the order of their first steps; actors, which are no tasks, after them."""
    by_task: dict[str, list[TraceStep]] = {}
    for step in steps:
        by_task.setdefault(step.task, []).append(step)
    found = [Lane(task, _kind(task, own)) for task, own in by_task.items()]
    return sorted(found, key=lambda lane: lane.kind == "actor")


def _kind(task: str, steps: Sequence[TraceStep]) -> str:
    """An actor runs one function, which stands where others have the statement of their program."""
    if all(s.calls and s.call == s.calls[0] for s in steps):
        return "actor"
    return "device" if DEVICE.fullmatch(task) else "task"
