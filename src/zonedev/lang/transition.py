"""The transition system of one scenario under one design: its steps, and how to read a state."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from zonedev.lang import expr as ir
from zonedev.lang.errors import LoweringError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.freeze import folded, frozen_body, frozen_values
from zonedev.lang.graph import Place
from zonedev.lang.layout import Layout, Slot, get, put
from zonedev.lang.lower import Lowering, Walker, lower_checks, lower_program
from zonedev.lang.records import Kind
from zonedev.lang.regions import cut
from zonedev.lang.source import function_ast
from zonedev.lang.system import Group, Program, System
from zonedev.lang.variables import Fails


@dataclass
class Step:
    """One atomic step of one task."""

    task: int
    pc: int
    place: Place
    body: list[Effect]
    fanout: int
    live: tuple[str, ...]  # locals that the step needs
    lost: Expr | None = None


@dataclass
class TaskCode:
    """A task's steps; pc 0 is the end."""

    name: str
    actor: bool
    steps: list[Step] = field(default_factory=list)
    entry: list[Effect] = field(default_factory=list)
    pc: Slot = field(default_factory=lambda: Slot(0, 0, 0))
    locals: dict[str, Slot] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    loads: frozenset[str] = frozenset()  # the locals that hold what a step has read

    @cached_property
    def own(self) -> Slot:
        """The piece of a state that is the task's alone: its pc and its locals."""
        slots = [self.pc, *self.locals.values()]
        low = min(s.shift for s in slots)
        return Slot(self.pc.word, low, max(s.shift + s.width for s in slots) - low)


@dataclass
class TransitionSystem:
    """What the engines explore.  States are tuples of `words` integers of at most 62 bits."""

    system: System
    tasks: list[TaskCode]
    fails: list[tuple[str, str]]
    words: int
    slots: dict[tuple[str, str], list[Slot]]  # per group, per element; none for what never changes
    frozen: dict[tuple[str, str], list[int]]  # the values of what never changes
    rest: list[Effect]  # the checks at rest, as a body
    freed: dict[int, str] = field(default_factory=dict)  # by fail: the class of what had been freed
    monitors: frozenset[int] = frozenset()  # the fails that only the monitors of rules look for
    #: As a body that fails with the number of a task: where its steps are enough, if it has any.
    alone: list[Effect] = field(default_factory=list)
    order: list[Effect] = field(default_factory=list)  # done to each new state, as a body
    digest: str | None = None  # names what was lowered, where that is known to be the same each time

    def initial(self) -> tuple[int, ...]:
        """The state after set-up, with every task before its first step."""
        shared = {
            (g.cls, g.path): [self.system.encode(g.kind, g.peek(i)) for i in range(g.size)]
            for g in self.system.groups()
        }
        words = [0] * self.words
        for task, program in zip(self.tasks, self.system.programs, strict=True):
            values: dict[str, int] = {}
            entry = Entry(values, shared)
            target = entry.run(task.entry)
            if entry.broken is not None:
                raise broken_at_start(program, *self.fails[entry.broken])
            put(words, task.pc, target)
            if target:
                for name in task.steps[target - 1].live:
                    put(words, task.locals[name], values[name])
        for key in shared.keys() & self.slots.keys():
            for slot, value in zip(self.slots[key], shared[key], strict=True):
                put(words, slot, value)
        return tuple(words)

    def pcs(self, state: tuple[int, ...]) -> list[int]:
        """Where each task stands: the number of its next step, 0 at the end."""
        return [get(state, t.pc) for t in self.tasks]

    def shared(self, state: tuple[int, ...]) -> Iterator[tuple[Group, int, int]]:
        """Every location that can change, with its number in `state`."""
        for group in self.system.groups():
            for index, slot in enumerate(self.slots.get((group.cls, group.path), ())):
                yield group, index, get(state, slot)


@dataclass
class Entry:
    """Carries out what a task does before its first step: it can change what is its own."""

    values: dict[str, int]
    shared: dict[tuple[str, str], list[int]]
    broken: int | None = None  # the number of the rule that it breaks

    def run(self, body: list[Effect]) -> int:
        """The number of the step that the body leads to, -1 where it goes on behind the body."""
        for effect in body:
            tag = effect[0]
            if tag == "let":
                self.values[effect[1]] = self.known(effect[2])
            elif tag == "store":
                self.shared[effect[1].cls, effect[1].path][self.known(effect[2])] = self.known(effect[3])
            elif tag == "fail" and self.known(effect[1]):
                self.broken = effect[2]
                return 0
            elif tag == "if":
                target = self.run(effect[2] if self.known(effect[1]) else effect[3])
                if target >= 0:
                    return target
            elif tag == "goto":
                return int(effect[1])
        return -1

    def known(self, e: Expr) -> int:
        def leaf(x: Expr) -> Expr:
            if x[0] == "v":
                return ir.const(self.values[x[1]])
            return ir.const(self.shared[x[1].cls, x[1].path][x[2][1]])

        return int(ir.rewrite(e, leaf)[1])


def broken_at_start(program: Program, rule: str, text: str) -> LoweringError:
    function = program.function
    code = function.__code__
    return LoweringError(
        f"{code.co_filename}:{function_ast(function).lineno}",
        f"{function.__name__} breaks {rule} before its first step: {text}",
    )


def lower(system: System, rules: frozenset[str] | None = None, walker: Walker = Lowering) -> TransitionSystem:
    """Lower every program of a sealed system, checking `rules` (None: all); `walker` walks each.

    Raises SpecError, with the place, for what the language does not have.
    """
    with uncollected():
        return lowered(system, rules, walker)


@contextmanager
def uncollected() -> Iterator[None]:
    """Without garbage collections: many small objects are made, and nearly all of them stay."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def lowered(system: System, rules: frozenset[str] | None, walker: Walker) -> TransitionSystem:
    """The programs, then the layout of a state, then what it lets us leave out."""
    fails = Fails(rules)
    tasks = []
    for number, program in enumerate(system.programs):
        entry, kinds, loads = lower_program(system, program, fails, walker)
        before, cuts = cut(entry)
        task = TaskCode(program.task._name, program.actor, entry=before, kinds=kinds, loads=loads)
        for pc, c in enumerate(cuts, 1):
            task.steps.append(Step(number, pc, c.place, c.body, c.fanout, c.live, c.lost))
        tasks.append(task)
    rest, _ = cut(lower_checks(system, fails)[0])
    frozen = frozen_values(system, [b for t in tasks for b in (t.entry, *(s.body for s in t.steps))])
    layout = Layout(system)
    for task in tasks:
        task.entry = frozen_body(task.entry, frozen)
        for step in task.steps:
            step.body = frozen_body(step.body, frozen)
            step.lost = None if step.lost is None else folded(step.lost, frozen)
        lives = [s.live for s in task.steps]
        task.pc, task.locals = layout.task(task.name, len(task.steps), lives, task.kinds)
    slots = layout.fields(frozen)
    words = max(1, len(layout.used))
    ts = TransitionSystem(system, tasks, fails.known, words, slots, frozen, frozen_body(rest, frozen))
    ts.freed, ts.monitors = fails.freed, frozenset(fails.monitors)
    ts.initial()  # refuses a program that breaks a rule before its first step
    return ts


__all__ = ["Slot", "Step", "TaskCode", "TransitionSystem", "get", "lower", "put"]
