"""Telling a scenario: which task goes on, what is said of it, and when to look at the counts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from zonedev.kernel import gup
from zonedev.lab.story import FAILURES, Crash, Line, Ongoing, Program, SetUp, SetUpTask, Side
from zonedev.lab.things import Device, Flag, Mirror, PageOf, Va
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.scenarios.base import Scenario

#: What a set-up calls the devices that it makes.
DEVICE_NAMES = {
    "device_dax": "dax",
    "pmem_device": "pmem",
    "dax_file": "file",
    "dmirror_device": "gpu",
    "anonymous_memory": "memory",
}


class Teller:
    """Runs a scenario's functions on a side, and notes what comes of it.

    `design` names the parameters of the calls.
    """

    def __init__(
        self,
        side: Side,
        scenario: type[Scenario],
        scope: Mapping[str, Any],
        design: type[Specification],
    ) -> None:
        self.side, self.scenario, self.design = side, scenario, design
        self.lines: list[Line] = []
        self.devices: list[Device] = []
        self.memory = Device("memory", "anonymous_memory", {})
        self.programs: dict[str, Program] = {}
        self._hints: dict[tuple[int, str, str, str], Line] = {}
        self._moment = 0
        self._born: set[str] = set()
        self._to_be_born: set[str] = set()
        self.m = SetUp(self, scope)

    # --- the set-up ---------------------------------------------------------------------------

    def set_up(self) -> None:
        """Run the scenario's set-up, and each task up to its first call."""
        setup = vars(self.scenario).get("setup") or self.scenario.setup
        function: Callable[..., None] = setup.__func__ if isinstance(setup, staticmethod) else setup
        function(self.m)
        for thing in vars(self.m).values():
            if isinstance(thing, Va):
                thing.called = self.m.name_of(thing) or thing.called
        for device in self.devices:
            own = device.blocks != 0 and device.shared is None and device.filled
            if own and device.kind != "pmem_device":
                _ = device.pages[0]  # which is always looked at

    def create(self, kind: str, on: Sequence[Any], shape: Mapping[str, Any]) -> Device:
        """Make a device; `on` is what it lies on."""
        if kind not in DEVICE_NAMES:
            raise ZonedevError(f"{self.scenario.name()}: set-up: {kind}() is of the model alone")
        if kind in ("anonymous_memory", "dmirror_device"):
            on, shape = (), {"pages": on[0] if on else 1, **shape}
        if shape.get("coherent"):
            raise ZonedevError(f"{self.scenario.name()}: set-up: coherent memory is of the model alone")
        if kind == "anonymous_memory":
            self.memory = Device("memory", kind, shape)
            self.side.create(self.memory)
            return self.memory
        name = DEVICE_NAMES[kind]
        name += str(sum(d.kind == kind for d in self.devices))
        others = any(d.kind != "pmem_device" for d in self.devices)
        device = Device(name, kind, shape, on[0] if on else None, f"{name}." if others else "")
        self.devices.append(device)
        self.side.create(device)
        return device

    def at_setup(self, task: str, name: str, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
        """A call of a task's at set-up, which must not wait; `named` belongs to an address."""
        given: list[Any] = list(args)
        if name == "may_fork":
            self._to_be_born.add(args[0])
        if name in ("mmap", "reserve"):
            given = [mapping(*args, **named)]
        if name == "mmap_anonymous":
            given = [Va(self.memory), *(args or (1,))]
            if named.get("thp"):
                raise ZonedevError(f"{self.scenario.name()}: set-up: huge pages are of the model alone")
        call = Ongoing(task, name)
        self.side.begin(call, name, given, None)
        if not call.done:
            raise ZonedevError(f"{self.scenario.name()}: set-up: {name}() waits")
        if call.said in FAILURES:
            raise ZonedevError(f"{self.scenario.name()}: set-up: {name}() {call.said} {call.note}".rstrip())
        return given[0] if name in ("mmap", "reserve", "mmap_anonymous") else call.value

    def hear(self, hints: Sequence[Line]) -> None:
        """Take what the other side told as hints."""
        self._hints = {line.key: line for line in hints}

    # --- the tasks ----------------------------------------------------------------------------

    def tell(self, order: Sequence[str]) -> list[Line]:
        """The lines of the story: the tasks' calls in `order`, then one of each in turn."""
        try:
            self._look("setup", "")
            for name, function in self.scenario.real_programs():
                self.programs[name] = Program(name, function, self.m)
            self._run_ahead()
            for name in order:
                self._next_call(self.programs[name])
            while ready := [p for p in self.programs.values() if self._ready(p)]:
                for program in ready:
                    self._next_call(program)
            for program in self._waiting():
                assert program.ongoing is not None
                self._say("end", program.task, program.ongoing.text, "waits for good")
            if warned := self.side.warned(""):  # when nobody called it
                self._say("end", "", "the kernel", "WARNING", note="; ".join(warned))
        except Crash:
            pass
        finally:
            for program in self.programs.values():
                if not program.ended:
                    program.abandon()
        return self.lines

    def _ready(self, program: Program) -> bool:
        return not program.ended and not program.waits and not self._held(program)

    def _held(self, program: Program) -> bool:
        """Whether a task waits for another one outside the kernel."""
        if program.call is None:
            return False
        name, args = program.call
        if name == "ret_from_fork":
            return program.task in self._to_be_born - self._born
        return name == "wait_for" and not args[0].up

    def _next_call(self, program: Program) -> None:
        if not self._ready(program):
            return  # it has ended sooner than the order reckons with, or waits
        assert program.call is not None
        name, args = program.call
        self._moment += 1
        call = program.ongoing = Ongoing(program.task, self._text(name, args), self._moment)
        hint = self._hint("call", call.task, call.text)
        try:
            self.side.begin(call, name, args, hint)
        except Crash as crash:
            self._say_call("call", call, crash.said, crash.note)
            raise
        self._say_call("call", call, call.said if call.done else "waits", call.note, call.stack)
        if call.done:
            self._finish(program, name, args)
        self._follow(program)
        self._look("look", "")

    def _finish(self, program: Program, name: str, args: Sequence[Any]) -> None:
        assert program.ongoing is not None
        if name == "fork" and program.ongoing.value is not None:
            self._born.add(args[0].name)
        program.answer(program.ongoing.value)
        self._run_ahead()

    def _follow(self, last: Program) -> None:
        """See which of the calls that waited have gone on."""
        for program in self._waiting():
            call = program.ongoing
            assert call is not None
            if program is last:
                continue
            hint = self._hint("return", call.task, call.text)
            try:
                self.side.follow(call, hint)
            except Crash as crash:
                self._say_call("return", call, crash.said, crash.note)
                raise
            if call.done:
                self._say_call("return", call, call.said, call.note)
                assert program.call is not None
                self._finish(program, *program.call)

    def _waiting(self) -> list[Program]:
        return [p for p in self.programs.values() if p.waits]

    def _run_ahead(self) -> None:
        """Run all tasks through what is no call of the kernel's."""
        moved = True
        while moved:
            moved = False
            for program in self.programs.values():
                while self._glue(program):
                    moved = True

    def _glue(self, program: Program) -> bool:
        """Do what a task wants of the scenario and not of the kernel; false where it stands."""
        if program.call is None or program.waits or self._held(program):
            return False
        name, args = program.call
        if name == "happens":
            args[0].up = True
        elif name == "observe":
            self._look("observe", args[0], args[1])
        elif name not in ("wait_for", "ret_from_fork"):
            return False
        program.answer(None)
        return True

    # --- what is said -------------------------------------------------------------------------

    def _look(self, kind: str, label: str, *pages: PageOf) -> None:
        """Note the counts of `pages`, or of all pages and pagemaps that the story has named."""
        for page in pages or [p for d in self.devices for p in d.pages]:
            self._look_at(kind, label, page.name, partial(self.side.look, page))
        for device in () if pages else self._pagemaps():
            self._look_at(kind, label, f"{device.name}.pgmap", partial(self.side.look_pagemap, device))

    def _look_at(self, kind: str, label: str, text: str, look: Callable[[Line | None], str | None]) -> None:
        try:
            self._say(kind, label, text, look(self._hint(kind, label, text)))
        except Crash as crash:
            self._say(kind, label, text, crash.said, note=crash.note)
            raise

    def _pagemaps(self) -> Iterator[Device]:
        return (d for d in self.devices if d.kind != "dax_file" and d.filled)

    def _say_call(
        self, kind: str, call: Ongoing, said: str | None, note: str, stack: tuple[str, ...] = ()
    ) -> None:
        """Note what came of a call, and whether the kernel has warned in it."""
        warned = self.side.warned(call.task)
        self._say(kind, call.task, call.text, said, note=note, stack=stack, warned=warned)

    def _say(self, kind: str, task: str, text: str, said: str | None, **more: Any) -> None:
        self.lines.append(Line(self._moment, kind, task, text, said, **more))

    def _hint(self, kind: str, task: str, text: str) -> Line | None:
        return self._hints.get((self._moment, kind, task, text))

    def _text(self, name: str, args: Sequence[Any]) -> str:
        """A call as the scenario writes it."""
        method = getattr(self.design, name, None)
        parameters = list(inspect.signature(method).parameters)[1:] if method else []
        named = [*parameters, *[""] * len(args)]
        return f"{name}({', '.join(self._shown(n, a) for n, a in zip(named, args, strict=False))})"

    def _shown(self, parameter: str, value: Any) -> str:
        if parameter == "flags":
            return flags_text(value)
        if isinstance(value, (Device, PageOf, Va, SetUpTask)):
            return value.name
        if isinstance(value, Flag):
            return self.m.name_of(value) or "event"
        if isinstance(value, Mirror):
            return self.m.name_of(value) or "mirror"
        return f"{parameter}={value}" if isinstance(value, bool) and parameter else str(value)


def mapping(device: Device, sync: bool = False, private: bool = False) -> Va:
    """What a task maps at set-up, and how, in the words of the specification's mmap()."""
    return Va(device, sync=sync, private=private)


def flags_text(flags: int) -> str:
    """FOLL_ flags by name."""
    names = [n for n in ("FOLL_WRITE", "FOLL_GET", "FOLL_PIN", "FOLL_LONGTERM") if flags & getattr(gup, n)]
    return " | ".join(names) or "0"


def parse_order(text: str, scenario: type[Scenario]) -> tuple[str, ...]:
    """``A B A A`` as tasks of the scenario; ZonedevError for others."""
    known = [name for name, _ in scenario.real_programs()]
    order = tuple(text.replace(",", " ").split())
    for name in order:
        if name not in known:
            raise ZonedevError(f"--order: {scenario.name()} has no task {name!r}: it has {', '.join(known)}")
    return order
