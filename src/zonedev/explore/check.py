"""One check: a scenario under a design, explored, judged, and replayed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from zonedev.explore.pygen import PythonSteps, State, generate
from zonedev.explore.python import PythonEngine
from zonedev.explore.replay import Ending, Replay
from zonedev.explore.result import (
    DEADLOCK,
    LOST_WAKEUP,
    NO_FINISH,
    Exploration,
    Limits,
    Progress,
    Question,
    Report,
)
from zonedev.explore.trace import TraceStep, short_path
from zonedev.lang.errors import RuleBroken, SpecError, ZonedevError
from zonedev.lang.system import Monitor, Specification, System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario, build, full_scope

#: Where the automatic choice moves on from CPython to compiled code.
SMALL = 25_000
#: How far a state that cannot finish is explored to say which tasks are at fault.
FOLLOW = 20_000

HOLDS, VIOLATED, UNDETERMINED = "holds", "violated", "undetermined"


class Engine(Protocol):
    """What explores a transition system."""

    def explore(self, question: Question, limits: Limits, report: Report | None) -> Exploration: ...


@dataclass
class Verdict:
    """The answer of one check.

    `objects` says in words what broke the rule, `covered` is the depth up to which all
    states were found where a limit (`stopped`) was hit, `seconds` is wall-clock time.
    """

    scenario: str
    design: str
    scope: dict[str, Any]
    verdict: str
    rule: str | None = None
    objects: str | None = None
    states: int = 0
    transitions: int = 0
    depth: int = 0
    engine: str = "python"
    workers: int = 1
    seconds: float = 0.0
    stopped: str | None = None
    covered: int | None = None
    trace: list[TraceStep] = field(default_factory=list)


@dataclass(frozen=True)
class Selection:
    """The rules that a check looks at."""

    rules: tuple[str, ...]
    monitors: tuple[Monitor, ...]
    ignored: frozenset[str]
    question: Question

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.rules)


def select(scenario: type[Scenario], known: Mapping[str, Rule], asked: Iterable[str] | None = None) -> Selection:
    """The scenario's rules, narrowed to those that are asked for."""
    mine = list(known) if scenario.rules is None else list(scenario.rules)
    for name in mine:
        if name not in known:
            raise SpecError(f"scenario {scenario.name()}: it names the rule {name!r}, which does not exist")
    if asked is not None:
        wanted = [r for r in mine if r in set(asked)]
        if not wanted:
            raise ZonedevError(
                f"scenario {scenario.name()} does not check {', '.join(asked)}: it checks {', '.join(mine)}"
            )
        mine = wanted
    chosen = set(mine)
    return Selection(
        tuple(mine),
        tuple(m for r in mine for m in known[r].monitors),
        frozenset(known) - chosen,
        Question("no-deadlock" in chosen, "no-lost-wakeup" in chosen, scenario.progress in chosen),
    )


def check(
    scenario: type[Scenario],
    design: type[Specification],
    scope: Mapping[str, str | int] | None = None,
    rules: Iterable[str] | None = None,
    engine: str = "auto",
    workers: int = 1,
    limits: Limits = Limits(),  # noqa: B008
    report: Report | None = None,
    *,
    known: Mapping[str, Rule] | None = None,
    design_name: str | None = None,
) -> Verdict:
    """Check `scenario` under `design`; ZonedevError for what does not lower.

    `known` are the rules that exist (the built-in ones by default), of which `rules`
    selects some.  Ctrl-C ends in an undetermined verdict.
    """
    if known is None:
        from zonedev.rules import RULES as known  # noqa: N811
    begun = time.perf_counter()
    selection = select(scenario, known, rules)
    sizes = full_scope(scenario, scope or {})
    verdict = Verdict(
        scenario.name(), design_name or name_of(design), sizes, UNDETERMINED, engine="python", workers=workers
    )
    ts = lower(set_up(scenario, design, sizes, selection.monitors), selection.names)
    runner = Runner(ts, selection.question, limits, report, workers)
    found = runner.run(engine)
    judge(verdict, found, runner, scenario, design, selection)
    verdict.seconds = time.perf_counter() - begun
    return verdict


def name_of(design: type[Specification]) -> str:
    return str(getattr(design, "name", design.__name__))


def set_up(
    scenario: type[Scenario], design: type[Specification], scope: Mapping[str, Any], monitors: tuple[Monitor, ...]
) -> System:
    """Build the system; what goes wrong in set-up is an error with its place."""
    try:
        return build(scenario, design, scope, monitors)
    except ZonedevError:
        raise
    except RuleBroken as broken:
        raise SpecError(f"{blame(broken)}: the set-up breaks {broken}") from broken
    except Exception as error:
        raise SpecError(f"{blame(error)}: in set-up: {type(error).__name__}: {error}") from error


