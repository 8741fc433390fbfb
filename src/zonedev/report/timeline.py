"""One schedule as text: what each task does, and the counters beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zonedev.explore.run import Timeline
from zonedev.explore.trace import TraceStep
from zonedev.report.json import SCHEMA_VERSION, step_object
from zonedev.report.text import WIDTH, cut, wrapped

MAX_COLUMNS = 4
LEFT = 38  # columns for what is done; the counters have the rest


#: Operations up to which a timeline is printed, and not only what was counted.
FEW = 4


def render(timeline: Timeline) -> str:
    """A line for each function that changed something, with the counters after it; where there are many
    operations only what was counted of them."""
    if timeline.operations > FEW:
        return "\n".join([headline(timeline), *counted(timeline), end(timeline)])
    shown = timeline.counts[:MAX_COLUMNS]
    values = dict(timeline.initial)
    heads = [w.rpartition(".")[::2] for w in shown]
    lines = [headline(timeline)]
    widths = [max(len(owner), len(name)) for owner, name in heads]
    while shown and sum(widths) + len(widths) > WIDTH - LEFT:
        shown, widths, heads = shown[:-1], widths[:-1], heads[:-1]
    lines.append(columns("", [owner for owner, _ in heads], widths))
    lines.append(columns("", [name for _, name in heads], widths))
    lines.append(columns("at the beginning", [values[w] for w in shown], widths))
    lines += body(timeline, shown, widths, values)
    hidden = timeline.counts[len(shown) :]
    if hidden:
        lines.append(wrapped(f"(counters without a column: {', '.join(hidden)})"))
    return "\n".join([*lines, *counted(timeline), end(timeline)])


def headline(timeline: Timeline) -> str:
    """What was run."""
    scope = ", ".join(f"{n}={v}" for n, v in timeline.scope.items())
    return wrapped(
        f"{timeline.scenario}, {timeline.design}{f' ({scope})' if scope else ''}, seed {timeline.seed}"
    )


def counted(timeline: Timeline) -> Iterator[str]:
    """How often the functions were called that the scenario has counted."""
    for words, number in timeline.calls.items():
        each = f" ({1000 * number // timeline.operations} per 1000)" if timeline.operations > FEW else ""
        yield f"   {words}: {number}{each}"


def end(timeline: Timeline) -> str:
    """How it ended."""
    if timeline.ending != "finished":
        return wrapped(f"=> {timeline.ending}: {timeline.text}", "   ")
    of = f"{timeline.operations} operations, " if timeline.operations > FEW else ""
    return f"=> finished after {of}{len(timeline.steps)} steps"


def body(timeline: Timeline, shown: list[str], widths: list[int], values: dict[str, str]) -> Iterator[str]:
    """A headline for each system call, a line for each of its functions, and what was observed."""
    last: TraceStep | None = None
    told: list[TraceStep] = []  # steps of one function that are not printed yet

    def flush() -> Iterator[str]:
        if told:
            yield columns(f"{told[-1].n:>4}  {told[-1].function}", [values[w] for w in shown], widths)
            others = [
                c for s in told for c in s.changes if not c.quiet and c.old != c.new and c.where not in shown
            ]
            if others:
                text = ", ".join(f"{c.where} {c.old} -> {c.new}" for c in others)
                yield wrapped(" " * 8 + text, " " * 8)
            told.clear()

    for step in timeline.steps:
        if told and (step.task, step.calls) != (told[-1].task, told[-1].calls):
            yield from flush()
        if last is None or (step.task, step.call) != (last.task, last.call):
            yield from flush()
            yield cut(f"{step.task}: {step.call or step.function}")
        last = step
        for change in step.changes:
            values[change.where] = change.new
        if any(not c.quiet and c.old != c.new for c in step.changes):
            told.append(step)
        seen = [o for o in timeline.observations if o.n == step.n]
        if seen:
            yield from flush()
            yield from (cut(f"      {o.task} sees {o.label} = {o.value}") for o in seen)
    yield from flush()


def columns(left: str, cells: list[str], widths: list[int]) -> str:
    """The text on the left, the counters right-aligned in their columns."""
    right = "".join(f" {c:>{w}}" for c, w in zip(cells, widths, strict=True))
    return f"{left[:LEFT]:<{LEFT}}{right}".rstrip()


def timeline_object(timeline: Timeline) -> dict[str, Any]:
    """The same for --format json."""
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": timeline.scenario,
        "design": timeline.design,
        "scope": timeline.scope,
        "seed": timeline.seed,
        "ending": timeline.ending,
        "text": timeline.text,
        "calls": timeline.calls,
        "observations": [
            {"n": o.n, "task": o.task, "label": o.label, "value": o.value} for o in timeline.observations
        ],
        "trace": [step_object(s) for s in timeline.steps],
    }
