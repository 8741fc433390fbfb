"""What a long check shows on stderr while it runs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from zonedev.explore.result import Progress

FIRST = 1.0  # seconds before anything is shown
EVERY = 5.0  # seconds between two plain lines
REFRESH = 0.2  # seconds between two updates of a terminal


def short(number: float) -> str:
    """A number in at most five characters: 950, 12k, 3.4M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            value = number / size
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return f"{number:.0f}"


class Reporter:
    """Shows a line on a terminal that is rewritten, or plain lines now and then elsewhere.

    Nothing is shown for what takes less than a second, and nothing ever on stdout.
    """

    def __init__(self, what: str = "", unit: str = "checks") -> None:
        self.what, self.unit = what, unit
        self.begun = time.perf_counter()
        self.shown = self.begun
        self.terminal = sys.stderr.isatty()
        self.status: Any = None

    def __enter__(self) -> Reporter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status is not None:
            self.status.stop()
            self.status = None

    def progress(self, progress: Progress) -> None:
        """Report on an exploration."""
        now = time.perf_counter()
        if progress.depth and self._due(now):
            rate = progress.states / max(progress.seconds, 1e-9)
            self._show(
                f"{self.what}: {short(progress.states)} states, {short(rate)} states/s, "
                f"depth {progress.depth}, frontier {short(progress.frontier)}",
                now,
            )

    def count(self, done: int, total: int) -> None:
        """Report on a list of checks."""
        now = time.perf_counter()
        if self._due(now):
            self._show(f"{self.what}: {done} of {total} {self.unit}", now)

    def stage(self, text: str, percent: float | None = None) -> None:
        """Report on a work of several stages, each as far as its percentage."""
        now = time.perf_counter()
        if self._due(now):
            self._show(f"{self.what}: {text}" + ("" if percent is None else f": {percent:.0f}%"), now)

    def _due(self, now: float) -> bool:
        if now - self.begun < FIRST:
            return False
        if self.shown == self.begun:
            return True
        return now - self.shown >= (REFRESH if self.terminal else EVERY)

    def _show(self, text: str, now: float) -> None:
        self.shown = now
        if not self.terminal:
            print(text, file=sys.stderr, flush=True)
            return
        if self.status is None:
            from rich.console import Console  # only where it is seen: it costs a tenth of a second
            from rich.status import Status

            self.status = Status(text, console=Console(stderr=True))
            self.status.start()
        self.status.update(text)
