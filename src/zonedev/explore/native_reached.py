"""The states that the native engine has found; see `reached`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from zonedev.explore import native_kernels as k
from zonedev.explore.native_store import CHUNK, Store
from zonedev.explore.reached import Masks
from zonedev.explore.result import State
from zonedev.lang.layout import Slot

Rows = np.ndarray[tuple[int, int], np.dtype[np.int64]]


class Stored:
    """The states in the rows of all workers."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def chunks(self, every: int) -> Iterator[Rows]:
        """Every n-th state, some at a time."""
        for worker in range(self.store.workers):
            count = self.store.ctx.get(worker, k.COUNT)
            for first in range(0, count, CHUNK * every):
                last = min(count, first + CHUNK * every)
                yield self.store.states_at(worker, np.arange(first, last, every))

    def places(self, slots: Sequence[Slot]) -> list[set[int]]:
        found = [np.zeros(slot.mask + 1, np.bool_) for slot in slots]
        for rows in self.chunks(1):
            for seen, slot in zip(found, slots, strict=True):
                seen[rows[:, slot.word] >> slot.shift & slot.mask] = True
        return [set(np.flatnonzero(seen).tolist()) for seen in found]

    def standing(self, slot: Slot, masks: Masks, every: int) -> Iterator[State]:
        seen = set[State]()
        for rows in self.chunks(every):
            places = rows[:, slot.word] >> slot.shift & slot.mask
            for place in set(np.unique(places).tolist()) & masks.keys():
                if place in masks:  # still
                    for part in distinct(rows[places == place], masks[place]) - seen:
                        seen.add(part)
                        yield part

    def ended(self, places: State, every: int) -> Iterator[State]:
        for rows in self.chunks(every):
            yield from map(tuple, rows[np.all(rows & words(places) == 0, axis=1)].tolist())


def distinct(rows: Rows, mask: State) -> set[State]:
    """The different rows, of which only some bits count."""
    return set(map(tuple, np.unique(rows & words(mask), axis=0).tolist()))


def words(state: State) -> Any:
    return np.array(state, np.int64)
