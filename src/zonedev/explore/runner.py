"""Which engine explores: the one that is asked for, or small spaces in CPython and others compiled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from zonedev.explore.cache import Cache, directory, name_of
from zonedev.explore.pygen import PythonSteps, generate
from zonedev.explore.python import PythonEngine
from zonedev.explore.reached import Found
from zonedev.explore.result import Exploration, Limits, Progress, Question, Report
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem

#: Where the automatic choice moves on from CPython to compiled code: CPython takes about as
#: long to come here as the steps of a scenario take to compile.
SMALL = 30_000


class Engine(Protocol):
    """What explores a transition system."""

    def explore(self, question: Question, limits: Limits, report: Report | None) -> Exploration: ...

    def found(self) -> Found:
        """The states of the last search."""
        ...


class Runner:
    """Chooses an engine and explores."""

    def __init__(
        self, ts: TransitionSystem, question: Question, limits: Limits, report: Report | None, workers: int
    ) -> None:
        self.ts, self.question, self.limits, self.report, self.workers = ts, question, limits, report, workers
        self.engine = "python"
        self.explored: Engine | None = None  # what has the states of the last search
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
        """Small spaces in CPython; larger ones from the beginning, compiled.

        A space that was large the last time begins there.
        """
        own = self.limits.states
        small = SMALL if own is None else min(SMALL, own)
        if self.known_as_large() and small != own and native_engine() is not None:
            return self.native()
        found = self.python(replace(self.limits, states=small))
        if found.stopped != f"--max-states {small}" or small == own:
            return found
        if native_engine() is None:
            return self.python()
        self.remember_as_large()
        rest = self.limits
        if rest.seconds is not None:
            rest = replace(rest, seconds=max(0.0, rest.seconds - found.seconds))
        first, found = found, self.native(rest)
        if found.stopped is not None and found.stopped.startswith("--max-seconds"):
            found.stopped = f"--max-seconds {self.limits.seconds:g}"
            if found.states < first.states:  # it hardly came further than to compile
                first.stopped, self.engine = found.stopped, "python"
                return first
        return found

    def known_as_large(self) -> bool:
        return self.large is not None and Cache(directory()).read(self.large) is not None

    def remember_as_large(self) -> None:
        if self.large is not None:
            Cache(directory()).write(self.large, b"")

    @property
    def large(self) -> str | None:
        """What is kept of a system that has more than SMALL states."""
        return None if self.ts.digest is None else name_of("large", str(SMALL), self.ts.digest)

    def python(self, limits: Limits | None = None) -> Exploration:
        self.engine = "python"
        self.explored = engine = PythonEngine(self.ts)
        self._code = engine.code
        return engine.explore(self.question, limits or self.limits, self._watch)

    def native(self, limits: Limits | None = None) -> Exploration:
        self.engine = "native"
        make = native_engine()
        if make is None:
            raise ZonedevError("the native engine needs llvmlite: install it, or use --engine python")
        self.explored = engine = make(self.ts, self.workers)
        return engine.explore(self.question, limits or self.limits, self._watch)

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
