"""Reductions: fewer states that answer the same question.

`reduced` makes of a transition system one with fewer states, of which `path` leads back to the
original.  Each reduction is a module that says why nothing is lost by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zonedev.explore.cache import Cache, name_of
from zonedev.explore.lowered import packed, unpacked
from zonedev.explore.pygen import PythonSteps, State, generate
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem

if TYPE_CHECKING:
    from zonedev.explore.reduce.symmetry import Symmetry

REDUCTIONS = ("merge", "symmetry", "por")
NOTHING = Cache(None)  # is kept

Path = list[tuple[int, int]]


@dataclass
class Reduced:
    """A system with fewer states; `names` are the reductions that made it of `original`."""

    original: TransitionSystem
    ts: TransitionSystem
    names: tuple[str, ...]
    #: Of each task the steps that are taken together with the one before.
    within: list[frozenset[int]] = field(default_factory=list)
    symmetry: Symmetry | None = None

    def path(self, code: PythonSteps, path: Path, loop: int | None) -> tuple[Path, int | None]:
        """A path through `ts`, as one through the original, whose steps `code` has.

        `loop` is the number of a step, and becomes the number of what it begins with.
        """
        own = generate(self.ts)
        state: State | int = self.original.initial()
        there: State | int = state
        found: Path = []
        begins = None
        for n, (task, choice) in enumerate(path):
            if n == loop:
                begins = len(found)
            assert isinstance(state, tuple) and isinstance(there, tuple)
            there = stepped(own, there, task, choice)
            like = self.symmetry.like(task) if self.symmetry else [task]
            ways = (way for mine in like for way in self.together(code, state, mine, choice))
            way = next((w for w in ways if self.same(w[0], there)), None)
            assert way is not None, "a reduced system takes a step that the original has not"
            state = way[0]
            found += way[1]
        return found, begins

    def together(
        self, code: PythonSteps, state: State, task: int, choice: int
    ) -> Iterator[tuple[State | int, Path]]:
        """Where a step and those that are taken together with it lead, and what they are."""
        steps: Path = []
        now: State | int | None = state
        while isinstance(now, tuple):
            now = stepped(code, now, task, choice)
            steps.append((task, choice))
            choice = 0
            if isinstance(now, tuple) and self.original.pcs(now)[task] in self.within[task]:
                continue
            if now is not None:
                yield now, steps
            return

    def same(self, state: State | int, there: State | int) -> bool:
        """Whether what is reached in the original is what the reduced system says."""
        if isinstance(state, int) or isinstance(there, int):
            fails = self.original.fails
            return isinstance(state, int) and isinstance(there, int) and fails[state][0] == fails[there][0]
        return state == there or (self.symmetry is not None and self.symmetry.same(state, there))


def stepped(code: PythonSteps, state: State, task: int, choice: int) -> Any:
    """The state after a step, the number of the rule that it breaks, or None."""
    word, shift, mask = code.pcs[task]
    function, fanout = code.steps[task][state[word] >> shift & mask]
    return function(*state) if fanout == 1 else function(*state, choice)


def reduced(ts: TransitionSystem, names: Sequence[str], cache: Cache = NOTHING) -> Reduced:
    """`ts` with the reductions of these names, as far as there is anything to reduce.

    What it takes to find out is kept, but for symmetry.
    """
    name = "" if ts.digest is None else name_of("reduced", *names, ts.digest)
    kept = unpacked(ts.system, cache.read(name)) if name else None
    if kept is not None:
        return Reduced(ts, *kept)
    found = reduce(ts, names)
    if found.names:
        found.ts = replace(found.ts, digest=name or None)
    if name and found.symmetry is None:
        cache.write(name, packed(ts.system, (found.ts, found.names, found.within)))
    return found


def reduce(ts: TransitionSystem, names: Sequence[str]) -> Reduced:
    """As `reduced`, each time anew."""
    from zonedev.explore.reduce.facts import Analysis  # here, so that a check without needs none of it
    from zonedev.explore.reduce.merge import merge
    from zonedev.explore.reduce.movers import Movers
    from zonedev.explore.reduce.por import ample
    from zonedev.explore.reduce.symmetry import symmetry

    found = Reduced(ts, ts, (), [frozenset()] * len(ts.tasks))
    if "merge" in names:
        merged = merge(ts, Movers(Analysis(ts)))
        found.ts, found.within, found.names = merged.ts, merged.within, ("merge",)
    if "symmetry" in names:
        alike = symmetry(ts, found.within)
        if alike.classes:
            found.ts, found.symmetry = alike.ordered(found.ts), alike
            found.names += ("symmetry",)
    if "por" in names:
        found.ts = ample(found.ts, Movers(Analysis(found.ts)))
        found.names += ("por",)
    return found


def named(text: str | Iterable[str]) -> tuple[str, ...]:
    """The reductions that `text` names, with commas between them; "none" for no reduction."""
    names = text.split(",") if isinstance(text, str) else list(text)
    if names == ["none"]:
        return ()
    for name in names:
        if name not in REDUCTIONS:
            raise ZonedevError(f"no reduction {name!r}: there are {', '.join(REDUCTIONS)}, or none")
    return tuple(n for n in REDUCTIONS if n in names)
