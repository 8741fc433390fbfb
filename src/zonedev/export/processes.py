"""The lowered system for SPIN in the form that it likes best: a process a task, with labels for its steps.

What only one task reaches is local to its process.  A step is atomic where it has several
effects, and a plain statement where it has one.  SPIN's own program counters take the place
of ours, so that its states are the same, and its partial-order reduction does what it can.
"""

from __future__ import annotations

from zonedev.export.model import Model, Task, Variable, all_leaves, guard_of
from zonedev.export.promela import (
    PROMELA,
    PromelaBody,
    commented,
    declared,
    header,
    rules_and_scratch,
)
from zonedev.export.terms import Terms
from zonedev.export.words import headline, statement
from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect
from zonedev.lang.transition import Step

HOW = "spin -a FILE; cc -O2 -DVECTORSZ=8192 -DSAFETY -o pan pan.c; ./pan -m1000000"
RUNNING = "tasks_running"


class ProcessBody(PromelaBody):
    """Effects in a process: the program counter is the process's own."""

    def __init__(self, model: Model, task: Task, step: Step, indent: str, counted: bool) -> None:
        super().__init__(model, task, step, indent)
        targets = {e[1] for e in ir.walk(step.body) if e[0] == "goto"}
        self.only = next(iter(targets)) if len(targets) == 1 else None
        self.counted = counted and not task.actor

    def moved(self, target: int) -> None:
        assert self.task is not None
        if target == 0 and self.counted:
            self.lines.append(f"{self.indent}{RUNNING}--;")
        if self.only is None:
            self.lines.append(f"{self.indent}goto {label(self.task, target)};")

    def choose(self, name: str) -> None:
        assert self.step is not None
        scratch = self.scratch[name]
        self.widen(name, (0, self.step.fanout - 1))
        ways = " ".join(f":: {scratch} = {n}" for n in range(self.step.fanout))
        self.lines.append(f"{self.indent}if {ways} fi;")


def label(task: Task, pc: int) -> str:
    """Where a process goes on; SPIN takes those called end... for places where it may stay for ever."""
    return f"{'end' if task.actor or pc == 0 else 'at'}_{pc}"


def written(model: Model, title: str) -> str:
    """The model as one process a task, and one for the checks at rest."""
    own = own_variables(model)
    counted = bool(model.rest)
    scratch: set[str] = set()
    lines: list[str] = []
    for task in model.tasks:
        lines += ["", *process(model, task, own[task.name], counted, scratch)]
    if counted:
        lines += ["", *at_rest(model, scratch)]
    mine = {v.name for variables in own.values() for v in variables}
    head = [*header(model, title, HOW), *rules_and_scratch(model, scratch), "", "/* The shared state. */"]
    head += [commented(v) for v in model.shared if v.name not in mine]
    if counted:
        running = sum(t.start != 0 for t in model.tasks if not t.actor)
        head += ["", "/* How many tasks, but actors, have not finished. */", f"byte {RUNNING} = {running};"]
    return "\n".join([*head, *lines]) + "\n"


def own_variables(model: Model) -> dict[str, list[Variable]]:
    """For each task, the locations that no other task reaches, nor any check at rest."""
    users: dict[str, set[str]] = {}
    for name, body in [(t.name, s.body) for t in model.tasks for s in t.steps] + [("", model.rest)]:
        for variable in reached(model, body):
            users.setdefault(variable, set()).add(name)
    return {t.name: [v for v in model.shared if users.get(v.name) == {t.name}] for t in model.tasks}


def reached(model: Model, body: list[Effect]) -> set[str]:
    loads = {model.location(x[1], x[2]).name for x in all_leaves(body) if x[0] == "ld"}
    return loads | {model.location(e[1], e[2]).name for e in ir.walk(body) if e[0] == "store"}


def process(model: Model, task: Task, own: list[Variable], counted: bool, scratch: set[str]) -> list[str]:
    """A task."""
    lines = [f"/* Task {task.name}{', an actor' if task.actor else ''}. */"]
    lines += [f"active proctype {model.name(f'task {task.name}')}()", "{"]
    # In bytes: SPIN 6.5.2 takes a process of nothing but bit fields for shorter than the compiler lays it
    # out, and leaves the last of them out when it compares states.
    lines += [f"  {commented(v, packed=False)}" for v in own]
    lines += [f"  {declared(v, packed=False)}" for v in task.registers]
    if task.start != 1:
        lines.append(f"  goto {label(task, task.start)};")
    for step in task.steps:
        body = ProcessBody(model, task, step, "    ", counted)
        lines += ["", f"  /* {headline(step, task.name)}", f"     {statement(step)} */"]
        lines += [f"{label(task, step.pc)}:", *taken(body, step)]
        scratch |= set(body.scratch.values())
        if body.only is not None and body.only != step.pc % len(task.steps) + 1:
            lines.append(f"  goto {label(task, body.only)};")
    return [*lines, "", f"{label(task, 0)}:", "  false", "}"]


def taken(body: ProcessBody, step: Step) -> list[str]:
    """One step: in one piece, however many statements it takes."""
    guard = guard_of(step)
    waits = guard != ir.const(1)
    condition = Terms(PROMELA, body.local, body.load).truth(guard) if waits else ""
    inner = body.write(step.body)
    if not inner:
        return [f"  {condition or 'skip'};"]
    if len(inner) == 1 and not waits and not inner[0].strip().startswith(("goto", "assert")):
        return [f"  {inner[0].strip()}"]
    return ["  atomic {", *([f"    {condition} ->"] if waits else []), *inner, "  };"]


def at_rest(model: Model, scratch: set[str]) -> list[str]:
    """The process that checks what holds at rest, as often as there is nothing else to do."""
    body = PromelaBody(model, None, None, "       ")
    inner = body.write(model.rest)
    scratch |= set(body.scratch.values())
    lines = ["/* All tasks but actors have finished. */", "active proctype at_rest()", "{", "end_0:", "  do"]
    lines += ["  :: atomic {", f"       timeout && {RUNNING} == 0 ->", *inner, "     }", "  od", "}"]
    return lines
