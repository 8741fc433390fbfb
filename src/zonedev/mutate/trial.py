"""Mutants in one scenario: which of them the scenario can meet, and which of those it notices."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from zonedev.catalogue import Catalogue
from zonedev.explore.check import HOLDS, VIOLATED, Selection, select, set_up
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import DEADLOCK, LIVELOCK, LOST_WAKEUP, NO_FINISH, Exploration, Limits, State
from zonedev.lang.errors import ZonedevError
from zonedev.lang.expr import Effect, effect_exprs
from zonedev.lang.lower import Lowering, Walker
from zonedev.lang.records import Record
from zonedev.lang.system import Specification, System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.lang.variables import Fails
from zonedev.mutate.mutants import SPLIT, SWAP, Mutant, mutants_of
from zonedev.mutate.separate import switch_of
from zonedev.mutate.switch import REFUSED, Switches, switched
from zonedev.mutate.window import At, contended, window
from zonedev.scenarios.base import Scenario, full_scope

#: What a single run that breaks no rule ends with, where it says something else than the original.
DIFFERS = "differs"

#: How many times the states of the original a mutant may have, and how many it may have anyway.
TIMES, ANYWAY = 4, 10_000

#: Mutants that are lowered at once, times the steps of the original: what they add to the graph
#: has to fit into memory.  But never more or fewer than these.
AT_ONCE, FEW, MANY = 300_000, 50, 500


@dataclass(frozen=True)
class Judgement:
    """What a scenario ends with, and after how many steps; `verdict` "" is no answer, `why` says why.

    Of a single run DIFFERS: no rule breaks, but it says something else, which `why` has.
    """

    verdict: str
    rule: str | None = None
    steps: int = 0
    why: str = ""

    def differs(self, original: Judgement) -> bool:
        """Whether this is an answer, and another than that of the original."""
        return self.verdict != "" and (self.verdict, self.rule) != (original.verdict, original.rule)


@dataclass(frozen=True)
class Survey:
    """The original in a scenario: its verdict, what an exploration costs, and what it goes through.

    `functions` are the names of those that it has lowered: a way through one that takes none of its
    steps is part of its caller's.
    """

    scenario: str
    original: Judgement
    states: int
    steps: int
    functions: frozenset[str]

    @property
    def cost(self) -> int:
        """What a mutant costs here, roughly: of a step, what its lowering costs, in states."""
        return self.states + 10 * self.steps


@dataclass(frozen=True)
class Trial:
    """What a scenario says of mutants, by number: of those that change a step on its ways.

    `same` have the very states of the original: it never comes to what they change.  `within` have
    the same but for their window (window.py), and whether another task could meet that.  `steps`
    are those that change a step anywhere in it, and `refused` says why a mutant has not
    lowered there.
    """

    judged: dict[int, Judgement]
    same: set[int]
    within: dict[int, bool]
    steps: set[int]
    refused: dict[int, str]


class Bench:
    """A scenario under a design, set up and lowered, with mutants or without."""

    def __init__(
        self,
        known: Catalogue,
        scenario: type[Scenario],
        design: type[Specification],
        mutants: Iterable[Mutant] | None = None,
    ) -> None:
        self.scenario = scenario
        self.selection: Selection = select(scenario, known.rules)
        self.switches = Switches(mutants or ())
        self.system: System = set_up(
            scenario,
            design if mutants is None else switched(design),
            full_scope(scenario, {}),
            self.selection.monitors,
        )
        self.walks: list[Lowering] = []
        walker = Lowering if mutants is None else self.switches.lowering
        self.ts: TransitionSystem = lower(self.system, self.selection.names, self.kept(walker))
        self.engine = PythonEngine(self.ts)

    def kept(self, walker: Walker) -> Walker:
        """`walker`, whose walks are kept."""

        def walk(system: System, task: Record | None, fails: Fails) -> Lowering:
            self.walks.append(walker(system, task, fails))
            return self.walks[-1]

        return walk

    def turn(self, number: int) -> None:
        """Switch a mutant on; 0 is the original."""
        self.system.k.switch._values["number"] = number

    def judged(self, limits: Limits) -> Judgement:
        """Explore, and say what came of it."""
        found = self.engine.explore(self.selection.question, limits)
        if found.path is None:
            return Judgement("", why=found.stopped) if found.stopped else Judgement(HOLDS)
        rule, why = self.broken(found)
        if rule == REFUSED:
            return Judgement("", why=why)
        return Judgement(VIOLATED, rule, len(found.path))

    def broken(self, found: Exploration) -> tuple[str, str]:
        """The rule that an exploration ends with breaking, and in which words."""
        assert found.ending is not None and found.path is not None
        if found.ending >= 0:
            return self.ts.fails[found.ending]
        if found.ending == DEADLOCK:
            return (self.scenario.alone if self.waiting(found.path) == 1 else "no-deadlock"), ""
        special = {
            LOST_WAKEUP: "no-lost-wakeup",
            NO_FINISH: self.scenario.progress,
            LIVELOCK: self.scenario.progress,
        }
        return special[found.ending], ""

    def waiting(self, path: Sequence[tuple[int, int]]) -> int:
        """How many tasks have not come to their end where a path ends."""
        state = self.ts.initial()
        for move in path:
            state = next(new for *at, new in self.engine.expand(state) if tuple(at) == move)  # type: ignore[misc]
        pcs = zip(self.ts.tasks, self.ts.pcs(state), strict=True)
        return sum(pc != 0 and not task.actor for task, pc in pcs)

    def states(self) -> set[State]:
        """What was explored last, whichever mutant was on."""
        (slot,) = self.ts.slots["Switch", "number"]
        at, off = slot.word, ~(slot.mask << slot.shift)
        return {(*s[:at], s[at] & off, *s[at + 1 :]) for s in self.engine.states}

    def without(self, states: Iterable[State], inside: Iterable[At]) -> set[State]:
        """Those of the states in which no task stands at one of these steps."""
        pcs = self.engine.code.pcs
        steps: dict[int, set[int]] = {}
        for task, pc in inside:
            steps.setdefault(task, set()).add(pc)
        where = [(*pcs[task], found) for task, found in steps.items()]
        return {s for s in states if not any(s[w] >> shift & mask in f for w, shift, mask, f in where)}

    def only_within(self, number: int, original: set[State], taken: Collection[At]) -> bool | None:
        """Whether another task could meet the window of the mutant that is on, where that has the states
        of the original but for its window; None where it has others."""
        found = window(self.ts.tasks, number)
        if found is None or self.without(self.states(), found.mutant) != self.without(
            original, found.original
        ):
            return None
        return contended(self.ts.tasks, found.original, taken)

    def taken(self) -> Iterator[tuple[int, int]]:
        """The steps that stand somewhere in what was explored last: task and pc."""
        pcs = self.engine.code.pcs
        states = self.engine.states
        for task, (word, shift, mask) in enumerate(pcs):
            for pc in {s[word] >> shift & mask for s in states}:
                if pc:
                    yield task, pc

    def met(self) -> set[int]:
        """The mutants that differ in a step that was taken, or before a task's first."""
        bodies = [t.entry for t in self.ts.tasks]
        bodies += [self.ts.tasks[task].steps[pc - 1].body for task, pc in self.taken()]
        return {n for body in bodies for n in asked_for(body)}


