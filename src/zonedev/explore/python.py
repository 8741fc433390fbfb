"""The reference engine: breadth-first search in plain Python."""

from __future__ import annotations

import time

from zonedev.explore.pygen import PythonSteps, generate
from zonedev.explore.result import (
    DEADLOCK,
    LOST_WAKEUP,
    NO_FINISH,
    Exploration,
    Limits,
    Progress,
    Question,
    Report,
    State,
    exceeded,
)
from zonedev.explore.shortest import Edge, shortest
from zonedev.lang.transition import TransitionSystem

STATE_BYTES = 700  # of a state with its edges in CPython, measured on the catalogue
CHECK_EVERY = 1024  # states between two looks at the clock


class PythonEngine:
    """Explores level by level, with exact states in a dict."""

    name = "python"

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts = ts
        self.code: PythonSteps = generate(ts)
        self.actors = [t.actor for t in ts.tasks]
        self.number: dict[State, int] = {}
        self.states: list[State] = []
        self.edges: list[list[Edge]] = []
        self.levels: list[int] = []  # where each level begins

    def expand(self, state: State) -> list[tuple[int, int, State | int]]:
        """The steps that can be taken: task, choice, and new state or the number of a fail."""
        found: list[tuple[int, int, State | int]] = []
        for task, (word, shift, mask) in enumerate(self.code.pcs):
            function, fanout = self.code.steps[task][state[word] >> shift & mask]
            if fanout == 1:
                outcome = function(*state)
                if outcome is not None:
                    found.append((task, 0, outcome))
            else:
                for choice in range(fanout):
                    outcome = function(*state, choice)
                    if outcome is not None:
                        found.append((task, choice, outcome))
        return found

    def finished(self, state: State) -> bool:
        """Whether every task but the actors has come to its end."""
        return all(
            actor or state[word] >> shift & mask == 0
            for actor, (word, shift, mask) in zip(self.actors, self.code.pcs, strict=True)
        )

    def stuck(self, state: State, question: Question) -> int | None:
        """What is wrong with a state without steps: an ending, or None."""
        if self.finished(state):
            broken = self.code.rest(*state)
            return broken if broken >= 0 else None
        if self.code.lost(*state):
            return LOST_WAKEUP if question.lost_wakeup else None
        return DEADLOCK if question.deadlock else None

    def explore(
        self,
        question: Question = Question(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        report: Report | None = None,
    ) -> Exploration:
        """Explore all reachable states, or up to the level of the first violation."""
        begun = time.perf_counter()
        start = self.ts.initial()
        self.number, self.states, self.edges, self.levels = {start: 0}, [start], [], [0]
        number, states = self.number, self.states
        transitions = ends = 0
        wrong: dict[int, int] = {}  # states of this level at which a rule breaks
        broken = False  # a step from this level breaks a rule
        stopped = None
        while len(self.edges) < len(states) and not wrong and not broken and stopped is None:
            first, end = len(self.edges), len(states)
            for at in range(first, end):
                state = states[at]
                out: list[Edge] = []
                for task, choice, new in self.expand(state):
                    if isinstance(new, int):
                        broken = True
                        out.append((task, choice, -1 - new))
                        continue
                    known = number.get(new)
                    if known is None:
                        known = number[new] = len(states)
                        states.append(new)
                    out.append((task, choice, known))
                self.edges.append(out)
                transitions += len(out)
                if self.finished(state):
                    ends += 1
                if not out:
                    ending = self.stuck(state, question)
                    if ending is not None:
                        wrong[at] = ending
                if at % CHECK_EVERY == 0:
                    seconds = time.perf_counter() - begun
                    stopped = exceeded(limits, len(states), seconds, len(states) * STATE_BYTES)
                    if stopped:
                        break
                    if report is not None:
                        report(
                            Progress(
                                len(states), transitions, len(self.levels) - 1, len(states) - end, seconds
                            )
                        )
            if len(states) > end:
                self.levels.append(end)
        result = Exploration(len(states), transitions, len(self.levels) - 1, 0.0, ends=ends)
        if wrong:
            result.path, result.ending = shortest(self.edges, wrong)
        elif broken:
            result.path, result.ending = shortest(self.edges, {})
        elif stopped is not None:
            result.stopped = stopped
            result.frontier = len(states) - len(self.edges)
        elif question.finish:
            bad = self.cannot_finish()
            if bad:
                result.path, result.ending = shortest(self.edges, dict.fromkeys(bad, NO_FINISH))
        if result.path is not None:
            result.depth = len(result.path)
        result.seconds = time.perf_counter() - begun
        return result

    def cannot_finish(self) -> list[int]:
        """The states of the first level that has any from which some task can never finish."""
        before: list[list[int]] = [[] for _ in self.states]
        for at, out in enumerate(self.edges):
            for _, _, new in out:
                before[new].append(at)
        todo = [n for n, s in enumerate(self.states) if self.finished(s)]
        can = bytearray(len(self.states))
        for at in todo:
            can[at] = 1
        while todo:
            for at in before[todo.pop()]:
                if not can[at]:
                    can[at] = 1
                    todo.append(at)
        ends = [*self.levels[1:], len(self.states)]
        for first, end in zip(self.levels, ends, strict=True):
            bad = [n for n in range(first, end) if not can[n]]
            if bad:
                return bad
        return []
