"""The lowered system for TLC: an action a step.

A variable of the module holds all fields of one class of records, or a task's program
counter and registers.  A step's effects become a chain of definitions, the last of which
are the new values: TLC evaluates a definition when it is first used, so what a branch
defines costs nothing on the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from zonedev.export.imperative import stripped
from zonedev.export.model import PC, Model, Task, Variable, can_go, guard_of
from zonedev.export.terms import Notation, Term, Terms
from zonedev.export.words import about, broken_rules, headline, statement
from zonedev.lang import expr as ir
from zonedev.lang.errors import SpecError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.transition import Step

TLA = Notation(
    32,
    r"({} /\ {})",
    r"({} \/ {})",
    "~{}",
    "=",
    "#",
    "(IF {} THEN {} ELSE {})",
    "TRUE",
    "FALSE",
    arithmetic_bits=True,
)
HOW = "java -cp tla2tools.jar tlc2.TLC FILE"
MODULE = "Exported"

BITS = r"""RECURSIVE BitAnd(_, _)
BitAnd(a, b) == IF a = 0 \/ b = 0 THEN 0 ELSE IF a = -1 THEN b ELSE IF b = -1 THEN a
                ELSE (a % 2) * (b % 2) + 2 * BitAnd(a \div 2, b \div 2)
