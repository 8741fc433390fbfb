"""The memory of the native engine's workers: rows of states, tables, scratch space."""

from __future__ import annotations

from typing import Any

import numpy as np

from zonedev.explore import native_kernels as k

Words = np.ndarray[Any, np.dtype[np.int64]]

FIRST_ROWS = 1 << 12
FULL = 0.65  # of a table's slots are used before it grows
MOST_STATES = (1 << 32) - (1 << 20)  # of one worker: numbers in slots have 32 bits
CHUNK = 1 << 14  # states that a kernel expands before Python looks around


class TooMany(Exception):  # noqa: N818  (a limit, not an error)
    """A worker has more states than its table can number."""


class Store:
    """The arrays that `ctx` (see native_kernels) points to, one entry a worker."""

    def __init__(self, workers: int, words: int, most: int, box: int) -> None:
        self.words = words
        self.ctx = np.zeros((workers, k.FIELDS), np.int64)
        self.fills = np.zeros((workers, workers), np.int64)
        room = k.BATCH + most
        self.rows: list[Words] = []
        self.tables: list[Words] = []
        self.fixed: list[tuple[Words, Words, Words]] = []
        for worker in range(workers):
            self.rows.append(np.empty(0, np.int64))
            self.tables.append(np.zeros(0, np.int64))
            wrong = np.zeros(2 * CHUNK, np.int64)
            scratch = np.zeros(2 * room + room * (words + 1), np.int64)
            boxes = np.empty(workers * box * words if workers > 1 else 0, np.int64)
            self.fixed.append((wrong, scratch, boxes))
            row = self.ctx[worker]
            row[k.WRONG], row[k.SCRATCH], row[k.BOXES] = (a.ctypes.data for a in self.fixed[worker])
            row[k.BOX] = box if workers > 1 else room
            self.grow_rows(worker, FIRST_ROWS + room)
            self.grow_table(worker, 13 + (2 * room).bit_length() // 2)

    @property
    def states(self) -> int:
        return int(self.ctx[:, k.COUNT].sum())

    @property
    def bytes(self) -> int:
        """What is allocated at present."""
        fixed = sum(a.nbytes for arrays in self.fixed for a in arrays)
        return fixed + sum(a.nbytes for a in self.rows) + sum(a.nbytes for a in self.tables)

    def grow(self, worker: int) -> None:
        """Make room for more states; TooMany or MemoryError where that is not possible."""
        row = self.ctx[worker]
        count, more = int(row[k.COUNT]), int(row[k.BOX]) + k.BATCH
        if count + more > MOST_STATES:
            raise TooMany
        if count + more > row[k.CAPACITY]:
            self.grow_rows(worker, int(row[k.CAPACITY]) * 5 // 4 + more)
        if count + more > row[k.LIMIT]:
            self.grow_table(worker, int(row[k.BITS]) + 1)

    def grow_rows(self, worker: int, capacity: int) -> None:
        """Extend the rows; the system moves large arrays without copying them."""
        self.rows[worker].resize(capacity * self.words, refcheck=False)
        self.ctx[worker, k.ROWS] = self.rows[worker].ctypes.data
        self.ctx[worker, k.CAPACITY] = capacity

    def grow_table(self, worker: int, bits: int) -> None:
        old, new = self.tables[worker], np.zeros(1 << bits, np.int64)
        k.rehash(old.ctypes.data, old.size, new.ctypes.data, bits)
        self.tables[worker] = new
        row = self.ctx[worker]
        row[k.TABLE], row[k.BITS], row[k.LIMIT] = new.ctypes.data, bits, int(FULL * (1 << bits))
