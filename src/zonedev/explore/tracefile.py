"""Trace files: a counterexample as printed with --format json, again as plain Python."""

from __future__ import annotations

import pdb
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from zonedev.catalogue import Catalogue
from zonedev.explore import stepper as stepping
from zonedev.explore.check import set_up
from zonedev.explore.replay import check_at_rest
from zonedev.explore.round import Round
from zonedev.explore.stepper import Stepper
from zonedev.explore.trace import TraceStep
from zonedev.explore.written import counterexamples
from zonedev.lang.errors import CounterRange, RuleBroken, ZonedevError
from zonedev.lang.runtime import PRIMITIVES, here, primitive
from zonedev.lang.system import System
from zonedev.scenarios.base import Scenario, full_scope

#: After so many steps more than were recorded, a run is taken for endless.
ENDLESS = 20_000


@dataclass(frozen=True)
class Recorded:
    """What a replay needs of a trace file's object."""

    scenario: str
    design: str
    scope: dict[str, Any]
    rule: str
    objects: str
    steps: list[dict[str, Any]]
    loop: int | None = None  # the number of the first step of those that repeat for ever


def read(file: Path, catalogue: Catalogue) -> list[Recorded]:
    """The counterexamples in `file`, to be run; ZonedevError for what is not as it should be."""
    return [recorded(f"{file}", value, catalogue) for value in counterexamples(file)]


def recorded(file: str, value: Mapping[str, Any], catalogue: Catalogue) -> Recorded:
    """A counterexample, of a scenario and a design that exist."""
    try:
        catalogue.scenario(value["scenario"])
        catalogue.design(value["design"])
    except ZonedevError as error:
        raise ZonedevError(f"{file}: {error}") from None
    return Recorded(
        value["scenario"],
        value["design"],
        value["scope"],
        str(value.get("rule")),
        str(value.get("objects")),
        value["trace"],
        value.get("loop"),
    )


@dataclass(frozen=True)
class Replayed:
    """How a recorded counterexample went this time."""

    recorded: Recorded
    rule: str | None
    text: str
    steps: list[TraceStep]

    @property
    def same(self) -> bool:
        """Whether the recorded rule broke again; rules about waiting have no step that breaks them."""
        return self.rule == self.recorded.rule


def replay(
    found: Recorded, catalogue: Catalogue, make: Callable[[frozenset[str]], Stepper] = Stepper
) -> Replayed:
    """Run a recorded counterexample; ZonedevError where the design no longer goes that way."""
    scenario = catalogue.scenario(found.scenario)
    scope = full_scope(scenario, found.scope)
    monitors = tuple(m for r in catalogue.rules.values() if r.name == found.rule for m in r.monitors)
    system = set_up(scenario, catalogue.design(found.design), scope, monitors)
    ignored = frozenset(catalogue.rules) - {found.rule}
    stepper = stepping.start(system, ignored, make)
    try:
        broken = follow(found, system, stepper)
        steps = list(stepper.trace)
        if broken is None and found.rule == scenario.progress and found.loop is None:
            run_on(stepper)
        if broken is None and not stepper.enabled():
            broken = at_the_end(found, system, stepper, scenario)
        elif broken is None and found.rule == scenario.progress:
            broken = RuleBroken(found.rule, found.objects)
    finally:
        stepper.close()
    return Replayed(found, broken.rule if broken else None, broken.text if broken else "", steps)


def run_on(stepper: Stepper) -> None:
    """The tasks take turns, until nobody can go on or for `ENDLESS` steps."""
    for turn in range(ENDLESS):
        ready = stepper.enabled()
        if not ready:
            return
        stepper.step(ready[turn % len(ready)])


