"""Verdicts as text: at most 80 columns of plain ASCII, the same from run to run.

A counterexample is told task by task.  Under the system call that the task is in there
is one line for each kernel function that changed something, with the net changes.  Where
the story moves to another task on a statement that only read, that is shown too: what it
read is often the point.  What does not fit into `MAX_LINES` is told more tersely: the
functions with the nearest common caller become one line under the caller's name.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from zonedev.explore.check import HOLDS, UNDETERMINED, VIOLATED, Verdict, Violation
from zonedev.explore.trace import TraceStep, shared_calls, shorten
from zonedev.explore.vacuity import Vacuity
from zonedev.report.notes import notes

if TYPE_CHECKING:
    from zonedev.explore.run import Timeline

WIDTH = 80
MAX_LINES = 20
NAME_WIDTH = 20
INDENT = 4
REPEATS = "-- from here on this repeats for ever:"
#: What is counted of violations, when there is one.
ONE = {"steps": "step", "states": "state", "states at rest": "state at rest"}

#: Rules about waiting: who holds which lock is what their counterexamples are about.
WAITING_RULES = frozenset(
    {"no-deadlock", "no-lost-wakeup", "removal-terminates", "truncate-terminates", "fault-terminates"}
)

#: What only counterexamples to one rule are about; in all others it is left out.
SUBJECT = {"mapping-exact": (".mapping", ".index")}
NOT_OF_WAITING = tuple(way for ways in SUBJECT.values() for way in ways)


@dataclass
class Row:
    """Consecutive steps that are told in one line, under the innermost function of `calls`."""

    calls: tuple[str, ...]
    last: int  # the number of the last step
    changes: dict[str, tuple[str, str]] = field(default_factory=dict)
    said: str = ""  # a statement, shown where nothing changed
    final: bool = False  # the step that breaks the rule

    def add(self, last: int, changes: Iterable[tuple[str, str, str]]) -> None:
        """Fold later changes in: old -> new over all of them."""
        self.last = last
        for where, old, new in changes:
            self.changes[where] = (self.changes.get(where, (old, ""))[0], new)

    def net(self) -> list[str]:
        return [f"{w} {old} -> {new}" for w, (old, new) in self.changes.items() if old != new]

    def text(self) -> str:
        return self.said or ", ".join(self.net())

    @property
    def function(self) -> str:
        return self.calls[-1] if self.calls else ""


@dataclass
class Group:
    """Consecutive steps of one task in one system call."""

    task: str
    call: str
    rows: list[Row] = field(default_factory=list)


def render(verdict: Verdict) -> str:
    """One verdict; several lines where it is a counterexample."""
    where = f"{verdict.scenario}, {verdict.design}{scope_text(verdict)}"
    if verdict.verdict == HOLDS:
        said = [wrapped(f"{where}: holds ({counts(verdict)}, depth {verdict.depth}{reductions(verdict)})")]
        if verdict.observed is not None:
            said.append(observed(verdict.observed))
        said += [note(sentence) for sentence in notes(verdict.vacuity or Vacuity())]
        return "\n".join(said)
    if verdict.verdict == UNDETERMINED:
        found = f"{counts(verdict)}{reductions(verdict)}"
        return wrapped(f"{where}: undetermined: {incomplete(verdict)} ({found})")
    assert verdict.verdict == VIOLATED
    if verdict.violations is not None:
        return "\n\n".join(list_of(where, verdict, verdict.violations))
    (shown,) = verdict.counterexamples
    explored = f"; {plural(verdict.states, 'state', 'states')} explored"
    if verdict.reductions:
        explored += f"{reductions(verdict)}; there may be a shorter one"
    # A replay has not counted any.
    return told(f"{where}: violated: {verdict.rule}", shown, explored if verdict.states else "")


def list_of(where: str, verdict: Verdict, violations: Sequence[Violation]) -> Iterator[str]:
    """All violations, each with its counterexample."""
    ways = plural(len(violations), "way", "ways")
    head = f"{where}: violated in {ways} ({counts(verdict)}, depth {verdict.depth})"
    if verdict.stopped is not None:
        head += f": {incomplete(verdict)}, so that there may be more"
    yield wrapped(head)
    for number, violation in enumerate(violations, 1):
        yield told(f"{number}. {violation.rule}: {how_many(violation)}", violation)


def how_many(violation: Violation) -> str:
    """How often it happens, and where: in which system calls, and in which functions of these."""
    number = plural(violation.count, ONE[violation.counted], violation.counted)
    if not violation.calls:
        return number
    where = f"{number} in {', '.join(violation.calls)}"
    inner = [f for f in violation.functions if f not in violation.calls]
    return f"{where} ({', '.join(inner)})" if inner else where


def incomplete(verdict: Verdict) -> str:
    """What ended a search before it was complete, and how far it came."""
    why = "interrupted" if verdict.stopped == "interrupted" else f"stopped by {verdict.stopped}"
    return f"{why}, complete to depth {verdict.covered}"


def told(title: str, violation: Violation, more: str = "") -> str:
    """A counterexample under a title; `more` is said at its end."""
    head = wrapped(title)
    tail = wrapped(f"=> {violation.rule}: {shorten(violation.objects)}", "   ")
    steps = violation.trace
    switches = sum(a.task != b.task for a, b in pairwise(steps))
    last = f"   step {len(steps)}{f' at {steps[-1].source}' if steps else ''}"
    last = wrapped(f"{last}; {plural(switches, 'task switch', 'task switches')}{more}", "   ")
    room = MAX_LINES - sum(part.count("\n") + 1 for part in (head, tail, last))
    if violation.loop is None:
        lines = story(steps, room, spoken_of(steps, violation.rule))
    else:
        lines = lasso(steps[: violation.loop - 1], steps[violation.loop - 1 :], room, violation.rule)
    return "\n".join([head, *lines, tail, last])


def lasso(before: Sequence[TraceStep], again: Sequence[TraceStep], room: int, rule: str | None) -> list[str]:
    """The steps that lead to a loop, and one round of it, for which there is more room.

    Of a short loop all is told: what was read, and each lock.  Of a long one, only what a task
    leaves changed when the next goes on.
    """
    everything = {c.where for s in again for c in s.changes if not c.where.endswith(NOT_OF_WAITING)}
    loop = list(lines_of(grouped(again, everything, reads=True)))
    if len(loop) > room * 2 // 3:
        runs = (changed_for_good(list(run)) for _, run in groupby(again, lambda step: step.task))
        loop = story(again, room * 2 // 3, everything & set[str]().union(*runs))
    return [*story(before, room - 1 - len(loop), spoken_of(before, rule)), REPEATS, *loop]


def story(steps: Sequence[TraceStep], room: int, kept: Set[str] = frozenset()) -> list[str]:
    """The steps in `room` lines, as far as telling them more tersely gets there; `kept` are quiet
    locations that are told too."""
    groups = grouped(steps, kept)
    told = list(lines_of(groups))
    if len(told) <= room:
        return told
    tellings = [list(lines_of(groups, fold=True))]
    while len(tellings[-1]) > room and (drop_statement(groups) or merge_nearest(groups)):
        tellings.append(list(lines_of(groups, fold=True)))
    return min(tellings, key=len)  # the most detailed of the shortest


def spoken_of(steps: Sequence[TraceStep], rule: str | None) -> set[str]:
    """Of the locations that are left out otherwise, those that a counterexample to a rule is about;
    where it is about waiting, those that have changed for good, such as a lock that is still held."""
    if rule in WAITING_RULES:
        return {where for where in changed_for_good(steps) if not where.endswith(NOT_OF_WAITING)}
    if rule in SUBJECT:
        return {c.where for s in steps for c in s.changes if c.where.endswith(SUBJECT[rule])}
    return set()


def grouped(steps: Sequence[TraceStep], kept: Set[str], reads: bool = False) -> list[Group]:
    """The steps by task and system call, net changes by function; `reads`: with all statements that
    only read."""
    groups: list[Group] = []
    for at, step in enumerate(steps):
        if not groups or groups[-1].task != step.task or groups[-1].call != step.call:
            groups.append(Group(step.task, step.call))
        rows = groups[-1].rows
        seen = [c for c in step.changes if c.old != c.new and (not c.quiet or c.where in kept)]
        final = at + 1 == len(steps)
        leaving = final or steps[at + 1].task != step.task
        if seen:
            if not rows or rows[-1].said or rows[-1].calls != step.calls:
                rows.append(Row(step.calls, step.n))
            rows[-1].add(step.n, ((c.where, c.old, c.new) for c in seen))
            rows[-1].final = final
        elif (leaving or reads) and all(c.old == c.new for c in step.changes):
            rows.append(Row(step.calls, step.n, said=step.text, final=final))
    return coalesced(groups)


def coalesced(groups: Sequence[Group]) -> list[Group]:
    """Without groups that have nothing to tell."""
    found: list[Group] = []
    for group in groups:
        if found and group.rows and (found[-1].task, found[-1].call) == (group.task, group.call):
            found[-1].rows += group.rows
        elif group.rows:
            found.append(group)
    return found


def changed_for_good(steps: Sequence[TraceStep]) -> set[str]:
    """The locations whose last value is not their first."""
    first: dict[str, str] = {}
    last: dict[str, str] = {}
    for change in (c for s in steps for c in s.changes):
        first.setdefault(change.where, change.old)
        last[change.where] = change.new
    return {where for where, value in last.items() if value != first[where]}


def drop_statement(groups: list[Group]) -> bool:
    """Leave out the first statement that only read, where its group has more to tell."""
    for group in groups:
        for at, row in enumerate(group.rows):
            if row.said and not row.final and len(group.rows) > 1:
                del group.rows[at]
                return True
    return False


def merge_nearest(groups: list[Group]) -> bool:
    """Make one row of two neighbours: of those that save a line the ones with the nearest
    common caller, and where none saves a line the same of all."""
    best: tuple[bool, int, Group, int] | None = None
    for group in groups:
        for at, (a, b) in enumerate(pairwise(group.rows)):
            if a.said or b.said:
                continue
            before = len(list(lines_of([group], fold=True)))
            merged = Group(group.task, group.call, joined(group.rows, at))
            saves = len(list(lines_of([merged], fold=True))) < before
            depth = len(shared_calls(a.calls, b.calls))
            if best is None or (saves, depth) > best[:2]:
                best = (saves, depth, group, at)
    if best is None:
        return False
    _, _, group, at = best
    group.rows = joined(group.rows, at)
    return True


def joined(rows: Sequence[Row], at: int) -> list[Row]:
    """The rows with row `at` and the next one made one; without it where nothing is left to tell."""
    first, second = rows[at], rows[at + 1]
    row = Row(tuple(shared_calls(first.calls, second.calls)), second.last, dict(first.changes))
    row.final = second.final
    row.add(second.last, ((w, old, new) for w, (old, new) in second.changes.items()))
    told = [row] if row.net() or row.final or len(rows) == 2 else []
    return [*rows[:at], *told, *rows[at + 2 :]]


def lines_of(groups: Sequence[Group], fold: bool = False) -> Iterator[str]:
    """The lines of a story; `fold`: what is short enough stands beside its system call."""
    for group in groups:
        head = f"{group.task}: {group.call}" if group.call else f"{group.task}:"
        if fold and len(group.rows) == 1:
            row = group.rows[0]
            line = f"{head}: {row.text()}"
            if not row.said and len(line) <= WIDTH and row.function in group.call:
                yield line
                continue
        yield cut(head)
        for row in group.rows:
            yield from row_lines(row)


def row_lines(row: Row) -> Iterator[str]:
    start = f"{row.last:>{INDENT}}  {row.function:<{NAME_WIDTH}}  "
    if row.said:
        yield cut((start + row.said).rstrip())
        return
    indent = " " * (INDENT + 2 + NAME_WIDTH + 2)
    lines = textwrap.wrap(
        row.text().replace(" ", "\0").replace(",\0", ", "),  # break between changes only
        WIDTH,
        initial_indent=start,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines or [start.rstrip()]:
        yield cut(line.replace("\0", " "))


def observed(seen: Mapping[str, int]) -> str:
    """What a scenario saw, point by point."""
    return wrapped("   observed: " + ", ".join(f"{label} {value}" for label, value in seen.items()), "   ")


def counts(verdict: Verdict) -> str:
    return f"{verdict.states} states, {verdict.transitions} transitions"


def reductions(verdict: Verdict) -> str:
    return f"; reduced by {', '.join(verdict.reductions)}" if verdict.reductions else ""


def scope_text(found: Verdict | Timeline) -> str:
    if not found.scope:
        return ""
    return " (" + ", ".join(f"{n}={v}" for n, v in found.scope.items()) + ")"


def plural(n: int, one: str, many: str) -> str:
    return f"{n} {one if n == 1 else many}"


def wrapped(text: str, indent: str = "    ") -> str:
    """`text` in lines of at most 80 columns, the later ones indented."""
    own = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(
        text.strip(), WIDTH, initial_indent=own, subsequent_indent=indent, break_on_hyphens=False
    )


def note(sentence: str) -> str:
    return wrapped(f"note: {sentence}", "      ")


def cut(line: str) -> str:
    """`line`, shortened to 80 columns."""
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
