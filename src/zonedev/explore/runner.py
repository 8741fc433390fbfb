"""Which engine explores: the one that is asked for, or small spaces in CPython and others compiled.

A reduced search is asked whether there is a violation.  Where it finds one, the search without
reductions says which is the shortest, as far as that is not out of proportion.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from zonedev.explore.cache import Cache, directory, name_of
from zonedev.explore.fair import Unsure
from zonedev.explore.pygen import PythonSteps, generate
from zonedev.explore.python import PythonEngine
from zonedev.explore.reached import Found
from zonedev.explore.reduce import Reduced, reduced
from zonedev.explore.result import Exploration, Limits, Progress, Question, Report
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem

if TYPE_CHECKING:
    from zonedev.explore.native import NativeEngine
    from zonedev.explore.native_checkpoint import Checkpoint

#: Where the automatic choice moves on from CPython to compiled code: CPython takes about as
#: long to come here as the steps of a scenario take to compile.
SMALL = 30_000

#: How many more states than a reduced search the search for the shortest violation may take.
SHORTEST_FACTOR, SHORTEST_STATES = 50, 1_000_000


class Engine(Protocol):
    """What explores a transition system."""

    def explore(self, question: Question, limits: Limits, report: Report | None) -> Exploration: ...

    def found(self) -> Found:
        """The states of the last search."""
        ...


class Runner:
    """Chooses an engine and explores, here or where `on` says (see on.py).

    `used` are the reductions that the answer rests on.
    """

    def __init__(
        self,
        ts: TransitionSystem,
        question: Question,
        limits: Limits,
        report: Report | None,
        workers: int,
        reductions: Sequence[str] = (),
        checkpoint: Checkpoint | None = None,
        on: str | None = None,
    ) -> None:
        self.on = on
        self.ts, self.question, self.limits, self.report, self.workers = ts, question, limits, report, workers
        self.reductions, self.checkpoint = reductions, checkpoint
        self.engine = "python"
        self.explored: Engine | None = None  # what has the states of the last search
        self.used: tuple[str, ...] = ()
        self.system = ts  # what is explored
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
        if self.checkpoint is not None:
            engine = "native"
        explore = {"auto": self.auto, "python": self.python, "native": self.native}[engine]
        try:
            if not self.reductions:
                return explore()
            try:
                return self.reduced(explore, self.reductions, begun)
            except Unsure:  # symmetry says nothing of livelocks
                return self.reduced(explore, [r for r in self.reductions if r != "symmetry"], begun)
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

    def reduced(
        self, explore: Callable[[], Exploration], reductions: Sequence[str], begun: float
    ) -> Exploration:
        """Explore with these reductions."""
        smaller = reduced(self.ts, reductions, Cache(directory()))
        self.used, self.system = smaller.names, smaller.ts
        found = explore()
        return found if found.path is None else self.shortest(explore, smaller, found, begun)

    def shortest(
        self, explore: Callable[[], Exploration], smaller: Reduced, found: Exploration, begun: float
    ) -> Exploration:
        """The shortest violation, where a reduced search has found one; or else the one it has found."""
        asked, engine = self.limits, self.engine
        most = SHORTEST_FACTOR * found.states + SHORTEST_STATES
        self.limits = replace(asked, states=most if asked.states is None else min(most, asked.states))
        if asked.seconds is not None:
            self.limits = replace(self.limits, seconds=max(0.0, asked.seconds - time.perf_counter() + begun))
        self.system, self.checkpoint = self.ts, None
        plain = explore()
        self.limits = asked
        if plain.path is not None:
            self.used = ()
            return plain
        assert found.path is not None
        self.engine = engine
        found.path, found.loop = smaller.path(self.code, found.path, found.loop)
        found.depth = len(found.path)
        return found

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
        return None if self.system.digest is None else name_of("large", str(SMALL), self.system.digest)

    def python(self, limits: Limits | None = None) -> Exploration:
        self.engine = "python"
        self.explored = engine = PythonEngine(self.system)
        if self.system is self.ts:
            self._code = engine.code
        return engine.explore(self.question, limits or self.limits, self._watch)

    def native(self, limits: Limits | None = None) -> Exploration:
        self.engine = "native"
        make = native_engine(self.on)
        if make is None:
            raise ZonedevError("the native engine needs llvmlite: install it, or use --engine python")
        engine = make(self.system, self.workers)
        self.explored = engine if self.on is None else None  # a cluster keeps none
        if self.checkpoint is None:
            return engine.explore(self.question, limits or self.limits, self._watch)
        return engine.explore(self.question, limits or self.limits, self._watch, self.checkpoint)

    def _watch(self, progress: Progress) -> None:
        self._seen = progress
        if self.report is not None:
            self.report(progress)


def native_engine(on: str | None = None) -> Callable[[TransitionSystem, int], NativeEngine] | None:
    """The native engine, where it can be had; on a cluster, if one is named."""
    try:
        if on is not None:
            from zonedev.explore.cluster import ClusterEngine

            return partial(ClusterEngine, on=on)
        from zonedev.explore.native import NativeEngine
    except ImportError:
        return None
    return NativeEngine
