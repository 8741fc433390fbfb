"""Asking the tasks of a guest, and seeing whether a call returns, waits, or brings the kernel down."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from zonedev.lab.channel import Request
from zonedev.lab.counts import Inspector
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest, GuestGone, GuestTimeout
from zonedev.lab.means import Pin
from zonedev.lab.places import SETUP, Place
from zonedev.lab.reports import Reports
from zonedev.lab.story import Line, Ongoing
from zonedev.lab.things import Device, PageOf
from zonedev.lab.waits import PATIENCE

#: Seconds within which what is expected has to happen, such as a put by a workqueue.  A host
#: with other work is slow.
SOON = 10.0
#: Seconds between a call's return and the belief that it did no harm.
QUIET = 0.2
SIGNALS = ("SIGBUS", "SIGSEGV")


class Asking:
    """The part of a machine's side that every call needs.

    `pins` is how each function that takes a page is called, by the function's name.
    `until` is when the story has to be over, on time.monotonic()'s clock.
    """

    def __init__(
        self, guest: Guest, inspector: Inspector, pins: Mapping[str, Pin], until: float = math.inf
    ) -> None:
        self.guest, self.inspector, self._pins, self._until = guest, inspector, pins, until
        self.reports = Reports(guest, self._page_of)
        self._places: dict[Device, Place] = {}
        self._tasks: set[str] = set()
        self._unborn: set[str] = set()
        self._patient = True  # until something that was expected has not come

    # --- calls --------------------------------------------------------------------------------

    def begin(self, call: Ongoing, name: str, args: Sequence[object], hint: Line | None) -> None:
        if time.monotonic() > self._until:
            raise GuestTimeout(f"{call.task}: {call.text}: the time is up before it begins")
        with self._watching(call, hint):
            self._make(call, name, args)
            if not call.done:
                self._settle(call)

    def _make(self, call: Ongoing, name: str, args: Sequence[object]) -> None:
        """Ask for what a call of the scenario's stands for; LabError for what no program can."""
        own = getattr(self, f"_do_{name}", None)
        if own is None and name not in self._pins:
            raise LabError(f"{name}() is nothing that a program can ask a kernel for")
        if name != "clone_vm":
            self._exists(call.task)
        if own is None:
            self._take(call, name, *args)
        else:
            own(call, *args)

    def _take(self, call: Ongoing, function: str, *args: object) -> None:
        raise NotImplementedError

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        with self._watching(call, hint):
            if hint is not None:
                self._settle(call)
            elif self.guest.wait(call.handle[0], QUIET):
                self._answered(call)
                if not call.done:
                    self._settle(call)

    def _exists(self, task: str) -> None:
        if task not in self._tasks and task not in self._unborn:
            self._tasks.add(task)
            self.reports.runs_as(task, self.guest.call("-", "spawn", task, seconds=SETUP))

    def _ask(self, call: Ongoing, ended: Callable[[str], None], op: str, *args: str | int) -> None:
        """Send a request; `ended` is given the answer, now or later, and may ask for more."""
        call.handle = (self.guest.ask(call.task, op, *args), ended)

    def _settle(self, call: Ongoing) -> None:
        """Wait until a call has returned, or waits for somebody."""
        while not call.done:
            request: Request = call.handle[0]
            left = self._until - time.monotonic()
            patience = replace(PATIENCE, total=max(0.0, min(PATIENCE.total, left)))
            done = self.guest.wait(request, QUIET)
            blocked = None if done else self.guest.settle(request, patience=patience)[0]
            if blocked is not None:
                call.stack = blocked.stack
                call.note = " < ".join(blocked.stack[:6])
                return
            self._answered(call)

    def _answered(self, call: Ongoing) -> None:
        request, ended = call.handle
        call.note = ""
        if request.error is None:
            ended(request.value)
        elif request.error in SIGNALS:
            call.end(request.error)
        else:
            call.end("fails")
            call.note = request.error

    @contextmanager
    def _watching(self, call: Ongoing, hint: Line | None) -> Iterator[None]:
        """Raise Crash where the kernel goes down meanwhile or soon after; take its warnings."""
        oopses = self._patient and hint is not None and (hint.said or "").startswith("oops")
        warns = len(hint.warned) if self._patient and hint is not None else 0
        with suppress(GuestGone):  # of what, is still to be read
            yield
        begun = time.monotonic()
        while True:
            self.reports.must_live()
            waited = time.monotonic() - begun
            missing = oopses or len(self.reports.of(call.task)) < warns
            if waited >= (SOON if missing else QUIET):
                break
            self.guest.pump(0.05)
        self._patient = self._patient and not missing
        call.note = "; ".join(filter(None, (call.note, self.reports.others())))

    def warned(self, task: str) -> tuple[str, ...]:
        return self.reports.warned(task)

    # --- pages --------------------------------------------------------------------------------

    def _pfn(self, page: PageOf) -> int | None:
        """The frame of a page; None as long as a file has no block there."""
        if page.frame is None:
            page.frame = self._places[page.device].pfn_at(page.device.offset(page.index))
        found: int | None = page.frame
        return found

    def _page_of(self, address: int) -> str | None:
        """The page of the story that an address is the struct page of, or in."""
        pfn = self.inspector.pfn_of(address)
        named = (page for device in self._places for page in device.pages)
        return next((page.name for page in named if pfn is not None and self._pfn(page) == pfn), None)
