"""Which steps fail?  The native engine's answer, for one counterexample or for all failures.

The search only notes that some step has broken a rule.  The states are expanded again to
find out which: those of the last level, or where all failures are asked for, all of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from zonedev.explore import llvmgen
from zonedev.explore import native_kernels as k
from zonedev.explore.failures import Ends, Failures, livelocks
from zonedev.explore.fair import Path
from zonedev.explore.native_loops import Loops
from zonedev.explore.native_shortest import Fails, Place, Trace
from zonedev.explore.native_store import CHUNK
from zonedev.explore.result import Failure

Words = np.ndarray[tuple[int], np.dtype[np.int64]]

if TYPE_CHECKING:
    from zonedev.explore.native_search import Search


def failing_steps(search: Search, me: int, level: int) -> Iterator[tuple[Words, Words]]:
    """The steps of a worker's states of a level that fail: the states' numbers, and the tags."""
    at, end = search.levels[level][me], min(search.at[me], search.level_end(level, me))
    while at < end:
        found = np.empty((CHUNK + search.engine.most, 2), np.int64)
        got = search.call("failing", me, at, min(end, at + CHUNK), found.ctypes.data, len(found))
        used, at = got >> 32, got & k.LOW
        if used:
            yield found[:used, 0], found[:used, 1]


def failing_at(search: Search, level: int) -> dict[Place, Fails]:
    """The steps of a level that fail, by their states."""
    found: dict[Place, Fails] = {}
    for me in range(search.workers):
        for numbers, tags in failing_steps(search, me, level):
            for number, word in zip(numbers.tolist(), tags.tolist(), strict=True):
                task, choice, fail = llvmgen.untag(word)
                found.setdefault((me, number), {})[task, choice] = fail
    return found


class Everything:
    """All failures of a search that went on after the first one."""

    def __init__(self, search: Search, trace: Trace) -> None:
        self.search, self.trace, self.ts = search, trace, search.engine.ts

    def failures(self) -> list[Failure]:
        """All but livelocks."""
        found = Failures(self.ts)
        if self.search.store.sum(k.BROKEN):
            for level in range(len(self.search.levels)):
                for me in range(self.search.workers):
                    for numbers, tags in failing_steps(self.search, me, level):
                        self.note(found, level, me, numbers, tags)
        wrong = [(self.level(me, number), me, number, ending) for me, number, ending in self.search.wrong]
        for level, me, number, ending in sorted(wrong):
            found.state(level, self.search.store.state(me, number), ending)
        return found.found(self.way)

    def note(self, found: Failures, level: int, me: int, numbers: Words, tags: Words) -> None:
        """Steps of a worker that fail, those of the same place and fail together."""
        tasks = tags >> 32 & 0xFFFF
        slots = np.array([(t.pc.word, t.pc.shift, t.pc.mask) for t in self.ts.tasks], np.int64)[tasks]
        rows = self.search.store.states_at(me, np.ascontiguousarray(numbers))
        pcs = rows[np.arange(len(rows)), slots[:, 0]] >> slots[:, 1] & slots[:, 2]
        keys = np.stack([tasks, pcs, (tags >> 48) - 1], axis=1)
        unique, which, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        for n, ((task, pc, fail), count) in enumerate(zip(unique.tolist(), counts.tolist(), strict=True)):
            mine = np.flatnonzero(which.reshape(-1) == n)
            among = (
                (self.search.store.state(me, int(numbers[i])), int(tags[i] & k.LOW)) for i in mine.tolist()
            )
            found.step(level, task, pc, fail, count, among)

    def livelocks(self) -> list[Failure]:
        """All livelocks; Stop where a limit is hit."""
        found = Loops(self.search).livelock(everything=True)
        return [] if found is None else livelocks(self.ts, found, self.search.engine.expand, self.way)

    def way(self, level: int, ends: Ends) -> tuple[Path, int | None]:
        """The shortest way to one of `ends`, which are of one level, and what its last step breaks."""
        places = {self.trace.place(state): steps for state, steps in ends.items()}
        if any(places.values()):
            return self.trace.over(places, level)
        return self.trace.to(places, level)[0], None

    def level(self, me: int, number: int) -> int:
        return bisect_right(self.search.levels, number, key=lambda begins: begins[me]) - 1
