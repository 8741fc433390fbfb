"""The model as a side: the specification by hand, with devices as large as the machine's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zonedev.lab.backports import with_backports
from zonedev.lab.means import Pin
from zonedev.lab.model_mirror import MirrorStories
from zonedev.lab.story import Crash, Line, Ongoing, SetUpTask
from zonedev.lab.things import PAGE_SHIFT, Device, PageOf, Va, counts_text, refs_text
from zonedev.lang.errors import RuleBroken
from zonedev.lang.system import Specification
from zonedev.machine import Job, Machine
from zonedev.memory import BusError, DeviceFault

ALIGN = {"pte": "4KiB", "pmd": "2MiB", "pud": "1GiB"}
#: What stores and DMA leave, to tell them apart.
STORED, BY_DMA = b"\x01", b"\x02"


class Model(MirrorStories):
    """Tells a story by running a design.

    `sizes` are the devices' sizes in bytes, by name; `pins` is how each function that takes
    a page is called on the machine, by the function's name.  No rule watches but those that
    the specified code trips over itself: what is foretold is what the kernel does.
    """

    def __init__(
        self,
        design: type[Specification],
        sizes: Mapping[str, int],
        pins: Mapping[str, Pin],
        chosen: Mapping[int, str] | None = None,
    ) -> None:
        super().__init__(chosen)
        self.machine = Machine(
            self._choosing(with_backports(design)), rules={}, keep=0, at_rest=False, goes_on=True
        )
        self._sizes, self._pins = sizes, pins
        self._held: dict[tuple[str, PageOf], list[tuple[Pin, Any]]] = {}
        self._va: dict[Va, int] = {}
        self._touched: dict[str, int] = {}  # the page number that a task has touched last
        self._tasks: set[str] = set()
        self._said: set[str] = set()  # the warnings, of which each comes once: WARN_ON_ONCE()

    def close(self) -> None:
        self.machine.close()

    # --- set-up -------------------------------------------------------------------------------

    def create(self, device: Device) -> None:
        if device.ordinary:
            self.machine.anonymous_memory(device.shape["pages"])
            return
        if device.kind == "dmirror_device":
            self._records[device] = self._mirror_device(device)
            return
        size = self._sizes[device.name]
        if device.on is not None:
            self._records[device] = self._file(device, size)
        else:
            make = getattr(self.machine, device.kind)
            self._records[device] = make(size, ALIGN[device.shape.get("size", "pte")])

    # --- calls --------------------------------------------------------------------------------

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        own = getattr(self, f"_do_{name}", None)
        self._moment = call.moment
        if name in self._pins:
            self._take(call, name, args[0])
        elif own is not None:
            own(call, *args)
        else:
            self._run(call, name, [self._plain(a) for a in args], lambda found: self._end(call, found))

    def _end(self, call: Ongoing, found: Any) -> None:
        """The end of a call; False stands for an errno."""
        call.end("fails" if found is False else "done", found)

    def _run(self, call: Ongoing, name: str, args: Sequence[Any], ended: Callable[[Any], None]) -> None:
        """Make a call of the specification; `ended` is given its result, now or later."""
        self._tasks.add(call.task)
        try:
            found = getattr(self.machine.task(call.task), name)(*args)
        except BusError as fault:
            call.end(self._signal(call.task, fault))
            return
        except RuleBroken as broken:
            raise self._crash(broken) from None
        if isinstance(found, Job):
            call.handle = (found, ended)
            call.stack = tuple(f.split()[0] for f in reversed(found.stack))
        else:
            ended(found)

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        job, ended = call.handle
        if job.done:
            try:
                ended(job.result())
            except BusError as fault:
                call.end(self._signal(call.task, fault))
            except RuleBroken as broken:
                raise self._crash(broken) from None

    def _plain(self, value: Any) -> Any:
        """What the specification takes for a name of the story."""
        if isinstance(value, Device):
            return self._records[value]
        if isinstance(value, Va):
            return self._address(value)
        if isinstance(value, PageOf):
            return self._record(value)
        if isinstance(value, SetUpTask):
            return self.machine.task(value.name)
        return value

    # --- what is not called as the scenario writes it -----------------------------------------

    def _do_mmap(self, call: Ongoing, va: Va) -> None:
        def mapped(address: int) -> None:
            self._va[va] = address
            call.end("done")

        self._run(call, "mmap", [self._records[va.device], va.sync, va.private], mapped)

    def _do_reserve(self, call: Ongoing, va: Va) -> None:
        def reserved(page_number: int) -> None:
            self._va[va] = page_number << PAGE_SHIFT
            call.end("done")

        self._run(call, "reserve", [self._records[va.device]], reserved)

    def _do_mmap_fixed(self, call: Ongoing, va: Va) -> None:
        self._run(call, "mmap_fixed", [self._va[va]], lambda done: self._end(call, done))

    def _do_touch(self, call: Ongoing, va: Va, write: bool = True) -> None:
        address = self._address(va)
        self._touched[call.task] = address >> PAGE_SHIFT
        if write:
            self._run(call, "write", [address, STORED], lambda _: call.end("done", self._there(va)))
        else:
            self._run(call, "read", [address, 1], lambda b: call.end(f"reads {b.hex()}", self._there(va)))

    def _signal(self, task: str, fault: BusError) -> str:
        """What ends a touch: SIGSEGV where nothing is mapped, else SIGBUS.  The specification has one
        word for both.  A device is only told."""
        if isinstance(fault, DeviceFault):
            return "fails"
        vma = self.machine.task(task).task._values["mm"]._values["vma_at"][self._touched[task]]
        return "SIGBUS" if vma._values["linked"] else "SIGSEGV"

    def _address(self, va: Va) -> int:
        return self._va[va.start] + va.offset

    def _take(self, call: Ongoing, function: str, va: Va) -> None:
        """Pin a page, or get it, by the same means as the machine."""
        pin = self._pins[function]

        def taken(record: Any) -> None:
            if record is None:
                call.end("fails")
                return
            page = self._there(va, record)
            self._held.setdefault((call.task, page), []).append((pin, record))
            call.end(page.name, page)

        self._run(call, pin.function, [self._address(va), pin.flags], taken)

    def _do_unpin_user_page(self, call: Ongoing, page: PageOf | None) -> None:
        if page is None:
            call.end("fails")
            return
        pin, record = self._held[call.task, page].pop()
        self._run(call, pin.put, [record], lambda _: call.end("done"))

    _do_put_page = _do_unpin_user_page

    def _do_fork(self, call: Ongoing, child: SetUpTask) -> None:
        self._run(call, "fork", [self._plain(child)], lambda _: call.end("done", True))

    def _do_reuse_if_idle(self, call: Ongoing, page: PageOf) -> None:
        self._run(
            call,
            "reuse_if_idle",
            [self._record(page)],
            lambda idle: call.end("reused" if idle else "busy", idle),
        )

    def _do_dma_write(self, call: Ongoing, page: PageOf, owner: int = 1) -> None:
        pin, record = self._held[call.task, page][-1]
        if not pin.dma:
            call.end(None)
        elif not record._values["live"]:
            raise Crash(f"oops on {page.name}", "the kernel copies through the direct map, which is gone")
        else:
            self._run(call, "dma_write", [record, BY_DMA], lambda _: call.end("done"))

    def _do_futex_wake(self, call: Ongoing, va: Va) -> None:
        """get_futex_key() of a shared futex takes the page without a lock, and puts it
        (kernel/futex/core.c)."""

        def taken(record: Any) -> None:
            if record is not None:
                self._run(call, "put_page", [record], lambda _: call.end("done"))
            else:
                call.end("fails")

        self._run(call, "get_user_pages_fast", [self._address(va)], taken)

    # --- looking ------------------------------------------------------------------------------

    def _record(self, page: PageOf) -> Any:
        """What a page is; None as long as a file has no block there."""
        if page.frame is None:
            pages, index = self._records[page.device].pages, page.device.offset(page.index) >> PAGE_SHIFT
            page.frame = pages[index] if index < len(pages) else None
        return page.frame

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        record = self._record(page)
        if record is None:
            return None
        if not record._values["live"]:
            return "removed"
        head = record._values["head"]
        values = {n: head._values[n]._values["value"] for n in ("_refcount", "_mapcount", "_pincount")}
        return counts_text(**{n.strip("_"): v for n, v in values.items()})

    def look_pagemap(self, device: Device, hint: Line | None) -> str | None:
        """The sum over the per-CPU counters, and for the pages that nobody has touched and
        that the machine by hand has not made, what they would hold."""
        record = self._records[device]
        pgmap = record.pgmap
        if not pgmap._values["live"] or not pgmap.pages[0]._values["live"]:
            return None
        ref = pgmap._values["ref"]
        count: int = ref._values["count"]._values["value"]
        if ref._values["percpu_count_ptr"].dead:
            return refs_text(count)
        k = self.machine.k
        untouched = (len(pgmap.pages) >> pgmap.vmemmap_shift) - k.pfn_len(pgmap)
        percpu = ref._values["percpu_count"]._values["value"]
        return refs_text(count - k.percpu_count_bias() + percpu + untouched)

    def warned(self, task: str) -> tuple[str, ...]:
        known = self.machine.warnings
        mine = [w for w in known if task in ("", w.task) or w.task not in self._tasks]
        known[:] = [w for w in known if w not in mine]
        fresh = [text for text in dict.fromkeys(w.text for w in mine) if text not in self._said]
        self._said.update(fresh)
        return tuple(fresh)

    def _crash(self, broken: RuleBroken) -> Crash:
        """What the kernel does where the specified code trips."""
        if broken.rule == "kernel-asserts":
            return Crash("oops", broken.text)  # a BUG_ON(), or a NULL pointer
        found = re.search(r"\b(page\d+)\.", broken.text)
        for page in (page for device in self._records for page in device.pages):
            if found and repr(self._record(page)) == found[1]:
                return Crash(f"oops on {page.name}", broken.text)
        return Crash(None, f"{broken.rule}: {broken.text}")  # memory that is still there, if stale
