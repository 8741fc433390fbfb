"""Which states can be part of a livelock?  The native engine's answer, for `fair` to go on with.

All states are expanded again, and those kept in which all that can take a step stand in a
loop of their program.  From those the ones that lead to no other of them are taken off, as
long as there are any: what is left are the cycles and the ways to them.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from zonedev.explore.fair import CORE_BYTES, FAILED, Livelock, Move, looping
from zonedev.explore.native_store import CHUNK
from zonedev.explore.result import MOST_IN_CYCLES, State, Stop

if TYPE_CHECKING:
    from zonedev.explore.native_search import Search

Place = tuple[int, int]  # worker and number of a state


class Loops:
    """The states of a finished search that can be part of a livelock."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self.places: dict[State, Place] = {}

    def livelock(self, everything: bool = False) -> Livelock | None:
        """Where a livelock begins, or all do, if there are any; Stop where a limit is hit."""
        loops = looping(self.search.engine.ts)
        if not any(map(any, loops)):
            return None
        kept = self.peeled(self.candidates(loops))
        states = sum(map(len, kept))
        if states > MOST_IN_CYCLES:
            raise Stop(f"more than {MOST_IN_CYCLES} states in cycles")
        more, exchanged = states * CORE_BYTES, bool(self.search.engine.ts.order)
        self.search.look(more)
        moves, look = self.moves(kept), lambda: self.search.look(more)
        found = Livelock(moves, self.level, look, everything, exchanged=exchanged)
        return found if found.states else None

    def tables(self, loops: list[bytes]) -> tuple[Any, Any]:
        """What the kernel `in_loops` has to know of the tasks."""
        begins = np.cumsum([0, *map(len, loops)])
        table = np.array(
            [
                (t.pc.word, t.pc.shift, t.pc.mask, first)
                for t, first in zip(self.search.engine.ts.tasks, begins, strict=False)
            ],
            np.int64,
        )
        return table, np.frombuffer(b"".join(loops), np.uint8)

    def candidates(self, loops: list[bytes]) -> list[Any]:
        """For each worker, a byte for each of its states: 1 where it may be part of a livelock."""
        search = self.search
        table, flags = self.tables(loops)
        search.look(sum(search.counts()))
        marks = [np.zeros(n, np.uint8) for n in search.counts()]

        def mark(me: int) -> None:
            for first in range(0, len(marks[me]), CHUNK):
                span = first, min(len(marks[me]), first + CHUNK)
                search.call(
                    "in_loops",
                    me,
                    table.ctypes.data,
                    len(table),
                    flags.ctypes.data,
                    *span,
                    marks[me].ctypes.data,
                )
                if search.workers == 1:
                    search.look()

        search.each(mark, sum(map(len, marks)))
        return marks

    def peeled(self, marks: list[Any]) -> list[Any]:
        """The numbers of the states, by worker, from which one can go round among the marked ones."""
        search = self.search
        addresses = np.array([m.ctypes.data for m in marks], np.int64)
        # The latest states first: a step mostly leads to a later one.
        left = [np.ascontiguousarray(np.flatnonzero(m)[::-1]) for m in marks]

        def take_off(me: int) -> int:
            taken = 0
            for first in range(0, len(left[me]), CHUNK):
                chunk = left[me][first : first + CHUNK]
                taken += search.call("peel", me, addresses.ctypes.data, chunk.ctypes.data, len(chunk))
                if search.workers == 1:
                    search.look()
            return taken

        while any(search.each(take_off, sum(map(len, left)))):
            search.look()
            left = [part[marks[me][part] == 1] for me, part in enumerate(left)]
        return left

    def moves(self, kept: list[Any]) -> dict[State, list[Move]]:
        """The kept states with their steps."""
        found: dict[State, list[Move]] = {}
        for me, numbers in enumerate(kept):
            for at, number in enumerate(numbers.tolist()):
                if at % CHUNK == 0:
                    self.search.look()
                state = self.state(me, number)
                self.places[state] = me, number
                found[state] = [
                    (task, choice, FAILED if isinstance(new, int) else new)
                    for task, choice, new in self.search.engine.expand(state)
                ]
        return found

    def state(self, me: int, number: int) -> State:
        return self.search.store.state(me, number)

    def level(self, state: State) -> int:
        me, number = self.places[state]
        return bisect_right(self.search.levels, number, key=lambda begins: begins[me]) - 1
