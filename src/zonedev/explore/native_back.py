"""The kernels that look back: which states can finish, and the shortest way to a violation.

Both expand states again instead of keeping edges, and look the successors up in
tables that no longer change, so that several workers can do it at once.
"""

from __future__ import annotations

from typing import Any

from zonedev.explore.native_kernels import (
    BATCH,
    BITS,
    LOW,
    ROWS,
    SCRATCH,
    TABLE,
    find,
    hash_of,
    kernel,
    owner_of,
    peek,
)
from zonedev.explore.native_memory import call, load, prefetch, store

FAR = 1 << 30  # the cost where no shortest way leads on


@kernel
def look_ahead(shape: Any, ctx: Any, records: int, n: int, hashes: int) -> None:
    """Hash `n` records and fetch what their look-up will touch."""
    size = 8 * len(shape)
    stride = size + 8
    for j in range(n):
        h = hash_of(shape, records + j * stride)
        store(hashes + 8 * j, h)
        owner = owner_of(h, ctx.shape[0])
        bits = ctx[owner, BITS]
        prefetch(ctx[owner, TABLE] + 8 * ((h >> (64 - bits)) & ((1 << bits) - 1)))
    for j in range(n):
        h = load(hashes + 8 * j)
        owner = owner_of(h, ctx.shape[0])
        peek(ctx[owner, TABLE], ctx[owner, BITS], ctx[owner, ROWS], size, h)


@kernel
def found(shape: Any, ctx: Any, row: int, h: int) -> int:
    """The worker and number of a state as worker << 32 | number; -1 where it is not known."""
    owner = owner_of(h, ctx.shape[0])
    number = find(shape, ctx[owner, TABLE], ctx[owner, BITS], ctx[owner, ROWS], row, h)
    return -1 if number < 0 else owner << 32 | number


@kernel
def mark(shape: Any, ctx: Any, me: int, code: Any, can: Any, todo: Any) -> int:
    """Mark the worker's states of `todo` from which one finishes, or comes to a marked state.

    `can[w]` is the address of a byte array for worker w's states.  The states that
    stay unmarked move to the front of `todo`; returns their number.
    """
    expand, _, most = code
    stride = 8 * (len(shape) + 1)
    rows = ctx[me, ROWS]
    hashes = ctx[me, SCRATCH]
    records = hashes + 16 * (BATCH + most)
    left = at = 0
    counts = todo.copy()
    while at < todo.size:
        begin, n = at, 0
        while at < todo.size and n < BATCH:
            got = call(expand, rows + todo[at] * 8 * len(shape), records + n * stride)
            counts[at] = got
            n += got & LOW
            at += 1
        look_ahead(shape, ctx, records, n, hashes)
        n = 0
        for i in range(begin, at):
            good = counts[i] >> 32 != 0
            for j in range(n, n + (counts[i] & LOW)):
                if good:
                    break
                if load(records + j * stride + 8 * len(shape)) >> 48 == 0:
                    place = found(shape, ctx, records + j * stride, load(hashes + 8 * j))
                    good = place >= 0 and byte_at(can[place >> 32] + (place & LOW)) != 0
            n += counts[i] & LOW
            if good:
                set_byte(can[me] + todo[i])
            else:
                todo[left] = todo[i]
                left += 1
    return left


@kernel
def byte_at(address: int) -> int:
    return (load(address & -8) >> 8 * (address & 7)) & 255


@kernel
def set_byte(address: int) -> None:
    """Set a byte to 1.  Only the owner of the word's bytes may write to it."""
    word = address & -8
    store(word, load(word) | 1 << 8 * (address & 7))


@kernel
def suffixes(
    shape: Any, ctx: Any, me: int, code: Any, span: Any, ahead: Any, tasks: int, costs: Any, states: Any
) -> int:
    """For the worker's states from span[0] to span[1]: the fewest task switches after each first task.

    `ahead[w]` describes the states of worker w one level deeper: the first and the end,
    the address of a row number each (-1: no shortest way leads on), and the
    address of those rows of costs, which is 0 where the states are the targets
    themselves.  With span[2], failing steps are the targets.  Writes a row of `costs`
    for each state with a way on, and its number to `states`; returns how many.
    """
    expand, _, most = code
    stride = 8 * (len(shape) + 1)
    hashes = ctx[me, SCRATCH]
    records = hashes + 16 * (BATCH + most)
    used = 0
    for at in range(span[0], span[1]):
        n = call(expand, ctx[me, ROWS] + at * 8 * len(shape), records) & LOW
        look_ahead(shape, ctx, records, n, hashes)
        costs[used, :] = FAR
        best = FAR
        for j in range(n):
            word = load(records + j * stride + 8 * len(shape))
            task = (word >> 32) & 0xFFFF
            if word >> 48 != 0:
                cost = 0 if span[2] != 0 else FAR
            else:
                place = found(shape, ctx, records + j * stride, load(hashes + 8 * j))
                cost = FAR if place < 0 else onward(ahead, place, task, tasks)
            costs[used, task] = min(costs[used, task], cost)
            best = min(best, cost)
        if best < FAR:
            states[used] = at
            used += 1
    return used


@kernel
def onward(ahead: Any, place: int, task: int, tasks: int) -> int:
    """The fewest switches to a target after a step of `task` to the state at `place`."""
    owner, number = place >> 32, place & LOW
    if number < ahead[owner, 0] or number >= ahead[owner, 1]:
        return FAR
    row = load(ahead[owner, 2] + 8 * (number - ahead[owner, 0]))
    if row < 0:
        return FAR
    if ahead[owner, 3] == 0:
        return 0
    best = FAR
    for other in range(tasks):
        cost = load(ahead[owner, 3] + 8 * (row * tasks + other))
        best = min(best, cost + (1 if other != task else 0))
    return best
