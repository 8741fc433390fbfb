"""The native engine: breadth-first search in machine code, by one or more workers.

LLVM compiles the steps of the model (llvmgen) and the loops of the search (native_kernels),
which is all that is needed of llvmlite.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from functools import partial

from zonedev.explore import llvmgen, native_back, native_lang, native_memory, native_words
from zonedev.explore import native_kernels as k
from zonedev.explore.cache import Cache, directory, program
from zonedev.explore.native_checkpoint import Checkpoint
from zonedev.explore.native_code import Code, Part
from zonedev.explore.native_search import Search, faulty, wanted, words_of
from zonedev.explore.native_store import Store
from zonedev.explore.reached import Found
from zonedev.explore.result import Exploration, Limits, Question, Report, State
from zonedev.lang.errors import SpecError
from zonedev.lang.transition import TransitionSystem

#: The loops that are called from here.
ENTRIES = (
    native_words.unpack,
    k.states_at,
    native_words.repack,
    native_words.refill,
    k.advance,
    k.absorb,
    k.hear,
    k.rehash,
    k.enter,
    k.locate,
    native_back.follow,
    native_back.mark,
    native_back.failing,
    native_back.in_loops,
    native_back.peel,
    native_back.suffixes,
)


class NativeEngine:
    """Explores level by level, with exact packed states in hash tables.

    `workers` threads share the states by their hash.  `cache` keeps what is compiled; the user's
    by default.  SpecError: the model needs what the engine does not have, such as numbers of more
    than 64 bits.
    """

    name = "native"

    def __init__(self, ts: TransitionSystem, workers: int = 1, cache: Cache | None = None) -> None:
        begun = time.perf_counter()
        self.ts, self.workers = ts, max(1, workers)
        self.code = Code([model(ts), loops(ts.words, self.workers)], cache or Cache(directory()))
        self.most = llvmgen.widest(ts)
        self.loops = {f.__name__: self.code.function(f.__name__, arguments_of(f)) for f in ENTRIES}
        self._expand, self._stuck = self.code.function("expand", 2), self.code.function("stuck", 1)
        self.compile_seconds = time.perf_counter() - begun
        self.store: Store | None = None

    def call(self, name: str, *args: int) -> int:
        """Run one of the compiled loops."""
        return self.loops[name](*args)

    # --- single states -----------------------------------------------------------------------

    def expand(self, state: State) -> list[tuple[int, int, State | int]]:
        """The steps that can be taken: task, choice, and new state or the number of a fail."""
        found: list[tuple[int, int, State | int]] = []
        words = len(state)
        here, out = words_of(state), (ctypes.c_int64 * (self.most * (words + 2)))()
        count = self._expand(ctypes.addressof(here), ctypes.addressof(out)) & k.LOW
        for at in range(0, count * (words + 2), words + 2):
            task, choice, fail = llvmgen.untag(out[at + words])
            if fail == llvmgen.FAULT:
                raise SpecError(faulty())
            written = out[at + words + 1]
            new = tuple(out[at + n] if written >> n & 1 else w for n, w in enumerate(state))
            found.append((task, choice, new if fail < 0 else fail))
        return found

    def stuck(self, state: State, question: Question) -> int | None:
        """What is wrong with a state without steps: an ending, or None."""
        here = words_of(state)
        return wanted(self._stuck(ctypes.addressof(here)), question)

    # --- the search ----------------------------------------------------------------------------

    def explore(
        self,
        question: Question = Question(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        report: Report | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Exploration:
        """Explore all reachable states; up to the level of the first violation, unless it asks for all."""
        search = Search(self, question, limits, report, checkpoint)
        self.store = search.store
        try:
            return search.run()
        finally:
            search.close()

    def found(self) -> Found:
        """The states of the last search."""
        from zonedev.explore.native_reached import Stored  # here, for it needs NumPy

        assert self.store is not None
        return Stored(self.store)


def model(ts: TransitionSystem) -> Part:
    """The steps of a model."""
    if ts.digest is not None:
        return Part(ts.digest, lambda: llvmgen.generate(ts))
    text = llvmgen.generate(ts)
    return Part(text, lambda: text)


def loops(words: int, workers: int, entries: Sequence[Callable[..., int]] = ENTRIES) -> Part:
    """The loops, for states of `words` words."""
    constants = {"WORDS": words, "WORKERS": workers, "STRIDE": 8 * (words + 2)}
    text = partial(native_lang.generate, entries, constants, native_memory.DECLARATIONS)
    names = ",".join(f.__name__ for f in entries)
    return Part(f"loops {words} {workers} {names} {program()}", text, 2)


def arguments_of(function: Callable[..., int]) -> int:
    return function.__code__.co_argcount
