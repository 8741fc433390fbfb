"""One check: a scenario under a design, explored, judged, and replayed."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from zonedev.explore.cache import Cache, directory
from zonedev.explore.judge import Judge
from zonedev.explore.lowered import lowered
from zonedev.explore.result import Limits, Question, Report
from zonedev.explore.runner import Runner
from zonedev.explore.stepper import start
from zonedev.explore.trace import short_path
from zonedev.explore.verdict import HOLDS, UNDETERMINED, VIOLATED, Verdict, Violation
from zonedev.lang.errors import LoweringError, RuleBroken, SpecError, ZonedevError
from zonedev.lang.system import Monitor, Specification, System
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario, build, full_scope

if TYPE_CHECKING:
    from zonedev.explore.native_checkpoint import Checkpoint


@dataclass(frozen=True)
class Selection:
    """The rules that a check looks at.

    Those that the scenario names, or that were asked for, should be put to the test, other than
    those that the engines check: these are `tests`.
    """

    rules: tuple[str, ...]
    monitors: tuple[Monitor, ...]
    ignored: frozenset[str]
    question: Question
    tests: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(self.rules)


def select(
    scenario: type[Scenario], known: Mapping[str, Rule], asked: Iterable[str] | None = None
) -> Selection:
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
    chosen, waiting = set(mine), {"no-deadlock", "no-lost-wakeup", scenario.alone}
    tests = tuple(r for r in mine if known[r].kind == "safety" and r not in waiting)
    return Selection(
        tuple(mine),
        tuple(m for r in mine for m in known[r].monitors),
        frozenset(known) - chosen,
        Question("no-deadlock" in chosen, "no-lost-wakeup" in chosen, scenario.progress in chosen),
        () if scenario.rules is None and asked is None else tests,
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
    all_violations: bool = False,
    reductions: Sequence[str] | None = None,
    checkpoint: Checkpoint | None = None,
    on: str | None = None,
) -> Verdict:
    """Check `scenario` under `design`; ZonedevError for what does not lower.

    `workers` are threads, or processes of the Ray cluster `on`, if one is named.

    `known` are the rules that exist (the built-in ones by default), of which `rules`
    selects some.  Ctrl-C ends in an undetermined verdict.  With `all_violations` the search
    goes on after the first violation, and all are listed.  `reductions` are names out of
    `REDUCTIONS`; None lets the engine `auto` merge the steps of very large spaces.  With a
    `checkpoint` the native engine searches, and can go on from it.
    """
    begun = time.perf_counter()
    selection = select(scenario, built_in_rules() if known is None else known, rules)
    sizes = full_scope(scenario, scope or {})
    verdict = Verdict(
        scenario.name(), design_name or name_of(design), sizes, UNDETERMINED, engine="python", workers=workers
    )
    ts = lowered(set_up(scenario, design, sizes, selection.monitors), selection.names, Cache(directory()))
    question = replace(selection.question, everything=all_violations)
    runner = Runner(ts, question, limits, report, workers, reductions, checkpoint, on)
    found = runner.run(engine)
    judge = Judge(
        runner,
        scenario,
        lambda: set_up(scenario, design, sizes, selection.monitors),
        selection.ignored,
        selection.tests,
    )
    judge.judge(verdict, found)
    if scenario.observes and verdict.verdict == HOLDS:
        verdict.observed = observations(set_up(scenario, design, sizes, selection.monitors))
    verdict.seconds = time.perf_counter() - begun
    return verdict


def observations(system: System) -> dict[str, int]:
    """What the scenario observes in one plain run; where it holds, every schedule sees the same."""
    stepper = start(system, frozenset())
    try:
        while ready := stepper.enabled():
            stepper.step(ready[0])
    finally:
        stepper.close()
    return {label: int(value) for _, label, value in system.observations}


def built_in_rules() -> Mapping[str, Rule]:
    from zonedev.rules import RULES  # here, so that other catalogues need none of the kernel

    return RULES


def name_of(design: type) -> str:
    """A design's name; its class's where it has none of its own, and only derives from one that has."""
    return str(vars(design).get("name", design.__name__))


def set_up(
    scenario: type[Scenario],
    design: type[Specification],
    scope: Mapping[str, Any],
    monitors: tuple[Monitor, ...],
) -> System:
    """Build the system; what goes wrong in set-up is an error with its place."""
    try:
        return build(scenario, design, scope, monitors)
    except LoweringError:
        raise
    except ZonedevError as error:
        raise SpecError(f"{asked_by(scenario, error)}{error}") from error
    except RuleBroken as broken:
        raise SpecError(f"{blame(broken)}: the set-up breaks {broken}") from broken
    except Exception as error:
        raise SpecError(f"{blame(error)}: in set-up: {type(error).__name__}: {error}") from error


def asked_by(scenario: type[Scenario], error: BaseException) -> str:
    """The line of a scenario's set-up that led to `error`, as the beginning of a message."""
    file = scenario.setup.__code__.co_filename
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f"{short_path(file)}:{lines[-1]}: " if lines else ""


def blame(error: BaseException) -> str:
    """The innermost line outside the language that led to `error`."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{short_path(f.filename)}:{f.lineno}" for f in frames]
    own = [p for p in places if not p.startswith(("lang/", "explore/"))]
    return (own or places)[-1]


__all__ = ["HOLDS", "UNDETERMINED", "VIOLATED", "Verdict", "Violation", "check", "select", "set_up"]
