"""What a search has reached: which tasks have met, which rules were put to the test, which calls came back.

A scenario can hold because nothing in it could go wrong.  So where a search is complete, it is
asked of all states that it found

- whether a task ever meets another: both take a step that touches one location, and one writes;
- whether a rule is put to the test: a step, or the state at rest, comes to a check of it whose
  outcome depends on the state;
- whether a task that has begun a call ever comes back from it.

Mostly a few hundred of the states answer all of that, and the others are only looked at where
a question is left.  States that are alike in what a step looks at are looked at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from operator import and_
from typing import Protocol

from zonedev.explore.failures import system_call
from zonedev.explore.fair import targets
from zonedev.explore.outcome import Location, Walk, looked_at
from zonedev.explore.result import State
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect
from zonedev.lang.layout import Slot, get
from zonedev.lang.transition import Step, TransitionSystem

Masks = Mapping[int, State]  # by where a task stands: the bits of a state that are asked for

SAMPLE = 512  # states that are looked at first


class Found(Protocol):
    """The states that a search has found, or every n-th of them."""

    def places(self, slots: Sequence[Slot]) -> list[set[int]]:
        """Where the tasks stand in any of them, whose places are in `slots`."""
        ...

    def standing(self, slot: Slot, masks: Masks, every: int) -> Iterable[State]:
        """The distinct parts of those in which a task's place, which is in `slot`, is one of those in
        `masks`.  These may become fewer meanwhile."""
        ...

    def ended(self, places: State, every: int) -> Iterable[State]:
        """Those in which all of the bits in `places` are 0."""
        ...


class Listed:
    """The states in a list."""

    def __init__(self, states: Sequence[State]) -> None:
        self.states = states

    def places(self, slots: Sequence[Slot]) -> list[set[int]]:
        return [{s[p.word] >> p.shift & p.mask for s in self.states} for p in slots]

    def standing(self, slot: Slot, masks: Masks, every: int) -> Iterator[State]:
        word, shift, low = slot.word, slot.shift, slot.mask
        seen = set[State]()
        for at in range(0, len(self.states), every):
            state = self.states[at]
            mask = masks.get(state[word] >> shift & low)
            if mask is not None:
                part = tuple(map(and_, state, mask))
                if part not in seen:
                    seen.add(part)
                    yield part

    def ended(self, places: State, every: int) -> Iterator[State]:
        for at in range(0, len(self.states), every):
            if not any(map(and_, self.states[at], places)):
                yield self.states[at]


class Asked:
    """What a step can answer."""

    def __init__(self, ts: TransitionSystem, step: Step) -> None:
        self.ts, self.step = ts, step
        self.task = step.task
        self.call = call_of(step)

    @cached_property
    def rules(self) -> frozenset[str]:
        """The rules that it can check."""
        return rules_of(self.ts, self.step.body)

    @cached_property
    def returns(self) -> frozenset[int]:
        """Before which steps the call that it is in has come back."""
        if self.call is None:
            return frozenset()
        steps = self.ts.tasks[self.task].steps
        return frozenset(
            pc for pc in targets(self.step.body) if pc == 0 or call_of(steps[pc - 1]) != self.call
        )

    @cached_property
    def mask(self) -> State:
        """What its outcome depends on."""
        return bits(self.ts.words, looked_at(self.ts, self.step))


class Reached:
    """Asks the states of a complete search, until nothing is open or all were asked.

    `untested` are in the end the rules that were not put to the test, of those that are asked for,
    `alone` the tasks that met no other, and `unfinished` the calls, with their tasks, that were begun and
    never came back.
    """

    def __init__(self, ts: TransitionSystem, found: Found, states: int, rules: Iterable[str]) -> None:
        self.ts, self.found, self.walk = ts, found, Walk(ts)
        self.untested = set(rules)
        self.tasks = [n for n, task in enumerate(ts.tasks) if task.steps and not task.actor]
        self.alone = set(self.tasks) if len(self.tasks) > 1 else set()
        places = found.places([task.pc for task in ts.tasks])
        #: The steps before which a task stands anywhere.
        self.steps = [
            {pc: Asked(ts, task.steps[pc - 1]) for pc in sorted(pcs) if pc}
            for task, pcs in zip(ts.tasks, places, strict=True)
        ]
        self.open = {
            (n, step.call) for n in self.tasks for step in self.steps[n].values() if step.call is not None
        }
        self.begun = set[tuple[int, str]]()
        self.touched: dict[Location, tuple[int, int]] = {}  # the tasks that read or write it, as bits
        for every in (max(1, states // SAMPLE), 1):
            self.ask(every)
        self.unfinished = self.open & self.begun

    def ask(self, every: int) -> None:
        """Ask every n-th state."""
        for number, steps in enumerate(self.steps):
            pc = self.ts.tasks[number].pc
            masks = self.masks(steps.values())
            for part in self.found.standing(pc, masks, every) if masks else ():
                left = self.left()
                self.look(steps[get(part, pc)], part)
                if self.left() < left:
                    still = self.masks(steps.values())
                    for place in masks.keys() - still.keys():
                        del masks[place]
                if not masks:
                    break
        self.ask_at_rest(every)

    def left(self) -> int:
        """How much is open."""
        return len(self.untested) + len(self.alone) + len(self.open - self.begun)

    def masks(self, steps: Iterable[Asked]) -> dict[int, State]:
        """What has to be known of the states in which a task stands before one of its steps."""
        found = {}
        for asked in steps:
            place = asked.task, asked.call
            if self.wanted(asked):
                found[asked.step.pc] = asked.mask
            elif place in self.open and place not in self.begun:
                found[asked.step.pc] = bits(self.ts.words, [self.ts.tasks[asked.task].pc])
        return found

    def wanted(self, asked: Asked) -> bool:
        """Whether the outcome of a step can answer a question that is open."""
        if self.alone and asked.task in self.tasks:
            return True
        if not self.untested.isdisjoint(asked.rules):
            return True
        return (asked.task, asked.call) in self.open and bool(asked.returns)

    def look(self, asked: Asked, part: State) -> None:
        """A task stands before a step, in a state of which only a part is known."""
        if asked.call is not None:
            self.begun.add((asked.task, asked.call))
        for choice in range(asked.step.fanout if self.wanted(asked) else 0):
            outcome = self.walk.step(asked.step, part, choice)
            if outcome.goes is None:
                continue
            self.untested -= {self.ts.fails[fail][0] for fail in outcome.checks}
            if asked.call is not None and outcome.goes in asked.returns:
                self.open.discard((asked.task, asked.call))
            if self.alone and asked.task in self.tasks:
                self.meet(asked.task, outcome.reads - outcome.writes, outcome.writes)

    def meet(self, task: int, reads: Iterable[Location], writes: Iterable[Location]) -> None:
        """A task touches locations: who has touched them before?"""
        for places, writing in ((reads, False), (writes, True)):
            for place in places:
                readers, writers = self.touched.get(place, (0, 0))
                others = (writers | readers if writing else writers) & ~(1 << task)
                if others:
                    self.alone -= {task, *(n for n in self.tasks if others >> n & 1)}
                mine = 1 << task
                self.touched[place] = (readers, writers | mine) if writing else (readers | mine, writers)

    def ask_at_rest(self, every: int) -> None:
        """Which rules are checked where all tasks have finished, and the actors have nothing to do?"""
        rules = rules_of(self.ts, self.ts.rest)
        if self.untested.isdisjoint(rules):
            return
        ended = bits(self.ts.words, [task.pc for task in self.ts.tasks if not task.actor])
        for state in self.found.ended(ended, every):
            places = zip(self.steps, self.ts.pcs(state), strict=True)
            if all(self.walk.step(steps[pc].step, state).goes is None for steps, pc in places if pc):
                self.untested -= {self.ts.fails[fail][0] for fail in self.walk.rest(state).checks}
                if self.untested.isdisjoint(rules):
                    return


def rules_of(ts: TransitionSystem, body: list[Effect]) -> frozenset[str]:
    """The rules that a body can check."""
    return frozenset(ts.fails[effect[2]][0] for effect in ir.walk(body) if effect[0] == "fail")


def call_of(step: Step) -> str | None:
    """The system call of a task that a step is in; None where its own program makes the step."""
    call = system_call(step.place.calls)
    return None if call == step.place.calls[0] else call


def bits(words: int, slots: Iterable[Slot]) -> State:
    """The bits of a state that some pieces of it take."""
    found = [0] * words
    for slot in slots:
        found[slot.word] |= slot.mask << slot.shift
    return tuple(found)
