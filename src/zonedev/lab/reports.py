"""What the kernel of a guest reports while a story is told: warnings, after which it goes on, and its end."""

from __future__ import annotations

from collections.abc import Callable

from zonedev.lab.console import Report
from zonedev.lab.guests import Guest
from zonedev.lab.story import Crash

#: The kinds of reports that a story ends with.
FATAL = ("BUG", "oops", "panic")
#: Parts of the kernel that the model has no part of: what they warn of is shown, and not compared.
NOT_MODELLED = ("block/", "fs/ext4/", "fs/fs-writeback.c", "fs/jbd2/", "fs/xfs/", "mm/backing-dev.c")


class Reports:
    """The reports of a guest, each of which is told once.

    `named` gives the page of the story that an address is the struct page of, or in.
    """

    def __init__(self, guest: Guest, named: Callable[[int], str | None]) -> None:
        self._guest, self._named = guest, named
        self._taken = 0
        self._tasks: dict[int, str] = {}  # by the thread's number
        self._warnings: list[tuple[str, str]] = []  # the task, and where
        self._others: list[str] = []  # of what is not modelled

    def begin(self) -> None:
        """Leave out what was reported until now: it is no part of the story."""
        self._taken = len(self._guest.events)

    def runs_as(self, task: str, thread: str) -> None:
        """A task of the story is this thread of the guest."""
        if thread.isdigit():
            self._tasks[int(thread)] = task

    def must_live(self) -> None:
        """Take in what has come; Crash where the kernel has gone down."""
        new = self._guest.events[self._taken :]
        self._taken += len(new)
        for report in new:
            if report.kind in FATAL:
                raise self.crash(report)
            if report.kind == "WARNING":
                self._warn(report)
        if not self._guest.alive:
            raise Crash("panic", self._guest.exit_reason or "")

    def _warn(self, report: Report) -> None:
        text = f"{report.function} ({report.source})" if report.source else words(report)
        if (report.source or "").startswith(NOT_MODELLED):
            self._others.append(text)
        else:
            self._warnings.append((self._tasks.get(report.pid or 0, ""), text))

    def of(self, task: str) -> tuple[str, ...]:
        """Where there were warnings in a task, or outside of all tasks; "" as `task`: in any."""
        return tuple(where for name, where in self._warnings if task == "" or name in ("", task))

    def warned(self, task: str) -> tuple[str, ...]:
        """The same, told once."""
        found = self.of(task)
        self._warnings = [w for w in self._warnings if task != "" and w[0] not in ("", task)]
        return found

    def others(self) -> str:
        """The warnings that are not compared, since it was asked last."""
        found, self._others = self._others, []
        return "; ".join(f"WARNING in {where}" for where in dict.fromkeys(found))

    def crash(self, report: Report) -> Crash:
        """A report of the kernel's end, as the model would put it."""
        if report.address is None:  # the kernel does not say what was touched
            return Crash("oops", words(report))
        page = self._named(report.address)
        return Crash(f"oops on {page}" if page else f"oops at {report.address:#x}", words(report))


def words(report: Report) -> str:
    """What a kernel says of a report."""
    return " in ".join(p for p in (report.what, report.function) if p)
