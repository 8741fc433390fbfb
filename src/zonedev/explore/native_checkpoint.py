"""Searches of the native engine on disk, so that one that is killed can go on.

A checkpoint is taken between two rounds of a search, when no worker has anything under way.  It
is one file, written beside the last one and put in its place at once: whenever the process is
killed, there is a whole one.  What can be computed from the rest, such as the tables, is not in
it.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from zonedev.explore import llvmgen
from zonedev.explore import native_kernels as k
from zonedev.explore import native_words as w
from zonedev.explore.cache import name_of, program
from zonedev.explore.native_store import Region, Store, limit
from zonedev.lang.errors import ZonedevError

if TYPE_CHECKING:
    from zonedev.explore.native_search import Search

EVERY = 30.0  # seconds between two checkpoints, at least
SHARE = 20  # and this many times what one takes
FORMAT = 1
COUNTS = (k.COUNT, k.TRANSITIONS, k.ENDS, k.BROKEN)  # the fields of ctx that cannot be computed
PLACES = (w.COUNT, w.UNIT, w.SHIFT, w.MOST)  # likewise those of a word


class Checkpoint:
    """The checkpoint of one check in a directory; ZonedevError where it cannot be had.

    With `resume` the search goes on from what is there, if anything is.
    """

    def __init__(self, directory: Path, *, resume: bool) -> None:
        self.file = directory / "search"
        self.resume = resume
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ZonedevError(f"--checkpoint {directory}: {error.strerror}: name a directory") from None
        if self.file.exists() and not resume:
            raise ZonedevError(f"{self.file} is of an earlier run: add --resume to go on, or remove it")
        self.last = time.perf_counter()
        self.took = 0.0

    def due(self) -> bool:
        """Whether it is time to take another."""
        return time.perf_counter() - self.last >= max(EVERY, SHARE * self.took)

    def save(self, search: Search) -> None:
        """Write down how far the search has come."""
        begun = time.perf_counter()
        for me in range(search.workers):
            search.hear(me)
        draft = self.file.with_suffix(".new")
        try:
            with draft.open("wb") as out:
                header = json.dumps(described(search)).encode()
                out.write(struct.pack("<QI", len(header), zlib.crc32(header)) + header)
                for piece in pieces(search.store):
                    out.write(struct.pack("<QI", len(piece), zlib.crc32(piece)))
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(self.file)
        except OSError as error:
            raise ZonedevError(f"{draft}: {error.strerror}: make room, or check without it") from None
        self.last = time.perf_counter()
        self.took = self.last - begun

    def load(self, search: Search) -> bool:
        """Let the search stand where the last one was; false where there is nothing to go on from."""
        if not self.resume or not self.file.exists():
            return False
        try:
            with self.file.open("rb") as kept:
                header = json.loads(piece_of(kept))
                self.refuse(header, search)
                restore_store(search.store, header, kept)
        except (OSError, ValueError, struct.error):
            raise ZonedevError(f"{self.file} is damaged: remove it, and begin anew") from None
        search.at, search.levels, search.ends = header["at"], header["levels"], header["ends"]
        search.wrong = [(worker, state, ending) for worker, state, ending in header["wrong"]]
        return True

    def refuse(self, header: Any, search: Search) -> None:
        """ZonedevError where the checkpoint is of another check."""
        if header["workers"] != search.workers:
            raise ZonedevError(f"{self.file} was made with --workers {header['workers']}: give the same")
        if header["check"] != identity(search):
            raise ZonedevError(
                f"{self.file} is of another check, or of another version: name the same scenario, design,"
                " scope and rules, or another directory"
            )


def identity(search: Search) -> str:
    """What has to be the same for a search to go on."""
    ts = search.engine.ts
    return name_of(str(FORMAT), program(), ts.digest or llvmgen.generate(ts), repr(search.question))


def described(search: Search) -> dict[str, Any]:
    """All that is small."""
    store = search.store
    return {
        "check": identity(search),
        "workers": search.workers,
        "at": search.at,
        "levels": search.levels,
        "ends": search.ends,
        "wrong": search.wrong,
        "units": store.lexicon.units,
        "words": [[store.lexicon.table.get(n, field) for field in PLACES] for n in range(store.words)],
        "counts": [[store.ctx.get(n, field) for field in COUNTS] for n in range(store.workers)],
    }


def pieces(store: Store) -> Iterator[memoryview]:
    """All that is large: the values of each word, then each worker's states and their successors."""
    for word in range(store.words):
        yield memoryview(store.lexicon.values[word].map)[: 16 * store.lexicon.count(word)]
    for worker in range(store.workers):
        count = store.ctx.get(worker, k.COUNT)
        yield memoryview(store.rows[worker].map)[: store.row * count]
        yield memoryview(store.children[worker].map)[: 4 * count if store.finish else 0]


def piece_of(kept: BinaryIO) -> bytes:
    """The next piece of a file; ValueError where it is not whole."""
    size, checksum = struct.unpack("<QI", kept.read(12))
    piece = kept.read(size)
    if len(piece) != size or zlib.crc32(piece) != checksum:
        raise ValueError
    return piece


def restore_store(store: Store, header: Any, kept: BinaryIO) -> None:
    """Fill an empty store with what `pieces` gave, and compute the rest."""
    lexicon = store.lexicon
    for word, numbers in enumerate(header["words"]):
        for field, value in zip(PLACES, numbers, strict=True):
            lexicon.table.set(word, field, value)
        values = piece_of(kept)
        while lexicon.full(word):
            lexicon.slots[word] = Region(4 * lexicon.slots[word].size)
            lexicon.values[word].grow(lexicon.slots[word].size // 2)
        lexicon.values[word].map[: len(values)] = values
        lexicon.point(word)
        store.call("refill", lexicon.table.address + w.WORD * word)
    lexicon.units = header["units"]
    for worker, numbers in enumerate(header["counts"]):
        for field, value in zip(COUNTS, numbers, strict=True):
            store.ctx.set(worker, field, value)
        for region in (store.rows[worker], store.children[worker]):
            piece = piece_of(kept)
            region.grow(max(region.size, len(piece)))
            region.map[: len(piece)] = piece
        store.point(worker)
        bits = store.ctx.get(worker, k.BITS)
        while limit(bits) < numbers[0]:
            bits += 1
        store.grow_table(worker, bits)
