"""The memory of the native engine: packed states, tables, the values of words, scratch space."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any

from zonedev.explore import native_kernels as k
from zonedev.explore import native_words as w
from zonedev.explore.result import State, Stop

FIRST_ROWS = 1 << 12
FIRST_BITS = 14
MOST_BITS = 31  # of a slot, for the number of a state
FULL, FULLER = 0.5, 0.75  # of a table's slots are used before it grows: fourfold or twofold
LARGE = 22  # log2 slots of a large table, where memory counts for more than time
MOST_STATES = (1 << 31) - (1 << 20)
CHUNK = 1 << 15  # states that a kernel expands before Python looks around
HUGE = 1 << 21  # from this size on, huge pages are asked for
VALUES = 1 << 8  # of a word, before its table grows
UNIT = 32  # bits

Call = Callable[..., int]


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


class Table:
    """Rows of named numbers that the kernels know by address."""

    def __init__(self, rows: int, size: int) -> None:
        self.size = size
        self.words = (ctypes.c_int64 * (rows * size // 8))()
        self.address = ctypes.addressof(self.words)

    def get(self, row: int, field: int) -> int:
        return self.words[(row * self.size + field) // 8]

    def set(self, row: int, field: int, value: int) -> None:
        self.words[(row * self.size + field) // 8] = value


class Lexicon:
    """The values of each word, with their numbers, and where a packed state has these."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.table = Table(words, w.WORD)
        self.slots: list[Region] = []
        self.values: list[Region] = []
        for word in range(words):
            self.slots.append(Region(32 * VALUES))
            self.values.append(Region(16 * VALUES))
            self.point(word)
        self.units = 0

    def point(self, word: int) -> None:
        self.table.set(word, w.SLOTS, self.slots[word].address)
        self.table.set(word, w.FREE, 65 - (self.slots[word].size // 16).bit_length())
        self.table.set(word, w.VALUES, self.values[word].address)

    def count(self, word: int) -> int:
        return self.table.get(word, w.COUNT)

    def lay_out(self) -> None:
        """Choose where a packed state has the number of each word: in as few units as the values that
        are known need, and with as much room for more values as these units have."""
        least = [self.count(word).bit_length() for word in range(self.words)]
        units = fill(least)
        for more in (3, 2, 1):
            roomy = fill([min(UNIT, bits + more) for bits in least])
            if len(roomy) == len(units):
                units = roomy
                break
        for number, unit in enumerate(units):
            shift = 0
            for word, width in unit.items():
                self.table.set(word, w.UNIT, 4 * number)
                self.table.set(word, w.SHIFT, shift)
                self.table.set(word, w.MOST, (1 << width) - 1)
                shift += width
        self.units = len(units)

    def full(self, word: int) -> bool:
        """Whether there is no room for another value."""
        return 2 * self.count(word) > self.slots[word].size // 16 - 1

    def grow(self, call: Call) -> None:
        """Make room for more values where it is used up."""
        for word in range(self.words):
            if self.full(word):
                self.slots[word] = Region(4 * self.slots[word].size)
                self.values[word].grow(self.slots[word].size // 2)
                self.point(word)
                call("refill", self.table.address + w.WORD * word)

    @property
    def bytes(self) -> int:
        return sum(self.count(n) * 16 + self.slots[n].size for n in range(self.words))


def limit(bits: int) -> int:
    """The states that a table of 2**bits slots may hold."""
    return int((FULLER if bits >= LARGE else FULL) * (1 << bits))


def fill(widths: list[int]) -> list[dict[int, int]]:
    """Units that hold words of these widths, first fit by size: word and width."""
    units: list[dict[int, int]] = []
    for word in sorted(range(len(widths)), key=lambda word: -widths[word]):
        unit = next((unit for unit in units if sum(unit.values()) + widths[word] <= UNIT), None)
        if unit is None:
            units.append(unit := {})
        unit[word] = widths[word]
    return units


class Store:
    """The memory that `ctx` (see native_kernels) points to, one entry a worker.

    With `only` the others work elsewhere, and have but one box here: what they send to that worker.
    `allowed` bytes are not exceeded by what has to be there twice while it grows: Stop instead.
    """

    def __init__(
        self,
        call: Call,
        workers: int,
        words: int,
        most: int,
        box: int,
        finish: bool,
        only: int | None = None,
    ) -> None:
        self.call, self.words, self.workers, self.finish, self.only = call, words, workers, finish, only
        self.allowed: int | None = None
        self.coming = 0  # bytes for what is growing
        self.lock = Lock()
        self.ctx = Table(workers, k.FIELDS)
        self.room = k.SIZE + most
        self.lexicon = Lexicon(words)
        self.lexicon.lay_out()
        self.rows = [Region(self.row * FIRST_ROWS) for _ in range(workers)]
        self.children = [Region(4 * FIRST_ROWS if finish else 1) for _ in range(workers)]
        self.tables = [Region(4 << FIRST_BITS) for _ in range(workers)]
        self.fixed: list[Region] = []
        self.box = box if workers > 1 else 0
        for worker in range(workers):
            self.provide(worker, most)
        self.point_all()
        for worker in range(workers):
            while self.full(worker):
                self.grow(worker)

    @property
    def row(self) -> int:
        """The bytes of a packed state."""
        return 4 * self.lexicon.units

    def provide(self, worker: int, most: int) -> None:
        """Scratch space, for packed states of any size."""
        entry = 16 + 8 * ((self.words + 1) // 2)
        elsewhere = self.only not in (None, worker)
        sizes = {
            k.WRONG: 16 * CHUNK,
            k.STATE: 16 * self.words,
            k.RECORDS: most * 8 * (self.words + 2),
            k.BATCH: self.room * entry,
            k.SCRATCH: 8 * k.SIZE,
            k.BOXES: (1 if elsewhere else self.workers) * self.box * entry,
            k.FILLS: 8 * self.workers,
        }
        for field, size in sizes.items():
            piece = Region(max(size, 8))
            self.fixed.append(piece)
            self.ctx.set(worker, field, piece.address)
        box = 0 if elsewhere else self.box
        for field, value in ((k.BOX, box), (k.BITS, FIRST_BITS), (k.MOST, most), (k.ENTRY, entry)):
            self.ctx.set(worker, field, value)

    def point_all(self) -> None:
        for worker in range(self.workers):
            self.point(worker)

    def point(self, worker: int) -> None:
        """Let the kernels know where things are."""
        bits = self.ctx.get(worker, k.BITS)
        fields = {
            k.ROWS: self.rows[worker].address,
            k.CHILDREN: self.children[worker].address if self.finish else 0,
            k.TABLE: self.tables[worker].address,
            k.CAPACITY: self.rows[worker].size // self.row if self.row else MOST_STATES,
            k.LIMIT: limit(bits),
            k.UNITS: self.lexicon.units,
            k.LEXICON: self.lexicon.table.address,
        }
        for field, value in fields.items():
            self.ctx.set(worker, field, value)

    def sum(self, field: int) -> int:
        return sum(self.ctx.get(worker, field) for worker in range(self.workers))

    @property
    def states(self) -> int:
        return self.sum(k.COUNT)

    @property
    def bytes(self) -> int:
        """What is allocated at present; rows that were never written to take no memory."""
        each = self.row + (4 if self.finish else 0)
        fixed = sum(piece.size for piece in self.fixed)
        return fixed + self.states * each + sum(t.size for t in self.tables) + self.lexicon.bytes

    def state(self, worker: int, number: int) -> State:
        """A state as a tuple."""
        words = (ctypes.c_int64 * (2 * self.words))()
        row = self.rows[worker].address + self.row * number
        self.call("unpack", self.lexicon.table.address, row, ctypes.addressof(words))
        return tuple(words[: self.words])

    def posted(self, source: int, worker: int) -> int:
        """How many states are in the box of worker `source` for another."""
        fills = ctypes.c_int64.from_address(self.ctx.get(source, k.FILLS) + 8 * worker)
        return int(fills.value)

    def noted(self, worker: int) -> list[tuple[int, int]]:
        """The stuck states that a worker has noted since this was asked, with what is wrong with them."""
        count = self.ctx.get(worker, k.WRONGS)
        words = (ctypes.c_int64 * (2 * count)).from_address(self.ctx.get(worker, k.WRONG))
        self.ctx.set(worker, k.WRONGS, 0)
        return list(zip(words[::2], words[1::2], strict=True))

    def states_at(self, worker: int, numbers: Any) -> Any:
        """Some states of a worker, as an array of rows of words."""
        import numpy as np  # here, for a search needs none of it

        found = np.empty((len(numbers), self.words), np.int64)
        size = len(numbers)
        self.call("states_at", self.ctx.address, worker, numbers.ctypes.data, size, found.ctypes.data)
        return found

    def full(self, worker: int) -> bool:
        """Whether the next batch might not fit."""
        most = min(self.ctx.get(worker, k.CAPACITY), self.ctx.get(worker, k.LIMIT))
        return self.ctx.get(worker, k.COUNT) + self.room > most

    def grow(self, worker: int) -> None:
        """Make room for another batch; TooMany or MemoryError where that is not possible."""
        needed = self.ctx.get(worker, k.COUNT) + self.room
        if needed > MOST_STATES // self.workers:
            raise TooMany
        if needed > self.ctx.get(worker, k.CAPACITY):
            capacity = needed * 5 // 4 + FIRST_ROWS & -FIRST_ROWS
            self.rows[worker].grow(self.row * capacity)
            if self.finish:
                self.children[worker].grow(4 * capacity)
            self.point(worker)
        if needed > self.ctx.get(worker, k.LIMIT):
            bits = self.ctx.get(worker, k.BITS)
            self.grow_table(worker, bits + (1 if bits >= LARGE else 2))

    def grow_table(self, worker: int, bits: int) -> None:
        if bits > MOST_BITS:
            raise TooMany
        with self.beside(4 << bits):
            new = Region(4 << bits)
            self.call("rehash", self.ctx.address, worker, new.address, bits)
            self.tables[worker] = new
        self.ctx.set(worker, k.BITS, bits)
        self.point(worker)

    def look(self, more: int) -> None:
        """Stop where `more` bytes cannot be had as well."""
        if self.allowed is not None and self.bytes + self.coming + more > self.allowed:
            raise Stop(f"--max-memory {self.allowed}")

    @contextlib.contextmanager
    def beside(self, size: int) -> Iterator[None]:
        """`size` bytes are about to be there as well; Stop where that is more than is allowed."""
        with self.lock:
            self.look(size)
            self.coming += size
        try:
            yield
        finally:
            with self.lock:
                self.coming -= size

    def adapt(self) -> None:
        """Make room for values that did not fit: in their tables, and in the packed states."""
        self.lexicon.grow(self.call)
        old, units = Table(self.words, w.WORD), self.lexicon.units
        ctypes.memmove(old.address, self.lexicon.table.address, ctypes.sizeof(old.words))
        self.lexicon.lay_out()
        largest = max(self.ctx.get(worker, k.COUNT) for worker in range(self.workers))
        try:
            with self.beside(4 * max(units, self.lexicon.units) * largest):
                for worker in range(self.workers):
                    self.repack(worker, old, units)
        except Stop:
            ctypes.memmove(self.lexicon.table.address, old.address, ctypes.sizeof(old.words))
            self.lexicon.units = units
            raise
        self.point_all()

    def repack(self, worker: int, old: Table, units: int) -> None:
        """Lay out a worker's states anew, which have been laid out by `old`."""
        rows = self.rows[worker]
        fresh = Region(self.row * (rows.size // (4 * units) if units else FIRST_ROWS))
        self.call(
            "repack",
            old.address,
            units,
            rows.address,
            self.lexicon.table.address,
            self.lexicon.units,
            fresh.address,
            self.ctx.get(worker, k.COUNT),
        )
        self.rows[worker] = fresh
        self.ctx.set(worker, k.TIGHT, 0)
