"""What a scenario that holds does not show: rules that nothing tests, tasks that never meet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zonedev.explore.reached import Found, Reached
from zonedev.lang.transition import TransitionSystem


@dataclass(frozen=True)
class Vacuity:
    """What a complete search did not come to.

    Of the rules that the scenario names, or that were asked for, `untested` are those that were not
    put to the test, and `tested` those that were.  `alone` are the tasks that meet no other, and
    `unfinished` the calls that never came back, with their tasks.
    """

    untested: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    unfinished: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is something to say."""
        return bool(self.untested or self.alone or self.unfinished)


def vacuity(ts: TransitionSystem, found: Found, states: int, rules: Iterable[str]) -> Vacuity:
    """What a complete search of `states` states did not come to, of the `rules` that should be put to the
    test"""
    asked = tuple(rules)
    reached = Reached(ts, found, states, asked)
    return Vacuity(
        tuple(r for r in asked if r in reached.untested),
        tuple(r for r in asked if r not in reached.untested),
        tuple(ts.tasks[n].name for n in sorted(reached.alone)),
        tuple((ts.tasks[n].name, call) for n, call in sorted(reached.unfinished)),
    )
