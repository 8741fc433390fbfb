"""Two stories side by side: line by line, whether model and machine say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.lab.story import Line

AGREES, DIFFERS, UNSEEN = "agrees", "differs", "not seen"
#: What became of a comparison as a whole, beside agreement and difference.
OOPS, NOT_RUN, TIMEOUT = "oops", "not run", "timeout"
CRASHES = ("oops", "panic", "BUG", "WARNING")
#: The functions of ext4 that the specification names, by those that do the same in XFS.
TWINS = {
    "xfs_break_dax_layouts": "ext4_break_layouts",
    "xfs_break_layouts": "ext4_break_layouts",
    "xfs_file_fallocate": "ext4_fallocate",
    "__xfs_file_fallocate": "ext4_fallocate",
    "xfs_fs_evict_inode": "ext4_evict_inode",
    "xfs_setattr_size": "ext4_setattr",
    "xfs_vn_setattr": "ext4_setattr",
    "xfs_wait_dax_page": "ext4_wait_dax_page",
}


@dataclass(frozen=True)
class Row:
    """A line of both sides; None where a side does not have it."""

    model: Line | None
    machine: Line | None
    verdict: str

    @property
    def line(self) -> Line:
        """Either, for what both share."""
        found = self.model or self.machine
        assert found is not None
        return found


@dataclass
class Conformance:
    """A scenario in one order, on one kernel and one design."""

    scenario: str
    kernel: str  # as it was asked for: "6.12"
    version: str  # what it is: "6.12.107-1"
    design: str
    order: str = ""
    scope: dict[str, Any] = field(default_factory=dict)
    fs: str = ""  # of its files, if it has any
    means: dict[str, str] = field(default_factory=dict)
    accel: str = ""
    verdict: str = NOT_RUN
    why: str = ""  # one line, where it did not come to a comparison
    rows: list[Row] = field(default_factory=list)
    console: list[str] = field(default_factory=list)  # the kernel's last words
    seconds: float = 0.0

    def conclude(self) -> None:
        """The verdict that follows from the rows: their first difference.

        Where the machine goes down, or warns, after the two have parted, that is no oops that
        the model failed to foretell: it told of another course.
        """
        first = next((row for row in self.rows if row.verdict == DIFFERS), None)
        if first is None:
            self.verdict = AGREES
        else:
            self.verdict = OOPS if unforeseen(first) else DIFFERS


def unforeseen(row: Row) -> bool:
    """Whether the machine went down, or warned, where the two differ."""
    model, machine = row.model, row.machine
    if machine is None:
        return False
    return crashed(machine) or len(machine.warned) > len(model.warned if model else ())


def crashed(line: Line) -> bool:
    return line.said is not None and line.said.split()[0] in CRASHES


def compare(model: Sequence[Line], machine: Sequence[Line]) -> list[Row]:
    """The lines of both, in order, each with its verdict."""
    theirs = {line.key: line for line in machine}
    ours = {line.key: line for line in model}
    keys = sorted([*ours, *(k for k in theirs if k not in ours)], key=lambda key: key[0])
    silent = end_of(model)
    rows: list[Row] = []
    for key in keys:
        sides = ours.get(key), theirs.get(key)
        rows.append(Row(*sides, verdict(*sides, silent)))
        if any(line is not None and crashed(line) for line in sides):
            break  # one side has no more to say
        if rows[-1].line.kind == "call" and None in sides:
            break  # they have parted
    return rows


def end_of(model: Sequence[Line]) -> int | None:
    """The moment after which the model has nothing to say: a use of memory that was freed,
    of which nobody can tell what is in it."""
    last = model[-1] if model else None
    return last.moment if last is not None and last.said is None and last.kind != "look" else None


def verdict(model: Line | None, machine: Line | None, silent: int | None = None) -> str:
    """What two lines with the same key come to."""
    if model is None or machine is None:
        line = model or machine
        assert line is not None
        return UNSEEN if line.said is None or (silent is not None and line.moment >= silent) else DIFFERS
    if model.said is None or machine.said is None:
        return UNSEEN
    if len(model.warned) != len(machine.warned):
        return DIFFERS
    if model.said == machine.said:
        return AGREES if model.said != "waits" or place(model, machine) else DIFFERS
    return AGREES if machine.said == "oops" and model.said.startswith("oops on ") else DIFFERS


def place(model: Line, machine: Line) -> str:
    """The innermost function of the specification that the machine's stack shows as well; by the name
    that it has there."""
    there = {TWINS.get(f, f): f for f in reversed(machine.stack)}
    return next((there[f] for f in model.stack if f in there), "")