def follow(found: Recorded, system: System, stepper: Stepper) -> RuleBroken | None:
    """Take the recorded steps; each must be of the recorded line's function, and a loop come back."""
    tasks = {repr(t): n for n, t in enumerate(stepper.tasks)}
    again: Round | None = None
    for step in found.steps:
        place = f"step {step['n']} of the trace"
        if step["task"] not in tasks:
            raise ZonedevError(f"{place}: {found.scenario} has no task {step['task']}")
        number = tasks[step["task"]]
        waiting = stepper.waiting[number]
        if waiting is None or not stepper.ready(number):
            raise ZonedevError(
                f"{place}: task {step['task']} cannot take a step: the specification has changed since"
            )
        if waiting.where.function != step.get("function", waiting.where.function):
            raise ZonedevError(
                f"{place}: task {step['task']} is in {waiting.where.function}, not in {step['function']}: "
                "the specification has changed since"
            )
        if step["n"] == found.loop:
            again = Round(system, stepper)
        if again is not None:
            again.step(number)
        try:
            stepper.step(number, int(step.get("choice", 0)))
        except RuleBroken as error:
            return error
        except CounterRange as error:
            raise ZonedevError(f"{place}: {error}") from None
    wrong = None if again is None else again.wrong()
    if wrong is not None:
        raise ZonedevError(f"{found.scenario}: {wrong}: the specification has changed since")
    return None


def at_the_end(
    found: Recorded, system: System, stepper: Stepper, scenario: type[Scenario]
) -> RuleBroken | None:
    """Nothing can go on after the recorded steps."""
    left = [n for n, w in enumerate(stepper.waiting) if w is not None and not stepper.actors[n]]
    if found.rule == "no-lost-wakeup" and any(stepper.lost_wakeup(n) for n in left):
        return RuleBroken(found.rule, found.objects)
    if left:
        stuck = {scenario.progress, scenario.alone if len(left) == 1 else "no-deadlock"}
        return RuleBroken(found.rule, found.objects) if found.rule in stuck else None
    try:
        check_at_rest(system, stepper.ignored)
    except RuleBroken as broken:
        return broken
    return None


class QuitDebugger(BaseException):
    """The user left pdb."""


class PdbStepper(Stepper):
    """Stops in pdb before each step, in the thread and frame of the task that takes it.

    `n` runs the step, `c` goes on to the next step of whichever task, `q` ends the replay.
    """

    @primitive
    def point(
        self,
        guard: Callable[[], bool] | None = None,
        choices: int = 1,
        lost: Callable[[], bool] | None = None,
    ) -> int:
        choice = super().point(guard, choices, lost)
        frame = specification_frame(sys._getframe(1))
        if frame is not None:
            self._stop(frame)
        return choice

    def _stop(self, frame: FrameType) -> None:
        print(f"--- step {len(self.trace) + 1}, task {here.task!r}", flush=True)
        debugger = Debugger()
        debugger.reset()
        at: FrameType | None = frame
        while at is not None:
            at.f_trace = debugger.trace_dispatch
            debugger.botframe = at
            at = at.f_back
        debugger.interaction(frame, None)
        if debugger.quitting:
            raise QuitDebugger
        if debugger.stoplineno != -1 or debugger.breaks:  # not told to continue
            sys.settrace(debugger.trace_dispatch)


class Debugger(pdb.Pdb):
    """pdb on the lines of the specification: what carries them out is not shown."""

    def __init__(self) -> None:
        hidden = ["zonedev.lang.*", "zonedev.explore.*", "threading", "contextlib"]
        super().__init__(nosigint=True, skip=hidden)

    def get_stack(self, f: FrameType | None, t: Any) -> tuple[list[tuple[FrameType, int]], int]:
        stack, _ = super().get_stack(f, t)
        shown = [entry for entry in stack if is_specification(entry[0])]
        return shown or stack, len(shown or stack) - 1


def is_specification(frame: FrameType) -> bool:
    """Whether a frame is a function of the specification or of a scenario."""
    code = frame.f_code
    hidden = (*stepping.OWN, threading.__file__)
    return (
        code not in PRIMITIVES
        and not code.co_filename.startswith(hidden)
        and not code.co_name.startswith("<")
    )


def specification_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame that is a line of the specification."""
    while frame is not None and not is_specification(frame):
        frame = frame.f_back
    return frame
