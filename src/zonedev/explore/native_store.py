"""The memory of the native engine's workers: rows of states, tables, scratch space."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from typing import Any

import numpy as np

from zonedev.explore import native_kernels as k

Words = np.ndarray[Any, np.dtype[np.int64]]

FIRST_ROWS = 1 << 12
FIRST_BITS = 13
FULL, FULLER = 0.5, 0.7  # of a table's slots are used before it grows: small and large tables
LARGE = 24  # log2 slots of a large table, where memory counts for more than time
MOST_STATES = (1 << 32) - (1 << 20)  # global numbers have 32 bits
CHUNK = 1 << 15  # states that a kernel expands before Python looks around
HUGE = 1 << 21  # from this size on, huge pages are asked for


class TooMany(Exception):
    """There are more states than the tables can number."""


class Region:
    """A zeroed piece of memory that grows, where the system can, without being copied."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.map = private_map(size)
        self.advise()

    def advise(self) -> None:
        if self.size >= HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # the kernel may be built without them
                self.map.madvise(mmap.MADV_HUGEPAGE)

    @property
    def address(self) -> int:
        return ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    def grow(self, size: int) -> None:
        """Extend to `size` bytes; the new ones are zero.  MemoryError where there are none."""
        try:
            self.map.resize(size)
        except (OSError, SystemError, ValueError):
            bigger = private_map(size)
            bigger[: self.size] = self.map[:]
            self.map = bigger
        self.size = size
        self.advise()


def private_map(size: int) -> mmap.mmap:
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return mmap.mmap(-1, size)
    except OSError as error:
        raise MemoryError from error


class Store:
    """The memory that `ctx` (see native_kernels) points to, one entry a worker."""

    def __init__(self, workers: int, words: int, most: int, box: int) -> None:
        self.words, self.workers = words, workers
        self.ctx = np.zeros((workers, k.FIELDS), np.int64)
        self.fills = np.zeros((workers, workers), np.int64)
        self.room = k.BATCH + most
        self.rows = [Region(8 * words * FIRST_ROWS) for _ in range(workers)]
        self.children = [Region(4 * FIRST_ROWS) for _ in range(workers)]
        self.tables = [Region(8 << FIRST_BITS) for _ in range(workers)]
        self.fixed: list[tuple[Words, Words, Words]] = []
        for worker in range(workers):
            wrong = np.zeros(2 * CHUNK, np.int64)
            scratch = np.zeros(3 * self.room + self.room * (words + 1), np.int64)
            boxes = np.empty(workers * box * (words + 1) if workers > 1 else 0, np.int64)
            self.fixed.append((wrong, scratch, boxes))
            row = self.ctx[worker]
            row[k.WRONG], row[k.SCRATCH], row[k.BOXES] = (a.ctypes.data for a in self.fixed[worker])
            row[k.BOX] = box if workers > 1 else self.room
            row[k.BITS] = FIRST_BITS
            self.point(worker)
            while row[k.LIMIT] < self.room or row[k.CAPACITY] < self.room:
                self.grow(worker)

    def point(self, worker: int) -> None:
        """Let the kernels know where things are."""
        row = self.ctx[worker]
        row[k.ROWS], row[k.CHILDREN] = self.rows[worker].address, self.children[worker].address
        row[k.TABLE] = self.tables[worker].address
        row[k.CAPACITY] = self.children[worker].size // 4
        bits = int(row[k.BITS])
        row[k.LIMIT] = int((FULLER if bits >= LARGE else FULL) * (1 << bits))

    @property
    def states(self) -> int:
        return int(self.ctx[:, k.COUNT].sum())

    @property
    def bytes(self) -> int:
        """What is allocated at present; rows that were never written to take no memory."""
        fixed = sum(a.nbytes for arrays in self.fixed for a in arrays)
        return fixed + self.states * (8 * self.words + 4) + sum(t.size for t in self.tables)

    def state(self, worker: int, number: int) -> tuple[int, ...]:
        """A state as a tuple."""
        size = 8 * self.words
        kept = (ctypes.c_int64 * self.words).from_buffer(self.rows[worker].map, number * size)
        return tuple(kept)

    def full(self, worker: int) -> bool:
        """Whether the next batch might not fit."""
        row = self.ctx[worker]
        return bool(row[k.COUNT] + self.room > min(row[k.CAPACITY], row[k.LIMIT]))

    def grow(self, worker: int) -> None:
        """Make room for another batch; TooMany or MemoryError where that is not possible."""
        row = self.ctx[worker]
        needed = int(row[k.COUNT]) + self.room
        if needed > MOST_STATES // self.workers:
            raise TooMany
        if needed > row[k.CAPACITY]:
            capacity = needed * 5 // 4 + FIRST_ROWS & -FIRST_ROWS
            self.rows[worker].grow(8 * self.words * capacity)
            self.children[worker].grow(4 * capacity)
        if needed > row[k.LIMIT]:
            self.grow_table(worker, int(row[k.BITS]) + 1)
        self.point(worker)

    def grow_table(self, worker: int, bits: int) -> None:
        old, new = self.tables[worker], Region(8 << bits)
        k.rehash(old.address, old.size // 8, new.address, bits)
        self.tables[worker] = new
        self.ctx[worker, k.BITS] = bits
