"""One step from one state, by the lowered body: what it reads, writes and checks, and where it leads."""

from __future__ import annotations

from dataclasses import dataclass, field

from zonedev.explore.result import State
from zonedev.lang import expr as ir
from zonedev.lang.expr import OPS, Effect, Expr
from zonedev.lang.layout import Slot, get
from zonedev.lang.transition import Step, TransitionSystem

Location = tuple[str, str, int]  # class and path of a group, and the element


@dataclass
class Outcome:
    """What a step does.  `goes` is the number of the task's next step; None where this one cannot be taken,
    or breaks a rule.  What only the checks of rules look at is not among the `reads`."""

    goes: int | None = None
    reads: set[Location] = field(default_factory=set)
    writes: set[Location] = field(default_factory=set)
    checks: set[int] = field(default_factory=set)  # the fails whose condition was looked at


class Walk:
    """Carries out bodies; the state itself stays as it is."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts = ts

    def step(self, step: Step, state: State, choice: int = 0) -> Outcome:
        """The step of a task that stands before it."""
        task = self.ts.tasks[step.task]
        values = {name: get(state, task.locals[name]) for name in step.live}
        self.begin(state, choice, values, task.loads)
        self.body(step.body)
        return self.outcome

    def rest(self, state: State) -> Outcome:
        """The checks of the state at rest."""
        self.begin(state, 0, {}, frozenset())
        self.body([effect for effect in self.ts.rest if effect[0] != "goto"])
        return self.outcome

    def begin(self, state: State, choice: int, values: dict[str, int], loads: frozenset[str]) -> None:
        self.state, self.choice, self.values, self.loads = state, choice, values, loads
        self.stored: dict[Location, int] = {}
        self.outcome = Outcome()

    def body(self, body: list[Effect]) -> bool:
        """Whether the step goes on behind `body`."""
        for effect in body:
            tag = effect[0]
            if tag == "let":
                if effect[1] in self.loads and effect[2][0] == "ld":
                    self.outcome.reads.add(self.location(effect[2]))
                self.values[effect[1]] = self.value(effect[2])
            elif tag == "store":
                place = self.location(effect)
                self.outcome.writes.add(place)
                self.stored[place] = self.value(effect[3])
            elif tag == "guard":
                if not self.value(effect[1]):
                    return False
            elif tag == "fail":
                self.outcome.checks.add(effect[2])
                if effect[2] not in self.ts.monitors:
                    self.outcome.reads.update(self.location(x) for x in ir.leaves(effect[1]) if x[0] == "ld")
                if self.value(effect[1]):
                    return False
            elif tag == "choice":
                self.values[effect[1]] = self.choice
            elif tag == "if":
                if not self.body(effect[2] if self.value(effect[1]) else effect[3]):
                    return False
            else:
                self.outcome.goes = effect[1]
                return False
        return True

    def location(self, effect: Effect | Expr) -> Location:
        """The location of a read or a store."""
        return effect[1].cls, effect[1].path, self.value(effect[2])

    def value(self, e: Expr) -> int:
        """What an expression comes to, evaluated as far as Python goes."""
        tag = e[0]
        if tag == "c":
            return int(e[1])
        if tag == "v":
            return self.values[e[1]]
        if tag == "ld":
            place = self.location(e)
            known = self.stored.get(place)
            return get(self.state, self.ts.slots[place[:2]][place[2]]) if known is None else known
        if tag == "not":
            return int(not self.value(e[1]))
        if tag == "?":
            return self.value(e[2] if self.value(e[1]) else e[3])
        left = self.value(e[1])
        if tag in ("and", "or"):
            return left if bool(left) == (tag == "or") else self.value(e[2])
        return int(OPS[tag](left, self.value(e[2])))


def looked_at(ts: TransitionSystem, step: Step) -> list[Slot]:
    """The pieces of a state that a step's outcome depends on."""
    task = ts.tasks[step.task]
    found = [task.pc, *(task.locals[name] for name in step.live)]
    for effect in ir.walk(step.body):
        for e in ir.effect_exprs(effect):
            for leaf in ir.leaves(e):
                if leaf[0] == "ld":
                    slots = ts.slots[leaf[1].cls, leaf[1].path]
                    found += [slots[leaf[2][1]]] if leaf[2][0] == "c" else slots
    return found
