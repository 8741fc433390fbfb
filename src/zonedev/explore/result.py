"""What an exploration is asked for, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

State = tuple[int, ...]

#: Kinds of endings that are no rule of a step: their numbers follow those of the fails.
DEADLOCK, LOST_WAKEUP, NO_FINISH, LIVELOCK = -1, -2, -3, -4

#: The most states in cycles that are looked at for a livelock.
MOST_IN_CYCLES = 1 << 20


class Stop(Exception):
    """A limit is reached; the text names it."""


@dataclass(frozen=True)
class Limits:
    """Where an exploration stops without a verdict.  None: no limit.

    `states` counts states, `seconds` is wall-clock time, `memory` is in bytes.
    """

    states: int | None = None
    seconds: float | None = None
    memory: int | None = None


@dataclass
class Progress:
    """How far an exploration has come."""

    states: int
    transitions: int
    depth: int
    frontier: int
    seconds: float


Report = Callable[[Progress], None]


@dataclass
class Exploration:
    """The outcome of one exploration.

    `path` holds a (task, choice) pair a step of the shortest way to a violation with
    the fewest task switches, and `ending` what happens there: the number of a fail,
    or DEADLOCK, LOST_WAKEUP, NO_FINISH or LIVELOCK.  The steps of a livelock from
    number `loop` on repeat for ever.  `stopped` names the limit that was hit.
    `failures` are all that there are, where the question is for all; else it is empty.
    """

    states: int
    transitions: int
    depth: int
    seconds: float
    path: list[tuple[int, int]] | None = None
    ending: int | None = None
    loop: int | None = None
    stopped: str | None = None
    ends: int = 0  # states in which every task has finished
    frontier: int = 0  # states not yet expanded, where a limit was hit
    failures: list[Failure] = field(default_factory=list)


@dataclass
class Failure:
    """Failures that are taken for the same bug: the way to one of them, as in an `Exploration`, and
    how many there are.

    `calls` are the system calls that they happen in, and `functions` those of the steps that
    fail, wait or go round.  `count` is of steps that break a rule, else of states.
    """

    path: list[tuple[int, int]]
    ending: int
    calls: tuple[str, ...]
    functions: tuple[str, ...]
    count: int
    loop: int | None = None


@dataclass(frozen=True)
class Question:
    """What to look for besides the fails of the steps."""

    deadlock: bool = True
    lost_wakeup: bool = True
    finish: bool = True  # every task can still finish, from every state, and does if all get their turn
    everything: bool = False  # go on after the first failure: a step that fails leads nowhere


def exceeded(limits: Limits, states: int, seconds: float, memory: int) -> str | None:
    """The limit that is exceeded, in words."""
    if limits.states is not None and states > limits.states:
        return f"--max-states {limits.states}"
    if limits.seconds is not None and seconds > limits.seconds:
        return f"--max-seconds {limits.seconds:g}"
    if limits.memory is not None and memory > limits.memory:
        return f"--max-memory {limits.memory}"
    return None
