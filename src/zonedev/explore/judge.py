"""From what an engine has found to a verdict: every counterexample is replayed as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from zonedev.explore.finish import going_round, livelock_text, no_finish_text
from zonedev.explore.replay import Ending, Replay
from zonedev.explore.result import DEADLOCK, LIVELOCK, LOST_WAKEUP, NO_FINISH, Exploration, Failure
from zonedev.explore.runner import Runner
from zonedev.explore.vacuity import vacuity
from zonedev.explore.verdict import HOLDS, VIOLATED, Verdict, Violation
from zonedev.lang.system import System
from zonedev.scenarios.base import Scenario


@dataclass(frozen=True)
class Judge:
    """Judges what was found in a scenario; `fresh` sets up a system to replay it in."""

    runner: Runner
    scenario: type[Scenario]
    fresh: Callable[[], System]
    ignored: frozenset[str]  # the rules that are not checked
    tests: tuple[str, ...]  # the rules that are to be put to the test

    def judge(self, verdict: Verdict, found: Exploration) -> None:
        """Fill in a verdict."""
        verdict.engine, verdict.reductions = self.runner.engine, self.runner.used
        verdict.states, verdict.transitions, verdict.depth = found.states, found.transitions, found.depth
        if self.runner.question.everything:
            verdict.violations = [self.one_of(failure) for failure in found.failures]
        shown = verdict.violations[0] if verdict.violations else self.shortest(found)
        if shown is not None:
            verdict.verdict, verdict.trace = VIOLATED, shown.trace
            verdict.rule, verdict.objects, verdict.loop = shown.rule, shown.objects, shown.loop
        if found.stopped is not None:
            verdict.stopped, verdict.covered = found.stopped, max(0, found.depth - 1)
        elif shown is None:
            verdict.verdict = HOLDS
            if self.runner.explored is not None and not self.runner.used:  # else some states are not there
                states = self.runner.explored.found()
                verdict.vacuity = vacuity(self.runner.ts, states, found.states, self.tests)

    def shortest(self, found: Exploration) -> Violation | None:
        """The counterexample of a search that ended at the first violation."""
        if found.path is None or found.ending is None:
            return None
        if found.ending == NO_FINISH and (round_ := going_round(self.runner, found.path)):
            return self.violation(round_[0], LIVELOCK, round_[1])
        return self.violation(found.path, found.ending, found.loop)

    def one_of(self, failure: Failure) -> Violation:
        """The counterexample of failures that are the same bug, with what is known of all of them."""
        violation = self.violation(failure.path, failure.ending, failure.loop)
        return replace(
            violation,
            calls=failure.calls,
            functions=failure.functions,
            count=failure.count,
            counted="states" if failure.ending < 0 else "steps" if failure.functions else "states at rest",
        )

    def violation(self, path: list[tuple[int, int]], ending: int, loop: int | None) -> Violation:
        """Replay a path, and say in words what it comes to."""
        replayed = Replay(self.runner.ts, self.runner.code, self.fresh(), self.ignored).run(
            path, ending, loop
        )
        text = replayed.text
        if ending == NO_FINISH:
            text = no_finish_text(self.runner, path, replayed.steps)
        elif loop is not None:
            loop += 1
            text = livelock_text(replayed.steps, loop, text)
        return Violation(self.rule(ending, replayed), text, replayed.steps, loop)

    def rule(self, ending: int, replayed: Ending) -> str:
        """The name of the rule that an ending breaks."""
        special = {
            DEADLOCK: self.scenario.alone if replayed.waiting == 1 else "no-deadlock",
            LOST_WAKEUP: "no-lost-wakeup",
            NO_FINISH: self.scenario.progress,
            LIVELOCK: self.scenario.progress,
        }
        return special.get(ending) or str(replayed.rule)
