"""The model as a side: the specification by hand, with devices as large as the machine's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zonedev.lab.means import Pin
from zonedev.lab.story import Crash, Device, Line, Ongoing, PageOf, SetUpTask, Va
from zonedev.lang.errors import RuleBroken
from zonedev.lang.system import Specification
from zonedev.machine import Job, Machine
from zonedev.memory import BusError

ALIGN = {"pte": "4KiB", "pmd": "2MiB", "pud": "1GiB"}
#: What stores and DMA leave, to tell them apart.
STORED, BY_DMA = b"\x01", b"\x02"


class Model:
    """Tells a story by running a design.

    `sizes` are the devices' sizes in bytes, by name; `pins` is how each function that takes
    a page is called on the machine, by the function's name.  No rule watches but those that
    the specified code trips over itself: what is foretold is what the kernel does.
    """

    def __init__(
        self, design: type[Specification], sizes: Mapping[str, int], pins: Mapping[str, Pin]
    ) -> None:
        self.machine = Machine(design, rules={}, keep=0, at_rest=False)
        self._sizes, self._pins = sizes, pins
        self._records: dict[Device, Any] = {}
        self._held: dict[tuple[str, PageOf], list[tuple[Pin, Any]]] = {}
        self._va: dict[Va, int] = {}

    def close(self) -> None:
        self.machine.close()

    # --- set-up -------------------------------------------------------------------------------

    def create(self, device: Device) -> None:
        size = self._sizes[device.name]
        if device.on is not None:
            self._records[device] = self.machine.dax_file(self._records[device.on], size)
        else:
            make = getattr(self.machine, device.kind)
            self._records[device] = make(size, ALIGN[device.shape.get("size", "pte")])

    # --- calls --------------------------------------------------------------------------------

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        own = getattr(self, f"_do_{name}", None)
        if name in self._pins:
            self._take(call, name, args[0])
        elif own is not None:
            own(call, *args)
        else:
            self._run(call, name, [self._plain(a) for a in args], lambda found: call.end("done", found))

    def _run(self, call: Ongoing, name: str, args: Sequence[Any], ended: Callable[[Any], None]) -> None:
        """Make a call of the specification; `ended` is given its result, now or later."""
        try:
            found = getattr(self.machine.task(call.task), name)(*args)
        except BusError:
            call.end("SIGBUS")
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
            except BusError:
                call.end("SIGBUS")
            except RuleBroken as broken:
                raise self._crash(broken) from None

    def _plain(self, value: Any) -> Any:
        """What the specification takes for a name of the story."""
        if isinstance(value, Device):
            return self._records[value]
        if isinstance(value, Va):
            return self._va[value]
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

        self._run(call, "mmap", [self._records[va.device]], mapped)

    def _do_reserve(self, call: Ongoing, va: Va) -> None:
        def reserved(page_number: int) -> None:
            self._va[va] = page_number << 12
            call.end("done")

        self._run(call, "reserve", [self._records[va.device]], reserved)

    def _do_mmap_fixed(self, call: Ongoing, va: Va) -> None:
        self._run(
            call, "mmap_fixed", [self._va[va]], lambda done: call.end("done" if done else "fails", done)
        )

    def _do_touch(self, call: Ongoing, va: Va, write: bool = True) -> None:
        page = va.device.pages[0]
        if write:
            self._run(call, "write", [self._va[va], STORED], lambda _: call.end("done", page))
        else:
            self._run(call, "read", [self._va[va], 1], lambda byte: call.end(f"reads {byte.hex()}", page))

    def _take(self, call: Ongoing, function: str, va: Va) -> None:
        """Pin a page, or get it, by the same means as the machine."""
        pin, page = self._pins[function], va.device.pages[0]

        def taken(record: Any) -> None:
            if record is None:
                call.end("fails")
                return
            self._held.setdefault((call.task, page), []).append((pin, record))
            call.end(page.name, page)

        self._run(call, pin.function, [self._va[va], pin.flags], taken)

    def _do_unpin_user_page(self, call: Ongoing, page: PageOf | None) -> None:
        if page is None:
            call.end("fails")
            return
        pin, record = self._held[call.task, page].pop()
        name = "unpin_user_page" if pin.function.startswith("pin") else "put_page"
        self._run(call, name, [record], lambda _: call.end("done"))

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

        self._run(call, "get_user_pages_fast", [self._va[va]], taken)

    # --- looking ------------------------------------------------------------------------------

    def _record(self, page: PageOf) -> Any:
        return self._records[page.device].pages[page.index]

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        record = self._record(page)
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

    def _crash(self, broken: RuleBroken) -> Crash:
        """What the kernel does where the specified code trips."""
        if broken.rule == "kernel-asserts":
            return Crash("WARNING", broken.text)
        found = re.search(r"\b(page\d+)\.", broken.text)
        for device, record in self._records.items():
            for page in device.pages if found else ():
                if repr(record.pages[page.index]) == found[1]:  # type: ignore[index]
                    return Crash(f"oops on {page.name}", broken.text)
        return Crash(None, f"{broken.rule}: {broken.text}")  # memory that is still there, if stale


def counts_text(refcount: int, mapcount: int, pincount: int) -> str:
    """The counts of a page's folio; those that are 0 are left out, but for the first."""
    said = f"_refcount {refcount}"
    said += f", _mapcount {mapcount}" if mapcount else ""
    return said + (f", _pincount {pincount}" if pincount else "")


def refs_text(refs: int) -> str:
    """The references of a pagemap."""
    return f"ref {refs}"
