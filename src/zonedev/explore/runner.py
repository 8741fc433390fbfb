"""Which engine explores: the one that is asked for, or small spaces in CPython, others compiled, and
the largest with merged steps.

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
#: Where it begins anew with merged steps (docs/reductions.md), unless reductions are named: to merge and
#: compile them takes about as long as compiled code takes to come here.
LARGE = 4_000_000

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

    `reductions` are those to use; with None the automatic choice of the engine decides.  `used` are
    those that the answer rests on.
    """

    def __init__(
        self,
        ts: TransitionSystem,
        question: Question,
        limits: Limits,
        report: Report | None,
        workers: int,
        reductions: Sequence[str] | None = None,
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
        """Stages, each of which begins anew where the one before has come to its most states.

        A space that was larger the last time begins in a later one.
        """
        asked, begun, own = self.limits, time.perf_counter(), self.limits.states
        found: Exploration | None = None
        for most, explore in self.stages():
            first, engine, used = found, self.engine, self.used
            if most is None or (own is not None and own <= most):
                most = None
            elif self.known_above(most):
                continue
            self.limits = replace(asked, states=most or own)
            if asked.seconds is not None:
                left = asked.seconds - time.perf_counter() + begun
                self.limits = replace(self.limits, seconds=max(0.0, left))
            found = explore()
            if most is None or found.stopped != f"--max-states {most}":
                break
            self.remember_above(most)
        self.limits = asked
        assert found is not None
        if found.stopped is not None and found.stopped.startswith("--max-seconds"):
            if first is not None and found.states < first.states:  # it hardly came further than to compile
                found, self.engine, self.used = first, engine, used
            found.stopped = f"--max-seconds {asked.seconds:g}"
        return found

    def stages(self) -> list[tuple[int | None, Callable[[], Exploration]]]:
        """Ways to explore, and up to how many states."""
        if native_engine() is None:
            return [(None, self.python)]
        if self.reductions is not None or self.on is not None or self.question.everything:
            return [(SMALL, self.python), (None, self.native)]
        return [(SMALL, self.python), (LARGE, self.native), (None, self.merged)]

    def merged(self) -> Exploration:
        """As `native`, with merged steps."""
        return self.reduced(self.native, ("merge",), time.perf_counter())

    def known_above(self, states: int) -> bool:
        """Whether the space was larger than that the last time."""
        kept = self.larger(states)
        return kept is not None and Cache(directory()).read(kept) is not None

    def remember_above(self, states: int) -> None:
        kept = self.larger(states)
        if kept is not None:
            Cache(directory()).write(kept, b"")

    def larger(self, states: int) -> str | None:
        """What is kept of a system that has more states than that."""
        digest = self.system.digest
        return None if digest is None else name_of("large", str(states), digest)

    def python(self) -> Exploration:
        self.engine = "python"
        self.explored = engine = PythonEngine(self.system)
        if self.system is self.ts:
            self._code = engine.code
        return engine.explore(self.question, self.limits, self._watch)

    def native(self) -> Exploration:
        self.engine = "native"
        make = native_engine(self.on)
        if make is None:
            raise ZonedevError("the native engine needs llvmlite: install it, or use --engine python")
        engine = make(self.system, self.workers)
        self.explored = engine if self.on is None else None  # a cluster keeps none
        if self.checkpoint is None:
            return engine.explore(self.question, self.limits, self._watch)
        return engine.explore(self.question, self.limits, self._watch, self.checkpoint)

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
