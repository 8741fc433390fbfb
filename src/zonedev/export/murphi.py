"""The lowered system for rumur and other checkers of Murphi: a rule a step."""

from __future__ import annotations

from zonedev.export.imperative import Body, actors_going
from zonedev.export.model import Model, Task, Variable, guard_of
from zonedev.export.terms import Notation, Terms
from zonedev.export.words import about, broken_rules, headline, statement
from zonedev.lang import expr as ir
from zonedev.lang.transition import Step

MURPHI = Notation(32, "({} & {})", "({} | {})", "!{}", "=", "!=", "({} ? {} : {})")
HOW = "rumur --deadlock-detection=stuck --value-type=int32_t FILE -o model.c; cc -O2 -mcx16 model.c -lpthread"


class MurphiBody(Body):
    """Effects as Murphi statements."""

    notation = MURPHI

    def assign(self, place: str, value: str) -> None:
        self.lines.append(f"{self.indent}{place} := {value};")

    def when(self, condition: str, then: list[str], other: list[str]) -> None:
        self.lines += [f"{self.indent}if {condition} then", *then]
        self.lines += [f"{self.indent}else", *other] if other else []
        self.lines.append(f"{self.indent}end;")

    def broken(self, fail: int) -> None:
        self.lines.append(f'{self.indent}error "{self.model.rule(fail)}_{fail}";')

    def choice(self) -> str:
        return "chosen"


def written(model: Model, title: str) -> str:
    """The model as a file for Murphi."""
    lines = about(title, HOW, model)
    lines = [f"-- {line}" for line in lines]
    lines += ["", "-- Rules, by the names that errors have."]
    lines += [f"-- {line}" for line in broken_rules(model)]
    lines += ["", "var", "  -- The shared state.", *(declared(v) for v in model.shared)]
    for task in model.tasks:
        lines += [f"  -- Task {task.name}{', an actor' if task.actor else ''}."]
        lines += [declared(v) for v in (task.pc, *task.registers)]
    lines += ["", "startstate", *(text for v in variables(model) for text in begun(v)), "end;"]
    lines += at_rest(model)
    for task in model.tasks:
        for step in task.steps:
            lines += rule(model, task, step)
    return "\n".join(lines) + "\n"


def variables(model: Model) -> list[Variable]:
    return model.shared + [v for t in model.tasks for v in (t.pc, *t.registers)]


def declared(variable: Variable) -> str:
    kind = f"{variable.lo}..{variable.hi}"
    if variable.array:
        kind = f"array [0..{len(variable.initial) - 1}] of {kind}"
    return f"  {variable.name}: {kind}; -- {variable.meaning}"


def begun(variable: Variable) -> list[str]:
    if not variable.array:
        return [f"  {variable.name} := {variable.initial[0]};"]
    return [f"  {variable.name}[{i}] := {value};" for i, value in enumerate(variable.initial)]


def rule(model: Model, task: Task, step: Step) -> list[str]:
    """One step."""
    body = MurphiBody(model, task, step, "  ")
    guard = guard_of(step)
    condition = f"{task.pc.name} = {step.pc}"
    if guard != ir.const(1):
        condition += f" & {Terms(MURPHI, body.local, body.load).truth(guard)}"
    inner = body.write(step.body)
    lines = [f"rule {quoted(headline(step, task.name))}", f"  -- {statement(step)}", f"  {condition} ==>"]
    lines += [*locals_of(body), "begin", *inner, "end;"]
    if step.fanout > 1:
        lines = [f"ruleset chosen: 0..{step.fanout - 1} do", *lines, "end;"]
    return ["", *lines]


def locals_of(body: MurphiBody) -> list[str]:
    return [f"  var {name}: {lo}..{hi};" for name, (lo, hi) in body.widest.items()]


def quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'


def at_rest(model: Model) -> list[str]:
    """The rule that fires where all tasks have finished: it checks what holds at rest."""
    body = MurphiBody(model, None, None, "  ")
    going = actors_going(model, MurphiBody)
    if going:
        body.indent += "  "
    inner = body.write(model.rest)
    if going and inner:
        inner = [f"  if !({' | '.join(f'({t})' for t in going)}) then", *inner, "  end;"]
    ended = " & ".join(f"{t.pc.name} = 0" for t in model.tasks if not t.actor) or "true"
    head = ["", 'rule "all tasks but actors have finished"', f"  {ended} ==>"]
    return [*head, *locals_of(body), "begin", *inner, "end;"]
