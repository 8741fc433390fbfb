"""The life of a page: the states that pages of a kind go through in a design, and by which operations.

Nothing is drawn by hand.  Scenarios are explored, and each state of each is looked at from the side
of its device pages: who owns the memory, whether page tables map it, who has it pinned, who waits for
it.  Where a step turns one of these, an arrow is drawn, with the operation that the step is part of.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zonedev.catalogue import Catalogue
from zonedev.explore.cache import Cache, directory
from zonedev.explore.check import select, set_up
from zonedev.explore.lowered import lowered
from zonedev.explore.matrix import Loader, read_goldens
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import Limits, State
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, MIGRATION
from zonedev.lang.errors import ZonedevError
from zonedev.lang.layout import get
from zonedev.lang.transition import TransitionSystem
from zonedev.scenarios.base import Scenario, full_scope

#: What pages are called by the memory that they are of.
KINDS = {
    MemoryType.GENERIC: "device-dax",
    MemoryType.FS_DAX: "file on persistent memory",
    MemoryType.PRIVATE: "device-private",
    MemoryType.COHERENT: "device-coherent",
    MemoryType.PCI_P2PDMA: "peer-to-peer",
}
#: What a page can be besides; in this order.
MAPPED, MIGRATING, EXCLUSIVE, PINNED, WAITED = "mapped", "migrating", "exclusive", "pinned", "waited for"
CONDITIONS = (MAPPED, MIGRATING, EXCLUSIVE, PINNED, WAITED)
REMOVED, FREE, IDLE = "removed", "free", "idle"

#: Scenarios with more states are left out.
MOST = 4_000

#: A state of a page: what it is, and its conditions.
Stage = tuple[str, ...]


@dataclass
class Life:
    """Pages of one kind in one design.

    `counts` are the values of `_refcount` seen in each stage, and `arrows` the operations that lead from
    one to another, by how many steps do, with a scenario where one does.
    """

    design: str
    kind: str
    begins: set[Stage] = field(default_factory=set)
    counts: dict[Stage, set[int]] = field(default_factory=dict)
    arrows: dict[tuple[Stage, Stage], Counter[str]] = field(default_factory=dict)
    seen_in: dict[tuple[Stage, Stage, str], str] = field(default_factory=dict)

    def add(self, other: Life) -> None:
        """Take over what another scenario showed."""
        self.begins |= other.begins
        for stage, counts in other.counts.items():
            self.counts.setdefault(stage, set()).update(counts)
        for arrow, names in other.arrows.items():
            self.arrows.setdefault(arrow, Counter()).update(names)
        for key, scenario in other.seen_in.items():
            self.seen_in.setdefault(key, scenario)


def wrong(kind: str, stage: Stage) -> bool:
    """Whether memory that nobody owns, or without a struct page, is in use.

    A driver's page is on its free list before its entry in the page table is cleared, under the lock
    of that table (mm/memory.c, zap_nonpresent_ptes), which is no use of it.
    """
    if stage[0] == FREE and kind != KINDS[MemoryType.FS_DAX]:
        return PINNED in stage
    return stage[0] in (REMOVED, FREE) and not {MAPPED, PINNED, EXCLUSIVE}.isdisjoint(stage)


def lives(load: Loader, design: str, names: Sequence[str], most: int = MOST) -> list[Life]:
    """The lives of pages in a design, by kind, from those of the scenarios with at most `most` states."""
    known = load()
    found: dict[str, Life] = {}
    for name in names:
        scenario = known.scenario(name)
        golden = read_goldens(scenario).get(design)
        if golden is None or golden["states"] > most:
            continue
        try:
            some = of_scenario(known, scenario, design)
        except ZonedevError:
            continue  # the matrix says so
        for life in some:
            for arrow, operations in life.arrows.items():
                life.seen_in.update({(*arrow, operation): name for operation in operations})
            found.setdefault(life.kind, Life(design, life.kind)).add(life)
    return [found[k] for k in KINDS.values() if k in found]


def of_scenario(known: Catalogue, scenario: type[Scenario], design: str) -> list[Life]:
    """What one scenario shows: all its states, up to the level of a violation."""
    selection = select(scenario, known.rules)
    system = set_up(scenario, known.design(design), full_scope(scenario, {}), selection.monitors)
    ts = lowered(system, selection.names, Cache(directory()))
    engine = PythonEngine(ts)
    engine.explore(selection.question, Limits())
    return [watched(design, engine, page) for page in ts.system.instances(Page) if page.memory in KINDS]  # type: ignore[attr-defined]


def watched(design: str, engine: PythonEngine, page: Any) -> Life:
    """One page in all states of an exploration."""
    stage_in, count_in = Eyes(engine.ts, page).look()
    life = Life(design, KINDS[page.memory])
    operations = [[operation(step.place.calls) for step in task.steps] for task in engine.ts.tasks]
    life.begins.add(stage_in(engine.states[0]))
    for state in engine.states:
        stage = stage_in(state)
        life.counts.setdefault(stage, set()).add(count_in(state))
        for task, _, new in engine.expand(state):
            if isinstance(new, int):
                continue  # a rule breaks
            then = stage_in(new)
            if then != stage:
                life.counts.setdefault(then, set()).add(count_in(new))
                # What the kernel does not have, such as who pins, changes before the first step of a call.
                word, shift, mask = engine.code.pcs[task]
                late = PINNED in stage and PINNED not in then and new[word] >> shift & mask
                pc = new[word] >> shift & mask if late else state[word] >> shift & mask
                life.arrows.setdefault((stage, then), Counter())[operations[task][pc - 1]] += 1
    return life


def operation(calls: tuple[str, ...]) -> str:
    """What a task is doing: the call of its program; of an actor, its function."""
    return calls[1] if len(calls) > 1 and calls[0].startswith("task_") else calls[0].removeprefix("task_")


class Eyes:
    """Sees one page in the states of a transition system."""

    def __init__(self, ts: TransitionSystem, page: Any) -> None:
        self.ts, self.page = ts, page
        self.values: dict[str, Callable[[State], int]] = {}
        self.kinds: dict[str, Any] = {}
        for group in ts.system.groups():
            slots = ts.slots.get((group.cls, group.path))
            frozen = ts.frozen.get((group.cls, group.path))
            for index in range(group.size):
                label = group.label(index)
                self.kinds[label] = group.kind
                if slots:
                    self.values[label] = lambda state, slot=slots[index]: get(state, slot)  # type: ignore[misc]
                else:
                    value = frozen[index] if frozen else ts.system.encode(group.kind, group.peek(index))
                    self.values[label] = lambda state, value=value: value  # type: ignore[misc]

    def matching(self, pattern: str) -> list[str]:
        """The locations whose names fit."""
        return [label for label in self.values if re.fullmatch(pattern, label)]

    def look(self) -> tuple[Callable[[State], Stage], Callable[[State], int]]:
        """What tells the stage of the page in a state, and its count."""
        page, frame = repr(self.page), repr(self.page.frame)
        live, owner = self.one(f"{page}.live"), self.one(f"{frame}.owner")
        listed = self.page.memory in (MemoryType.PRIVATE, MemoryType.COHERENT)
        unused = self.one(f"{page}.free") if listed else None
        number = self.page._index
        pins = self.readers(self.matching(rf".*\.(?:pins|gets)\[{number}\]"))
        waits = self.readers(self.matching(rf"{re.escape(frame)}\.(?:refcount_)?waiters.*"))
        tables = self.matching(r"mm\d+\.(?:pte|pmd|pud)\[\d+\]")
        entries = [(self.values[n], self.leaves(self.kinds[n])) for n in tables]

        def stage(state: State) -> Stage:
            if live is not None and not live(state):
                what = REMOVED
            elif (owner is not None and owner(state) == 0) or (unused is not None and unused(state)):
                what = FREE
            else:
                what = IDLE
            found = {told(read(state)) for read, told in entries}
            if any(read(state) for read in pins):
                found.add(PINNED)
            if any(read(state) for read in waits):
                found.add(WAITED)
            conditions = tuple(c for c in CONDITIONS if c in found)
            return (what, *conditions) if conditions and what != IDLE else conditions or (what,)

        count = self.one(f"{page}._refcount")
        return stage, count or (lambda state: 0)

    def one(self, label: str) -> Callable[[State], int] | None:
        return self.values.get(label)

    def readers(self, labels: Iterable[str]) -> list[Callable[[State], int]]:
        return [self.values[label] for label in labels]

    def leaves(self, kind: Any) -> Callable[[int], str]:
        """What a page-table entry makes of the page; kept by its number."""
        known: dict[int, str] = {}

        def told(number: int) -> str:
            if number not in known:
                entry = self.ts.system.decode(kind, number)
                known[number] = self.made(entry)
            return known[number]

        return told

    def made(self, entry: Any) -> str:
        head = getattr(entry.page, "head", None) or entry.page
        if entry.page is not self.page and head is not self.page:
            return ""
        if entry.leaf == MIGRATION:
            return MIGRATING
        return EXCLUSIVE if entry.leaf == DEVICE_EXCLUSIVE else MAPPED


__all__ = ["CONDITIONS", "KINDS", "Life", "Stage", "lives", "wrong"]
