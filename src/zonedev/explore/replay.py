"""Counterexamples again, as plain Python, held against the lowered states step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zonedev.explore.pygen import PythonSteps, State
from zonedev.explore.result import DEADLOCK, LIVELOCK, LOST_WAKEUP, NO_FINISH
from zonedev.explore.round import Round
from zonedev.explore.stepper import Stepper, kernel_stack, start
from zonedev.explore.trace import TraceStep, source_of
from zonedev.lang.errors import CounterRange, RuleBroken, SpecError, ZonedevError
from zonedev.lang.runtime import ghost
from zonedev.lang.system import Group, System
from zonedev.lang.transition import TransitionSystem, get

#: The pseudo rule of a counter that leaves its range: an error of the specification.
COUNTER_RANGE = "counter-range"

Path = Sequence[tuple[int, int]]


class ReplayMismatch(ZonedevError):
    """The plain run and the lowered system disagree: a bug of the language, never of a design."""


@dataclass(frozen=True)
class Ending:
    """How a replay ended: the rule that broke (None: no rule), in words, and the steps."""

    rule: str | None
    text: str
    steps: list[TraceStep]
    waiting: int = 0  # tasks that wait for ever


class Replay:
    """One replay of a path through `ts` by `fresh`, a second system of the same making."""

    def __init__(
        self, ts: TransitionSystem, code: PythonSteps, fresh: System, ignored: frozenset[str]
    ) -> None:
        self.ts, self.code, self.fresh = ts, code, fresh
        self.stepper = start(fresh, ignored)
        self.locations = self._locations()

    def _locations(self) -> list[tuple[Group, tuple[str, str]]]:
        groups = [(g, (g.cls, g.path)) for g in self.fresh.groups()]
        theirs = [(g.cls, g.path, g.size) for g in self.ts.system.groups()]
        if [(g.cls, g.path, g.size) for g, _ in groups] != theirs:
            raise ReplayMismatch(
                "replay: two set-ups of the scenario differ: setup() must not depend on chance"
            )
        return groups

    def run(self, path: Path, ending: int, loop: int | None = None) -> Ending:
        """Walk `path`; the last step, or the state after it, must break what `ending` says.

        From step number `loop` on, counted from 0, it must be one round of a livelock.
        """
        try:
            return self._run(path, ending, loop)
        finally:
            self.stepper.close()

    def _run(self, path: Path, ending: int, loop: int | None) -> Ending:
        state = self.ts.initial()
        self.compare(state, 0)
        again: tuple[State, Round] | None = None
        for n, (task, choice) in enumerate(path, 1):
            if n - 1 == loop:
                again = state, Round(self.fresh, self.stepper)
            outcome = self.lowered(state, task, choice)
            if outcome is None or not self.stepper.ready(task):
                raise ReplayMismatch(f"replay: step {n} of task {self.name(task)} cannot be taken")
            if again is not None:
                again[1].step(task)
            error = self.plain(task, choice)
            if isinstance(outcome, int):
                if n != len(path) or outcome != ending:
                    raise ReplayMismatch(f"replay: step {n} breaks another rule than the engine found")
                return self.broken(outcome, error)
            if error is not None:
                raise ReplayMismatch(f"replay: step {n} ({self.last()}) breaks in plain Python only: {error}")
            state = outcome
            self.compare(state, n, whole=n == len(path))
        if ending == LIVELOCK:
            return self.going_round(again, state)
        return self.at_end(ending)

    def lowered(self, state: State, task: int, choice: int) -> State | int | None:
        word, shift, mask = self.code.pcs[task]
        function, fanout = self.code.steps[task][state[word] >> shift & mask]
        return function(*state) if fanout == 1 else function(*state, choice)

    def plain(self, task: int, choice: int) -> Exception | None:
        try:
            self.stepper.step(task, choice)
        except Exception as error:
            return error
        return None

    def name(self, task: int) -> str:
        return self.ts.tasks[task].name

    def last(self) -> str:
        step = self.stepper.trace[-1]
        return f"{step.function}, {step.source}"

    # --- endings -------------------------------------------------------------------------------

    def broken(self, code: int, error: Exception | None) -> Ending:
        """The last step broke a rule: the same one in both."""
        rule, text = self.ts.fails[code]
        if rule == COUNTER_RANGE:
            if not isinstance(error, SpecError):
                raise ReplayMismatch(
                    f"replay: the last step ({self.last()}) ends in {error!r}, not in: {text}"
                )
            raise SpecError(self.range_text(error))
        if not isinstance(error, RuleBroken) or error.rule != rule:
            found = "nothing" if error is None else f"{type(error).__name__}: {error}"
            raise ReplayMismatch(
                f"replay: the last step ({self.last()}) should break {rule} ({text}), but breaks {found}"
            )
        return Ending(rule, text if error.text.startswith("NULL pointer") else error.text, self.stepper.trace)

    def range_text(self, error: SpecError) -> str:
        step = self.stepper.trace[-1]
        mend = "declare a wider range" if isinstance(error, CounterRange) else "mend the index"
        return f"{step.source}: {step.function}: {error}: {mend}, or choose a smaller scope"

    def at_end(self, ending: int) -> Ending:
        """No step broke a rule: the last state is the violation."""
        trace = self.stepper.trace
        if ending == NO_FINISH:
            return Ending(None, "", trace)
        if self.stepper.enabled():
            raise ReplayMismatch("replay: some task can still take a step where the engine found none")
        if ending == LOST_WAKEUP:
            sleepers = [n for n in range(len(self.ts.tasks)) if self.stepper.lost_wakeup(n)]
            if not sleepers:
                raise ReplayMismatch("replay: nobody has lost a wake-up")
            return Ending(None, where_tasks_stand(self.stepper, sleepers, "sleeps"), trace)
        if ending == DEADLOCK:
            waiting = [
                n for n, w in enumerate(self.stepper.waiting) if w is not None and not self.ts.tasks[n].actor
            ]
            where = where_tasks_stand(self.stepper, waiting, "waits")
            return Ending(None, where, trace, len(waiting))
        return self.at_rest(ending)

    def going_round(self, again: tuple[State, Round] | None, state: State) -> Ending:
        """The path was one round of a livelock; who waits meanwhile is told in words."""
        if again is None or again[0] != state:
            raise ReplayMismatch("replay: the loop does not come back to where it began")
        wrong = again[1].wrong()
        if wrong is not None:
            raise ReplayMismatch(f"replay: {wrong}")
        waiting = again[1].waiting()
        return Ending(None, where_tasks_stand(self.stepper, waiting, "waits"), self.stepper.trace)

    def at_rest(self, ending: int) -> Ending:
        rule = self.ts.fails[ending][0]
        try:
            check_at_rest(self.fresh, self.stepper.ignored)
        except RuleBroken as broken:
            if broken.rule == rule:
                return Ending(rule, broken.text, self.stepper.trace)
        raise ReplayMismatch(f"replay: {rule} does not break in the state at rest")

    # --- comparison ----------------------------------------------------------------------------

    def compare(self, state: State, n: int, whole: bool = True) -> None:
        """Every shared location and every task's place, against the lowered state; but for the first and
        the last state what never changes is left out, which is most of it."""
        for group, key in self.locations:
            slots = self.ts.slots.get(key)
            if not slots and not whole:
                continue
            for index in range(group.size):
                number = get(state, slots[index]) if slots else self.ts.frozen[key][index]
                mine = self.fresh.encode(group.kind, group.peek(index))
                if mine != number:
                    kind, other = group.kind, self.fresh.decode(group.kind, number)
                    raise ReplayMismatch(
                        f"replay: after step {n}{f' ({self.last()})' if n else ''}, {group.label(index)} is "
                        f"{self.fresh.decode(kind, mine)!r} in plain Python but {other!r} lowered"
                    )
        for task, pc in enumerate(self.ts.pcs(state)):
            self.compare_place(task, pc, n)

    def compare_place(self, task: int, pc: int, n: int) -> None:
        waiting = self.stepper.waiting[task]
        place = self.ts.tasks[task].steps[pc - 1].place if pc else None
        if waiting is None and place is None:
            return
        if waiting is not None and place is not None:
            where = waiting.where
            if where.file == place.file and place.line <= where.line <= place.end:
                return
        plain = "at its end" if waiting is None else f"at {source_of(waiting.where)}"
        lowered = "at its end" if place is None else f"at {place.file}:{place.line}"
        raise ReplayMismatch(
            f"replay: after step {n}, task {self.name(task)} stands {plain} in plain Python "
            f"but {lowered} lowered"
        )


def check_at_rest(system: System, ignored: frozenset[str]) -> None:
    """Run the checks of the state at rest; RuleBroken where one fails."""
    for monitor in system.monitors:
        if monitor.after is None and monitor.rule not in ignored:
            with system.running_as(system.tasks[0] if system.tasks else None), ghost():
                monitor.check(system.k)


def where_tasks_stand(stepper: Stepper, tasks: Sequence[int], verb: str) -> str:
    """What some tasks wait for: "A waits in f (file:line): statement; B ..."."""
    parts = []
    for n in tasks:
        waiting = stepper.waiting[n]
        if waiting is not None:
            parts.append(f"{stepper.tasks[n]!r} {verb} in {blocked_text(stepper, n)}")
    return "; ".join(parts)


def blocked_text(stepper: Stepper, number: int) -> str:
    """The step that a task stands before: function, place, and statement."""
    from zonedev.explore.trace import statement_text

    waiting = stepper.waiting[number]
    assert waiting is not None
    where = waiting.where
    return f"{where.function} ({source_of(where)}): {statement_text(where)}"


__all__ = ["COUNTER_RANGE", "Ending", "Replay", "ReplayMismatch", "blocked_text", "kernel_stack"]
