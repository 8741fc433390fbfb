"""The loops of the native engine's search.

`ctx` is the address of a row of numbers for each worker, named by the constants below.  A
worker's states, packed (see native_words), lie in a row each, in the order in which they were
found.  Its table is open-addressed, with slots of 32 bits: zero, or the number of a state plus
one in as many bits as the table's size has, and in those above it a tag of the state's hash.
The home of a state is the top of its hash.

The global number of a state is its number times the workers, plus its worker.  Where somebody
asks whether all can finish, the greatest such number among its successors is kept with each
state: following it leads to an end from nearly every state that can finish (see native_back).

A batch is a list of entries: a hash, where to leave the global number, and a packed state.
"""

from __future__ import annotations

from zonedev.explore.native_lang import kernel
from zonedev.explore.native_memory import expand, load, load32, prefetch, shift, store, store32, stuck
from zonedev.explore.native_words import WORDS, WORKERS, decode, encode, hash_of, pack

# The columns of ctx, as offsets.
ROWS, CAPACITY, COUNT, UNITS = 0, 8, 16, 24  # the states, rows allocated, rows in use, units of a row
TABLE, BITS, LIMIT = 32, 40, 48  # address and log2 size of the table; states it may hold
TRANSITIONS, ENDS, BROKEN, TIGHT = 56, 64, 72, 80  # counted; TIGHT: a number did not fit
WRONG, WRONGS = 88, 96  # address of (state, ending) pairs, and how many there are
STATE, RECORDS, BATCH, ENTRY, SCRATCH = 104, 112, 120, 128, 136  # scratch space, bytes of an entry
BOXES, BOX, FILLS = 144, 152, 160  # boxes for the states of other workers, entries of one, how many
CHILDREN = 168  # address of 32 bits a state: a successor's global number plus one, or 0; or 0
LEXICON = 176  # `words` of native_words
MOST = 184  # the most successors that a state can have
FIELDS = 192  # bytes of a row

SIZE = 192  # successors that are looked up together
LOW = 0xFFFFFFFF
END = LOW  # instead of a successor: the state is an end
FINE = -8
STRIDE = 8 * (WORDS + 2)  # of a record; given when the kernels are compiled


@kernel
def owner_of(h: int) -> int:
    """Which worker keeps the states with this hash."""
    if WORKERS == 1:
        return 0
    return ((h & LOW) * WORKERS) >> 32


@kernel
def home(h: int, bits: int) -> int:
    return shift(h, 64 - bits)


@kernel
def tag_of(h: int, bits: int) -> int:
    """The tag of a hash, where a slot has it."""
    return (h << bits) & LOW


@kernel
def same(units: int, a: int, b: int) -> int:
    for unit in range(units):
        if load32(a + 4 * unit) != load32(b + 4 * unit):
            return 0
    return 1


@kernel
def find(own: int, h: int, row: int) -> int:
    """The number of a packed state among those of the worker with the row `own` of ctx, or -1."""
    table, bits, rows, units = load(own + TABLE), load(own + BITS), load(own + ROWS), load(own + UNITS)
    mask = (1 << bits) - 1
    at, tag = home(h, bits), tag_of(h, bits)
    while True:
        slot = load32(table + 4 * at)
        if slot == 0:
            return -1
        if slot & ~mask == tag:
            number = (slot & mask) - 1
            if same(units, rows + 4 * units * number, row) == 1:
                return number
        at = (at + 1) & mask


@kernel
def touch(own: int, h: int) -> int:
    """Fetch the home slot of a hash."""
    return prefetch(load(own + TABLE) + 4 * home(h, load(own + BITS)))


@kernel
def peek(own: int, h: int) -> int:
    """Fetch the state that the home slot of a hash points to."""
    bits = load(own + BITS)
    slot = load32(load(own + TABLE) + 4 * home(h, bits))
    mask = (1 << bits) - 1
    if slot != 0 and slot & ~mask == tag_of(h, bits):
        prefetch(load(own + ROWS) + 4 * load(own + UNITS) * ((slot & mask) - 1))
    return 0


