"""Bodies of steps for languages with assignments: what Promela and Murphi have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zonedev.export.model import PC, Model, Task, Variable, can_go
from zonedev.export.terms import Notation, Term, Terms
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.transition import Step

Range = tuple[int, int]


class Body:
    """Writes the effects of one step, or of the checks at rest.

    The locals that a step only reads are read from their registers; those that it gives a
    value to are scratch: x1, x2, ...
    """

    notation: Notation

    def __init__(self, model: Model, task: Task | None, step: Step | None, indent: str) -> None:
        self.model, self.task, self.step, self.indent = model, task, step, indent
        self.lines: list[str] = []
        self.scratch: dict[str, str] = {}
        self.ranges: dict[str, Range] = {}  # of locals, on the present path
        self.widest: dict[str, Range] = {}  # of scratch, on any
        self.terms = Terms(self.notation, self.local, self.load)
        if task is not None:
            self.ranges = {n: task.ranges[n] for n in (task.ranges if step is None else step.live)}

    # --- for the language ------------------------------------------------------------------------

    def assign(self, place: str, value: str) -> None:
        raise NotImplementedError

    def when(self, condition: str, then: list[str], other: list[str]) -> None:
        """A branch, of lines that are already written and indented."""
        raise NotImplementedError

    def broken(self, fail: int) -> None:
        """The rule of fail number `fail` is broken here."""
        raise NotImplementedError

    def moved(self, target: int) -> None:
        """The task goes on at `target`."""
        assert self.task is not None
        self.assign(self.task.pc.name, str(target))

    # --- leaves ------------------------------------------------------------------------------------

    def local(self, name: str) -> Term:
        lo, hi = self.ranges.get(name, (0, 0))
        if name in self.scratch:
            return Term(self.scratch[name], lo, hi)
        assert self.task is not None
        if name == PC:
            return Term(self.task.pc.name, 0, self.task.pc.hi)
        return Term(self.task.kept[name].name, lo, hi)

    def load(self, e: Expr, index: Term | None) -> Term:
        variable = self.model.location(e[1], e[2])
        return Term(self.place(variable, e[2], index), variable.lo, variable.hi)

    def place(self, variable: Variable, index: Expr, term: Term | None) -> str:
        if not variable.array:
            return variable.name
        text = str(index[1]) if term is None else stripped(term.text)
        return f"{variable.name}[{text}]"

    # --- effects -----------------------------------------------------------------------------------

    def write(self, body: list[Effect]) -> list[str]:
        """The lines of a whole step."""
        self.begin(body)
        self.effects(body)
        return self.lines

    def begin(self, body: list[Effect]) -> None:
        """Locals that the step changes become scratch; where it also needs them, with their value."""
        for effect in ir.walk(body):
            if effect[0] in ("let", "choice") and effect[1] not in self.scratch:
                name = effect[1]
                old = self.local(name).text if name in self.ranges else None
                self.scratch[name] = f"x{len(self.scratch) + 1}"
                if old is not None:
                    self.widen(name, self.ranges[name])
                    self.assign(self.scratch[name], old)

    def widen(self, name: str, given: Range) -> None:
        self.ranges[name] = given
        scratch = self.scratch[name]
        lo, hi = self.widest.get(scratch, given)
        self.widest[scratch] = min(lo, given[0]), max(hi, given[1])

    def effects(self, body: list[Effect]) -> None:
        for effect in body:
            tag = effect[0]
            if tag == "let":
                value = self.terms.number(effect[2])
                self.widen(effect[1], (value.lo, value.hi))
                self.assign(self.scratch[effect[1]], stripped(value.text))
            elif tag == "store":
                self.store(effect)
            elif tag == "fail":
                self.fail(effect)
            elif tag == "if":
                self.branch(effect)
            elif tag == "goto":
                self.goto(effect[1])
            elif tag == "choice":
                self.choose(effect[1])

    def choose(self, name: str) -> None:
        assert self.step is not None
        self.widen(name, (0, self.step.fanout - 1))
        self.assign(self.scratch[name], self.choice())

    def choice(self) -> str:
        """The number that is chosen in this step."""
        raise NotImplementedError

    def store(self, effect: Effect) -> None:
        _, group, index, value = effect
        variable = self.model.location(group, index)
        at = self.terms.number(index) if index[0] != "c" else None
        self.assign(self.place(variable, index, at), stripped(self.terms.number(value).text))

    def fail(self, effect: Effect) -> None:
        if effect[1][0] == "c":
            self.broken(effect[2])
            return
        before, self.lines = self.lines, []
        self.deeper(lambda: self.broken(effect[2]))
        inner, self.lines = self.lines, before
        self.when(stripped(self.terms.truth(effect[1])), inner, [])

    def branch(self, effect: Effect) -> None:
        condition = stripped(self.terms.truth(effect[1]))
        before, known = self.lines, self.ranges
        ways: list[tuple[list[str], dict[str, Range]]] = []
        for body in effect[2:]:
            self.lines, self.ranges = [], dict(known)
            self.deeper(partial(self.effects, body))
            ways.append((self.lines, self.ranges))
        self.lines = before
        (then, a), (other, b) = ways
        self.ranges = {n: union(a.get(n), b.get(n)) for n in {**a, **b}}
        self.when(condition, then, other)

    def deeper(self, write: Callable[[], None]) -> None:
        kept, self.indent = self.indent, self.indent + "  "
        write()
        self.indent = kept

    def goto(self, target: int) -> None:
        """Keep the locals that the next step needs, and forget the others."""
        assert self.task is not None and self.step is not None
        for name in self.task.needs(target):
            if name in self.scratch:
                self.assign(self.task.kept[name].name, self.scratch[name])
        for register in self.task.zeroed(self.step, target):
            self.assign(register.name, "0")
        self.moved(target)


def actors_going(model: Model, body: type[Body]) -> list[str]:
    """For each actor, whether it can take a step."""
    actors = (t for t in model.tasks if t.actor)
    return [stripped(body(model, t, None, "").terms.truth(can_go(t))) for t in actors]


def union(a: Range | None, b: Range | None) -> Range:
    a, b = a or b or (0, 0), b or a or (0, 0)
    return min(a[0], b[0]), max(a[1], b[1])


def stripped(text: str) -> str:
    """Without parentheses around the whole, where it can do without."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for at, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if depth == 1 and text.startswith("->", at):
            return text  # Promela wants them around a choice
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text
