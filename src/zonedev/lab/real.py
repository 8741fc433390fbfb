"""The machine as a side: a guest in which an agent makes the system calls."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from zonedev.lab.channel import Request
from zonedev.lab.console import Report
from zonedev.lab.counts import Inspector
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest, GuestGone, GuestTimeout
from zonedev.lab.means import Pin
from zonedev.lab.model import BY_DMA, STORED, counts_text, refs_text
from zonedev.lab.places import SETUP, Place, place, shell
from zonedev.lab.story import Crash, Device, Line, Ongoing, PageOf, SetUpTask, Va
from zonedev.lab.waits import PATIENCE

#: Seconds within which what is expected has to happen, such as a put by a workqueue.  A host
#: with other work is slow.
SOON = 10.0
#: Seconds between a call's return and the belief that it did no harm.
QUIET = 0.2
DRIVERS = {"device_dax": "/sys/bus/dax/drivers/device_dax"}
SIGNALS = ("SIGBUS", "SIGSEGV")
#: The kinds of kernel reports that a story ends with.
REPORTED = ("WARNING", "BUG", "oops", "panic")


class Real:
    """Tells a story by having the guest's tasks make system calls.

    `pins` is how each function that takes a page is called, by the function's name.
    `until` is when the story has to be over, on time.monotonic()'s clock.
    """

    def __init__(
        self, guest: Guest, inspector: Inspector, pins: Mapping[str, Pin], until: float = math.inf
    ) -> None:
        self.guest, self.inspector, self._pins, self._until = guest, inspector, pins, until
        self._places: dict[Device, Place] = {}
        self._tasks: set[str] = set()
        self._unborn: set[str] = set()
        self._address: dict[Va, str] = {}
        self._held: dict[tuple[str, PageOf], list[tuple[Pin, str]]] = {}
        self._ready: set[str] = set()  # the scripts that have set up what a pin needs
        self._reports = 0
        self._patient = True  # until something that was expected has not come

    # --- set-up -------------------------------------------------------------------------------

    def create(self, device: Device) -> None:
        """Make a device, or a file."""
        if not self._places:
            self._reports = len(self._reported())  # those of the boot are no part of the story
        self._places[device] = place(self.guest, device, self._places)

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each device's pagemap, or of the file."""
        return {device.name: found.size for device, found in self._places.items()}

    # --- calls --------------------------------------------------------------------------------

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        if time.monotonic() > self._until:
            raise GuestTimeout(f"{call.task}: {call.text}: the time is up before it begins")
        with self._watching(call, hint):
            self._make(call, name, args)
            if not call.done:
                self._settle(call)

    def _make(self, call: Ongoing, name: str, args: Sequence[Any]) -> None:
        """Ask for what a call of the scenario's stands for; LabError for what no program can."""
        own = getattr(self, f"_do_{name}", None)
        if own is None and name not in self._pins:
            raise LabError(f"{name}() is nothing that a program can ask a kernel for")
        if name != "clone_vm":
            self._exists(call.task)
        if own is None:
            self._take(call, name, args[0])
        else:
            own(call, *args)

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        with self._watching(call, hint):
            if hint is not None:
                self._settle(call)
            elif self.guest.wait(call.handle[0], QUIET):
                self._answered(call)

    def _exists(self, task: str) -> None:
        if task not in self._tasks and task not in self._unborn:
            self._tasks.add(task)
            self.guest.call("-", "spawn", task, seconds=SETUP)

    def _ask(self, call: Ongoing, ended: Callable[[str], None], op: str, *args: str | int) -> None:
        """Send a request; `ended` is given the answer, now or later."""
        call.handle = (self.guest.ask(call.task, op, *args), ended)

    def _settle(self, call: Ongoing) -> None:
        """Wait until a call has returned, or waits for somebody."""
        request: Request = call.handle[0]
        left = self._until - time.monotonic()
        patience = replace(PATIENCE, total=max(0.0, min(PATIENCE.total, left)))
        done = self.guest.wait(request, QUIET)
        blocked = None if done else self.guest.settle(request, patience=patience)[0]
        if blocked is None:
            self._answered(call)
        else:
            call.stack = blocked.stack
            call.note = " < ".join(blocked.stack[:6])

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
        """Raise Crash where the kernel goes down meanwhile or soon after, or warns."""
        foretold = self._patient and hint is not None and (hint.said or "").startswith(("oops", "WARN"))
        with suppress(GuestGone):  # of what, is still to be read
            yield
        deadline = time.monotonic() + (SOON if foretold else QUIET)
        while True:
            self._must_live()
            if time.monotonic() >= deadline:
                self._patient = self._patient and not foretold
                return
            self.guest.pump(0.05)

    def _must_live(self) -> None:
        """Raise Crash where the kernel has gone down, or has warned."""
        reports = self._reported()
        if len(reports) > self._reports:
            raise self._crash(reports[self._reports])
        if not self.guest.alive:
            raise Crash("panic", self.guest.exit_reason or "")

    def _reported(self) -> list[Report]:
        return [r for r in self.guest.events if r.kind in REPORTED]

    def _crash(self, report: Report) -> Crash:
        """A report of the kernel's, as the model would put it."""
        note = " in ".join(p for p in (report.what, report.function) if p)
        if report.kind in ("oops", "BUG", "panic"):
            if report.address is None:  # the kernel does not say what was touched
                return Crash("oops", note)
            page = self._page_of(report.address)
            return Crash(f"oops on {page}" if page else f"oops at {report.address:#x}", note)
        return Crash(report.kind, note)

    def _page_of(self, address: int) -> str | None:
        """The page of the story that an address is the struct page of, or in."""
        pfn = self.inspector.pfn_of(address)
        named = (page for device in self._places for page in device.pages)
        return next((page.name for page in named if self._pfn(page) == pfn), None)

    # --- one method for each call that a scenario can make --------------------------------------

    def _do_mmap(self, call: Ongoing, va: Va) -> None:
        def mapped(address: str) -> None:
            self._address[va] = address
            call.end("done", True)

        to = self._places[va.device]
        self._ask(call, mapped, "mmap", to.path, 0, to.length)

    def _do_reserve(self, call: Ongoing, va: Va) -> None:
        call.end("done")  # the kernel chooses the address when it is mapped

    _do_mmap_fixed = _do_mmap

    def _do_munmap(self, call: Ongoing, va: Va) -> None:
        length = self._places[va.device].length
        self._ask(call, lambda _: call.end("done"), "munmap", self._address[va], length)

    def _do_touch(self, call: Ongoing, va: Va, write: bool = True) -> None:
        page, address = va.device.pages[0], self._address[va]
        if write:
            self._ask(call, lambda _: call.end("done", page), "write", address, STORED.hex())
        else:
            self._ask(call, lambda byte: call.end(f"reads {byte}", page), "read", address, 1)

    def _do_clone_vm(self, call: Ongoing, other: str) -> None:
        """The thread is made by a task of the process that it will be in."""
        self._exists(other)
        self._tasks.add(call.task)
        self.guest.call(other, "thread", call.task, seconds=SETUP)
        call.end("done")

    def _do_may_fork(self, call: Ongoing, child: str) -> None:
        self._unborn.add(child)
        call.end("done")

    def _do_fork(self, call: Ongoing, child: SetUpTask) -> None:
        self._ask(call, lambda _: call.end("done", True), "fork", child.name)

    def _do_exit(self, call: Ongoing) -> None:
        self._ask(call, lambda _: call.end("done"), "exit")

    def _do_unbind(self, call: Ongoing, device: Device) -> None:
        driver, name = DRIVERS[device.kind], self._places[device].name
        self._ask(call, lambda _: call.end("done"), "write_file", f"{driver}/unbind", name)

    def _take(self, call: Ongoing, function: str, va: Va) -> None:
        """Pin a page, or get it."""
        pin, page = self._pins[function], va.device.pages[0]
        if pin.needs and pin.needs not in self._ready:
            self._ready.add(pin.needs)
            shell(self.guest, pin.needs)

        def taken(handle: str) -> None:
            self._held.setdefault((call.task, page), []).append((pin, handle))
            call.end(page.name, page)

        self._ask(call, taken, pin.op, self._address[va], 4096, *pin.rest)

    def _do_unpin_user_page(self, call: Ongoing, page: PageOf | None) -> None:
        if page is None:
            call.end("fails")  # the call that was to take it has failed
            return
        pin, handle = self._held[call.task, page].pop()
        self._ask(call, lambda _: call.end("done"), pin.drop, handle)

    _do_put_page = _do_unpin_user_page

    def _do_dma_write(self, call: Ongoing, page: PageOf, owner: int = 1) -> None:
        pin, handle = self._held[call.task, page][-1]
        if not pin.dma:
            call.end(None)
            call.note = f"{pin.name} lets no program choose when"
            return
        self._ask(call, lambda _: call.end("done"), "uring_write", handle, BY_DMA.hex())

    def _do_futex_wake(self, call: Ongoing, va: Va) -> None:
        self._ask(call, lambda _: call.end("done"), "futex_wake", self._address[va])

    def _do_reuse_if_idle(self, call: Ongoing, page: PageOf) -> None:
        """A file system looks at the count; so does the host."""
        counts = self.inspector.page(self._pfn(page))
        idle = counts is not None and counts.refcount == 1
        call.end("reused" if idle else "busy", idle)

    # --- looking ------------------------------------------------------------------------------

    def _pfn(self, page: PageOf) -> int:
        return self._places[page.device].pfn + page.index

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        def now() -> str | None:
            counts = self.inspector.page(self._pfn(page))
            if counts is None:
                return "removed"
            return counts_text(counts.refcount, counts.mapcount, counts.pincount)

        return self._eventually(now, hint)

    def look_pagemap(self, device: Device, hint: Line | None) -> str | None:
        if hint is not None and hint.said is None:
            return None  # it was freed: whatever lies there now is not the pagemap

        def now() -> str | None:
            refs = self.inspector.pgmap_ref(self._places[device].pfn)
            return None if refs is None else refs_text(refs)

        return self._eventually(now, hint)

    def _eventually(self, now: Callable[[], str | None], hint: Line | None) -> str | None:
        """What is seen as soon as it is what is expected, or else after a while: workqueues
        and RCU callbacks take their time."""
        deadline = time.monotonic() + (SOON if self._patient else QUIET)
        while True:
            found = now()
            self._must_live()  # of a guest that is gone nothing can be seen
            if hint is None or hint.said is None or found == hint.said:
                return found
            if time.monotonic() > deadline:
                self._patient = False
                return found
            self.guest.pump(0.1)
