"""What the terminal's stepper writes into its table and beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from rich.text import Text

from zonedev.explore.check import Verdict
from zonedev.explore.trace import TraceStep, shorten
from zonedev.report.columns import Column, Lane, Row
from zonedev.report.excerpt import excerpt
from zonedev.report.text import scope_text

BROKEN = "bold white on red"
#: How a lane is headed, and what its steps look like besides the task's colour.
HEADS = {"task": "{}", "device": "[{}]", "actor": "({})"}
LOOKS = {"task": "", "device": " reverse", "actor": " italic"}
#: Colours of tasks; on a terminal's own palette magenta and red are hard to tell apart.
TASKS = ("#5fd7ff", "#d7afff", "#87afff", "#5fd7af", "#ffd787", "#d7d7af")
NARROW, WIDE = 10, 28  # a lane

HELP = """\
down j, up k     one step
PgDn, PgUp       a screenful
Home, End        first step, last step
n, p             next, previous switch to another task
left, right      more columns
/                search a function: Enter goes on searching
q                quiet steps: locks, preempt_count, and so on
?                this help
Esc, Ctrl-Q      quit

A task is a column of kernel functions, A; a device is [gpu], and
what the kernel does by itself (rcu_softirq).  The columns after
them show a location where it changes.  The line of the step is
marked in the specification beside it.  The last step is where
the rule breaks."""


def headline(verdict: Verdict) -> Text:
    """What was checked, and what broke."""
    return Text.assemble(
        (f"{verdict.scenario}, {verdict.design}{scope_text(verdict)}: ", "bold"),
        (f"violated: {verdict.rule}", "bold red"),
    )


def heads(lanes: Sequence[Lane], columns: Sequence[Column], styles: Mapping[str, str]) -> list[Text]:
    """The heads of the table's columns: the object over its field."""
    return [
        Text("step", justify="right"),
        *(Text(HEADS[lane.kind].format(lane.task), style=styles[lane.task]) for lane in lanes),
        *(Text(f"{column.owner}\n{column.field}") for column in columns),
    ]


def before(lanes: Sequence[Lane], columns: Sequence[Column]) -> list[Text]:
    """The table's first row: the values before the first step."""
    return [
        Text("0", justify="right"),
        *(Text("") for _ in lanes),
        *(Text(c.initial, "dim") for c in columns),
    ]


def styles_of(lanes: Sequence[Lane]) -> dict[str, str]:
    """A colour for each task."""
    return {lane.task: TASKS[n % len(TASKS)] for n, lane in enumerate(lanes)}


def lane_width(lanes: Sequence[Lane], width: int) -> int:
    """What a lane gets of a table so that the columns have half of it, if that is enough."""
    return min(WIDE, max(NARROW, width // 2 // max(len(lanes), 1) - 2))


def cells(
    row: Row, lanes: Sequence[Lane], styles: Mapping[str, str], width: int, mark: str, broken: bool
) -> list[Text]:
    """A step in the table: its function in its task's lane, and the values that it changes."""
    step = row.step
    found = [Text(f"{mark}{step.n}", justify="right")]
    for lane in lanes:
        name = step.function if lane.task == step.task else ""
        if len(name) > width:
            name = f"{name[: width - 2]}.."
        found.append(Text(name, BROKEN if broken else styles[lane.task] + LOOKS[lane.kind]))
    for n, value in enumerate(row.values):
        found.append(Text(value if n in row.changed else "", "bold"))
    return found


def details(step: TraceStep, verdict: Verdict, styles: Mapping[str, str]) -> Text:
    """The step in full: its call, the functions that it is in, its statement, what it changes."""
    found = Text()
    found.append(f"{step.task}: ", f"bold {styles[step.task]}")
    found.append(f"{step.call or step.function}\n")
    inner = step.calls[1:] if step.call else step.calls
    found.append(f"{' > '.join(name for name, _ in groupby(inner))}\n", "dim")
    found.append(f"{step.source}: {step.text}\n")
    for change in step.changes:
        found.append(f"   {change.where} {change.old} -> {change.new}\n", "dim" if change.quiet else "bold")
    if step is verdict.trace[-1]:
        found.append(f"=> {verdict.rule}: {shorten(verdict.objects or '')}\n", BROKEN)
        if verdict.loop is not None:
            found.append(f"   steps {verdict.loop} to {step.n} repeat for ever\n", "bold red")
    return found


def source(step: TraceStep, height: int) -> Text:
    """The function that the step is in, `height` lines of it, the step's line marked."""
    found = excerpt(step)
    if found is None:
        return Text(f"{step.source} is not here\n\n> {step.text}")
    head = f"{found.source} is no longer what it was" if found.changed else found.source
    text = Text.assemble((f"{head}\n", "bold red" if found.changed else "bold"))
    room = max(height - 1, 3)
    begin = max(0, min(found.at - found.first - room // 2, len(found.lines) - room))
    margin = min((len(line) - len(line.lstrip()) for line in found.lines if line.strip()), default=0)
    for number, line in list(enumerate(found.lines, found.first))[begin : begin + room]:
        here = number == found.at
        text.append(f"{'>' if here else ' '}{number:>4} {line[margin:]}\n", "reverse" if here else "")
    return text
