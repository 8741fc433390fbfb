"""A run as a C program: its requests, taken down instead of sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zonedev.lab.compare import crashed
from zonedev.lab.conform import Run, foretell
from zonedev.lab.emit import DEVICE, NAME, Expr, Step, program
from zonedev.lab.means import pins_of
from zonedev.lab.places import ALIGN, FILE, Place
from zonedev.lab.plan import has_copies
from zonedev.lab.real import Real
from zonedev.lab.story import FAILURES, Crash, Line, Ongoing
from zonedev.lab.teller import Teller
from zonedev.lab.things import LEVELS, Device, PageOf, Va
from zonedev.lang.errors import ZonedevError
from zonedev.scenarios.base import full_scope

#: Bytes of the device's pagemap, as the model takes it; no line of the program depends on them.
SIZE = 3 << 30
#: Where the program's comment has the file system mounted, and what the driver calls its device.
MOUNT, BOUND = "/mnt", "pfn0.0"
MKFS = {
    "ext4": "mkfs.ext4 -b 4096 -E stride=512,stripe_width=512",
    "xfs": "mkfs.xfs -f -d su=2m,sw=1 -m rmapbt=0",
}
#: What the variables are called that take a request's result.
RESULTS = {"mmap": "va", "mmap_sync": "va", "mmap_private": "va", "open": "fd"} | dict.fromkeys(
    ("vmsplice", "uring_pin", "xdp_pin", "dio_submit"), "pin"
)


class Request:
    """A request that is answered by the name of the variable that takes its result."""

    error = None

    def __init__(self, value: str) -> None:
        self.value = value


class Notebook:
    """In a guest's place: takes the tasks' requests down."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._taken: dict[str, int] = {}

    def ask(self, task: str, op: str, *args: str | int) -> Request:
        name = RESULTS.get(op, "")
        if name:
            number = self._taken[name] = self._taken.get(name, 0) + 1
            name += str(number) if number > 1 else ""
        self.steps.append(Step(task, op, args, name))
        return Request(name)

    def call(self, task: str, op: str, *args: str | int, seconds: float = 0.0) -> str:
        return "" if task == "-" else self.ask(task, op, *args).value

    def shell(self, command: str, seconds: float = 0.0) -> tuple[int, str]:
        return 0, ""  # the program's comment has its own commands for what a pin needs

    def blocks(self) -> None:
        """Mark the last step as one that waits."""
        self.steps[-1] = replace(self.steps[-1], blocks=True)


class Script(Real):
    """Tells a story to a notebook; what waits, fails or is the end, the model's story says."""

    def __init__(self, notebook: Notebook, pins: Any, **options: Any) -> None:
        super().__init__(notebook, None, pins, **options)  # no guest is asked
        self.notebook = notebook
        self.setup: list[str] = []

    def create(self, device: Device) -> None:
        if device.ordinary or device.kind == "dmirror_device":
            raise ZonedevError("--emit-c writes no program for a device that mirrors a task's memory")
        if device.on is None and any(d.on is None for d in self._places):
            raise ZonedevError("--emit-c writes a program for one device, and the scenario has more")
        level = device.level
        if device.kind == "pmem_device":
            made = Place(MOUNT, BOUND, 0, SIZE, 0)
        elif device.on is None:
            made = Place(DEVICE, NAME, LEVELS[level], SIZE, 0)
        else:
            size = device.length or FILE[level]
            first = not any(d.on for d in self._places)
            made = Place(DEVICE if first else f"{MOUNT}/{device.name}", NAME, size, size, 0)
        self._places[device] = made
        self.setup += self._commands(device, made.size)

    def _commands(self, device: Device, size: int) -> list[str]:
        """How to make a device, for a reader to do by hand."""
        if device.kind == "device_dax":
            return [f"ndctl create-namespace -m devdax -M mem -e namespace0.0 -a {ALIGN[device.level]} -f"]
        if device.kind == "pmem_device":
            return [
                "ndctl create-namespace -m fsdax -M mem -e namespace0.0 -f",
                f"{MKFS[self.fs]}{',reflink=1' if self.reflink else ''} /dev/pmem0",
                f"mount -o dax=always /dev/pmem0 {MOUNT}",
            ]
        path = f"{MOUNT}/{device.name}"
        if device.shared is not None:
            return [f"cp --reflink=always {MOUNT}/{device.shared.name} {path}; sync"]
        blocks = size if device.blocks is None else device.blocks
        made = [f"dd if=/dev/zero of={path} bs={blocks} count=1"] if blocks else []
        return ["; ".join([*made, *([f"truncate -s {size} {path}"] if blocks < size else []), "sync"])]

    def _moves(self, file: Device) -> None:
        """Nobody looks at pages."""

    def _at(self, va: Va) -> str:
        start = self._address[va.start]
        return f"{start} + {va.offset}" if va.offset else start

    def _by_handle(self, handle: str) -> str:
        return Expr(f"fd_path({handle})")

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        self._make(call, name, args)
        if hint is not None and hint.said == "waits":
            self.notebook.blocks()
        elif not call.done:
            self._foretold(call, hint)

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        if hint is not None:
            self._foretold(call, hint)

    def _foretold(self, call: Ongoing, hint: Line | None) -> None:
        """The outcome of a call, with which its task goes on."""
        if hint is not None and crashed(hint):
            raise Crash(hint.said)
        if hint is not None and hint.said in FAILURES:
            call.end(hint.said)
        else:
            self._answered(call)

    def _do_reuse_if_idle(self, call: Ongoing, page: PageOf) -> None:
        call.end(None, True)  # a look of the host's

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        return None

    def look_pagemap(self, device: Device, hint: Line | None) -> str | None:
        return None


def program_of(run: Run) -> str:
    """The C program of a run; ZonedevError where it cannot be one."""
    pins = pins_of(run.kernel.version)
    script = Script(Notebook(), pins, fs=run.fs or "ext4", reflink=has_copies(run.devices))
    teller = Teller(script, run.scenario, full_scope(run.scenario, run.scope), run.design)
    teller.set_up()
    foretold = foretell(run, script.sizes, pins)
    teller.hear(foretold)
    teller.tell(run.order)
    about = [f"On Linux {run.kernel.version}, by the rules of {run.design_name}:", "", *said(foretold)]
    path = f"{MOUNT}/file0" if any(d.on for d in teller.devices) else "/dev/dax0.0"
    return program(run.scenario.title(), about, script.setup, script.notebook.steps, path)


def said(lines: Sequence[Line]) -> list[str]:
    """The calls of a story, each with what comes of it."""
    arrow = {"call": " -> ", "return": " at last -> "}
    return [
        f"  {line.task}: {line.text}{arrow[line.kind]}{line.said or 'not foretold'}"
        for line in lines
        if line.kind in arrow
    ]
