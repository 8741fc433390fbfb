"""The native engine: breadth-first search in machine code, by one or more workers.

The steps of the model are compiled by LLVM (llvmgen), the search itself by Numba
(native_kernels).  Levels are explored in chunks, so that limits, progress and
interruption are looked after several times a second.  Numba is imported with this
module: import it only where the engine is used.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import numpy as np

from zonedev.explore import llvmgen
from zonedev.explore import native_kernels as k
from zonedev.explore.native_code import Code, cache_directory
from zonedev.explore.native_finish import cannot_finish
from zonedev.explore.native_loops import Loops
from zonedev.explore.native_shortest import Trace
from zonedev.explore.native_store import CHUNK, Store, TooMany
from zonedev.explore.result import (
    DEADLOCK,
    LIVELOCK,
    LOST_WAKEUP,
    NO_FINISH,
    Exploration,
    Limits,
    Progress,
    Question,
    Report,
    State,
    Stop,
    exceeded,
)
from zonedev.lang.errors import SpecError
from zonedev.lang.transition import TransitionSystem

T = TypeVar("T")

BOX = 1 << 17  # states that a worker may keep for all others together
ALONE = 1 << 11  # a smaller piece of work is not worth waking threads for
REPORT_EVERY = 0.2  # seconds


class NativeEngine:
    """Explores level by level, with exact packed states in hash tables.

    `workers` threads share the states by their hash.  `cache` is the directory for
    compiled models; None keeps nothing.  SpecError: the model needs what the engine
    does not have, such as numbers of more than 64 bits.
    """

    name = "native"

    def __init__(self, ts: TransitionSystem, workers: int = 1, cache: Path | str | None = "") -> None:
        begun = time.perf_counter()
        self.ts, self.workers = ts, max(1, workers)
        where = cache_directory() if cache == "" else cache
        self.code = Code(llvmgen.generate(ts), Path(where) if where is not None else None)
        self.most = llvmgen.widest(ts)
        self.shape = (0,) * ts.words
        self.addresses = (self.code.address("expand"), self.code.address("stuck"), self.most)
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
        self._expand = kind(self.addresses[0])
        self._stuck = kind(self.addresses[1])
        self.compile_seconds = time.perf_counter() - begun
        self.store: Store | None = None

    # --- single states -----------------------------------------------------------------------

    def expand(self, state: State) -> list[tuple[int, int, State | int]]:
        """The steps that can be taken: task, choice, and new state or the number of a fail."""
        found: list[tuple[int, int, State | int]] = []
        words = len(state)
        here = np.array(state, np.int64)
        out = np.empty((self.most, words + 1), np.int64)
        count = self._expand(here.ctypes.data, out.ctypes.data) & k.LOW
        for record in out[:count].tolist():
            task, choice, fail = llvmgen.untag(record[words])
            if fail == llvmgen.FAULT:
                raise SpecError(faulty())
            found.append((task, choice, tuple(record[:words]) if fail < 0 else fail))
        return found

    def stuck(self, state: State, question: Question) -> int | None:
        """What is wrong with a state without steps: an ending, or None."""
        here = np.array(state, np.int64)
        return wanted(self._stuck(here.ctypes.data, None), question)

    # --- the search ----------------------------------------------------------------------------

    def explore(
        self,
        question: Question = Question(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        report: Report | None = None,
    ) -> Exploration:
        """Explore all reachable states, or up to the level of the first violation."""
        search = Search(self, question, limits, report)
        self.store = search.store
        try:
            return search.run()
        finally:
            search.close()


class Search:
    """One exploration."""

    def __init__(
        self, engine: NativeEngine, question: Question, limits: Limits, report: Report | None
    ) -> None:
        self.begun = time.perf_counter()
        self.engine, self.question, self.limits, self.report = engine, question, limits, report
        self.workers = engine.workers
        self.pool = ThreadPoolExecutor(self.workers) if self.workers > 1 else None
        box = max(BOX // self.workers, 4 * (k.BATCH + engine.most))
        self.store = Store(self.workers, engine.ts.words, engine.most, box)
        self.at = [0] * self.workers  # how far each worker has expanded its states
        self.levels: list[list[int]] = []  # where each level begins, by worker
        self.level = 0  # the level that is being expanded
        self.wrong: list[tuple[int, int, int]] = []  # worker, state and ending
        self.loop: int | None = None  # the first step of the path that repeats
        self.stopped: str | None = None
        self.reported = self.begun

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def run(self) -> Exploration:
        path: list[tuple[int, int]] | None = None
        ending: int | None = None
        try:
            path, ending = self.verdict()
        except Stop as stop:
            self.stopped = str(stop)
        except TooMany:
            self.stopped = "more than 2**32 states for one worker"
        except MemoryError:
            self.stopped = "out of memory"
        except KeyboardInterrupt:
            self.stopped = "interrupted"
        ctx = self.store.ctx
        states = self.store.states
        result = Exploration(states, int(ctx[:, k.TRANSITIONS].sum()), len(self.levels) - 1, 0.0)
        result.path, result.ending, result.ends = path, ending, int(ctx[:, k.ENDS].sum())
        result.loop = self.loop
        if path is not None:
            result.depth = len(path)
        elif self.stopped is not None:
            result.stopped = self.stopped
            result.frontier = max(0, states - sum(self.at))
        result.seconds = time.perf_counter() - self.begun
        return result

    def verdict(self) -> tuple[list[tuple[int, int]] | None, int | None]:
        """Search; the shortest path to a violation and its ending, or None twice."""
        stop = None
        try:
            self.search()
        except Stop as limit:
            stop = limit
        trace = Trace(self)
        if self.wrong:
            return trace.to({(w, n): e for w, n, e in self.wrong}, self.level)
        if self.store.ctx[:, k.BROKEN].any():
            return trace.to({}, self.level)
        if stop is not None:
            raise stop
        if self.question.finish:
            for me in range(self.workers):
                self.hear(me)
            bad, level = cannot_finish(self)
            if bad:
                return trace.to(dict.fromkeys(bad, NO_FINISH), level)
            return self.livelock(trace)
        return None, None

    def livelock(self, trace: Trace) -> tuple[list[tuple[int, int]] | None, int | None]:
        """A path that ends in a loop that can go on for ever; None twice where there is none."""
        loops = Loops(self)
        found = loops.livelock()
        if found is None:
            return None, None
        path, _ = trace.to({loops.places[state]: LIVELOCK for state in found.states}, found.level)
        path, self.loop = found.lasso(self.engine.expand, self.engine.ts.initial(), path)
        return path, LIVELOCK

    def search(self) -> None:
        """Expand level by level, until nothing is new or a rule breaks."""
        self.start()
        self.levels.append(list(self.at))
        while not self.wrong and not self.store.ctx[:, k.BROKEN].any():
            ends = self.counts()
            if ends == self.at:
                return
            self.level = len(self.levels) - 1
            try:
                while self.at != ends:
                    self.round(ends)
                    self.look()
            finally:
                if self.counts() != ends:
                    self.levels.append(ends)

    def start(self) -> None:
        """Enter the initial state."""
        first = np.array(self.engine.ts.initial(), np.int64)
        k.enter(self.engine.shape, self.store.ctx, first.ctypes.data)

    def counts(self) -> list[int]:
        return [int(n) for n in self.store.ctx[:, k.COUNT]]

    def round(self, ends: list[int]) -> None:
        """Every worker expands a chunk of its states, then takes in what the others found."""
        work = sum(end - at for at, end in zip(self.at, ends, strict=True))
        self.each(lambda me: self.expand_chunk(me, ends[me]), work)
        if self.workers > 1:
            self.each(self.take_in, work)
        self.collect()

    def expand_chunk(self, me: int, end: int) -> None:
        store = self.store
        self.hear(me)
        end = min(end, self.at[me] + CHUNK)
        while self.at[me] < end:
            if store.full(me):
                store.grow(me)
            self.at[me] = k.advance(
                self.engine.shape, store.ctx, store.fills, me, self.engine.addresses, self.at[me], end
            )
            if self.workers > 1 and store.fills[me].max() > store.ctx[me, k.BOX] - store.room:
                return

    def take_in(self, me: int) -> None:
        store = self.store
        for source in range(self.workers):
            n, at = int(store.fills[source, me]), 0
            while at < n:
                if store.full(me):
                    store.grow(me)
                at = k.absorb(self.engine.shape, store.ctx, me, source, at, n)

    def hear(self, me: int) -> None:
        """Take over the answers to what the worker has posted in the round before."""
        if self.workers > 1:
            k.hear(self.engine.shape, self.store.ctx, self.store.fills, me)

    def collect(self) -> None:
        """Take over the stuck states that the workers have noted."""
        ctx = self.store.ctx
        if int(ctx[:, k.BROKEN].max()) > llvmgen.FAULT:
            raise SpecError(faulty())
        for me in range(self.workers):
            noted = self.store.fixed[me][0][: 2 * int(ctx[me, k.WRONGS])].tolist()
            ctx[me, k.WRONGS] = 0
            for state, code in zip(noted[::2], noted[1::2], strict=True):
                ending = wanted(code, self.question)
                if ending is not None:
                    self.wrong.append((me, state, ending))

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
        stopped = exceeded(self.limits, states, now - self.begun, self.store.bytes + more)
        if stopped is not None:
            raise Stop(stopped)
        if self.report is not None and now - self.reported >= REPORT_EVERY:
            self.reported = now
            transitions = int(self.store.ctx[:, k.TRANSITIONS].sum())
            frontier = states - sum(self.at)
            self.report(Progress(states, transitions, len(self.levels) - 1, frontier, now - self.begun))

    def level_end(self, level: int, me: int) -> int:
        """The end of a worker's states of a level."""
        return self.levels[level + 1][me] if level + 1 < len(self.levels) else self.counts()[me]


def wanted(code: int, question: Question) -> int | None:
    """The ending that an answer of `stuck` means under a question."""
    if code == llvmgen.FAULTY:
        raise SpecError(faulty())
    if code == llvmgen.FINE:
        return None
    if code == LOST_WAKEUP:
        return LOST_WAKEUP if question.lost_wakeup else None
    if code == DEADLOCK:
        return DEADLOCK if question.deadlock else None
    return code


def faulty() -> str:
    return (
        "a step divides by zero, shifts by a negative number or needs more than 64 bits: "
        "use --engine python to see where"
    )
