"""How the native engine keeps states: each word of a state by the number of its value.

A word of a state takes few values, compared with the number of states.  Each value gets a
number when it is first seen, and a state is the numbers of its words, packed into units of
32 bits.  The tables are exact: nothing is lost, and two states are the same where their
numbers are.

`words` is the address of a row of numbers for each word, named by the constants below, which
all workers share.  A slot of a word's table is a value and its number plus one, or zeros; the
entries of `VALUES` are a value and its hash, by number.  The hash of a state is the xor of
those of its values, so that a step changes it by what it changes.
"""

from __future__ import annotations

from zonedev.explore.native_lang import kernel
from zonedev.explore.native_memory import (
    acquire,
    load,
    load32,
    lowest,
    release,
    shift,
    store,
    store32,
    trylock,
)

WORDS = WORKERS = 1  # given when the kernels are compiled

# The columns of `words`.
SLOTS, FREE, VALUES, COUNT = 0, 8, 16, 24  # table and 64 - its log2 size; values by number, how many
UNIT, SHIFT, MOST = 32, 40, 48  # where a state has the number, and the greatest that fits there
LOCK = 56
WORD = 64  # bytes of a row

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
NARROW = -2  # a number that does not fit
UNKNOWN = -1
TOO_MANY = 1 << 40  # a number that fits nowhere


@kernel
def mix(value: int, word: int) -> int:
    """The hash of a value of a word, as a part of a state's."""
    h = value ^ ((word + 1) * GOLDEN)
    h = (h ^ shift(h, 30)) * FIRST
    h = (h ^ shift(h, 27)) * SECOND
    return h ^ shift(h, 31)


@kernel
def home_of(value: int, free: int) -> int:
    """Where a value is looked for first in its word's table."""
    return shift(value * GOLDEN, free)


@kernel
def known_number(word: int, value: int) -> int:
    """The number of a value, or UNKNOWN."""
    slots, free = load(word + SLOTS), load(word + FREE)
    last = shift(-1, free)
    at = home_of(value, free)
    while True:
        number = acquire(slots + 16 * at + 8)
        if number == 0:
            return UNKNOWN
        if load(slots + 16 * at) == value:
            return number - 1
        at = (at + 1) & last


@kernel
def new_number(word: int, i: int, value: int) -> int:
    """Give a value its number, unless another worker is faster; TOO_MANY where there is no room."""
    if WORKERS > 1:
        while trylock(word + LOCK) == 0:
            pass
    slots, free, number = load(word + SLOTS), load(word + FREE), load(word + COUNT)
    last = shift(-1, free)
    at = home_of(value, free)
    found = load(slots + 16 * at + 8)
    while found != 0 and load(slots + 16 * at) != value:
        at = (at + 1) & last
        found = load(slots + 16 * at + 8)
    if found == 0 and 2 * number > last:
        found = TOO_MANY + 1
    elif found == 0:
        values = load(word + VALUES)
        store(values + 16 * number, value)
        store(values + 16 * number + 8, mix(value, i))
        store(slots + 16 * at, value)
        release(slots + 16 * at + 8, number + 1)
        store(word + COUNT, number + 1)
        found = number + 1
    if WORKERS > 1:
        release(word + LOCK, 0)
    return found - 1


@kernel
def number_of(word: int, i: int, value: int, grow: int) -> int:
    """The number of a value, a new one with `grow`; UNKNOWN or NARROW where a state cannot have it."""
    number = known_number(word, value)
    if number == UNKNOWN and grow != 0:
        number = new_number(word, i, value)
    return NARROW if number > load(word + MOST) else number


@kernel
def decode(words: int, row: int, state: int) -> int:
    """Write the words of a packed state to `state`, and behind them their hashes; returns the state's."""
    h = 0
    for i in range(WORDS):
        word = words + WORD * i
        number = (load32(row + load(word + UNIT)) >> load(word + SHIFT)) & load(word + MOST)
        value = load(word + VALUES) + 16 * number
        store(state + 8 * i, load(value))
        store(state + 8 * (WORDS + i), load(value + 8))
        h ^= load(value + 8)
    return h


@kernel
def hash_of(words: int, row: int) -> int:
    """The hash of a packed state."""
    h = 0
    for i in range(WORDS):
        word = words + WORD * i
        number = (load32(row + load(word + UNIT)) >> load(word + SHIFT)) & load(word + MOST)
        h ^= load(load(word + VALUES) + 16 * number + 8)
    return h


@kernel
def put(word: int, row: int, number: int) -> int:
    """Write the number of a word's value to a packed state."""
    at, by = row + load(word + UNIT), load(word + SHIFT)
    return store32(at, (load32(at) & ~(load(word + MOST) << by)) | (number << by))


@kernel
def encode(words: int, units: int, row: int, state: int, record: int, entry: int, grow: int) -> int:
    """Pack the state that `record` leads to, from the packed state `row` with the words `state`.

    The entry gets the words in which they differ, the rest is as in `row`.  Returns how the hash
    differs; with `grow` new values get numbers.  The first word of the entry, where its hash will
    be, is NARROW or UNKNOWN where it cannot be packed, else 0.
    """
    for unit in range(units):
        store32(entry + 16 + 4 * unit, load32(row + 4 * unit))
    store(entry, 0)
    h = 0
    changed = load(record + 8 * (WORDS + 1))
    while changed != 0:
        i = lowest(changed)
        changed = changed & (changed - 1)
        value = load(record + 8 * i)
        if value != load(state + 8 * i):
            word = words + WORD * i
            number = number_of(word, i, value, grow)
            if number < 0:
                store(entry, number)
                return 0
            put(word, entry + 16, number)
            h ^= load(load(word + VALUES) + 16 * number + 8) ^ load(state + 8 * (WORDS + i))
    return h


@kernel
def pack(words: int, state: int, entry: int, grow: int) -> int:
    """Pack all words of a state; as encode()."""
    store(entry, 0)
    h = 0
    for i in range(WORDS):
        word = words + WORD * i
        value = load(state + 8 * i)
        number = number_of(word, i, value, grow)
        if number < 0:
            store(entry, number)
            return 0
        put(word, entry + 16, number)
        h ^= load(load(word + VALUES) + 16 * number + 8)
    return h


@kernel
def unpack(words: int, row: int, state: int) -> int:
    """decode() for whoever looks from outside."""
    return decode(words, row, state)


@kernel
def repack(old: int, units: int, rows: int, new: int, wider: int, fresh: int, n: int) -> int:
    """Write `n` packed states anew: from `rows`, laid out by `old`, to `fresh`, laid out by `new`."""
    for at in range(n):
        row, to = rows + 4 * units * at, fresh + 4 * wider * at
        for unit in range(wider):
            store32(to + 4 * unit, 0)
        for i in range(WORDS):
            word = old + WORD * i
            number = (load32(row + load(word + UNIT)) >> load(word + SHIFT)) & load(word + MOST)
            put(new + WORD * i, to, number)
    return n


@kernel
def refill(word: int) -> int:
    """Enter all values of a word into its table, which is empty."""
    slots, free, values = load(word + SLOTS), load(word + FREE), load(word + VALUES)
    last = shift(-1, free)
    for number in range(load(word + COUNT)):
        at = home_of(load(values + 16 * number), free)
        while load(slots + 16 * at + 8) != 0:
            at = (at + 1) & last
        store(slots + 16 * at, load(values + 16 * number))
        store(slots + 16 * at + 8, number + 1)
    return 0
