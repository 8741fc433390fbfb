"""All mutants in one lowered system: which of them is on is a number in the state.

The lowering puts a branch on that number where a mutant differs from the original, and
lowers both ways.  The number is chosen before a run and never changes in it; 0 is the
original.  What does not lower as a mutant is refused, and leads nowhere.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from zonedev.kernel.pgtable import Mm
from zonedev.lang import expr as ir
from zonedev.lang.expr import Expr
from zonedev.lang.frames import Frame
from zonedev.lang.graph import Node, Unreachable
from zonedev.lang.lower import Lowering
from zonedev.lang.records import Field, Record
from zonedev.lang.runtime import when
from zonedev.lang.system import Specification, System
from zonedev.lang.templates import Template
from zonedev.lang.values import Dyn, Static, Value, truth_value
from zonedev.lang.variables import Fails, Mark
from zonedev.mutate.mutants import (
    ALWAYS,
    DROP,
    IGNORE,
    NEVER,
    SKIP,
    SPLIT,
    SWAP,
    WEAKEN,
    Mutant,
    called,
)
from zonedev.mutate.separate import Separation, Switch
from zonedev.mutate.weak import WEAK

#: The rule that breaks where a mutant comes to what does not lower.
REFUSED = "does not lower"

#: What the kernel does not have: what a load has to find, which only rules look at.
BOOKKEEPING = (Mm._fields["written"],)

#: Among the locals with a value, where only mutants lead.
ONLY = (-1, "<only>")


def switched(design: type[Specification]) -> type[Specification]:
    """The design with a switch, which `k.switch` is."""

    def boot(k: Any) -> None:
        design.boot(k)
        k.switch = k.system.new(Switch)

    return type(design.__name__, (design,), {"boot": boot})


class Switches:
    """The mutants that a system is lowered with, and what the lowering makes of them.

    `steps` are those that change a step or what decides about steps, and `refused` those
    that do not lower, with the reason; by their numbers.
    """

    def __init__(self, mutants: Iterable[Mutant]) -> None:
        self.steps: set[int] = set()
        self.refused: dict[int, str] = {}
        self.at: dict[int, list[Mutant]] = {}  # by what is changed
        for mutant in mutants:
            self.at.setdefault(id(mutant.change.node), []).append(mutant)

    def lowering(self, system: System, task: Record | None, fails: Fails) -> Lowering:
        """What walks a program of `system`."""
        return Switching(system, task, fails, self)


class Aside(NamedTuple):
    """What a mutant does, beside the original: where it begins, and where both meet."""

    mutant: Mutant
    begin: Node
    join: Node


class Switching(Lowering):
    """The walk of one program, with its mutants."""

    def __init__(self, system: System, task: Record | None, fails: Fails, switches: Switches) -> None:
        super().__init__(system, task, fails)
        self.switches = switches
        self.number: Expr = ("ld", self.groups["Switch", "number"], ir.const(0))
        self.original = 0  # depth of what is lowered without mutants in it
        self.scattered = False  # whether each access is a step
        self.asking: ast.expr | None = None  # the condition that is being evaluated
        self.touched = self.stored = 0  # accesses to shared state so far, and writes among them
        self.plain: dict[Any, Template] = {}  # of calls without mutants
        self.begun: dict[int, tuple[int, int]] = {}  # of calls: the accesses before, by scope
        self.weights: dict[int, tuple[int, int]] = {}  # of templates: their accesses

    def here(self, node: ast.AST, *kinds: str) -> list[Mutant]:
        """The mutants of a statement or an expression, where there can be any."""
        if self.original or self.ghost or self.current is None or ONLY in self.assigned:
            return []
        found = self.switches.at.get(id(node), ())
        return [m for m in found if m.change.kind in kinds and m.number not in self.switches.refused]

    def on(self, mutant: Mutant) -> Expr:
        """Whether a mutant is switched on."""
        return ("==", self.number, ir.const(mutant.number))

    def step_of(self, mutant: Mutant) -> None:
        """A mutant changes a step of the original."""
        if ONLY not in self.assigned:
            self.switches.steps.add(mutant.number)

    # --- two ways ----------------------------------------------------------------------------------

    @contextmanager
    def without(self) -> Iterator[None]:
        """What only mutants come to: no other mutant is in it, and it counts for nothing."""
        kept = self.templates, self.lines, self.touched, self.stored, self.scattered
        self.templates, self.lines = self.plain, {}
        self.original += 1
        try:
            yield
        finally:
            self.original -= 1
            self.templates, self.lines, self.touched, self.stored, self.scattered = kept

    def aside(self, mutant: Mutant, walk: Callable[[], None], frame: Frame) -> Aside | None:
        """Lower what a mutant does, and go on with the original; None where it does not lower."""
        found, other = Aside(mutant, Node(), Node()), Node()
        returns, loops = len(frame.returns), len(frame.loops)
        self.branch(self.on(mutant), found.begin, other)
        self.start(found.begin)
        self.assigned |= {ONLY}
        try:
            # the calls in it have locals of their own
            with self.without(), self.along(("~", mutant.number)), self.reachable():
                walk()
            self.goto(found.join)
        except Exception as error:  # also of what is evaluated at set-up
            del frame.returns[returns:], frame.loops[loops:]
            self.refuse(found, error)
            self.start(other)
            return None
        self.start(other)
        return found

    def refuse(self, way: Aside, why: object) -> None:
        """A way that does not lower leads nowhere."""
        self.switches.refused.setdefault(way.mutant.number, str(why))
        way.begin.effects[:] = [("fail", ir.const(1), self.fails.number(REFUSED, str(why)))]
        way.begin.term = ("end",)

    def impossible(self, why: object) -> None:
        """What only mutants come to does not lower."""
        if self.current is not None:
            self.emit(("fail", ir.const(1), self.fails.number(REFUSED, str(why))))
            self.finish(("end",))

    def leave(self, frame: Frame, value: Value, node: ast.AST) -> None:
        """Only a mutant falls off the end of a function with a result."""
        falls = ONLY in self.assigned and isinstance(node, ast.FunctionDef)
        if falls and any(returned != Static(None) for _, returned, _ in frame.returns):
            self.impossible(f"{frame.name}() would return nothing")
        super().leave(frame, value, node)

    def meet(self, way: Aside, frame: Frame) -> None:
        """The original comes to where a mutant joins it."""
        if self.current is not None and way.join.assigned is not None:
            lost = self.assigned - way.join.assigned
            names = {name for scope, name in lost if scope == frame.scope.key}
            missing = sorted(n for n in names if n.isidentifier())
            if missing:
                self.refuse(way, f"{missing[0]} would have no value")
                return
        self.goto(way.join)
        self.start(way.join)

    def made(self, entry: Node) -> Node:
        """The graph, in which no way is one of two mutants."""
        for number in Separation(entry).looping:
            self.switches.refused.setdefault(number, "a loop without a step")
        return entry

    # --- statements ----------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt], frame: Frame) -> None:
        if self.original or self.ghost:
            super().block(body, frame)
            return
        ways: list[tuple[int, Aside]] = []
        before = 0  # accesses of the statement before
        for at, node in enumerate(body):
            ways += [(at + 1, w) for w in self.swapped(node, body[at + 1 : at + 2], frame)]
            ways += [(at, w) for w in self.instead(node, frame)]
            touched = self.touched
            self.alone(node, frame)
            self.classify(node, self.touched - touched)
            if at and before and self.touched > touched:
                for mutant in self.switches.at.get(id(body[at - 1]), ()):
                    if mutant.kind == SWAP:
                        self.step_of(mutant)
            before = self.touched - touched
            for _, way in [w for w in reversed(ways) if w[0] == at]:
                self.meet(way, frame)

    def alone(self, node: ast.stmt, frame: Frame) -> None:
        """Lower a statement; where only mutants come to it, it need not be one that lowers."""
        if ONLY not in self.assigned:
            super().block([node], frame)
            return
        first, returns, loops = self.current, len(frame.returns), len(frame.loops)
        effects = 0 if first is None else len(first.effects)
        try:
            with self.without():
                super().block([node], frame)
        except Exception as error:
            del frame.returns[returns:], frame.loops[loops:]
            self.current = first  # what was begun leads nowhere
            if first is not None:
                del first.effects[effects:]
            self.impossible(error)

    def swapped(self, node: ast.stmt, following: list[ast.stmt], frame: Frame) -> Iterator[Aside]:
        """The ways on which a statement comes after the next."""
        for mutant in self.here(node, SWAP):
            way = self.aside(mutant, lambda: self.block([*following, node], frame), frame)
            if way is not None:
                yield way

    def instead(self, node: ast.stmt, frame: Frame) -> Iterator[Aside]:
        """The ways on which a statement is left out, or its parts are steps of their own."""
        for mutant in self.here(node, DROP, SKIP, SPLIT):
            if is_when(node, frame):
                continue
            rest: list[ast.stmt] = []
            if mutant.kind == SKIP and isinstance(node, ast.If):
                rest = node.orelse
            elif mutant.kind == SPLIT and isinstance(node, ast.With):
                rest = node.body
            way = self.aside(mutant, lambda: self.scatter(mutant, rest, frame), frame)  # noqa: B023
            if way is not None:
                yield way

    def scatter(self, mutant: Mutant, body: list[ast.stmt], frame: Frame) -> None:
        self.scattered = mutant.kind == SPLIT
        self.block(body, frame)

    def classify(self, node: ast.stmt, touched: int) -> None:
        """Note the mutants of a statement that are of steps."""
        leaves = isinstance(node, ast.Return | ast.Break | ast.Continue)
        for mutant in self.switches.at.get(id(node), ()):
            if (mutant.kind == DROP and (touched or leaves)) or (mutant.kind == SPLIT and touched > 1):
                self.step_of(mutant)

    # --- conditions ------------------------------------------------------------------------------------

    def condition(self, node: ast.expr, frame: Frame) -> Expr:
        stored = self.stored
        outer, self.asking = self.asking, node
        truth = super().condition(node, frame)
        self.asking = outer
        if truth[0] == "c" or self.original or self.ghost:
            return truth
        for mutant in self.here(node, NEVER, ALWAYS, IGNORE):
            self.step_of(mutant)
            if mutant.change.forced:
                truth = ir.binary("or", truth, self.on(mutant))
            else:
                truth = ir.binary("and", truth, ir.negate(self.on(mutant)))
        if self.stored > stored and isinstance(frame.statement, ast.If) and frame.statement.test is node:
            for mutant in self.here(frame.statement, SKIP):
                self.step_of(mutant)
        return truth

    def value(self, node: ast.expr, frame: Frame) -> Value:
        if node is not self.asking and any(self.here(part, NEVER, ALWAYS, IGNORE) for part in parts(node)):
            return truth_value(self.condition(node, frame))
        return super().value(node, frame)

    def sp_when(self, node: ast.Call, frame: Frame) -> Value:
        """Without its when(), a step does not wait."""
        done = super().sp_when(node, frame)
        for mutant in self.here(frame.statement, DROP) if frame.statement else ():
            self.step_of(mutant)
            assert self.current is not None
            tag, guard = self.current.effects[-1]
            self.current.effects[-1] = tag, ir.binary("or", guard, self.on(mutant))
        return done

    # --- atomic operations -------------------------------------------------------------------------------

    def ev_call(self, node: ast.Call, frame: Frame) -> Value:
        for mutant in self.here(node, WEAKEN):
            return self.weakened(mutant, node, frame)
        return super().ev_call(node, frame)

    def weakened(self, mutant: Mutant, node: ast.Call, frame: Frame) -> Value:
        """The result of an atomic operation, or of what takes its place."""
        strong = called(node, frame.scope.function)
        assert strong is not None
        name = f"<the result of line {node.lineno}, column {node.col_offset}, {self.way}>"
        accesses = frame.accesses

        def weak() -> None:
            args, kwargs = self.arguments(node, frame)
            self.assign(frame, name, self.apply(WEAK[strong][0], args, kwargs, frame, node), node)

        way = self.aside(mutant, weak, frame)
        frame.accesses = accesses
        self.assign(frame, name, super().ev_call(node, frame), node)
        self.step_of(mutant)
        if way is not None:
            self.meet(way, frame)
        if self.current is None:
            raise Unreachable
        return self.read(frame, name, node)

    # --- accesses ----------------------------------------------------------------------------------------

    def count(self, frame: Frame, node: ast.AST) -> None:
        if not self.scattered:
            super().count(frame, node)

    def touch(self, owner: Static | Dyn, field: Field, frame: Frame, node: ast.AST) -> None:
        super().touch(owner, field, frame, node)
        self.touched += not (self.ghost or field.private or any(field is b for b in BOOKKEEPING))

    def store(
        self, place: tuple[Any, str, Field], index: Expr, value: Value, frame: Frame, node: ast.AST
    ) -> None:
        super().store(place, index, value, frame, node)
        self.stored += not place[2].private

    def opened(self, inner: Frame, bound: dict[str, Value], node: ast.AST) -> Mark:
        self.begun[inner.scope.key] = self.touched, self.stored
        return super().opened(inner, bound, node)

    def template(self, inner: Frame, bound: dict[str, Value], begun: Mark, value: Value) -> Template:
        made = super().template(inner, bound, begun, value)
        touched, stored = self.begun[inner.scope.key]
        self.weights[id(made)] = self.touched - touched, self.stored - stored
        return made

    def copied(self, template: Template, inner: Frame, bound: dict[str, Value], node: ast.AST) -> Value:
        found = super().copied(template, inner, bound, node)
        touched, stored = self.weights[id(template)]
        self.touched += touched
        self.stored += stored
        return found


def parts(node: ast.expr) -> Iterator[ast.expr]:
    """An expression, and what it asks where it is a condition: mutants of a part are changes of the whole."""
    yield node
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from parts(node.operand)
    elif isinstance(node, ast.BoolOp):
        for operand in node.values:
            yield from parts(operand)


def is_when(node: ast.stmt, frame: Frame) -> bool:
    """Whether a statement says when the step of its atomic block can be taken."""
    return isinstance(node, ast.Expr) and called(node.value, frame.scope.function) is when
