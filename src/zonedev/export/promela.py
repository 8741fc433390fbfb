"""The lowered system for SPIN: one loop over all steps, each guarded by a program counter."""

from __future__ import annotations

from zonedev.export.imperative import Body, actors_going
from zonedev.export.model import Model, Task, Variable, guard_of
from zonedev.export.terms import Notation, Terms
from zonedev.export.words import about, headline, statement
from zonedev.lang import expr as ir
from zonedev.lang.transition import Step

PROMELA = Notation(32, choice="({} -> {} : {})", truths_are_numbers=True)
HOW = "spin -a -o1 -o2 -o3 FILE; cc -O2 -DSAFETY -DNOREDUCE -DVECTORSZ=8192 -o pan pan.c; ./pan -m1000000"


class PromelaBody(Body):
    """Effects as Promela statements."""

    notation = PROMELA

    def __init__(
        self, model: Model, task: Task | None, step: Step | None, indent: str, chosen: int = 0
    ) -> None:
        super().__init__(model, task, step, indent)
        self.chosen = chosen

    def assign(self, place: str, value: str) -> None:
        self.lines.append(f"{self.indent}{place} = {value};")

    def when(self, condition: str, then: list[str], other: list[str]) -> None:
        self.lines += [f"{self.indent}if", f"{self.indent}:: {condition} ->"]
        self.lines += then or [f"{self.indent}  skip"]
        self.lines += [f"{self.indent}:: else ->"]
        self.lines += other or [f"{self.indent}  skip"]
        self.lines.append(f"{self.indent}fi;")

    def broken(self, fail: int) -> None:
        self.lines.append(f"{self.indent}assert({rule_name(self.model, fail)});")

    def choice(self) -> str:
        return str(self.chosen)


def rule_name(model: Model, fail: int) -> str:
    """The variable that is asserted where a rule breaks; it is always 0."""
    return f"{model.rule(fail).replace('-', '_')}_{fail}"


def declared(variable: Variable, packed: bool = True) -> str:
    """The declaration of a variable, in as few bits as it takes, or in as few bytes where not `packed`."""
    size = f"[{len(variable.initial)}]" if variable.array else ""
    width = max(variable.hi.bit_length(), 1)
    if variable.lo < 0:
        small = variable.lo >= -(1 << 15) and variable.hi < 1 << 15
        text = f"{'short' if small else 'int'} {variable.name}{size}"
    elif variable.array or not packed:
        kind = "bit" if width == 1 and packed else "byte" if width <= 8 else "short" if width < 16 else "int"
        text = f"{kind} {variable.name}{size}"
    else:
        text = f"unsigned {variable.name} : {min(width, 31)}" if width > 1 else f"bit {variable.name}"
    values = variable.initial
    if variable.array and len(set(values)) > 1:
        text += f" = {{ {', '.join(map(str, values))} }}"
    elif values[0]:
        text += f" = {values[0]}"
    return text + ";"


def written(model: Model, title: str) -> str:
    """The model as one process."""
    steps: list[str] = []
    scratch: set[str] = set()
    for task in model.tasks:
        for step in task.steps:
            steps += ["", *comment(step, task.name)]
            for chosen in range(step.fanout):
                body = PromelaBody(model, task, step, "       ", chosen)
                steps += option(model, task, step, body)
                scratch |= set(body.scratch.values())
    rest = PromelaBody(model, None, None, "       ")
    checks = at_rest(model, rest)
    scratch |= set(rest.scratch.values())
    lines = [*header(model, title, HOW), *rules_and_scratch(model, scratch), *declarations(model), ""]
    lines += ["active proctype steps()", "{", "  do", *checks, *steps, "  od", "}"]
    return "\n".join(lines) + "\n"


def header(model: Model, title: str, how: str) -> list[str]:
    lines = about(title, how, model)
    return [f"/* {lines[0]}", *(f"   {line}" for line in lines[1:]), "*/", ""]


def rules_and_scratch(model: Model, scratch: set[str]) -> list[str]:
    """What is no part of the state."""
    lines = ["/* Rules: asserted where they are broken. */"]
    for fail, (_, text) in enumerate(model.ts.fails):
        lines.append(f"hidden byte {rule_name(model, fail)}; /* {last_words(text)} */")
    lines += ["", "/* For use within a step. */"] if scratch else []
    return lines + [f"hidden int {name};" for name in sorted(scratch, key=lambda n: int(n[1:]))]


def declarations(model: Model) -> list[str]:
    """The state."""
    lines = ["", "/* The shared state. */", *(commented(v) for v in model.shared)]
    for task in model.tasks:
        lines += ["", f"/* Task {task.name}{', an actor' if task.actor else ''}. */"]
        lines += [declared(v) for v in (task.pc, *task.registers)]
    return lines


def last_words(text: str) -> str:
    """The place in a rule's text, without the directories."""
    function, _, place = text.partition(", ")
    return f"{function}, {place.rpartition('/')[2]}" if place else text


def commented(variable: Variable, packed: bool = True) -> str:
    return f"{declared(variable, packed)} /* {variable.meaning} */"


def comment(step: Step, task: str) -> list[str]:
    return [f"  /* {headline(step, task)}", f"     {statement(step)} */"]


def option(model: Model, task: Task, step: Step, body: PromelaBody) -> list[str]:
    """One step of the loop."""
    terms = Terms(PROMELA, body.local, body.load)
    guard = guard_of(step)
    condition = f"{task.pc.name} == {step.pc}"
    if guard != ir.const(1):
        condition += f" && {terms.truth(guard)}"
    return ["  :: d_step {", f"       {condition} ->", *body.write(step.body), "     }"]


def at_rest(model: Model, body: PromelaBody) -> list[str]:
    """The step that is there where all tasks have finished: it checks what holds at rest."""
    finished = " && ".join(f"{t.pc.name} == 0" for t in model.tasks if not t.actor) or "true"
    lines = ["  /* All tasks but actors have finished. */", "  :: d_step {", f"       {finished} ->"]
    going = actors_going(model, PromelaBody)
    if not model.rest:
        return [*lines, "       skip", "     }"]
    if not going:
        return [*lines, *body.write(model.rest), "     }"]
    body.indent += "  "
    inner = body.write(model.rest)
    text = " || ".join(f"({t})" for t in going)
    return [
        *lines,
        "       if",
        f"       :: {text} -> skip",
        "       :: else ->",
        *inner,
        "       fi",
        "     }",
    ]