BitOr(a, b) == a + b - BitAnd(a, b)
BitXor(a, b) == a + b - 2 * BitAnd(a, b)"""


@dataclass
class Path:
    """What is known on one way through a step: locals, and the newest name of each variable."""

    locals: dict[str, Term] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Path:
        return Path(dict(self.locals), dict(self.newest))


class Action:
    """Writes the definitions and assertions of one step, or of the checks at rest."""

    def __init__(self, model: Model, task: Task | None, step: Step | None) -> None:
        self.model, self.task, self.step = model, task, step
        self.definitions: list[str] = []
        self.asserts: list[str] = []
        self.path = Path()
        self.terms = Terms(TLA, self.local, self.load)
        if task is not None:
            own = own_variable(task)
            self.path.locals[PC] = Term(f"{own}.pc", 0, task.pc.hi)
            for name in task.ranges if step is None else step.live:
                lo, hi = task.ranges[name]
                self.path.locals[name] = Term(f"{own}.{task.kept[name].path}", lo, hi)

    # --- leaves ----------------------------------------------------------------------------------

    def local(self, name: str) -> Term:
        return self.path.locals.get(name, Term("0", 0, 0))

    def load(self, e: Expr, index: Term | None) -> Term:
        variable = self.model.location(e[1], e[2])
        whole = variable_of(variable.record)
        text = f"{self.path.newest.get(whole, whole)}.{variable.name}{element(variable, e[2], index)}"
        return Term(text, variable.lo, variable.hi)

    # --- effects ---------------------------------------------------------------------------------

    def define(self, text: str) -> str:
        name = f"x{len(self.definitions) + 1}"
        self.definitions.append(f"{name} == {text}")
        return name

    def run(self, body: list[Effect], given: tuple[str, ...]) -> None:
        """Go through a body, which is reached where all of `given` hold."""
        for effect in body:
            if effect[0] == "if":
                self.branch(effect, given)
            else:
                self.effect(effect, given)

    def branch(self, effect: Effect, given: tuple[str, ...]) -> None:
        text = self.terms.truth(effect[1])
        condition = text if text.isidentifier() else self.define(stripped(text))
        before, self.path = self.path, self.path.copy()
        self.run(effect[2], (*given, condition))
        then, self.path = self.path, before.copy()
        self.run(effect[3], (*given, f"~{condition}"))
        self.path = self.merged(condition, then, self.path)

    def effect(self, effect: Effect, given: tuple[str, ...]) -> None:
        tag, path = effect[0], self.path
        if tag == "let":
            value = self.terms.number(effect[2])
            plain = len(value.text) < 16
            path.locals[effect[1]] = (
                value if plain else value._replace(text=self.define(stripped(value.text)))
            )
        elif tag == "choice":
            assert self.step is not None
            path.locals[effect[1]] = Term("chosen", 0, self.step.fanout - 1)
        elif tag == "store":
            self.store(effect)
        elif tag == "fail":
            self.fail(effect, given)
        elif tag == "goto":
            self.goto(effect[1])

    def store(self, effect: Effect) -> None:
        _, group, index, value = effect
        variable = self.model.location(group, index)
        at = self.terms.number(index) if index[0] != "c" else None
        text = stripped(self.terms.number(value).text)
        whole = variable_of(variable.record)
        now = self.path.newest.get(whole, whole)
        new = f"[{now} EXCEPT !.{variable.name}{element(variable, index, at)} = {text}]"
        self.path.newest[whole] = self.define(new)

    def fail(self, effect: Effect, given: tuple[str, ...]) -> None:
        text = self.terms.truth(effect[1])
        name = f'"{self.model.rule(effect[2])}_{effect[2]}"'
        condition = " /\\ ".join((*given, text))
        self.asserts.append(f"Assert(~({stripped(condition) if not given else condition}), {name})")

    def goto(self, target: int) -> None:
        assert self.task is not None and self.step is not None
        own, path = own_variable(self.task), self.path
        changes = [f"!.pc = {target}"]
        for name in self.task.needs(target):
            register = self.task.kept[name]
            term = path.locals.get(name, Term("0", 0, 0))
            if term.text != f"{own}.{register.path}":
                changes.append(f"!.{register.path} = {stripped(term.text)}")
        changes += [f"!.{r.path} = 0" for r in self.task.zeroed(self.step, target)]
        now = path.newest.get(own, own)
        path.newest[own] = self.define(f"[{now} EXCEPT {', '.join(changes)}]")

    # --- paths that meet ---------------------------------------------------------------------------

    def merged(self, condition: str, a: Path, b: Path) -> Path:
        """One path for two that meet."""
        both = Path()
        for name in [n for n in a.locals if n in b.locals]:  # what only one of them has set is never read
            x, y = a.locals[name], b.locals[name]
            text = x.text
            if x.text != y.text:
                text = self.define(f"IF {condition} THEN {stripped(x.text)} ELSE {stripped(y.text)}")
            both.locals[name] = Term(text, min(x.lo, y.lo), max(x.hi, y.hi))
        for name in {**a.newest, **b.newest}:
            then, other = a.newest.get(name, name), b.newest.get(name, name)
            both.newest[name] = then
            if then != other:
                both.newest[name] = self.define(f"IF {condition} THEN {then} ELSE {other}")
        return both


# --- names -----------------------------------------------------------------------------------------


def variable_of(record: str, prefix: str = "all") -> str:
    """The module's variable for a class of records."""
    return f"{prefix}_" + "".join(c if c.isalnum() else "_" for c in record)


def own_variable(task: Task) -> str:
    """The module's variable for a task."""
    return variable_of(task.name, "task")


def element(variable: Variable, index: Expr, term: Term | None) -> str:
    """The index of an element, counted from 1 as in a sequence."""
    if not variable.array:
        return ""
    if term is None:
        return f"[{index[1] + 1}]"
    return f"[{stripped(term.text)} + 1]"


# --- the module --------------------------------------------------------------------------------------