def asked_for(body: Iterable[Effect]) -> Iterator[int]:
    """The mutants that a body asks for."""
    for effect in body:
        todo = list(effect_exprs(effect))
        if effect[0] == "if":
            yield from asked_for(effect[2])
            yield from asked_for(effect[3])
        while todo:
            e = todo.pop()
            if e[0] in ("c", "v"):
                continue
            number = switch_of(e)
            if number is not None:
                yield number
            elif e[0] == "ld":
                todo.append(e[2])
            else:
                todo += e[1:]


def survey(known: Catalogue, scenario: str, design: str, most: int) -> Survey | str:
    """The original in a scenario; a text where it has more than `most` states, or no answer."""
    try:
        bench = Bench(known, known.scenario(scenario), known.design(design))
        original = bench.judged(Limits(states=most))
    except ZonedevError as error:
        return str(error)
    if original.verdict == "":
        return f"more than {most} states"
    functions = frozenset(f.__name__ for walk in bench.walks for f in walk.functions)
    return Survey(
        scenario,
        original,
        len(bench.engine.states),
        sum(len(t.steps) for t in bench.ts.tasks),
        functions,
    )


def trial(known: Catalogue, found: Survey, design: str, numbers: Sequence[int]) -> Trial:
    """What a scenario says of some mutants of a design."""
    specification = known.design(design)
    every = mutants_of(specification)
    mutants = [every[n - 1] for n in numbers if every[n - 1].function.__name__ in found.functions]
    limits = Limits(states=max(TIMES * found.states, ANYWAY))
    result = Trial({}, set(), {}, set(), {})
    at_once = max(FEW, min(MANY, AT_ONCE // found.steps))
    rest = iter(mutants)
    while some := list(islice(rest, at_once)):
        bench = Bench(known, known.scenario(found.scenario), specification, some)
        original = bench.judged(limits)
        assert original == found.original, f"{found.scenario}: {original}, not {found.original}"
        states, taken = bench.states(), set(bench.taken())
        result.steps.update(bench.switches.steps)
        result.refused.update(bench.switches.refused)
        for number in sorted(bench.met() & bench.switches.steps - set(bench.switches.refused)):
            bench.turn(number)
            result.judged[number] = bench.judged(limits)
            if bench.states() == states:
                result.same.add(number)
            elif every[number - 1].kind in (SWAP, SPLIT) and result.judged[number] == original:
                met = bench.only_within(number, states, taken)
                if met is not None:
                    result.within[number] = met
        del bench
        gc.collect()
    return result


__all__ = ["Judgement", "Survey", "Trial", "survey", "trial"]
