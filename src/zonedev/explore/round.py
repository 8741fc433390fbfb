"""One round of a loop, watched in a plain run: does it come back, and does everybody get a turn?"""

from __future__ import annotations

from typing import Any

from zonedev.explore.stepper import Stepper
from zonedev.lang.system import System


class Round:
    """Begins where the loop does, with the `stepper` standing before its first step."""

    def __init__(self, system: System, stepper: Stepper) -> None:
        self.system, self.stepper = system, stepper
        self.begun = self.now()
        self.able: set[int] = set()
        self.taken: set[int] = set()

    def now(self) -> tuple[Any, ...]:
        """The value of every shared location, and the place of every task."""
        shared = [self.system.encode(g.kind, g.peek(i)) for g in self.system.groups() for i in range(g.size)]
        places = [w and (w.where.file, w.where.line) for w in self.stepper.waiting]
        return (*shared, *places)

    def step(self, task: int) -> None:
        """`task` is about to take a step."""
        self.able.update(self.stepper.enabled())
        self.taken.add(task)

    def waiting(self) -> list[int]:
        """The tasks that wait all the while."""
        return [
            n
            for n, w in enumerate(self.stepper.waiting)
            if w is not None and n not in self.taken and not self.stepper.actors[n]
        ]

    def wrong(self) -> str | None:
        """Why this is no livelock, or None where it is one."""
        if self.now() != self.begun:
            return "the loop does not come back to where it began"
        for task in sorted(self.able - self.taken):
            return f"task {self.stepper.tasks[task]!r} never takes a step in the loop, though it could"
        left = (w for w, actor in zip(self.stepper.waiting, self.stepper.actors, strict=True) if not actor)
        if not any(left):
            return "all tasks have finished in the loop"
        return None
