"""The loops of the native engine, compiled by Numba once for each number of state words.

`shape` is a tuple of as many zeros as a state has words; only its length counts, and
as it is part of the type, the loops over words are unrolled.  `ctx` has a row of
numbers for each worker, named by the constants below.

A worker's states lie in a row each, in the order in which they were found.  Its table
is open-addressed: a slot is zero, or the upper half of a state's hash followed by the
number of the state plus one.  The home of a state is the top of its hash, so that a
table grows without a look at the states.

The global number of a state is its number times the workers, plus its worker.  With
each state the greatest such number among its successors is kept: following it leads
to an end from nearly every state that can finish (see native_back).
"""

from __future__ import annotations

from typing import Any

from zonedev.explore.native_memory import call, kernel, load, load32, prefetch, store, store32

# The columns of ctx.
ROWS, CAPACITY, COUNT = 0, 1, 2  # address of the states, rows allocated, rows in use
TABLE, BITS, LIMIT = 3, 4, 5  # address and log2 size of the table; states it may hold
TRANSITIONS, ENDS, BROKEN, FAULTED = 6, 7, 8, 9  # counted since the exploration began
WRONG, WRONGS = 10, 11  # address of (state, ending) pairs, and how many there are
SCRATCH, BOXES, BOX = 12, 13, 14  # a batch; boxes for the states of other workers; rows of a box
CHILDREN = 15  # address of 32 bits a state: a successor's global number plus one, or 0
FIELDS = 16

BATCH = 192  # successors that are looked up together
LOW = 0xFFFFFFFF
HIGH = -1 << 32
END = LOW  # instead of a successor: the state is an end
FINE = -8
MIX, SEED = -0x61C8864680B583EB, 0x2545F4914F6CDD1D


@kernel
def hash_of(shape: Any, row: int) -> int:
    h = SEED
    for i in range(len(shape)):
        h = (h ^ load(row + 8 * i)) * MIX
        h ^= (h >> 32) & LOW
    return h * MIX


@kernel
def owner_of(h: int, workers: int) -> int:
    """Which worker keeps the states with this hash."""
    return ((h & LOW) * workers) >> 32


@kernel
def same(shape: Any, a: int, b: int) -> bool:
    different = 0
    for i in range(len(shape)):
        different |= load(a + 8 * i) ^ load(b + 8 * i)
    return different == 0


@kernel
def find(shape: Any, table: int, bits: int, rows: int, row: int, h: int) -> int:
    """The number of a state, or -1."""
    mask = (1 << bits) - 1
    at = (h >> (64 - bits)) & mask
    while True:
        slot = load(table + 8 * at)
        if slot == 0:
            return -1
        if (slot ^ h) & HIGH == 0:
            number = (slot & LOW) - 1
            if same(shape, rows + number * 8 * len(shape), row):
                return number
        at = (at + 1) & mask


@kernel
def peek(table: int, bits: int, rows: int, size: int, h: int) -> None:
    """Fetch the state that the home slot of a hash points to."""
    slot = load(table + 8 * ((h >> (64 - bits)) & ((1 << bits) - 1)))
    if (slot ^ h) & HIGH == 0:
        prefetch(rows + ((slot & LOW) - 1) * size)


@kernel
def settle(shape: Any, ctx: Any, me: int, batch: int, n: int) -> None:
    """Enter those of `n` states that are not known yet.

    `batch` lists their addresses and hashes, and where to put their global number plus
    one if it is greater than what stands there.
    """
    size = 8 * len(shape)
    rows, table, bits, count = ctx[me, ROWS], ctx[me, TABLE], ctx[me, BITS], ctx[me, COUNT]
    workers = ctx.shape[0]
    mask = (1 << bits) - 1
    for j in range(n):
        peek(table, bits, rows, size, load(batch + 24 * j + 8))
    for j in range(n):
        row, h, note = load(batch + 24 * j), load(batch + 24 * j + 8), load(batch + 24 * j + 16)
        at = (h >> (64 - bits)) & mask
        while True:
            slot = load(table + 8 * at)
            if slot == 0:
                copy(shape, rows + count * size, row)
                count += 1
                slot = (h & HIGH) | count
                store(table + 8 * at, slot)
                break
            if (slot ^ h) & HIGH == 0 and same(shape, rows + ((slot & LOW) - 1) * size, row):
                break
            at = (at + 1) & mask
        store32(note, max(load32(note), ((slot & LOW) - 1) * workers + me + 1))
    ctx[me, COUNT] = count


@kernel
def copy(shape: Any, to: int, row: int) -> None:
    for i in range(len(shape)):
        store(to + 8 * i, load(row + 8 * i))


@kernel
def has_room(ctx: Any, me: int, more: int) -> bool:
    needed: int = ctx[me, COUNT] + more
    fits: bool = needed <= min(ctx[me, CAPACITY], ctx[me, LIMIT])
    return fits


@kernel
def boxes_have_room(fills: Any, me: int, most: int) -> bool:
    fullest = 0
    for other in range(fills.shape[1]):
        fullest = max(fullest, fills[me, other])
    return fullest <= most