@kernel
def settle(own: int, me: int, batch: int, n: int, posted: int) -> int:
    """Enter those of the `n` states of a batch that are not known yet.

    Where they were `posted` by another worker, the answer is left in the entry.
    """
    entry, children = load(own + ENTRY), load(own + CHILDREN)
    table, bits, rows, units = load(own + TABLE), load(own + BITS), load(own + ROWS), load(own + UNITS)
    count, mask = load(own + COUNT), (1 << bits) - 1
    for j in range(n):
        peek(own, load(batch + entry * j))
    for j in range(n):
        this = batch + entry * j
        h = load(this)
        at, tag = home(h, bits), tag_of(h, bits)
        number = -1
        while number < 0:
            slot = load32(table + 4 * at)
            if slot == 0:
                row = rows + 4 * units * count
                for unit in range(units):
                    store32(row + 4 * unit, load32(this + 16 + 4 * unit))
                number = count
                count += 1
                store32(table + 4 * at, tag | count)
            elif slot & ~mask == tag and same(units, rows + 4 * units * ((slot & mask) - 1), this + 16) == 1:
                number = (slot & mask) - 1
            at = (at + 1) & mask
        if children != 0:
            note = this + 12 if posted == 1 else load(this + 8)
            store32(note, max(load32(note), number * WORKERS + me + 1))
    store(own + COUNT, count)
    return 0


@kernel
def has_room(own: int, more: int) -> int:
    return load(own + COUNT) + more <= min(load(own + CAPACITY), load(own + LIMIT))


@kernel
def boxes_have_room(own: int, more: int) -> int:
    if WORKERS == 1:
        return 1
    fullest = 0
    for other in range(WORKERS):
        fullest = max(fullest, load(load(own + FILLS) + 8 * other))
    return fullest + more <= load(own + BOX)


@kernel
def advance(ctx: int, me: int, first: int, end: int) -> int:
    """Expand the worker's states from `first` up to `end`; returns how far it came.

    It stops early where the table, the rows or a box for another worker might not hold what the
    next batch brings, and where a state cannot be packed.
    """
    own = ctx + FIELDS * me
    words, units, rows = load(own + LEXICON), load(own + UNITS), load(own + ROWS)
    state, records, batch, entry = (
        load(own + STATE),
        load(own + RECORDS),
        load(own + BATCH),
        load(own + ENTRY),
    )
    room = SIZE + load(own + MOST)
    at, tight = first, 0
    while at < end and tight == 0 and has_room(own, room) and boxes_have_room(own, room):
        n, found, begin = 0, 0, at
        while at < end and found < SIZE:
            row = rows + 4 * units * at
            base = decode(words, row, state)
            got = expand(state, records)
            count = got & LOW
            packed = batch + entry * n
            for j in range(count):
                record = records + STRIDE * j
                if load(record + 8 * WORDS) >> 48 == 0:
                    h = base ^ encode(words, units, row, state, record, packed, 1)
                    tight |= load(packed)
                    store(packed, h)
                    packed += entry
                    if WORKERS == 1:
                        touch(own, h)
            if tight != 0:
                break
            note_end(own, got, at, state)
            note_fails(own, records, count)
            found += count
            last = (packed - batch) // entry
            if WORKERS == 1:
                for j in range(n, last):
                    store(batch + entry * j + 8, load(own + CHILDREN) + 4 * at)
                n = last
            else:
                n = share(own, me, batch, n, last, at)
            at += 1
        settle(own, me, batch, n, 0)
        if at == begin:
            break
    if tight != 0:
        store(own + TIGHT, 1)
    return at


@kernel
def note_end(own: int, got: int, at: int, state: int) -> int:
    """Count the steps of a state, and note what is wrong with one that has none."""
    count = got & LOW
    store(own + TRANSITIONS, load(own + TRANSITIONS) + count)
    if got > LOW:
        store(own + ENDS, load(own + ENDS) + 1)
        if load(own + CHILDREN) != 0:
            store32(load(own + CHILDREN) + 4 * at, END)
    if count == 0:
        ending = stuck(state)
        if ending != FINE:
            noted = load(own + WRONG) + 16 * load(own + WRONGS)
            store(noted, at)
            store(noted + 8, ending)
            store(own + WRONGS, load(own + WRONGS) + 1)
    return 0


@kernel
def note_fails(own: int, records: int, count: int) -> int:
    """Note the greatest number of a rule that a step breaks."""
    broken = load(own + BROKEN)
    for j in range(count):
        broken = max(broken, load(records + STRIDE * j + 8 * WORDS) >> 48)
    store(own + BROKEN, broken)
    return 0


