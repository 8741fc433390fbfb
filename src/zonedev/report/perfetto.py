"""A counterexample as a trace for Perfetto (https://ui.perfetto.dev) and chrome://tracing.

It is in the Trace Event Format, as JSON.  A step takes a microsecond.  Tasks are threads, their
system calls and kernel functions nested slices, which last while other tasks run as well.  Each
number that changes is a counter, and the rule that breaks an instant over all threads.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from zonedev.explore.check import Verdict
from zonedev.explore.trace import TraceStep, shorten
from zonedev.report.columns import columns, lanes, rows
from zonedev.report.json import dump
from zonedev.report.text import spoken_of

PID = 1
Event = dict[str, Any]


def render(verdict: Verdict) -> str:
    """The JSON text."""
    return dump(trace_object(verdict))


def trace_object(verdict: Verdict) -> dict[str, Any]:
    """The events, by time, and what was checked."""
    threads = {lane.task: n for n, lane in enumerate(lanes(verdict.trace), 1)}
    timed = [*slices(verdict.trace, threads), *counters(verdict), *instants(verdict, threads)]
    return {
        "traceEvents": [*names(verdict, threads), *sorted(timed, key=_at)],
        "displayTimeUnit": "ns",
        "otherData": {
            "scenario": verdict.scenario,
            "design": verdict.design,
            "scope": ", ".join(f"{n}={v}" for n, v in verdict.scope.items()),
            "rule": str(verdict.rule),
            "objects": shorten(verdict.objects or ""),
        },
    }


def _at(event: Event) -> tuple[int, int]:
    """By time; of what begins together the longest first, as nested slices are given."""
    return event["ts"], -event.get("dur", 0)


def names(verdict: Verdict, threads: dict[str, int]) -> Iterator[Event]:
    """What the process and its threads are called, and in which order they stand."""

    def about(what: str, tid: int, **args: Any) -> Event:
        return {"ph": "M", "pid": PID, "tid": tid, "name": what, "args": args}

    yield about("process_name", 0, name=f"{verdict.scenario}, {verdict.design}")
    for lane in lanes(verdict.trace):
        kind = "" if lane.kind == "task" else f" ({lane.kind})"
        yield about("thread_name", threads[lane.task], name=lane.task + kind)
        yield about("thread_sort_index", threads[lane.task], sort_index=threads[lane.task])


def slices(steps: Sequence[TraceStep], threads: dict[str, int]) -> Iterator[Event]:
    """For each task its functions from their first step to their last, and the steps."""
    for task, tid in threads.items():
        own = [s for s in steps if s.task == task]
        yield from nested(own, [stack(s) for s in own], tid, 0)
        for step in own:
            changes = {c.where: f"{c.old} -> {c.new}" for c in step.changes}
            args = {"step": step.n, "source": step.source, **changes}
            yield _slice(step.text or step.function, "step", step.n, step.n, tid, args)


def nested(
    steps: Sequence[TraceStep], stacks: Sequence[tuple[str, ...]], tid: int, depth: int
) -> Iterator[Event]:
    """The slices of the functions at a depth of the stacks, and in each of them those below it."""
    for name, run in groupby(range(len(steps)), lambda n: stacks[n][depth : depth + 1]):
        inside = list(run)
        if not name:
            continue
        first, last = inside[0], inside[-1]
        kind = "call" if depth == 0 else "function"
        yield _slice(name[0], kind, steps[first].n, steps[last].n, tid, {"source": steps[first].source})
        yield from nested(steps[first : last + 1], stacks[first : last + 1], tid, depth + 1)


def stack(step: TraceStep) -> tuple[str, ...]:
    """The statement of the program that a step is in, and the functions below it, each once."""
    inner = step.calls[1:] if step.call else step.calls
    return tuple(name for name, _ in groupby((step.call, *inner) if step.call else inner))


def _slice(name: str, kind: str, first: int, last: int, tid: int, args: dict[str, Any]) -> Event:
    """From the beginning of a step to the end of another."""
    event = {"ph": "X", "pid": PID, "tid": tid, "ts": first - 1, "dur": last - first + 1}
    return {**event, "name": name, "cat": kind, "args": args}


def counters(verdict: Verdict) -> Iterator[Event]:
    """The numbers that change: before the first step, and after each that changes them."""
    steps = verdict.trace
    shown = columns(steps, spoken_of(steps, verdict.rule))
    table = rows(steps, shown)
    for n, column in enumerate(shown):
        values = [column.initial, *(row.values[n] for row in table)]
        if not all(re.fullmatch(r"-?\d+", value) for value in values):
            continue
        for at, value in enumerate(values):
            if at == 0 or n in table[at - 1].changed:
                yield {"ph": "C", "pid": PID, "ts": at, "name": column.where, "args": {"value": int(value)}}


def instants(verdict: Verdict, threads: dict[str, int]) -> Iterator[Event]:
    """Where the rule breaks; and before which step a loop begins."""
    steps = verdict.trace

    def instant(ts: int, step: int, name: str, **args: Any) -> Event:
        tid = threads[steps[step - 1].task] if steps else 0
        return {"ph": "i", "pid": PID, "tid": tid, "ts": ts, "s": "g", "name": name, "args": args}

    yield instant(len(steps), len(steps), str(verdict.rule), objects=shorten(verdict.objects or ""))
    if verdict.loop is not None:
        yield instant(verdict.loop - 1, verdict.loop, "from here on this repeats for ever")
