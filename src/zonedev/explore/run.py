"""One schedule of a scenario, run as plain Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.explore.check import name_of, select, set_up
from zonedev.explore.replay import check_at_rest, where_tasks_stand
from zonedev.explore.stepper import Stepper, start
from zonedev.explore.trace import TraceStep
from zonedev.lang.errors import CounterRange, RuleBroken, ZonedevError
from zonedev.lang.primitives import Atomic
from zonedev.lang.system import Monitor, Specification, System
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario, full_scope

MAX_STEPS = 200_000


@dataclass(frozen=True)
class Observation:
    """What a task saw after step `n`: a label of the scenario's, and a value."""

    n: int
    task: str
    label: str
    value: str


@dataclass
class Timeline:
    """One schedule; `ending` is finished, blocked, or the rule that broke."""

    scenario: str
    design: str
    scope: dict[str, Any]
    seed: int
    ending: str = "finished"
    text: str = ""
    steps: list[TraceStep] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    counts: list[str] = field(default_factory=list)  # the counters that change, for columns
    initial: dict[str, str] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)  # of what the scenario has counted, by its words
    operations: int = 0  # that the tasks were to do together


def run(
    scenario: type[Scenario],
    design: type[Specification],
    scope: Mapping[str, str | int],
    seed: int,
    known: Mapping[str, Rule],
    design_name: str | None = None,
) -> Timeline:
    """Run one schedule: seed 0 runs each task as far as it goes, others choose at random."""
    selection = select(scenario, known)
    sizes = full_scope(scenario, scope)
    timeline = Timeline(scenario.name(), design_name or name_of(design), sizes, seed)
    system = set_up(scenario, design, sizes, (*selection.monitors, *call_counters(scenario, timeline)))
    timeline.operations = sizes.get("operations", 0) * len(scenario.programs())
    timeline.initial = counters(system)
    stepper = start(system, selection.ignored)
    try:
        walk(system, stepper, timeline, in_turn if seed == 0 else at_random(seed))
    finally:
        stepper.close()
    timeline.steps = stepper.trace
    changed = {c.where for s in stepper.trace for c in s.changes}
    order = list(timeline.initial)
    timeline.counts = sorted(
        (w for w in order if w in changed), key=lambda w: (w.count(".") > 1, order.index(w))
    )
    return timeline


def call_counters(scenario: type[Scenario], timeline: Timeline) -> list[Monitor]:
    """What counts the calls of the functions that a scenario names."""
    timeline.calls = dict.fromkeys(scenario.counted, 0)

    def counter(words: str, function: str) -> Monitor:
        def count(k: Any) -> None:
            timeline.calls[words] += 1

        return Monitor("", count, after=function)

    return [counter(words, function) for words, function in scenario.counted.items()]


#: Chooses among the tasks that can go on, given the one that went last, and its choice of n.
Choose = Callable[[Sequence[int], int], int]


def in_turn(ready: Sequence[int], last: int) -> int:
    """The same task as long as it can, then the next."""
    return last if last in ready else min((n for n in ready if n > last), default=ready[0])


def at_random(seed: int) -> Choose:
    rng = random.Random(seed)
    return lambda ready, last: rng.choice(list(ready))


def walk(system: System, stepper: Stepper, timeline: Timeline, choose: Choose) -> None:
    """Step until nothing can go on, or a rule breaks."""
    last = 0
    seen = 0
    while ready := stepper.enabled():
        if len(stepper.trace) >= MAX_STEPS:
            raise ZonedevError(f"run: no end after {MAX_STEPS} steps: the schedule of this seed does not end")
        last = choose(ready, last)
        waiting = stepper.waiting[last]
        assert waiting is not None
        try:
            stepper.step(last, choose(range(waiting.choices), 0) if waiting.choices > 1 else 0)
        except RuleBroken as broken:
            timeline.ending, timeline.text = broken.rule, broken.text
        except CounterRange as error:
            step = stepper.trace[-1]
            raise ZonedevError(f"{step.source}: {step.function}: {error}: declare a wider range") from error
        observed = getattr(system, "observations", [])
        for task, label, value in observed[seen:]:
            timeline.observations.append(Observation(len(stepper.trace), str(task), str(label), str(value)))
        seen = len(observed)
        if timeline.text:
            return
    finish(system, stepper, timeline)


def finish(system: System, stepper: Stepper, timeline: Timeline) -> None:
    """Nothing can go on: at rest, or blocked."""
    left = [n for n, w in enumerate(stepper.waiting) if w is not None and not system.programs[n].actor]
    if left:
        timeline.ending, timeline.text = "blocked", where_tasks_stand(stepper, left, "waits")
        return
    try:
        check_at_rest(system, stepper.ignored)
    except RuleBroken as broken:
        timeline.ending, timeline.text = broken.rule, broken.text


def counters(system: System) -> dict[str, str]:
    """The counters that a timeline may show, atomic ones first, with their values."""
    groups = [g for g in system.groups() if g.kind.what == "int" and not g.field.quiet]
    found = {}
    for group in sorted(groups, key=lambda g: not isinstance(g.owner(0), Atomic)):
        for index in range(group.size):
            found[group.label(index)] = str(group.peek(index))
    return found
