"""What a check answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.explore.trace import TraceStep
from zonedev.explore.vacuity import Vacuity

HOLDS, VIOLATED, UNDETERMINED = "holds", "violated", "undetermined"


@dataclass(frozen=True)
class Violation:
    """A rule that breaks, and the shortest counterexample: `objects` says in words what broke it.

    `loop` is the number of the first step of those that repeat for ever.  Where all violations
    were asked for, it stands for those that are taken for the same bug: `calls` are the
    system calls that they happen in, `functions` those of the steps that break the rule, wait
    or go round, `count` the number of such `counted`: steps, states, or states at rest.
    """

    rule: str
    objects: str
    trace: Sequence[TraceStep]
    loop: int | None = None
    calls: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    count: int = 0
    counted: str = "steps"


@dataclass
class Verdict:
    """The answer of one check.

    `objects` says in words what broke the rule, `covered` is the depth up to which all
    states were found where a limit (`stopped`) was hit, `seconds` is wall-clock time.
    `loop` is the number of the first step of those that repeat for ever.  `violations` are
    all, where they were asked for: the first is the one that the verdict tells.  `vacuity` is what
    a scenario that holds does not show.  `reductions` are those that the answer rests on: a
    counterexample mostly comes from a search without any.
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
    loop: int | None = None
    trace: Sequence[TraceStep] = field(default_factory=list)
    reductions: tuple[str, ...] = ()
    observed: dict[str, int] | None = None  # of a scenario that observes, by label
    violations: list[Violation] | None = None
    vacuity: Vacuity | None = None

    @property
    def holds(self) -> bool:
        """Whether it holds in every interleaving; false too where a limit was hit."""
        return self.verdict == HOLDS

    @property
    def counterexamples(self) -> list[Violation]:
        """All violations where they were asked for, else the one that was found, if any."""
        if self.violations is not None or self.verdict != VIOLATED:
            return self.violations or []
        return [Violation(str(self.rule), self.objects or "", self.trace, self.loop)]
