"""The kernels that look back: which states can finish or go round, and the shortest way to a violation.

Both expand states again instead of keeping edges, and look the successors up in
tables that no longer change, so that several workers can do it at once.
"""

from __future__ import annotations

from typing import Any

from zonedev.explore.native_kernels import (
    BATCH,
    BITS,
    CHILDREN,
    END,
    LOW,
    ROWS,
    SCRATCH,
    TABLE,
    hash_of,
    lookup,
    owner_of,
    peek,
)
from zonedev.explore.native_memory import call, kernel, load, load8, load32, prefetch, store, store8

FAR = 1 << 30  # the cost where no shortest way leads on
UNKNOWN, YES, UNRESOLVED, WALKED = 0, 1, 2, 3  # whether every task can still finish


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
def split(number: int, workers: int) -> Any:
    """The number and the worker of the state with a global number."""
    if workers == 1:
        return number, 0
    return number // workers, number % workers


@kernel
def follow(ctx: Any, can: Any, me: int, todo: Any) -> None:
    """From each of the worker's states in `todo`, follow the kept successors to an end or a known state.

    `can[w]` is the address of a byte for each state of worker w: UNKNOWN, YES or
    UNRESOLVED, where one comes to a state without successors or runs in a circle.
    """
    workers = ctx.shape[0]
    for number in todo:
        owner = me
        result = load8(can[owner] + number)
        start = number
        while result == UNKNOWN:
            store8(can[owner] + number, WALKED)
            child = load32(ctx[owner, CHILDREN] + 4 * number)
            if child == END:
                result = YES
            elif child == 0:
                result = UNRESOLVED
            else:
                number, owner = split(child - 1, workers)
                result = load8(can[owner] + number)
        if result == WALKED:
            result = UNRESOLVED
        number, owner = start, me
        while load8(can[owner] + number) == WALKED:
            store8(can[owner] + number, result)
            child = load32(ctx[owner, CHILDREN] + 4 * number)
            if child != END and child != 0:
                number, owner = split(child - 1, workers)


@kernel
def mark(shape: Any, ctx: Any, me: int, code: Any, can: Any, todo: Any) -> int:
    """Expand the worker's states in `todo` again; those with a step to a YES become YES.

    Returns how many did.
    """
    expand, _, most = code
    stride = 8 * (len(shape) + 1)
    hashes = ctx[me, SCRATCH]
    records = hashes + 24 * (BATCH + most)
    marked = 0
    for at in todo:
        n = call(expand, ctx[me, ROWS] + at * 8 * len(shape), records) & LOW
        look_ahead(shape, ctx, records, n, hashes)
        for j in range(n):
            if load(records + j * stride + 8 * len(shape)) >> 48 == 0:
                place = lookup(shape, ctx, records + j * stride, load(hashes + 8 * j))
                if place >= 0 and load8(can[place >> 32] + (place & LOW)) == YES:
                    store8(can[me] + at, YES)
                    marked += 1
                    break
    return marked


@kernel
def in_loops(shape: Any, ctx: Any, me: int, code: Any, pcs: Any, flags: Any, span: Any, marks: Any) -> None:
    """Mark those of the worker's states from span[0] to span[1] in which all that can take a step
    stand in a loop, and not all have finished.

    A row of `pcs` is where a task's place is in a state (word, shift and mask), and where in
    `flags` its places begin, of which those in a loop are 1.
    """
    expand, _, most = code
    stride = 8 * (len(shape) + 1)
    records = ctx[me, SCRATCH] + 24 * (BATCH + most)
    for at in range(span[0], span[1]):
        row = ctx[me, ROWS] + at * 8 * len(shape)
        some = 0
        for task in range(pcs.shape[0]):
            some |= standing(row, pcs, flags, task)
        if some == 0:
            continue
        n = call(expand, row, records)
        if n > LOW:
            continue
        every = 1
        for j in range(n):
            task = (load(records + j * stride + 8 * len(shape)) >> 32) & 0xFFFF
            every &= standing(row, pcs, flags, task)
        marks[at] = every if n > 0 else 0


@kernel
def standing(row: int, pcs: Any, flags: Any, task: int) -> int:
    """1 where a task stands in a loop."""
    place: int = (load(row + 8 * pcs[task, 0]) >> pcs[task, 1]) & pcs[task, 2]
    return flags[pcs[task, 3] + place]  # type: ignore[no-any-return]


@kernel
def peel(shape: Any, ctx: Any, me: int, code: Any, marks: Any, todo: Any) -> int:
    """Take the marks off those of the worker's states in `todo` that lead to no marked state.

    `marks[w]` is the address of a byte for each state of worker w.  Returns how many lost theirs.
    """
    expand, _, most = code
    stride = 8 * (len(shape) + 1)
    hashes = ctx[me, SCRATCH]
    records = hashes + 24 * (BATCH + most)
    taken = 0
    for at in todo:
        n = call(expand, ctx[me, ROWS] + at * 8 * len(shape), records) & LOW
        look_ahead(shape, ctx, records, n, hashes)
        leads_on = 0
        for j in range(n):
            place = lookup(shape, ctx, records + j * stride, load(hashes + 8 * j))
            if place >= 0:
                leads_on |= load8(marks[place >> 32] + (place & LOW))
        if leads_on == 0:
            store8(marks[me] + at, 0)
            taken += 1
    return taken


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
    records = hashes + 24 * (BATCH + most)
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
                place = lookup(shape, ctx, records + j * stride, load(hashes + 8 * j))
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
