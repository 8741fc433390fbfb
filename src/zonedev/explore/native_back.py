"""The kernels that look back: which states can finish or go round, and the shortest way to a violation.

They expand states again instead of keeping edges, and look the successors up in tables that no
longer change, so that several workers can do it at once.
"""

from __future__ import annotations

from zonedev.explore.native_kernels import (
    BATCH,
    CHILDREN,
    END,
    ENTRY,
    FIELDS,
    LEXICON,
    LOW,
    MOST,
    RECORDS,
    ROWS,
    STATE,
    STRIDE,
    UNITS,
    lookup,
    owner_of,
    peek,
    touch,
)
from zonedev.explore.native_lang import kernel
from zonedev.explore.native_memory import expand, load, load8, load32, store, store8
from zonedev.explore.native_words import UNKNOWN, WORDS, WORKERS, decode, encode

FAR = 1 << 30  # the cost where no shortest way leads on
UNSEEN, YES, UNRESOLVED, WALKED = 0, 1, 2, 3  # whether every task can still finish


@kernel
def look_ahead(ctx: int, own: int, at: int) -> int:
    """Expand the worker's state `at`, pack its successors, and fetch what looking them up will touch.

    The records and the entries lie in the worker's scratch space; returns what expand() does.
    """
    words, units = load(own + LEXICON), load(own + UNITS)
    state, records, batch, entry = (
        load(own + STATE),
        load(own + RECORDS),
        load(own + BATCH),
        load(own + ENTRY),
    )
    row = load(own + ROWS) + 4 * units * at
    base = decode(words, row, state)
    got = expand(state, records)
    for j in range(got & LOW):
        record, this = records + STRIDE * j, batch + entry * j
        store(this, UNKNOWN)
        if load(record + 8 * WORDS) >> 48 == 0:
            h = base ^ encode(words, units, row, state, record, this, 0)
            store(this + 8, load(this))
            if load(this) == 0:
                store(this, h)
                touch(ctx + FIELDS * owner_of(h), h)
        else:
            store(this + 8, UNKNOWN)
    for j in range(got & LOW):
        h = load(batch + entry * j)
        peek(ctx + FIELDS * owner_of(h), h)
    return got


@kernel
def place_of(ctx: int, own: int, j: int) -> int:
    """The worker and the number of the successor `j`, as locate(); -1 where it was never entered."""
    this = load(own + BATCH) + load(own + ENTRY) * j
    return -1 if load(this + 8) != 0 else lookup(ctx, load(this), this + 16)


@kernel
def task_of(own: int, j: int) -> int:
    """The task that takes the step to the successor `j`."""
    return (load(load(own + RECORDS) + STRIDE * j + 8 * WORDS) >> 32) & 0xFFFF


@kernel
def fails(own: int, j: int) -> int:
    """Whether the step to the successor `j` breaks a rule."""
    return load(load(own + RECORDS) + STRIDE * j + 8 * WORDS) >> 48 != 0


@kernel
def follow(ctx: int, can: int, me: int, todo: int, n: int) -> int:
    """From each of the worker's `n` states in `todo`, follow the kept successors to an end or a known
    state.

    `can` has for each worker the address of a byte for each of its states: UNSEEN, YES or
    UNRESOLVED, where one comes to a state without successors or runs in a circle.
    """
    for j in range(n):
        start = load(todo + 8 * j)
        number, owner = start, me
        result = load8(load(can + 8 * owner) + number)
        while result == UNSEEN:
            store8(load(can + 8 * owner) + number, WALKED)
            child = load32(load(ctx + FIELDS * owner + CHILDREN) + 4 * number)
            if child == END:
                result = YES
            elif child == 0:
                result = UNRESOLVED
            else:
                number = (child - 1) // WORKERS
                owner = (child - 1) % WORKERS
                result = load8(load(can + 8 * owner) + number)
        if result == WALKED:
            result = UNRESOLVED
        number = start
        owner = me
        while load8(load(can + 8 * owner) + number) == WALKED:
            store8(load(can + 8 * owner) + number, result)
            child = load32(load(ctx + FIELDS * owner + CHILDREN) + 4 * number)
            if child != END and child != 0:
                number = (child - 1) // WORKERS
                owner = (child - 1) % WORKERS
    return 0


@kernel
def mark(ctx: int, me: int, can: int, todo: int, n: int) -> int:
    """Expand the worker's `n` states in `todo` again; those with a step to a YES become YES.

    Returns how many did.
    """
    own = ctx + FIELDS * me
    marked = 0
    for i in range(n):
        at = load(todo + 8 * i)
        count = look_ahead(ctx, own, at) & LOW
        j = 0
        while j < count:
            place = place_of(ctx, own, j)
            j += 1
            if place >= 0 and load8(load(can + 8 * (place >> 32)) + (place & LOW)) == YES:
                store8(load(can + 8 * me) + at, YES)
                marked += 1
                j = count
    return marked


