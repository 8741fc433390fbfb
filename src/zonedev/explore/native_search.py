"""One search of the native engine: levels, rounds, and what to do when a rule breaks.

Levels are explored in chunks, so that limits, progress and interruption are looked after several
times a second.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from zonedev.explore import llvmgen
from zonedev.explore import native_kernels as k
from zonedev.explore.fair import Path
from zonedev.explore.native_checkpoint import Checkpoint
from zonedev.explore.native_store import CHUNK, Store, TooMany
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
from zonedev.lang.errors import SpecError

if TYPE_CHECKING:
    from zonedev.explore.native import NativeEngine
    from zonedev.explore.native_loops import Loops
    from zonedev.explore.native_shortest import Fails, Place, Trace

T = TypeVar("T")

BOX = 1 << 17  # states that a worker may keep for all others together
ALONE = 1 << 11  # a smaller piece of work is not worth waking threads for
REPORT_EVERY = 0.2  # seconds


class Search:
    """One exploration."""

    def __init__(
        self,
        engine: NativeEngine,
        question: Question,
        limits: Limits,
        report: Report | None,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.begun = time.perf_counter()
        self.engine, self.question, self.limits, self.report = engine, question, limits, report
        self.checkpoint = checkpoint
        self.workers = engine.workers
        self.pool = ThreadPoolExecutor(self.workers) if self.workers > 1 else None
        box = max(BOX // self.workers, 4 * (k.SIZE + engine.most))
        self.store = Store(
            engine.call, self.workers, engine.ts.words, engine.most, box, finish=question.finish
        )
        self.store.allowed = limits.memory
        self.at = [0] * self.workers  # how far each worker has expanded its states
        self.ends = [0] * self.workers  # where the level that is being expanded ends, by worker
        self.levels: list[list[int]] = []  # where each level begins, by worker
        self.level = 0  # the level that is being expanded
        self.wrong: list[tuple[int, int, int]] = []  # worker, state and ending
        self.loop: int | None = None  # the first step of the path that repeats
        self.failures: list[Failure] = []
        self.stopped: str | None = None
        self.reported = self.begun

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def run(self) -> Exploration:
        path: Path | None = None
        ending: int | None = None
        try:
            path, ending = self.verdict()
        except Stop as stop:
            self.stopped = str(stop)
        except TooMany:
            self.stopped = "more than 2**31 states"
        except MemoryError:
            self.stopped = "out of memory"
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        states = self.store.states
        result = Exploration(states, self.store.sum(k.TRANSITIONS), len(self.levels) - 1, 0.0)
        result.path, result.ending, result.ends = path, ending, self.store.sum(k.ENDS)
        result.loop, result.failures = self.loop, self.failures
        if path is not None:
            result.depth = len(path)
        elif self.stopped is not None:
            result.stopped = self.stopped
            result.frontier = max(0, states - sum(self.at))
        result.seconds = time.perf_counter() - self.begun
        return result

    def verdict(self) -> tuple[Path | None, int | None]:
        """Search; the shortest path to a violation and its ending, or None twice.  All are in `failures`."""
        stop = None
        try:
            self.search()
        except Stop as limit:
            stop = limit
        if self.question.everything:
            return self.everything(stop)
        if self.wrong:
            endings = {(worker, number): ending for worker, number, ending in self.wrong}
            path, place = self.trace().to(endings, self.level)
            return path, endings[place]
        if self.store.sum(k.BROKEN):
            return self.trace().over(self.failing(self.level), self.level)
        if stop is not None:
            raise stop
        return self.progress() if self.question.finish else (None, None)

    def trace(self) -> Trace:
        """Finds the ways back."""
        from zonedev.explore.native_shortest import Trace  # here, for it needs NumPy

        return Trace(self)

    def progress(self) -> tuple[Path | None, int | None]:
        """A path to where somebody can never finish, or into a livelock; None twice where there is none."""
        bad, level = self.cannot_finish()
        return (self.trace().to(bad, level)[0], NO_FINISH) if bad else self.livelock()

    def failing(self, level: int) -> dict[Place, Fails]:
        """The steps of a level that break a rule, by their states."""
        from zonedev.explore.native_failures import failing_at

        return failing_at(self, level)

    def cannot_finish(self) -> tuple[list[tuple[int, int]], int]:
        """The first states from which somebody can never finish, and their level."""
        from zonedev.explore.native_finish import cannot_finish

        for me in range(self.workers):
            self.hear(me)
        return cannot_finish(self)

    def everything(self, stop: Stop | None) -> tuple[None, None]:
        """Fill in all failures; of those that take a complete search, where it is one."""
        from zonedev.explore.native_failures import Everything

        limits, found = self.limits, Everything(self, self.trace())
        self.limits = Limits()  # what was found is told, whatever that takes
        self.failures = found.failures()
        self.limits = limits
        if stop is not None:
            raise stop
        if self.question.finish:
            self.failures += found.livelocks()
        return None, None

    def livelock(self) -> tuple[Path | None, int | None]:
        """A path that ends in a loop that can go on for ever; None twice where there is none."""
        loops = self.loops()
        found = loops.livelock()
        if found is None:
            return None, None
        path, _ = self.trace().to([loops.places[state] for state in found.states], found.level)
        path, self.loop = found.lasso(self.engine.expand, self.engine.ts.initial(), path)
        return path, LIVELOCK

    def loops(self) -> Loops:
        from zonedev.explore.native_loops import Loops  # here, for it needs NumPy

        return Loops(self)

    def search(self) -> None:
        """Expand level by level, until nothing is new or a rule breaks."""
        if self.checkpoint is None or not self.checkpoint.load(self):
            self.start()
        while True:
            self.level = len(self.levels) - 1
            try:
                while self.at != self.ends:
                    self.round()
                    self.look_and_keep()
                over = self.counts() == self.ends or (self.broken() and not self.question.everything)
                if over and self.checkpoint is not None:
                    self.checkpoint.save(self)
            finally:
                if self.counts() != self.ends:
                    self.levels.append(self.ends)
            if over:
                return
            self.ends = self.counts()

    def broken(self) -> bool:
        """Whether a rule is broken by what was expanded."""
        return bool(self.wrong) or self.store.sum(k.BROKEN) > 0

    def start(self) -> None:
        """Enter the initial state."""
        first = words_of(self.engine.ts.initial())
        while not self.call("enter", ctypes.addressof(first)):
            self.store.adapt()
        self.levels.append(list(self.at))
        self.ends = self.counts()

    def call(self, name: str, *args: int) -> int:
        """Run one of the compiled loops on the store."""
        return self.engine.call(name, self.store.ctx.address, *args)

    def counts(self) -> list[int]:
        return [self.store.ctx.get(worker, k.COUNT) for worker in range(self.workers)]

    def round(self) -> None:
        """Every worker expands a chunk of its states, then takes in what the others found."""
        work = sum(end - at for at, end in zip(self.at, self.ends, strict=True))
        self.each(lambda me: self.expand_chunk(me, self.ends[me]), work)
        if self.workers > 1:
            self.each(self.take_in, work)
        self.collect()

    def expand_chunk(self, me: int, end: int) -> None:
        store = self.store
        self.hear(me)
        end = min(end, self.at[me] + CHUNK)
        while self.at[me] < end and not store.ctx.get(me, k.TIGHT):
            if store.full(me):
                store.grow(me)
            begin = self.at[me]
            self.at[me] = self.call("advance", me, begin, end)
            if self.workers > 1 and self.at[me] < end and not store.full(me):
                return

    def take_in(self, me: int) -> None:
        store = self.store
        for source in range(self.workers):
            n, at = store.posted(source, me), 0
            while at < n:
                if store.full(me):
                    store.grow(me)
                at = self.call("absorb", me, source, at, n)

    def hear(self, me: int) -> None:
        """Take over the answers to what the worker has posted in the round before."""
        if self.workers > 1:
            self.call("hear", me)

    def collect(self) -> None:
        """Take over the stuck states that the workers have noted."""
        store = self.store
        if max(store.ctx.get(me, k.BROKEN) for me in range(self.workers)) > llvmgen.FAULT:
            raise SpecError(faulty())
        for me in range(self.workers):
            for state, code in store.noted(me):
                ending = wanted(code, self.question)
                if ending is not None:
                    self.wrong.append((me, state, ending))
        if store.sum(k.TIGHT):
            for me in range(self.workers):
                self.hear(me)  # before what is packed there is out of date
            store.adapt()

    def each(self, work: Callable[[int], T], amount: int) -> list[T]:
        """Let every worker do its part; small amounts are done at once."""
        if self.pool is None or amount < ALONE:
            return [work(me) for me in range(self.workers)]
        parts = [self.pool.submit(work, me) for me in range(self.workers)]
        try:
            return [p.result() for p in parts]
        finally:
            wait(parts)

    def look(self, more: int = 0) -> None:
        """Look at the clock and the limits; report progress.  `more` bytes are in use beside the store."""
        now = time.perf_counter()
        states = self.store.states
        stopped = exceeded(self.limits, states, now - self.begun, self.used() + more)
        if stopped is not None:
            raise Stop(stopped)
        if self.report is not None and now - self.reported >= REPORT_EVERY:
            self.reported = now
            transitions = self.store.sum(k.TRANSITIONS)
            frontier = states - sum(self.at)
            self.report(Progress(states, transitions, len(self.levels) - 1, frontier, now - self.begun))

    def used(self) -> int:
        """The bytes that the store takes."""
        return self.store.bytes

    def look_and_keep(self) -> None:
        """Between two rounds: as `look`, and a checkpoint where it is time, or the search stops."""
        try:
            self.look()
        except Stop:
            if self.checkpoint is not None:
                self.checkpoint.save(self)
            raise
        if self.checkpoint is not None and self.checkpoint.due():
            self.checkpoint.save(self)

    def level_end(self, level: int, me: int) -> int:
        """The end of a worker's states of a level."""
        return self.levels[level + 1][me] if level + 1 < len(self.levels) else self.counts()[me]


def words_of(state: State) -> ctypes.Array[ctypes.c_int64]:
    return (ctypes.c_int64 * len(state))(*state)


def wanted(code: int, question: Question) -> int | None:
    """The ending that an answer of `stuck` means under a question."""
    otherwise = NO_FINISH if question.everything and question.finish else None
    if code == llvmgen.FAULTY:
        raise SpecError(faulty())
    if code == llvmgen.FINE:
        return None
    if code == LOST_WAKEUP:
        return LOST_WAKEUP if question.lost_wakeup else otherwise
    if code == DEADLOCK:
        return DEADLOCK if question.deadlock else otherwise
    return code


def faulty() -> str:
    return (
        "a step divides by zero, shifts by a negative number or needs more than 64 bits: "
        "use --engine python to see where"
    )