def written(model: Model, title: str) -> str:
    """The module."""
    lines = [f"---- MODULE {MODULE} ----", *(f"\\* {line}" for line in about(title, HOW, model)), ""]
    lines += [f"\\* {line}" for line in broken_rules(model)]
    lines += ["", "EXTENDS Integers, Sequences, TLC", ""]
    wholes = whole_variables(model)
    lines += [f"VARIABLES {', '.join(wholes)}", f"vars == <<{', '.join(wholes)}>>", "", BITS, "", "Init =="]
    for name, parts in wholes.items():
        lines.append(f"  /\\ {name} = [")
        lines += [f"       {part}{',' if n < len(parts) else ']'}" for n, part in enumerate(parts, 1)]
    actions = ["AtRest"]
    for task in model.tasks:
        for step in task.steps:
            text = action(model, task, step, list(wholes))
            lines += ["", f"\\* {headline(step, task.name)}", f"\\* {statement(step)}", *text]
            name = action_name(task, step)
            actions.append(
                f"\\E chosen \\in 0..{step.fanout - 1}: {name}(chosen)" if step.fanout > 1 else name
            )
    lines += ["", "\\* All tasks but actors have finished.", *at_rest(model), "", "Next =="]
    lines += [f"  \\/ {name}" for name in actions]
    return "\n".join([*lines, "", "===="]) + "\n"


def renamed(text: str, name: str) -> str:
    """A module under another name: TLC wants that of its file; SpecError where it cannot be one."""
    if not re.fullmatch(r"[A-Za-z0-9_]*[A-Za-z][A-Za-z0-9_]*", name):
        raise SpecError(f"{name} is no name of a module: letters, digits and _ only in the file's name")
    return text.replace(f"MODULE {MODULE} ", f"MODULE {name} ", 1)


CONFIG = "INIT Init\nNEXT Next\n"


def whole_variables(model: Model) -> dict[str, list[str]]:
    """The module's variables, each with its members' first values."""
    found: dict[str, list[str]] = {}
    for task in model.tasks:
        parts = [f"{v.path} |-> {v.initial[0]}" for v in (task.pc, *task.registers)]
        found[own_variable(task)] = parts
    for v in model.shared:
        values = ", ".join(map(str, v.initial))
        text = f"{v.name} |-> {f'<<{values}>>' if v.array else values}"
        found.setdefault(variable_of(v.record), []).append(text)
    return found


def action_name(task: Task, step: Step) -> str:
    return f"{own_variable(task)[5:]}_{step.pc}"


def action(model: Model, task: Task, step: Step, wholes: list[str]) -> list[str]:
    writer = Action(model, task, step)
    guard = guard_of(step)
    conditions = [f"{own_variable(task)}.pc = {step.pc}"]
    if guard != ir.const(1):
        conditions.append(stripped(writer.terms.truth(guard)))
    writer.run(step.body, ())
    end = writer.path
    changed = [f"{name}' = {end.newest[name]}" for name in wholes if name in end.newest]
    kept = [name for name in wholes if name not in end.newest]
    last = [*writer.asserts, *changed, *([f"UNCHANGED <<{', '.join(kept)}>>"] if kept else [])]
    parameter = "(chosen)" if step.fanout > 1 else ""
    lines = [f"{action_name(task, step)}{parameter} =="]
    lines += [f"  /\\ {c}" for c in conditions]
    return lines + within(writer.definitions, last)


def within(definitions: list[str], conjuncts: list[str]) -> list[str]:
    if not definitions:
        return [f"  /\\ {c}" for c in conjuncts]
    lines = [f"  /\\ LET {definitions[0]}", *(f"         {d}" for d in definitions[1:])]
    return [*lines, f"     IN /\\ {conjuncts[0]}", *(f"        /\\ {c}" for c in conjuncts[1:])]


def at_rest(model: Model) -> list[str]:
    ended = [f"{own_variable(t)}.pc = 0" for t in model.tasks if not t.actor]
    writer = Action(model, None, None)
    actors = (t for t in model.tasks if t.actor)
    idle = [f"~{Action(model, t, None).terms.truth(can_go(t))}" for t in actors]
    writer.run(model.rest, tuple(idle))
    checks = within(writer.definitions, [*writer.asserts, "UNCHANGED vars"])
    return ["AtRest ==", *(f"  /\\ {e}" for e in ended), *checks]