@kernel
def failing(ctx: int, me: int, first: int, end: int, found: int, room: int) -> int:
    """The steps that break a rule from the worker's states from `first` up to `end`, as far as `found`
    has room.

    Writes the number of the state and the tag of each; returns the state before which it
    stopped, and in the upper half how many there are.
    """
    own = ctx + FIELDS * me
    state, records = load(own + STATE), load(own + RECORDS)
    used, at = 0, first
    while at < end and used + load(own + MOST) <= room:
        decode(load(own + LEXICON), load(own + ROWS) + 4 * load(own + UNITS) * at, state)
        count = expand(state, records) & LOW
        for j in range(count):
            if fails(own, j):
                store(found + 16 * used, at)
                store(found + 16 * used + 8, load(records + STRIDE * j + 8 * WORDS))
                used += 1
        at += 1
    return used << 32 | at


@kernel
def in_loops(ctx: int, me: int, pcs: int, tasks: int, flags: int, first: int, end: int, marks: int) -> int:
    """Mark those of the worker's states from `first` to `end` in which all that can take a step stand in
    a loop, and not all have finished.

    The four words of `pcs` for a task are where its place is in a state (word, shift and mask), and
    where in the bytes of `flags` its places begin, of which those in a loop are 1.
    """
    own = ctx + FIELDS * me
    state, records = load(own + STATE), load(own + RECORDS)
    for at in range(first, end):
        decode(load(own + LEXICON), load(own + ROWS) + 4 * load(own + UNITS) * at, state)
        some = 0
        for task in range(tasks):
            some |= standing(state, pcs + 32 * task, flags)
        if some == 0:
            continue
        got = expand(state, records)
        if got > LOW:
            continue
        every = 1
        for j in range(got):
            every &= standing(state, pcs + 32 * task_of(own, j), flags)
        store8(marks + at, every if got > 0 else 0)
    return 0


@kernel
def standing(state: int, pc: int, flags: int) -> int:
    """1 where a task stands in a loop."""
    place = (load(state + 8 * load(pc)) >> load(pc + 8)) & load(pc + 16)
    return load8(flags + load(pc + 24) + place)


@kernel
def peel(ctx: int, me: int, marks: int, todo: int, n: int) -> int:
    """Take the marks off those of the worker's `n` states in `todo` that lead to no marked state.

    `marks` has for each worker the address of a byte for each of its states.  Returns how many lost
    theirs.
    """
    own = ctx + FIELDS * me
    taken = 0
    for i in range(n):
        at = load(todo + 8 * i)
        count = look_ahead(ctx, own, at) & LOW
        leads_on = 0
        for j in range(count):
            place = place_of(ctx, own, j)
            if place >= 0:
                leads_on |= load8(load(marks + 8 * (place >> 32)) + (place & LOW))
        if leads_on == 0:
            store8(load(marks + 8 * me) + at, 0)
            taken += 1
    return taken


@kernel
def suffixes(ctx: int, me: int, first: int, end: int, ahead: int, tasks: int, costs: int, states: int) -> int:
    """For the worker's states from `first` to `end`: the fewest task switches after each first task.

    The four words of `ahead` for a worker describe its states one level deeper: the first and the
    end, the address of a row number each (-1: no shortest way leads on), and the address of those
    rows of costs, which is 0 where the states are the targets themselves.  Writes a row of `costs`
    for each state with a way on, and its number to `states`; returns how many.
    """
    own = ctx + FIELDS * me
    used = 0
    for at in range(first, end):
        count = look_ahead(ctx, own, at) & LOW
        row = costs + 8 * tasks * used
        for task in range(tasks):
            store(row + 8 * task, FAR)
        best = FAR
        for j in range(count):
            task, place = task_of(own, j), place_of(ctx, own, j)
            cost = FAR if place < 0 else onward(ahead, place, task, tasks)
            store(row + 8 * task, min(load(row + 8 * task), cost))
            best = min(best, cost)
        if best < FAR:
            store(states + 8 * used, at)
            used += 1
    return used


@kernel
def onward(ahead: int, place: int, task: int, tasks: int) -> int:
    """The fewest switches to a target after a step of `task` to the state at `place`."""
    level, number = ahead + 32 * (place >> 32), place & LOW
    if number < load(level) or number >= load(level + 8):
        return FAR
    row = load(load(level + 16) + 8 * (number - load(level)))
    if row < 0:
        return FAR
    if load(level + 24) == 0:
        return 0
    best = FAR
    for other in range(tasks):
        cost = load(load(level + 24) + 8 * (row * tasks + other))
        best = min(best, cost + (1 if other != task else 0))
    return best