@kernel
def advance(shape: Any, ctx: Any, fills: Any, me: int, code: Any, first: int, end: int) -> int:
    """Expand the worker's states from `first` up to `end`; returns how far it came.

    It stops early where the table, the rows or a box for another worker might not
    hold what the next batch brings.  `code` is the addresses of `expand` and `stuck`
    and the most successors that a state can have.
    """
    expand, stuck, most = code
    words, workers = len(shape), ctx.shape[0]
    stride = 8 * (words + 1)
    room = BATCH + most
    rows, table, bits, children = ctx[me, ROWS], ctx[me, TABLE], ctx[me, BITS], ctx[me, CHILDREN]
    mask = (1 << bits) - 1
    batch = ctx[me, SCRATCH]
    records = batch + 24 * room
    transitions = ends = broken = 0
    at = first
    while at < end and has_room(ctx, me, room) and boxes_have_room(fills, me, ctx[me, BOX] - room):
        n = 0
        out = records
        begin = at
        while at < end and out - records < BATCH * stride:
            row = rows + at * 8 * words
            got = call(expand, row, out)
            if got > LOW:
                ends += 1
                store32(children + 4 * at, END)
            got &= LOW
            transitions += got
            if got == 0:
                note_stuck(ctx, me, stuck, row, at)
            for _ in range(got):
                fail = load(out + 8 * words) >> 48
                if fail != 0:
                    broken = max(broken, fail)
                else:
                    h = hash_of(shape, out)
                    owner = owner_of(h, workers)
                    if owner == me:
                        store(batch + 24 * n, out)
                        store(batch + 24 * n + 8, h)
                        store(batch + 24 * n + 16, children + 4 * at)
                        n += 1
                        prefetch(table + 8 * ((h >> (64 - bits)) & mask))
                    else:
                        post(shape, ctx, fills, me, owner, out, at)
                out += stride
            at += 1
        settle(shape, ctx, me, batch, n)
        if at == begin:
            break
    ctx[me, TRANSITIONS] += transitions
    ctx[me, ENDS] += ends
    ctx[me, BROKEN] = max(ctx[me, BROKEN], broken)
    return at


@kernel
def note_stuck(ctx: Any, me: int, stuck: int, row: int, at: int) -> None:
    ending = call(stuck, row, 0)
    if ending != FINE:
        entry = ctx[me, WRONG] + 16 * ctx[me, WRONGS]
        store(entry, at)
        store(entry + 8, ending)
        ctx[me, WRONGS] += 1


@kernel
def post(shape: Any, ctx: Any, fills: Any, me: int, owner: int, row: int, source: int) -> None:
    """Put a successor of the state `source` into the box of the worker that keeps it."""
    entry = ctx[me, BOXES] + (owner * ctx[me, BOX] + fills[me, owner]) * 8 * (len(shape) + 1)
    copy(shape, entry, row)
    store(entry + 8 * len(shape), source)
    fills[me, owner] += 1


@kernel
def absorb(shape: Any, ctx: Any, me: int, source: int, first: int, n: int) -> int:
    """Enter the states that worker `source` has posted, from number `first` on, up to `n`.

    The answer is left in the upper half of each entry's last word.  Returns how far it
    came; it stops early where the table or the rows are full.
    """
    size = 8 * len(shape)
    box = ctx[source, BOXES] + me * ctx[source, BOX] * (size + 8)
    table, bits = ctx[me, TABLE], ctx[me, BITS]
    mask = (1 << bits) - 1
    batch = ctx[me, SCRATCH]
    at = first
    while at < n and has_room(ctx, me, BATCH):
        begin, at = at, min(n, at + BATCH)
        for j in range(begin, at):
            row = box + j * (size + 8)
            h = hash_of(shape, row)
            entry = batch + 24 * (j - begin)
            store(entry, row)
            store(entry + 8, h)
            store(entry + 16, row + size + 4)
            prefetch(table + 8 * ((h >> (64 - bits)) & mask))
        settle(shape, ctx, me, batch, at - begin)
    return at


@kernel
def hear(shape: Any, ctx: Any, fills: Any, me: int) -> None:
    """Read the answers to what the worker has posted, and empty its boxes."""
    size = 8 * (len(shape) + 1)
    for owner in range(fills.shape[1]):
        box = ctx[me, BOXES] + owner * ctx[me, BOX] * size
        for j in range(fills[me, owner]):
            word = load(box + j * size + size - 8)
            note = ctx[me, CHILDREN] + 4 * (word & LOW)
            if (word >> 32) & LOW > load32(note):
                store32(note, word >> 32)
        fills[me, owner] = 0


@kernel
def rehash(old: int, size: int, new: int, bits: int) -> None:
    """Move all slots of a table to one of 2**bits empty slots."""
    mask = (1 << bits) - 1
    for i in range(size):
        slot = load(old + 8 * i)
        if slot != 0:
            at = (slot >> (64 - bits)) & mask
            while load(new + 8 * at) != 0:
                at = (at + 1) & mask
            store(new + 8 * at, slot)


@kernel
def enter(shape: Any, ctx: Any, row: int) -> None:
    """Enter the initial state."""
    h = hash_of(shape, row)
    owner = owner_of(h, ctx.shape[0])
    batch = ctx[owner, SCRATCH]
    store(batch, row)
    store(batch + 8, h)
    store(batch + 16, batch + 24)
    settle(shape, ctx, owner, batch, 1)


@kernel
def locate(shape: Any, ctx: Any, row: int) -> int:
    """The worker and the number of a known state, as worker << 32 | number; or -1."""
    place: int = lookup(shape, ctx, row, hash_of(shape, row))
    return place


@kernel
def lookup(shape: Any, ctx: Any, row: int, h: int) -> int:
    """As `locate`, for a state whose hash is known."""
    owner = owner_of(h, ctx.shape[0])
    number = find(shape, ctx[owner, TABLE], ctx[owner, BITS], ctx[owner, ROWS], row, h)
    return -1 if number < 0 else owner << 32 | number
