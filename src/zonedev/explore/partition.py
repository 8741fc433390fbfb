"""One of several processes that share a search: the states with some of all hashes.

It packs states in its own way, and tells the others of them in words (see native_post).  A round
has two halves: `expand`, which gives for each other partition what is its own, and `take_in`,
which enters what the others have sent and gives the answers: the global numbers of the states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zonedev.explore import native_kernels as k
from zonedev.explore import native_post, native_words
from zonedev.explore.available import share
from zonedev.explore.cache import Cache, directory
from zonedev.explore.llvmgen import FAULT
from zonedev.explore.native import arguments_of, loops
from zonedev.explore.native_back import failing, in_loops
from zonedev.explore.native_code import Code, Part
from zonedev.explore.native_search import faulty
from zonedev.explore.native_store import CHUNK, Store
from zonedev.explore.result import State
from zonedev.lang.errors import SpecError

BOX = 1 << 17  # states that a partition may keep for all others together

ENTRIES = (
    native_words.unpack,
    native_words.repack,
    native_words.refill,
    k.advance,
    k.absorb,
    k.hear,
    k.rehash,
    k.enter,
    in_loops,
    failing,
    native_post.write_out,
    native_post.read_in,
    native_post.answers_to,
    native_post.answers_of,
    native_post.fan_out,
    native_post.numbers_of,
)


@dataclass(frozen=True)
class Model:
    """What a partition has to know of a transition system: its steps, as LLVM IR, and its sizes.

    `name` is what the compiled steps are kept under, `most` the steps that a state can have.
    """

    name: str
    text: str
    words: int
    most: int
    initial: State


@dataclass(frozen=True)
class Standing:
    """How far a partition has come; `wrong` are stuck states found in this half of a round."""

    at: int
    count: int
    transitions: int
    ends: int
    broken: int
    bytes: int
    wrong: list[tuple[int, int]]


class Partition:
    """The states of worker `me` of `workers`."""

    def __init__(self, model: Model, me: int, workers: int, finish: bool) -> None:
        self.model, self.me, self.workers = model, me, workers
        steps = Part(model.name, lambda: model.text)
        self.code = Code([steps, loops(model.words, workers, ENTRIES)], Cache(directory()))
        self.loops = {f.__name__: self.code.function(f.__name__, arguments_of(f)) for f in ENTRIES}
        box = max(BOX // workers, 4 * (k.SIZE + model.most))
        self.store = Store(self.run, workers, model.words, model.most, box, finish, me)
        self.at = 0

    def run(self, name: str, *args: int) -> int:
        return self.loops[name](*args)

    def call(self, name: str, *args: int) -> int:
        """Run one of the compiled loops on the store."""
        return self.run(name, self.store.ctx.address, *args)

    def others(self) -> list[int]:
        return [n for n in range(self.workers) if n != self.me]

    def allow(self, memory: int | None, neighbours: int) -> None:
        """Take no more than so many bytes; None: than a share of what the machine has, on which so many
        partitions are."""
        self.store.allowed = share(neighbours) if memory is None else memory

    # --- the search ----------------------------------------------------------------------------

    def start(self) -> Standing:
        """Enter the initial state, if it is of this partition."""
        first = np.array(self.model.initial, np.int64)
        while not self.call("enter", first.ctypes.data):
            self.store.adapt()
        for other in self.others():
            self.store.ctx.set(other, k.COUNT, 0)
        return self.standing()

    def expand(self, end: int, *answers: Any) -> tuple[Any, ...]:
        """Expand states up to number `end`, as far as there is room for what they lead to.

        Takes the `answers` to what was sent in the last round; returns for each partition the words
        of its states, and a Standing.
        """
        store, me = self.store, self.me
        self.hear(*answers)
        end = min(end, self.at + CHUNK)
        while self.at < end and not store.ctx.get(me, k.TIGHT):
            if store.full(me):
                store.grow(me)
            self.at = self.call("advance", me, self.at, end)
            if self.at < end and not store.full(me):
                break
        sent = [self.posted(other) for other in range(self.workers)]
        if store.ctx.get(me, k.BROKEN) > FAULT:
            raise SpecError(faulty())
        if store.ctx.get(me, k.TIGHT):
            store.adapt()
        return *sent, self.standing()

    def posted(self, other: int) -> Any:
        """The words of the states that are in the box for another."""
        states = np.empty((self.store.posted(self.me, other), self.model.words), np.int64)
        if len(states):
            self.call("write_out", self.me, other, states.ctypes.data)
        return states

    def hear(self, *answers: Any) -> None:
        """Take the answers to what was sent, and empty the boxes."""
        for other, numbers in enumerate(answers):
            self.call("answers_of", self.me, other, numbers.ctypes.data, len(numbers))
        self.call("hear", self.me)

    def take_in(self, *sent: Any) -> tuple[Any, ...]:
        """Enter the states that each partition has sent; returns the answers, and a Standing."""
        answers = [self.entered(source, states) for source, states in enumerate(sent)]
        return *answers, self.standing()

    def entered(self, source: int, states: Any) -> Any:
        """Enter what one partition has sent; returns the answers."""
        store, n = self.store, len(states)
        while self.call("read_in", self.me, source, states.ctypes.data, n) < n:
            store.adapt()
        at = 0
        while at < n:
            if store.full(self.me):
                store.grow(self.me)
            at = self.call("absorb", self.me, source, at, n)
        answers = np.zeros(n if store.finish else 0, np.uint32)
        self.call("answers_to", self.me, source, answers.ctypes.data, len(answers))
        return answers

    def standing(self) -> Standing:
        get = self.store.ctx.get
        fields = (k.COUNT, k.TRANSITIONS, k.ENDS, k.BROKEN)
        count, transitions, ends, broken = [get(self.me, field) for field in fields]
        wrong = self.store.noted(self.me)
        return Standing(self.at, count, transitions, ends, broken, self.store.bytes, wrong)
