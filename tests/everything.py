"""Everything that can be reached, past what breaks a rule: the oracle for reductions."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from zonedev.explore.fair import Unsure
from zonedev.explore.python import PythonEngine
from zonedev.explore.reduce.symmetry import Symmetry
from zonedev.explore.result import LIVELOCK, NO_FINISH, Limits, Question
from zonedev.lang.transition import TransitionSystem

State = tuple[int, ...]

#: Programs with more states are left out.
MOST = 3_000


class TooLarge(Exception):
    """More than `MOST` states."""


@dataclass
class Everything:
    """`fails` are the rules that steps break, `ends` the states without a step and what is wrong there,
    `progress` whether all tasks can always finish, and none goes round for ever; None: not known."""

    states: int = 0
    transitions: int = 0
    fails: set[str] = field(default_factory=set)
    ends: dict[State, int | str | None] = field(default_factory=dict)
    progress: bool | None = None


def everything(ts: TransitionSystem, most: int = MOST) -> Everything:
    engine = PythonEngine(ts)
    found = Everything()
    start = ts.initial()
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        moves = engine.expand(state)
        found.transitions += len(moves)
        for _, _, new in moves:
            if isinstance(new, int):
                found.fails.add(ts.fails[new][0])
            elif new not in seen:
                seen.add(new)
                todo.append(new)
        if len(seen) > most:
            raise TooLarge
        if not moves:
            ending = engine.stuck(state, Question())
            found.ends[state] = ts.fails[ending][0] if ending is not None and ending >= 0 else ending
    found.states = len(seen)
    if not found.fails:
        asked = Question(deadlock=False, lost_wakeup=False)
        with suppress(Unsure):
            found.progress = engine.explore(asked, Limits(states=most)).ending not in (NO_FINISH, LIVELOCK)
    return found


def compare(full: Everything, less: Everything, symmetry: Symmetry | None) -> None:
    """A reduced system has the same answers: some step fails or none does, and all ends, of those
    that only differ in which of like tasks is which at least one."""
    assert less.states <= full.states
    assert less.fails <= full.fails
    assert bool(less.fails) == bool(full.fails)
    assert less.ends.items() <= full.ends.items()
    for state, ending in full.ends.items():
        if less.ends.get(state, "none") != ending:
            assert symmetry is not None
            assert any(found == ending and symmetry.same(state, at) for at, found in less.ends.items())
    if less.progress is not None and not full.fails:
        assert less.progress == full.progress
