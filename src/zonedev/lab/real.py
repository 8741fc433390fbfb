"""The machine as a side: a guest in which an agent makes the system calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from zonedev.lab.asking import QUIET, SOON
from zonedev.lab.means import Pin
from zonedev.lab.model import BY_DMA, STORED
from zonedev.lab.places import SETUP, place, shell
from zonedev.lab.real_mirror import MirrorCalls
from zonedev.lab.story import Line, Ongoing, SetUpTask
from zonedev.lab.things import Device, PageOf, Va, counts_text, refs_text

DRIVERS = {"device_dax": "/sys/bus/dax/drivers/device_dax", "pmem_device": "/sys/bus/nd/drivers/nd_pmem"}


class Real(MirrorCalls):
    """Tells a story by having the guest's tasks make system calls."""

    def __init__(self, *args: Any, fs: str = "", reflink: bool = False, **options: Any) -> None:
        """`fs` is the file system that files lie on; `reflink`: it knows shared blocks."""
        super().__init__(*args, **options)
        self.fs, self.reflink = fs, reflink
        self._held: dict[tuple[str, PageOf], list[tuple[Pin, str]]] = {}
        self._ready: set[str] = set()  # the scripts that have set up what a pin needs

    # --- set-up -------------------------------------------------------------------------------

    def create(self, device: Device) -> None:
        """Make a device, or a file."""
        if not self._places:
            self.reports.begin()
        if device.ordinary:
            return
        self._places[device] = place(self.guest, device, self._places, self.fs, self.reflink)
        file = device.shared or device
        if device.shared is not None or file.blocks is not None:
            self._moves(file)
            self._moves(device)

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each device's pagemap, or of the file."""
        return {device.name: found.size for device, found in self._places.items()}

    # --- one method for each call that a scenario can make --------------------------------------

    def _do_mmap(self, call: Ongoing, va: Va) -> None:
        def mapped(address: str) -> None:
            self._address[va] = address
            call.end("done", True)

        to = self._places[va.device]
        how = "mmap_sync" if va.sync else "mmap_private" if va.private else "mmap"
        self._ask(call, mapped, how, to.path, 0, to.length)

    def _do_reserve(self, call: Ongoing, va: Va) -> None:
        call.end("done")  # the kernel chooses the address when it is mapped

    _do_mmap_fixed = _do_mmap

    def _do_munmap(self, call: Ongoing, va: Va) -> None:
        length = self._mapped.get(va.start) or self._places[va.device].length
        self._ask(call, lambda _: call.end("done"), "munmap", self._at(va.start), length)

    def _do_touch(self, call: Ongoing, va: Va, write: bool = True) -> None:
        def touched(value: str) -> None:
            said = "done" if write else f"reads {value}"
            self._found(call, va, lambda page: call.end(said, page))

        if write:
            self._ask(call, touched, "write", self._at(va), STORED.hex())
        else:
            self._ask(call, touched, "read", self._at(va), 1)

    def _do_clone_vm(self, call: Ongoing, other: str) -> None:
        """The thread is made by a task of the process that it will be in."""
        self._exists(other)
        self._tasks.add(call.task)
        self.reports.runs_as(call.task, self.guest.call(other, "thread", call.task, seconds=SETUP))
        call.end("done")

    def _do_may_fork(self, call: Ongoing, child: str) -> None:
        self._unborn.add(child)
        call.end("done")

    def _do_fork(self, call: Ongoing, child: SetUpTask) -> None:
        def forked(thread: str) -> None:
            self.reports.runs_as(child.name, thread)
            call.end("done", True)

        self._ask(call, forked, "fork", child.name)

    def _do_exit(self, call: Ongoing) -> None:
        self._ask(call, lambda _: call.end("done"), "exit")

    def _do_unbind(self, call: Ongoing, device: Device) -> None:
        driver, name = DRIVERS[device.kind], self._places[device].name
        self._ask(call, lambda _: call.end("done"), "write_file", f"{driver}/unbind", name)

    _do_unbind_pmem = _do_unbind

    def _take(self, call: Ongoing, function: str, *args: Any) -> None:
        """Pin a page, or get it."""
        pin, va = self._pins[function], args[0]
        if pin.needs and pin.needs not in self._ready:
            self._ready.add(pin.needs)
            shell(self.guest, pin.needs)

        def taken(handle: str) -> None:
            def found(page: PageOf) -> None:
                self._held.setdefault((call.task, page), []).append((pin, handle))
                call.end(page.name, page)

            self._found(call, va, found)

        self._ask(call, taken, pin.op, self._at(va), 4096, *pin.rest)

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
        self._ask(call, lambda _: call.end("done"), "futex_wake", self._at(va))

    def _do_reuse_if_idle(self, call: Ongoing, page: PageOf) -> None:
        """A file system looks at the count; so does the host."""
        counts = self.inspector.page(self._pfn(page) or 0)
        idle = counts is not None and counts.refcount == 1
        call.end("reused" if idle else "busy", idle)

    # --- looking ------------------------------------------------------------------------------

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        pfn = self._pfn(page)
        if pfn is None:
            return None

        def now() -> str | None:
            counts = self.inspector.page(pfn)
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
            self.reports.must_live()  # of a guest that is gone nothing can be seen
            if hint is None or hint.said is None or found == hint.said:
                return found
            if time.monotonic() > deadline:
                self._patient = False
                return found
            self.guest.pump(0.1)
