"""The reference engine: breadth-first search in plain Python."""

from __future__ import annotations

import time
from bisect import bisect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

from zonedev.explore.failures import Ends, Failures, livelocks
from zonedev.explore.fair import CORE_BYTES, FAILED, Livelock, Move, Path, looping
from zonedev.explore.pygen import PythonSteps, generate
from zonedev.explore.reached import Found, Listed
from zonedev.explore.result import (
    DEADLOCK,
    LIVELOCK,
    LOST_WAKEUP,
    NO_FINISH,
    Exploration,
    Failure,
    Limits,
    Progress,
    Question,
    Report,
    State,
    Stop,
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
        self.running = self.places()
        self.number: dict[State, int] = {}
        self.states: list[State] = []
        self.edges: list[list[Edge]] = []
        self.levels: list[int] = []  # where each level begins
        self.wrong: dict[int, int] = {}  # states of the present level at which a rule breaks
        self.broken: list[int] = []  # states with a step that breaks a rule, once for each
        self.transitions = self.ends = 0
        self.begun = 0.0

    def expand(self, state: State) -> list[tuple[int, int, State | int]]:
        """The steps that can be taken: task, choice, and new state or the number of a fail."""
        if self.code.alone is not None:
            task = self.code.alone(*state)
            found = self.taken(state, [task]) if task >= 0 else []
            if found:
                return found
        return self.taken(state, range(len(self.code.pcs)))

    def taken(self, state: State, tasks: Iterable[int]) -> list[tuple[int, int, State | int]]:
        """The steps of some tasks."""
        found: list[tuple[int, int, State | int]] = []
        for task in tasks:
            word, shift, mask = self.code.pcs[task]
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

    def places(self) -> list[tuple[int, int]]:
        """The words of a state, and the bits in each, that are 0 where all tasks but actors have ended."""
        bits: dict[int, int] = {}
        for task, (word, shift, mask) in zip(self.ts.tasks, self.code.pcs, strict=True):
            if not task.actor:
                bits[word] = bits.get(word, 0) | mask << shift
        return sorted(bits.items())

    def finished(self, state: State) -> bool:
        """Whether every task but the actors has come to its end."""
        for word, mask in self.running:  # noqa: SIM110  asked of every state
            if state[word] & mask:
                return False
        return True

    def stuck(self, state: State, question: Question) -> int | None:
        """What is wrong with a state without steps: an ending, or None."""
        if self.finished(state):
            broken = self.code.rest(*state)
            return broken if broken >= 0 else None
        otherwise = NO_FINISH if question.everything and question.finish else None
        if self.code.lost(*state):
            return LOST_WAKEUP if question.lost_wakeup else otherwise
        return DEADLOCK if question.deadlock else otherwise

    def explore(
        self,
        question: Question = Question(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        report: Report | None = None,
    ) -> Exploration:
        """Explore all reachable states; up to the level of the first violation, unless it asks for all."""
        self.begun = time.perf_counter()
        start = self.ts.initial()
        self.number, self.states, self.edges, self.levels = {start: 0}, [start], [], [0]
        self.wrong, self.broken = {}, []
        self.transitions = self.ends = 0
        path: list[tuple[int, int]] | None = None
        ending = loop = None
        failures: list[Failure] = []
        try:
            stopped = self.search(question, limits, report)
            if question.everything:
                failures = self.failures()
                if stopped is None and question.finish:
                    failures += self.livelocks(limits)
                return self.result(stopped, failures=failures)
            targets = self.targets(question, stopped)
            if targets is not None:
                path, ending = shortest(self.edges, targets)
            elif stopped is None and question.finish:
                path, loop = self.livelock(limits)
                ending = LIVELOCK if path else None
        except Stop as stop:
            stopped = str(stop)
        except KeyboardInterrupt:
            stopped = "interrupted"
        return self.result(stopped, path, ending, loop, failures)

    def found(self) -> Found:
        """The states of the last search."""
        return Listed(self.states)

    def result(
        self,
        stopped: str | None,
        path: Path | None = None,
        ending: int | None = None,
        loop: int | None = None,
        failures: Sequence[Failure] = (),
    ) -> Exploration:
        states, depth = len(self.states), len(self.levels) - 1
        result = Exploration(states, self.transitions, depth, 0.0, path, ending, loop, ends=self.ends)
        result.failures = list(failures)
        if path is not None:
            result.depth = len(path)
        elif stopped is not None:
            result.stopped = stopped
            result.frontier = states - len(self.edges)
        result.seconds = time.perf_counter() - self.begun
        return result

    def search(self, question: Question, limits: Limits, report: Report | None) -> str | None:
        """Expand level by level, until nothing is new or a rule breaks; the limit that stopped it."""
        stopped = None
        while len(self.edges) < len(self.states) and stopped is None:
            if (self.wrong or self.broken) and not question.everything:
                break
            end = len(self.states)
            for at in range(len(self.edges), end):
                self.step(at, question)
                if at % CHECK_EVERY == 0:
                    stopped = self.look(limits, report, end)
                    if stopped:
                        break
            if len(self.states) > end:
                self.levels.append(end)
        return stopped

    def step(self, at: int, question: Question) -> None:
        """Expand one state."""
        state = self.states[at]
        out: list[Edge] = []
        for task, choice, new in self.expand(state):
            if isinstance(new, int):
                self.broken.append(at)
                out.append((task, choice, -1 - new))
                continue
            known = self.number.get(new)
            if known is None:
                known = self.number[new] = len(self.states)
                self.states.append(new)
            out.append((task, choice, known))
        self.edges.append(out)
        self.transitions += len(out)
        if self.finished(state):
            self.ends += 1
        if not out:
            ending = self.stuck(state, question)
            if ending is not None:
                self.wrong[at] = ending

    def look(self, limits: Limits, report: Report | None, end: int) -> str | None:
        """Look at the clock and the limits; report progress."""
        seconds = time.perf_counter() - self.begun
        states = len(self.states)
        stopped = exceeded(limits, states, seconds, states * STATE_BYTES)
        if stopped is None and report is not None:
            report(Progress(states, self.transitions, len(self.levels) - 1, states - end, seconds))
        return stopped

    def targets(self, question: Question, stopped: str | None) -> dict[int, int] | None:
        """The states that a counterexample leads to; none where it ends in a failing step."""
        if self.wrong or self.broken:
            return self.wrong
        if stopped is None and question.finish:
            return dict.fromkeys(self.cannot_finish(), NO_FINISH) or None
        return None

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

    def failures(self) -> list[Failure]:
        """All failures but livelocks."""
        found = Failures(self.ts)
        for at in sorted({*self.broken, *self.wrong}):
            state, level = self.states[at], bisect(self.levels, at) - 1
            if at in self.wrong:
                found.state(level, state, self.wrong[at])
            pcs = self.ts.pcs(state)
            for task, choice, new in self.edges[at]:
                if new < 0:
                    found.step(level, task, pcs[task], -1 - new, 1, [(state, choice)])
        return found.found(self.way)

    def way(self, level: int, ends: Ends) -> tuple[Path, int | None]:
        """The shortest way to one of `ends`, which are of one level, and what its last step breaks."""
        known = {self.number[state]: steps for state, steps in ends.items()}
        edges = self.edges[: self.levels[level + 1] if level + 1 < len(self.levels) else None]
        if not any(known.values()):
            return shortest(edges, dict.fromkeys(known, 0))[0], None
        for at in set(self.broken):
            if at < len(edges):
                edges[at] = [e for e in edges[at] if e[2] >= 0 or e[:2] in known.get(at, ())]
        return shortest(edges, {})

    def livelocks(self, limits: Limits) -> list[Failure]:
        """All livelocks."""
        found = self.loops(limits, everything=True)
        return livelocks(self.ts, found, self.expand, self.way) if found else []

    def livelock(self, limits: Limits) -> tuple[list[tuple[int, int]] | None, int | None]:
        """A path that ends in a loop that can go on for ever, and where that begins; or None twice."""
        found = self.loops(limits)
        if found is None:
            return None, None
        path, _ = shortest(self.edges, {self.number[state]: LIVELOCK for state in found.states})
        return found.lasso(self.expand, self.states[0], path)

    def loops(self, limits: Limits, everything: bool = False) -> Livelock | None:
        """The livelocks, if there are any; Stop where a limit is hit."""
        kept = self.in_loops()
        memory = len(self.states) * STATE_BYTES + len(kept) * CORE_BYTES

        def look() -> None:
            stopped = exceeded(replace(limits, states=None), 0, time.perf_counter() - self.begun, memory)
            if stopped is not None:
                raise Stop(stopped)

        if not kept:
            return None
        look()
        level = partial(bisect, self.levels)
        exchanged = bool(self.ts.order)
        found = Livelock(
            kept, lambda state: level(self.number[state]) - 1, look, everything, exchanged=exchanged
        )
        return found if found.states else None

    def in_loops(self) -> dict[State, list[Move]]:
        """The states, with their steps, in which all that can take one stand in a loop."""
        loops = looping(self.ts)
        kept: dict[State, list[Move]] = {}
        if not any(map(any, loops)):
            return kept
        for state, out in zip(self.states, self.edges, strict=True):
            for task, _, _ in out:
                word, shift, mask = self.code.pcs[task]
                if not loops[task][state[word] >> shift & mask]:
                    break
            else:
                if out and not self.finished(state):
                    kept[state] = [
                        (task, choice, FAILED if new < 0 else self.states[new]) for task, choice, new in out
                    ]
        return kept
