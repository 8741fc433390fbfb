"""Python source for the steps of a transition system: the reference back end.

A step becomes a function of the state words (and of the choice, where it has one).
It returns the new words, None where the step is not enabled, or the number of a
broken rule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from zonedev.lang.expr import Effect, Expr
from zonedev.lang.transition import Slot, Step, TaskCode, TransitionSystem

State = tuple[int, ...]
Outcome = State | int | None
StepFunction = Callable[..., Outcome]
Order = Callable[..., State]


class Steps(dict[int, tuple[StepFunction, int]]):
    """A task's steps by pc, each with its fanout.

    Each is compiled when it is first asked for: a search takes half of them, or fewer.
    """

    def __init__(self, ts: TransitionSystem, task: TaskCode, order: Order | None) -> None:
        super().__init__({0: (finished, 1)})
        self.ts, self.task, self.order = ts, task, order

    def __missing__(self, pc: int) -> tuple[StepFunction, int]:
        step = self.task.steps[pc - 1]
        function = compiled(self.ts, lambda writer: writer.step(self.task, step), self.order)
        self[pc] = function, step.fanout
        return self[pc]


def finished(*_: int) -> None:
    """The step of a task at its end: there is none."""


@dataclass(frozen=True)
class PythonSteps:
    """The compiled steps of every task, and the check at rest."""

    steps: list[Steps]
    rest: Callable[..., int]
    alone: Callable[..., int] | None  # where it is known: the task whose steps are enough, or -1
    lost: Callable[..., bool]
    pcs: list[tuple[int, int, int]]  # word, shift and mask of each task's pc
    order: Order | None  # what is done to each new state


def generate(ts: TransitionSystem) -> PythonSteps:
    """The steps of `ts` as Python functions."""
    lost = cache(lambda: compiled(ts, Writer.lost))
    order = compiled(ts, Writer.order) if ts.order else None
    return PythonSteps(
        [Steps(ts, task, order) for task in ts.tasks],
        compiled(ts, lambda writer: writer.check(ts.rest)),
        compiled(ts, lambda writer: writer.check(ts.alone)) if ts.alone else None,
        lambda *state: lost()(*state),
        [(t.pc.word, t.pc.shift, t.pc.mask) for t in ts.tasks],
        order,
    )


def compiled(
    ts: TransitionSystem, write: Callable[[Writer], None], order: Order | None = None
) -> Callable[..., Any]:
    """The one function that `write` writes."""
    writer = Writer(ts)
    write(writer)
    scope: dict[str, Any] = {}
    exec(compile("\n".join(writer.lines), "<zonedev steps>", "exec"), {"order": order}, scope)
    return next(iter(scope.values()))  # type: ignore[no-any-return]


class Writer:
    """Writes step functions as text."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts = ts
        self.lines: list[str] = []
        self.words = ", ".join(f"w{i}" for i in range(ts.words))
        self.tuple = f"({self.words},)"

    def step(self, task: TaskCode, step: Step) -> None:
        """step(words, choice): the new words, None where it is not enabled, or what it breaks."""
        choice = ", choice" if step.fanout > 1 else ""
        self.lines.append(f"def step({self.words}{choice}):")
        for local in step.live:
            self.lines.append(f"    {local} = {self.read(task.locals[local])}")
        self.body(step.body, task, "    ")

    def check(self, body: list[Effect]) -> None:
        """check(words): the number with which `body` fails, or -1."""
        self.lines.append(f"def check({self.words}):")
        self.body([e for e in body if e[0] != "goto"], None, "    ")
        self.lines.append("    return -1")

    def order(self) -> None:
        """order(words): the new words."""
        self.lines.append(f"def order({self.words}):")
        self.body(self.ts.order, None, "    ")
        self.lines.append(f"    return {self.tuple}")

    def lost(self) -> None:
        """lost(words): whether a sleeper of this deadlock has lost its wake-up."""
        self.lines.append(f"def lost({self.words}):")
        for task in self.ts.tasks:
            for step in task.steps:
                if step.lost is not None:
                    self.lines.append(f"    if {self.read(task.pc)} == {step.pc}:")
                    for local in step.live:
                        self.lines.append(f"        {local} = {self.read(task.locals[local])}")
                    self.lines.append(f"        if {self.expr(step.lost)}: return True")
        self.lines.append("    return False")

    def body(self, body: list[Effect], task: TaskCode | None, indent: str) -> None:
        add = self.lines.append
        if not body:
            add(f"{indent}pass")
        for effect in body:
            tag = effect[0]
            if tag == "let":
                add(f"{indent}{effect[1]} = {self.expr(effect[2])}")
            elif tag == "store":
                self.store(effect, indent)
            elif tag == "guard":
                add(f"{indent}if not {self.expr(effect[1])}: return None")
            elif tag == "fail":
                add(f"{indent}if {self.expr(effect[1])}: return {effect[2]}")
            elif tag == "choice":
                add(f"{indent}{effect[1]} = choice")
            elif tag == "if":
                add(f"{indent}if {self.expr(effect[1])}:")
                self.body(effect[2], task, indent + "    ")
                if effect[3] and leaves(effect[2]):
                    self.body(effect[3], task, indent)
                elif effect[3]:
                    add(f"{indent}else:")
                    self.body(effect[3], task, indent + "    ")
            else:
                assert task is not None
                self.goto(task, effect[1], indent)

    def goto(self, task: TaskCode, pc: int, indent: str) -> None:
        """Pack the pc and the locals that the next step needs; the rest of the piece is zero."""
        parts = [str(pc << task.pc.shift)]
        if pc:
            for name in task.steps[pc - 1].live:
                slot = task.locals[name]
                value = name if slot.low == 0 else f"({name} - {slot.low})"
                parts.append(f"{value} << {slot.shift}" if slot.shift else value)
        word = f"w{task.pc.word}"
        self.lines.append(
            f"{indent}{word} = {word} & {~(task.own.mask << task.own.shift)} | {' | '.join(parts)}"
        )
        self.lines.append(f"{indent}return {f'order({self.words})' if self.ts.order else self.tuple}")

    def store(self, effect: Effect, indent: str) -> None:
        _, group, index, value = effect
        slots = self.ts.slots[group.cls, group.path]
        text = self.expr(value)
        if slots[0].low:
            text = f"({text} - {slots[0].low})"
        if index[0] == "c":
            self.write(slots[index[1]], text, indent)
            return
        self.lines.append(f"{indent}i = {self.expr(index)}")
        self.lines.append(f"{indent}x = {text}")
        for first, end, run in runs(slots):
            word = f"w{run.word}"
            shift = f"({run.shift} + (i - {first}) * {run.width})"
            prefix = "" if len(slots) == end - first else f"if {first} <= i < {end}: "
            self.lines.append(f"{indent}{prefix}{word} = {word} & ~({run.mask} << {shift}) | x << {shift}")

    def write(self, slot: Slot, text: str, indent: str) -> None:
        word = f"w{slot.word}"
        self.lines.append(
            f"{indent}{word} = {word} & {~(slot.mask << slot.shift)} | ({text}) << {slot.shift}"
        )

    def read(self, slot: Slot) -> str:
        text = f"w{slot.word} >> {slot.shift} & {slot.mask}" if slot.shift else f"w{slot.word} & {slot.mask}"
        return f"(({text}) + {slot.low})" if slot.low else f"({text})"

    def expr(self, e: Expr) -> str:
        tag = e[0]
        if tag == "c":
            return str(e[1]) if e[1] >= 0 else f"({e[1]})"
        if tag == "v":
            return str(e[1])
        if tag == "not":
            return f"(not {self.expr(e[1])})"
        if tag == "?":
            return f"({self.expr(e[2])} if {self.expr(e[1])} else {self.expr(e[3])})"
        if tag == "ld":
            return self.load(e)
        return f"({self.expr(e[1])} {tag} {self.expr(e[2])})"

    def load(self, e: Expr) -> str:
        slots = self.ts.slots[e[1].cls, e[1].path]
        if e[2][0] == "c":
            return self.read(slots[e[2][1]])
        index = self.expr(e[2])
        text = ""
        parts = list(runs(slots))
        for first, end, run in parts:
            got = f"(w{run.word} >> ({run.shift} + ({index} - {first}) * {run.width}) & {run.mask})"
            if run.low:
                got = f"({got} + {run.low})"
            text += got if end == len(slots) else f"{got} if {index} < {end} else "
        return f"({text})"


def leaves(body: list[Effect]) -> bool:
    """Whether a body surely ends its step."""
    last = body[-1] if body else ("",)
    return last[0] == "goto" or (last[0] == "if" and leaves(last[2]) and leaves(last[3]))


def runs(slots: list[Slot]) -> list[tuple[int, int, Slot]]:
    """The pieces of a group that lie in one word: first and end element, and the first's slot."""
    found: list[tuple[int, int, Slot]] = []
    for index, slot in enumerate(slots):
        if found and found[-1][2].word == slot.word:
            found[-1] = (found[-1][0], index + 1, found[-1][2])
        else:
            found.append((index, index + 1, slot))
    return found