def blame(error: BaseException) -> str:
    """The innermost line outside the language that led to `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{short_path(f.filename)}:{f.lineno}" for f in frames]
    own = [p for p in places if not p.startswith(("lang/", "explore/"))]
    return (own or places)[-1]


class Runner:
    """Chooses an engine and explores."""

    def __init__(
        self, ts: TransitionSystem, question: Question, limits: Limits, report: Report | None, workers: int
    ) -> None:
        self.ts, self.question, self.limits, self.report, self.workers = ts, question, limits, report, workers
        self.engine = "python"
        self._code: PythonSteps | None = None
        self._seen: Progress | None = None

    @property
    def code(self) -> PythonSteps:
        """The steps as Python functions."""
        if self._code is None:
            self._code = generate(self.ts)
        return self._code

    def run(self, engine: str) -> Exploration:
        """Explore with the engine called `engine`; an interrupt stops with what is known."""
        begun = time.perf_counter()
        try:
            return {"auto": self.auto, "python": self.python, "native": self.native}[engine]()
        except KeyboardInterrupt:
            seen = self._seen or Progress(0, 0, 0, 0, 0.0)
            return Exploration(
                seen.states,
                seen.transitions,
                seen.depth + 1,
                time.perf_counter() - begun,
                stopped="interrupted",
                frontier=seen.frontier,
            )

    def auto(self) -> Exploration:
        """Small spaces in CPython; larger ones from the beginning, compiled."""
        own = self.limits.states
        small = SMALL if own is None else min(SMALL, own)
        found = self.python(replace(self.limits, states=small))
        if found.stopped != f"--max-states {small}" or small == own:
            return found
        if native_engine() is None:
            return self.python()
        rest = self.limits
        if rest.seconds is not None:
            rest = replace(rest, seconds=max(0.0, rest.seconds - found.seconds))
        found = self.native(rest)
        if found.stopped is not None and found.stopped.startswith("--max-seconds"):
            found.stopped = f"--max-seconds {self.limits.seconds:g}"
        return found

    def python(self, limits: Limits | None = None) -> Exploration:
        self.engine = "python"
        engine = PythonEngine(self.ts)
        self._code = engine.code
        return engine.explore(self.question, limits or self.limits, self._watch)

    def native(self, limits: Limits | None = None) -> Exploration:
        self.engine = "native"
        make = native_engine()
        if make is None:
            raise ZonedevError("the native engine needs Numba: install it, or use --engine python")
        return make(self.ts, self.workers).explore(self.question, limits or self.limits, self._watch)

    def _watch(self, progress: Progress) -> None:
        self._seen = progress
        if self.report is not None:
            self.report(progress)


def native_engine() -> Callable[[TransitionSystem, int], Engine] | None:
    """The native engine, where it can be had."""
    try:
        from zonedev.explore.native import NativeEngine
    except ImportError:
        return None
    return NativeEngine


def judge(
    verdict: Verdict,
    found: Exploration,
    runner: Runner,
    scenario: type[Scenario],
    design: type[Specification],
    selection: Selection,
) -> None:
    """Turn an exploration into a verdict, replaying a counterexample."""
    verdict.engine = runner.engine
    verdict.states, verdict.transitions, verdict.depth = found.states, found.transitions, found.depth
    if found.path is not None:
        assert found.ending is not None
        fresh = set_up(scenario, design, verdict.scope, selection.monitors)
        replay = Replay(runner.ts, runner.code, fresh, selection.ignored)
        ending = replay.run(found.path, found.ending)
        verdict.verdict, verdict.trace = VIOLATED, ending.steps
        verdict.rule, verdict.objects = rule_of(found, ending, scenario), ending.text
        if found.ending == NO_FINISH:
            verdict.objects = no_finish_text(runner, found.path, verdict.trace)
    elif found.stopped is not None:
        verdict.stopped, verdict.covered = found.stopped, max(0, found.depth - 1)
    else:
        verdict.verdict = HOLDS


def rule_of(found: Exploration, ending: Ending, scenario: type[Scenario]) -> str:
    """The name of the rule that an ending breaks."""
    special = {DEADLOCK: "no-deadlock", LOST_WAKEUP: "no-lost-wakeup", NO_FINISH: scenario.progress}
    assert found.ending is not None
    return special.get(found.ending) or str(ending.rule)


def no_finish_text(runner: Runner, path: Iterable[tuple[int, int]], trace: list[TraceStep]) -> str:
    """Which tasks can never finish from the end of `path` on."""
    state: State = runner.ts.initial()
    for task, choice in path:
        (state,) = (s for t, c, s in successors(runner.code, state) if (t, c) == (task, choice))
    able, complete = finishers(runner, state)
    names = [t.name for t in runner.ts.tasks if not t.actor]
    stuck = [n for n in names if n not in able]
    if not complete:
        return "from here on, some task can never finish"
    if not stuck:
        return f"from here on, {' and '.join(names)} can never all finish"
    where = {s.task: s for s in trace}
    parts = [f"{n} (last in {where[n].function}, {where[n].source})" if n in where else n for n in stuck]
    return f"from here on, {' and '.join(parts)} can never finish"


def successors(code: PythonSteps, state: State) -> list[tuple[int, int, State]]:
    """The steps from a state that break no rule."""
    found = []
    for task, (word, shift, mask) in enumerate(code.pcs):
        function, fanout = code.steps[task][state[word] >> shift & mask]
        for choice in range(fanout):
            outcome = function(*state) if fanout == 1 else function(*state, choice)
            if isinstance(outcome, tuple):
                found.append((task, choice, outcome))
    return found


def finishers(runner: Runner, start: State) -> tuple[set[str], bool]:
    """The tasks that can come to their end from `start`, and whether all states were seen."""
    seen, todo, able = {start}, [start], set[str]()
    while todo and len(seen) < FOLLOW:
        state = todo.pop()
        able.update(runner.ts.tasks[n].name for n, pc in enumerate(runner.ts.pcs(state)) if pc == 0)
        for _, _, new in successors(runner.code, state):
            if new not in seen:
                seen.add(new)
                todo.append(new)
    return able, not todo