@kernel
def share(own: int, me: int, batch: int, n: int, end: int, source: int) -> int:
    """Keep those of the entries from `n` to `end` that are the worker's own, and post the others to
    whom they belong; returns where the own ones end."""
    entry = load(own + ENTRY)
    for j in range(n, end):
        this = batch + entry * j
        h = load(this)
        owner = owner_of(h)
        to = batch + entry * n
        if owner == me:
            n += 1
            touch(own, h)
        else:
            fills = load(own + FILLS) + 8 * owner
            to = load(own + BOXES) + entry * (owner * load(own + BOX) + load(fills))
            store(fills, load(fills) + 1)
        store(to, h)
        store(to + 8, load(own + CHILDREN) + 4 * source if owner == me else source)
        for unit in range(load(own + UNITS)):
            store32(to + 16 + 4 * unit, load32(this + 16 + 4 * unit))
    return n


@kernel
def absorb(ctx: int, me: int, source: int, first: int, n: int) -> int:
    """Enter the states that worker `source` has posted, from number `first` on, up to `n`.

    Returns how far it came; it stops early where the table or the rows are full.
    """
    own, theirs = ctx + FIELDS * me, ctx + FIELDS * source
    entry = load(own + ENTRY)
    box = load(theirs + BOXES) + entry * me * load(theirs + BOX)
    at = first
    while at < n and has_room(own, SIZE):
        until = min(n, at + SIZE)
        for j in range(at, until):
            touch(own, load(box + entry * j))
        settle(own, me, box + entry * at, until - at, 1)
        at = until
    return at


@kernel
def hear(ctx: int, me: int) -> int:
    """Read the answers to what the worker has posted, and empty its boxes."""
    own = ctx + FIELDS * me
    entry = load(own + ENTRY)
    for owner in range(WORKERS):
        box = load(own + BOXES) + entry * owner * load(own + BOX)
        fills = load(own + FILLS) + 8 * owner
        if load(own + CHILDREN) != 0:
            for j in range(load(fills)):
                word = load(box + entry * j + 8)
                note = load(own + CHILDREN) + 4 * (word & LOW)
                store32(note, max(load32(note), shift(word, 32)))
        store(fills, 0)
    return 0


@kernel
def rehash(ctx: int, me: int, table: int, bits: int) -> int:
    """Enter all states of a worker into a table of 2**bits empty slots."""
    own = ctx + FIELDS * me
    words, units, rows, n = load(own + LEXICON), load(own + UNITS), load(own + ROWS), load(own + COUNT)
    hashes = load(own + SCRATCH)
    mask = (1 << bits) - 1
    at = 0
    while at < n:
        until = min(n, at + SIZE)
        for j in range(at, until):
            h = hash_of(words, rows + 4 * units * j)
            store(hashes + 8 * (j - at), h)
            prefetch(table + 4 * home(h, bits))
        for j in range(at, until):
            h = load(hashes + 8 * (j - at))
            slot = home(h, bits)
            while load32(table + 4 * slot) != 0:
                slot = (slot + 1) & mask
            store32(table + 4 * slot, tag_of(h, bits) | (j + 1))
        at = until
    return n


@kernel
def states_at(ctx: int, me: int, numbers: int, n: int, out: int) -> int:
    """Write the words of the worker's states whose `n` numbers are in a list."""
    own = ctx + FIELDS * me
    state = load(own + STATE)
    for j in range(n):
        decode(load(own + LEXICON), load(own + ROWS) + 4 * load(own + UNITS) * load(numbers + 8 * j), state)
        for i in range(WORDS):
            store(out + 8 * (WORDS * j + i), load(state + 8 * i))
    return 0


@kernel
def enter(ctx: int, state: int) -> int:
    """Enter the initial state; 0 where it cannot be packed."""
    entry = load(ctx + BATCH)
    for unit in range(load(ctx + UNITS)):
        store32(entry + 16 + 4 * unit, 0)
    h = pack(load(ctx + LEXICON), state, entry, 1)
    if load(entry) != 0:
        return 0
    own = ctx + FIELDS * owner_of(h)
    store(entry, h)
    store(entry + 8, load(own + SCRATCH))
    settle(own, owner_of(h), entry, 1, 0)
    return 1


@kernel
def locate(ctx: int, state: int) -> int:
    """The worker and the number of a state, as worker << 32 | number; or -1."""
    entry = load(ctx + BATCH)
    for unit in range(load(ctx + UNITS)):
        store32(entry + 16 + 4 * unit, 0)
    h = pack(load(ctx + LEXICON), state, entry, 0)
    if load(entry) != 0:
        return -1
    return lookup(ctx, h, entry + 16)


@kernel
def lookup(ctx: int, h: int, row: int) -> int:
    """As `locate`, for a packed state."""
    owner = owner_of(h)
    number = find(ctx + FIELDS * owner, h, row)
    return -1 if number < 0 else owner << 32 | number
