"""A schedule that breaks a rule, as a test of one's own keeps it: see `zonedev check --emit-test`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.catalogue import Catalogue, load
from zonedev.explore import stepper as stepping
from zonedev.explore import tracefile
from zonedev.explore.check import set_up
from zonedev.explore.replay import check_at_rest, where_tasks_stand
from zonedev.explore.stepper import Stepper
from zonedev.lang.errors import RuleBroken, ZonedevError
from zonedev.scenarios.base import full_scope


@dataclass(frozen=True)
class Schedule:
    """The order in which the tasks of a scenario take steps, and the rule that breaks under a design.

    A step is the name of a task, or with it the number that `choose()` gives there.  `objects`
    says in words what breaks the rule, and `function` is that of the last step.  From step `loop` on,
    counted from 1, the steps repeat for ever.  `design` is a name or FILE.py:CLASS.
    """

    scenario: str
    design: str
    rule: str
    objects: str
    function: str
    steps: Sequence[str | tuple[str, int]]
    scope: dict[str, Any] = field(default_factory=dict)
    loop: int | None = None

    def check(self, fixed: bool = False, catalogue: Catalogue | None = None) -> None:
        """AssertionError where the schedule does not break the rule as it did, or with `fixed` where it
        still breaks it, or ends in another break of it.  ZonedevError for what does not exist."""
        __tracebackhide__ = True  # pytest shows the test, and what is wrong
        known = catalogue or load()
        known.rule(self.rule), known.design(self.design)
        full_scope(known.scenario(self.scenario), self.scope)
        if fixed:
            broken = self.nearly(known)
            assert broken is None, f"{self.where} breaks {self.rule} again: {broken}"
        else:
            self.exactly(known)

    @property
    def where(self) -> str:
        return f"the schedule of {self.scenario} under {self.design}"

    def exactly(self, catalogue: Catalogue) -> None:
        """Step by step, up to the one that breaks the rule."""
        __tracebackhide__ = True
        pairs = [(step, 0) if isinstance(step, str) else step for step in self.steps]
        steps = [{"n": n, "task": task, "choice": choice} for n, (task, choice) in enumerate(pairs, 1)]
        recorded = tracefile.Recorded(
            self.scenario, self.design, self.scope, self.rule, self.objects, steps, self.loop
        )
        why = "it comes to its end"
        try:
            found = tracefile.replay(recorded, catalogue)
        except ZonedevError as error:
            why = str(error)
        else:
            last = found.steps[-1].function if found.steps else ""
            if found.rule == self.rule:
                same = found.text == self.objects or found.text.startswith("NULL pointer")
                assert same and (len(found.steps), last) == (len(steps), self.function), (
                    f"{self.where} breaks {self.rule} otherwise, in step {len(found.steps)} ({last}): "
                    f"{found.text}.  Write the test again"
                )
                return
        raise AssertionError(
            f"{self.where} no longer breaks {self.rule}: {why}.  If the bug is mended, set `fixed` to True"
        )

    def nearly(self, catalogue: Catalogue) -> str | None:
        """As near to the schedule as the tasks can go, and on to their end; what breaks the rule, or None.

        A step of a task that has to wait, or has ended, is left out.  In the end the tasks take turns.
        """
        scenario = catalogue.scenario(self.scenario)
        monitors = catalogue.rule(self.rule).monitors
        scope = full_scope(scenario, self.scope)
        system = set_up(scenario, catalogue.design(self.design), scope, monitors)
        ignored = frozenset(catalogue.rules) - {self.rule}
        stepper = stepping.start(system, ignored)
        waiting = {"no-deadlock", "no-lost-wakeup", scenario.progress, scenario.alone}
        try:
            self.follow(stepper)
            left = [n for n, w in enumerate(stepper.waiting) if w is not None and not stepper.actors[n]]
            if stepper.enabled():
                return "the tasks do not come to an end" if self.rule == scenario.progress else None
            if left:
                return where_tasks_stand(stepper, left, "waits") if self.rule in waiting else None
            check_at_rest(system, ignored)
        except RuleBroken as broken:
            return broken.text
        finally:
            stepper.close()
        return None

    def follow(self, stepper: Stepper) -> None:
        """Take the steps that can be taken, and go on until nobody can, or for too long."""
        numbers = {repr(task): n for n, task in enumerate(stepper.tasks)}
        for step in self.steps:
            task, choice = (step, 0) if isinstance(step, str) else step
            number = numbers.get(task)
            if number is not None and stepper.ready(number):
                waiting = stepper.waiting[number]
                assert waiting is not None
                stepper.step(number, min(choice, waiting.choices - 1))
        tracefile.run_on(stepper)
