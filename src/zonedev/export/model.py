"""What is written for other checkers: the variables of a transition system by name, and its tidied steps.

A state is the same in every language: the shared locations that can change, each task's
program counter, and the locals that its next step needs.  Locals that never meet share a
register, and a register that the next step does not need is 0: so states can be counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from zonedev.export.tidy import tidied
from zonedev.lang import expr as ir
from zonedev.lang.errors import SpecError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.graph import Place
from zonedev.lang.records import Kind
from zonedev.lang.system import Group, System, member_low
from zonedev.lang.transition import Step, TaskCode, TransitionSystem, get


@dataclass(frozen=True)
class Variable:
    """A number, or an array of numbers, in `lo`..`hi`.

    `record` and `path` say whose field it is, or whose program counter or register;
    `meaning` says it as traces do.
    """

    name: str
    lo: int
    hi: int
    initial: tuple[int, ...]
    record: str
    path: str
    meaning: str
    array: bool = False


@dataclass(frozen=True)
class Task:
    """A task with its steps; pc 0 is the end."""

    name: str
    actor: bool
    start: int
    pc: Variable
    registers: tuple[Variable, ...]
    kept: dict[str, Variable]  # the register of each local
    ranges: dict[str, tuple[int, int]]  # of each local
    steps: tuple[Step, ...]

    def zeroed(self, step: Step, target: int) -> list[Variable]:
        """The registers that `step` may find in use and that the step at `target` does not need."""
        wanted = {self.kept[n].name for n in self.needs(target)}
        used = {self.kept[n].name for n in step.live}
        return [r for r in self.registers if r.name in used - wanted]

    def needs(self, pc: int) -> tuple[str, ...]:
        """The locals that the step at `pc` needs."""
        return self.steps[pc - 1].live if pc else ()


@dataclass
class Model:
    """A transition system with names for everything."""

    ts: TransitionSystem
    stuck: bool = True  # whether a state without steps is wrong if not every task has finished
    tasks: list[Task] = field(default_factory=list)
    shared: list[Variable] = field(default_factory=list)
    rest: list[Effect] = field(default_factory=list)
    places: dict[tuple[str, str], list[Variable]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names: set[str] = set()
        self.state = self.ts.initial()
        self.rest = tidied([e for e in self.ts.rest if e[0] != "goto"], {})
        for code in self.ts.tasks:
            self.tasks.append(self.task(code))
        moving = self.indexed()
        for group in self.ts.system.groups():
            if (group.cls, group.path) in self.ts.slots:
                self.place(group, (group.cls, group.path) in moving)

    def name(self, text: str) -> str:
        """An identifier for `text` that nothing else has."""
        base = re.sub(r"\W", "_", text).strip("_") or "x"
        base = base if base[0].isalpha() else f"x{base}"
        found, number = base if "_" in base else f"{base}_", 2
        while found in self.names:
            found, number = f"{base}_{number}", number + 1
        self.names.add(found)
        return found

    # --- tasks ---------------------------------------------------------------------------------

    def task(self, code: TaskCode) -> Task:
        live = {s.pc: s.live for s in code.steps}
        steps = tuple(replace(s, body=tidied(s.body, live)) for s in code.steps)
        ranges = {n: kind_range(self.ts.system, code.kinds[n]) for names in live.values() for n in names}
        start = get(self.state, code.pc)
        pc = Variable(
            self.name(f"{code.name}_pc"), 0, len(steps), (start,), code.name, "pc", f"where {code.name} is"
        )
        pieces = colours([s.live for s in steps], ranges)
        kept: dict[str, Variable] = {}
        registers = []
        for number, names in enumerate(pieces):
            lo = min(0, *(ranges[n][0] for n in names))
            hi = max(0, *(ranges[n][1] for n in names))
            now = [get(self.state, code.locals[n]) for n in live.get(start, ()) if n in names]
            path = f"r{number}"
            register = Variable(
                self.name(f"{code.name}_{path}"), lo, hi, tuple(now or [0]), code.name, path, "a local"
            )
            registers.append(register)
            kept.update(dict.fromkeys(names, register))
        return Task(code.name, code.actor, start, pc, tuple(registers), kept, ranges, steps)

    # --- shared locations ------------------------------------------------------------------------

    def indexed(self) -> set[tuple[str, str]]:
        """The groups of which an element is chosen while running: these stay arrays."""
        return (
            {
                (x[1].cls, x[1].path)
                for task in self.tasks
                for step in task.steps
                for x in all_leaves(step.body)
                if x[0] == "ld" and x[2][0] != "c"
            }
            | {
                (e[1].cls, e[1].path)
                for task in self.tasks
                for step in task.steps
                for e in ir.walk(step.body)
                if e[0] == "store" and e[2][0] != "c"
            }
            | {(x[1].cls, x[1].path) for x in all_leaves(self.rest) if x[0] == "ld" and x[2][0] != "c"}
        )

    def place(self, group: Group, moving: bool) -> None:
        """The variable or variables of a group."""
        key = (group.cls, group.path)
        lo, hi = kind_range(self.ts.system, group.kind)
        values = [get(self.state, slot) for slot in self.ts.slots[key]]
        if moving and group.size > 1:
            meaning = ", ".join(group.label(i) for i in range(group.size))
            array = Variable(
                self.name(f"{group.cls}_{group.path}"), lo, hi, tuple(values), *key, meaning, array=True
            )
            self.places[key] = [array] * group.size
            self.shared.append(array)
            return
        self.places[key] = [
            Variable(self.name(group.label(i)), lo, hi, (value,), *key, group.label(i))
            for i, value in enumerate(values)
        ]
        self.shared += self.places[key]

    def location(self, group: Group, index: Expr) -> Variable:
        """The variable in which element `index` of a group is kept."""
        return self.places[group.cls, group.path][index[1] if index[0] == "c" else 0]

    def rule(self, fail: int) -> str:
        return self.ts.fails[fail][0]


def all_leaves(body: list[Effect]) -> Iterator[Expr]:
    """The locals and locations that a body reads."""
    for effect in ir.walk(body):
        for e in ir.effect_exprs(effect):
            yield from ir.leaves(e)


def kind_range(system: System, kind: Kind) -> tuple[int, int]:
    """The least and the greatest number that stands for a value of `kind`."""
    if kind.what in ("int", "enum"):
        return kind.lo, kind.hi
    if kind.what == "ref":
        return 0, len(system.instances(kind.cls))
    return member_low(kind), (1 << system.bits(kind)) - 1


def colours(lives: list[tuple[str, ...]], ranges: dict[str, tuple[int, int]]) -> list[list[str]]:
    """Locals in as few registers as greed gives; those in one are never needed at the same time."""
    meets: dict[str, set[str]] = {}
    for live in lives:
        for local in live:
            meets.setdefault(local, set()).update(live)
    found: list[list[str]] = []
    for local in sorted(meets, key=lambda n: (ranges[n][0] - ranges[n][1], n)):
        for register in found:
            if not meets[local] & set(register):
                register.append(local)
                break
        else:
            found.append([local])
    return found


# --- guards --------------------------------------------------------------------------------------

PC = "pc"  # the local that stands for a task's program counter


def can_go(task: Task) -> Expr:
    """Whether a task can take a step."""
    pc: Expr = ("v", PC)
    waits = [(s.pc, guard) for s in task.steps if (guard := guard_of(s)) != ir.const(1)]
    ways = ir.binary("!=", pc, ir.const(0))
    for at, _ in waits:
        ways = ir.binary("and", ways, ir.binary("!=", pc, ir.const(at)))
    for at, guard in waits:
        ways = ir.binary("or", ways, ir.binary("and", ir.binary("==", pc, ir.const(at)), guard))
    return ways


def guard_of(step: Step) -> Expr:
    """When the step can be taken, or breaks a rule, as one expression over the state before it."""
    return taken(step.body, {n: ("v", n) for n in step.live}, step.place)


def taken(body: list[Effect], known: dict[str, Expr], place: Place) -> Expr:
    """Whether no guard of a body stops it; a rule that breaks before a guard counts as a step."""
    failing: Expr = ir.const(0)
    for at, effect in enumerate(body):
        if not waits(body[at:]):
            return ir.const(1)
        tag = effect[0]
        if tag == "guard":
            return ir.binary("or", failing, inside(effect[1], known))
        if tag == "fail":
            failing = ir.binary("or", failing, inside(effect[1], known))
        elif tag == "let":
            known[effect[1]] = inside(effect[2], known)
        elif tag != "if":
            text = f"{place.function}: it waits behind a change of the state: it cannot be exported"
            raise SpecError(f"{place.file}:{place.line}: {text}")
        elif all(e[0] in ("let", "if") for e in ir.walk([effect])):
            known = either(effect, known)
        else:
            ways = [taken([*way, *body[at + 1 :]], dict(known), place) for way in effect[2:]]
            return ir.binary("or", failing, ir.select(inside(effect[1], known), *ways))
    return ir.const(1)


def waits(body: list[Effect]) -> bool:
    return any(e[0] == "guard" for e in ir.walk(body))


def inside(e: Expr, known: dict[str, Expr]) -> Expr:
    return ir.rewrite(e, lambda x: known.get(x[1], x) if x[0] == "v" else x)


def either(effect: Effect, known: dict[str, Expr]) -> dict[str, Expr]:
    """What is known behind a branch that only gives values to locals."""
    ways = []
    for body in effect[2:]:
        way = dict(known)
        for e in body:
            if e[0] == "let":
                way[e[1]] = inside(e[2], way)
            else:
                way = either(e, way)
        ways.append(way)
    condition = inside(effect[1], known)
    return {
        n: ir.select(condition, ways[0].get(n, ir.const(0)), ways[1].get(n, ir.const(0)))
        for n in {**ways[0], **ways[1]}
    }
