"""The kernels with which searches in several processes tell each other of states.

Each process packs states in its own way, so what it sends are the words of states, 64 bits each,
one state after the other.  It has a row of `ctx` for each of them, but states only in its own:
the others' boxes for it are where it puts what they send.
"""

from __future__ import annotations

from zonedev.explore.native_kernels import (
    BATCH,
    BOX,
    BOXES,
    ENTRY,
    FIELDS,
    FILLS,
    LEXICON,
    LOW,
    RECORDS,
    ROWS,
    STATE,
    STRIDE,
    UNITS,
    find,
    owner_of,
)
from zonedev.explore.native_lang import kernel
from zonedev.explore.native_memory import expand, load, load32, store, store32
from zonedev.explore.native_words import WORDS, decode, mix, pack

EDGE = 4  # words of an edge: which of the states, the task, the owner or FAILING, the place in `states`
FAILING = -1


@kernel
def box_of(ctx: int, source: int, to: int) -> int:
    """The first entry that worker `source` has for another."""
    row = ctx + FIELDS * source
    return load(row + BOXES) + load(row + ENTRY) * to * load(row + BOX)


@kernel
def write_out(ctx: int, me: int, to: int, states: int) -> int:
    """Write the words of all states that are posted for `to` to `states`."""
    own, box = ctx + FIELDS * me, box_of(ctx, me, to)
    entry, state = load(own + ENTRY), load(own + STATE)
    n = load(load(own + FILLS) + 8 * to)
    for j in range(n):
        decode(load(own + LEXICON), box + entry * j + 16, state)
        for i in range(WORDS):
            store(states + 8 * (WORDS * j + i), load(state + 8 * i))
    return n


@kernel
def read_in(ctx: int, me: int, source: int, states: int, n: int) -> int:
    """Pack `n` states into the box of `source` for the worker; returns how many, before one that
    cannot be packed."""
    own, box = ctx + FIELDS * me, box_of(ctx, source, me)
    entry, units = load(own + ENTRY), load(own + UNITS)
    for j in range(n):
        this = box + entry * j
        for unit in range(units):
            store32(this + 16 + 4 * unit, 0)
        h = pack(load(own + LEXICON), states + 8 * WORDS * j, this, 1)
        if load(this) != 0:
            return j
        store(this, h)
        store(this + 8, 0)
    return n


@kernel
def answers_to(ctx: int, me: int, source: int, answers: int, n: int) -> int:
    """Copy the answers to what `source` has sent: 32 bits each."""
    box, entry = box_of(ctx, source, me), load(ctx + FIELDS * me + ENTRY)
    for j in range(n):
        store32(answers + 4 * j, load32(box + entry * j + 12))
    return n


@kernel
def answers_of(ctx: int, me: int, to: int, answers: int, n: int) -> int:
    """Put the answers that `to` has sent where hear() looks for them."""
    box, entry = box_of(ctx, me, to), load(ctx + FIELDS * me + ENTRY)
    for j in range(n):
        store32(box + entry * j + 12, load32(answers + 4 * j))
    return n


@kernel
def fan_out(ctx: int, me: int, todo: int, n: int, edges: int, states: int) -> int:
    """Expand the worker's `n` states in `todo` again: an edge for each step, and the words of the state
    that it leads to, unless it breaks a rule.  Returns the number of edges."""
    own = ctx + FIELDS * me
    state, records = load(own + STATE), load(own + RECORDS)
    found, written = 0, 0
    for i in range(n):
        row = load(own + ROWS) + 4 * load(own + UNITS) * load(todo + 8 * i)
        base = decode(load(own + LEXICON), row, state)
        count = expand(state, records) & LOW
        for j in range(count):
            record, edge, to = records + STRIDE * j, edges + 8 * EDGE * found, states + 8 * WORDS * written
            tag = load(record + 8 * WORDS)
            store(edge, i)
            store(edge + 8, (tag >> 32) & 0xFFFF)
            store(edge + 16, FAILING)
            store(edge + 24, written)
            if tag >> 48 == 0:
                store(edge + 16, owner_of(base ^ write_successor(state, record, to)))
                written += 1
            found += 1
    return found


@kernel
def write_successor(state: int, record: int, to: int) -> int:
    """Write the words of the state that `record` leads to; returns how its hash differs."""
    changed, h = load(record + 8 * (WORDS + 1)), 0
    for i in range(WORDS):
        value = load(state + 8 * i)
        if (changed >> i) & 1 == 1:
            h ^= mix(value, i) ^ mix(load(record + 8 * i), i)
            value = load(record + 8 * i)
        store(to + 8 * i, value)
    return h


@kernel
def numbers_of(ctx: int, me: int, states: int, n: int, numbers: int) -> int:
    """The worker's numbers of `n` states; -1 where it has none."""
    own = ctx + FIELDS * me
    entry = load(own + BATCH)
    for j in range(n):
        for unit in range(load(own + UNITS)):
            store32(entry + 16 + 4 * unit, 0)
        h = pack(load(own + LEXICON), states + 8 * WORDS * j, entry, 0)
        store(numbers + 8 * j, find(own, h, entry + 16) if load(entry) == 0 else -1)
    return n
