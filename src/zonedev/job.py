"""A call of the machine by hand that may have to wait."""

from __future__ import annotations

from typing import Any

from zonedev.explore.replay import blocked_text
from zonedev.explore.stepper import Stepper, kernel_stack
from zonedev.explore.trace import source_of
from zonedev.lang.errors import ZonedevError


class Job:
    """A call that is on its way: pending until it has returned or raised."""

    def __init__(self, stepper: Stepper, number: int, text: str) -> None:
        self._stepper, self.number, self._text = stepper, number, text
        self.error: BaseException | None = None
        self.steps = 0

    @property
    def done(self) -> bool:
        """Whether the call has returned or raised."""
        return self.error is not None or self._stepper.waiting[self.number] is None

    def result(self) -> Any:
        """What the call returned; raises what it raised, or ZonedevError while it is pending."""
        if self.error is not None:
            raise self.error
        if not self.done:
            raise ZonedevError(f"{self._text} is pending: it waits in {self.blocked_on}")
        return self._stepper.result[self.number]

    @property
    def blocked_on(self) -> str | None:
        """Where the call waits: function (file:line): statement; None once it is done."""
        return None if self.done else blocked_text(self._stepper, self.number)

    @property
    def stack(self) -> list[str]:
        """The kernel functions that the call is in, outermost first, as "function (file:line)"."""
        waiting = self._stepper.waiting[self.number]
        if self.done or waiting is None:
            return []
        return [f"{w.function} ({source_of(w)})" for w in kernel_stack(waiting)]

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<{self._text}: raised {self.error}>"
        return f"<{self._text}: {'done' if self.done else f'waits in {self.blocked_on}'}>"
