"""Plain runs that are watched: which locations each step writes, and who could go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zonedev.explore.trace import (
    PACKAGE,
    Change,
    TraceStep,
    call_text,
    source_of,
    statement_text,
)
from zonedev.lang.records import Array, Field, Record
from zonedev.lang.runtime import PRIMITIVES, Scheduler, Waiting, Where, ghost, here, primitive
from zonedev.lang.system import System, show

OWN = tuple(f"{PACKAGE}{os.sep}{part}" for part in (f"lang{os.sep}", f"explore{os.sep}", "machine.py"))


class Stepper(Scheduler):
    """A scheduler that keeps, for each step, what it wrote.

    `ignored` are the rules that the run does not check; `keep` is how many steps `trace`
    remembers, None for all.
    """

    def __init__(self, ignored: frozenset[str] = frozenset(), keep: int | None = None) -> None:
        super().__init__()
        self.keep, self.taken = keep, 0
        self.ignored = ignored
        self.tasks: list[Any] = []
        self.actors: list[bool] = []
        self.calls: list[str] = []
        self.programs: list[str] = []  # the name of each task's outermost function
        self.trace: list[TraceStep] = []
        self._written: dict[tuple[int, str], tuple[Record, Field, Any]] = {}

    def spawn(
        self, task: Any, program: Callable[[], Any], name: str = "", *, actor: bool = False, call: str = ""
    ) -> None:
        """Start `program`, whose outermost function is called `name`, up to its first step.

        Its steps are in the statements of that function, or for an actor in all of it, or
        where `call` is given in that.
        """
        self.calls.append(call or (name if actor else ""))
        self.tasks.append(task)
        self.actors.append(actor)
        self.programs.append(name)
        super().spawn(task, program)
        self._raise()

    def _raise(self) -> None:
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    # This runs inside the specification's statements: `primitive` keeps it out of the answer to
    # "which line of the specification is running".

    @primitive
    def access(self, record: Record, field: Field, *, write: bool) -> None:
        super().access(record, field, write=write)
        if write and not here.ghost:
            key = (id(record), field.name)
            if key not in self._written:
                value = record._values[field.name]
                self._written[key] = (
                    record,
                    field,
                    dict(value._values) if isinstance(value, Array) else value,
                )

    def lost_wakeup(self, number: int) -> bool:
        """Whether a sleeping task waits for something that has happened already."""
        waiting = self.waiting[number]
        if waiting is None or waiting.lost is None:
            return False
        kept, here.task = here.task, self.tasks[number]
        try:
            with ghost():
                return bool(waiting.lost())
        finally:
            here.task = kept

    def step(self, number: int, choice: int = 0) -> None:
        """Take a step and add it to the trace; raises what the step raised."""
        waiting = self.waiting[number]
        assert waiting is not None
        self._written = {}
        try:
            super().step(number, choice)
        finally:
            self.taken += 1
            if self.keep != 0:
                self.trace.append(self._traced(number, waiting, choice))
            if self.keep is not None and len(self.trace) > 2 * self.keep:
                del self.trace[: -self.keep]

    def _traced(self, number: int, waiting: Waiting, choice: int) -> TraceStep:
        where = waiting.where
        stack = kernel_stack(waiting)
        return TraceStep(
            n=self.taken,
            task=repr(self.tasks[number]),
            function=where.function,
            calls=tuple(w.function for w in stack),
            source=source_of(where),
            text=statement_text(where),
            changes=tuple(self.changes()),
            call=self.calls[number] or call_text(stack, self.programs[number]),
            choice=choice,
        )

    def changes(self) -> list[Change]:
        """What the last step changed, in the order of the first writes."""
        found = []
        for record, field, old in self._written.values():
            new = record._values[field.name]
            label = record._label(field.name)
            if isinstance(new, Array):
                for index in sorted({*old, *new._values}):
                    before = old[index] if index in old else new.begun(index)
                    after = new.peek(index)
                    if before != after:
                        found.append(Change(f"{label}[{index}]", show(before), show(after), field.quiet))
            elif new != old:
                show_it = partial(named, record._system.tasks) if field.mask else show
                found.append(Change(label, show_it(old), show_it(new), field.quiet))
        return found


def named(tasks: Sequence[Record], mask: int) -> str:
    """The tasks that the bits of a number stand for."""
    return ",".join(repr(t) for t in tasks if mask >> t._index & 1) or "none"


def kernel_stack(waiting: Waiting) -> list[Where]:
    """The specification's functions that a waiting task is in, outermost first."""
    primitives = {(c.co_filename, c.co_name) for c in PRIMITIVES}
    return [
        w
        for w in waiting.stack
        if not w.function.startswith("<")
        and not w.file.startswith(OWN)
        and (w.file, w.function) not in primitives
    ]


def start(
    system: System, ignored: frozenset[str] = frozenset(), make: Callable[[frozenset[str]], Stepper] = Stepper
) -> Stepper:
    """Start every program of a system, each standing before its first step."""
    stepper = make(ignored)
    system.runtime = stepper
    for program in system.programs:
        stepper.spawn(
            program.task,
            partial(program.function, *program.args),
            program.function.__name__,
            actor=program.actor,
        )
    return stepper
