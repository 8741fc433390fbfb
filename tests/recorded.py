"""Sessions with real kernels, recorded once and told again without QEMU.

    PYTHONPATH=src python tests/recorded.py SCENARIO KERNEL [FS] [ORDER]    records one
    PYTHONPATH=src python tests/recorded.py                                 writes all texts again

A recording is a list of events in the order in which they came: what was asked, and how many
seconds after that what was answered, where a call waited, what the counts were, what the kernel
wrote on its console.  `Tape` stands in for QEMU and `Seen` for the inspector.  Their clock is that
of the recording, so that whoever waits for something runs as beside a machine, in no time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import takewhile
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from zonedev import catalogue
from zonedev.lab import accel, asking, conform, guests, initramfs, kernels, real
from zonedev.lab.channel import Request
from zonedev.lab.compare import AGREES, Conformance
from zonedev.lab.conform import Run
from zonedev.lab.counts import Inspector, PageCounts
from zonedev.lab.errors import LabError
from zonedev.lab.guests import BootFailed, Guest
from zonedev.lab.kernels import LabKernel
from zonedev.lab.layout import Layout
from zonedev.lab.link import Link
from zonedev.lab.teller import parse_order
from zonedev.lab.waits import PATIENCE, Patience, Where
from zonedev.report.conformance import render

RECORDINGS = Path(__file__).parent / "recordings"
DIGITS = 2  # of the seconds
TOGETHER = 0.1  # seconds within which lines of the console are one event
NEWS = ("answer", "error", "console", "gone")  # what comes by itself


@dataclass
class Event:
    """Something that came, `at` seconds after the last request.

    kind     what
    ask      task, op, arguments
    answer   number of the request, values
    error    number of the request, errno or signal
    blocked  number of the request, state, wchan, functions
    page     page frame number, counts (null: the struct page is gone)
    ref      page frame number, references of its pagemap (null: not to be seen)
    console  lines
    gone     why the guest ended
    """

    at: float
    kind: str
    what: list[Any]


@dataclass
class Recording:
    """A session: what was run on which kernel, and what came of it."""

    scenario: str
    order: str
    kernel: str
    release: str
    version: str
    design: str
    accel: str
    vmemmap: int
    direct_map: int
    page_size: int
    fs: str = ""
    events: list[Event] = field(default_factory=list)

    @classmethod
    def load(cls, name: str) -> Recording:
        known = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="ascii"))
        events = [Event(at, kind, what) for at, kind, *what in known.pop("events")]
        return cls(**known, events=events)

    def save(self) -> None:
        """As JSON, an event a line."""
        head = json.dumps({n: v for n, v in vars(self).items() if n != "events"}, indent=1)
        lines = ",\n".join(f"  {json.dumps([e.at, e.kind, *e.what])}" for e in self.events)
        text = f'{head.removesuffix("}").rstrip()},\n "events": [\n{lines}\n ]\n}}\n'
        (RECORDINGS / f"{self.name}.json").write_text(text, encoding="ascii")

    @property
    def name(self) -> str:
        """Of its files: the order is part of it where a scenario has several."""
        several = len(catalogue.load().scenario(self.scenario).orders) > 1
        parts = (self.scenario, self.kernel, self.fs, self.order.replace(" ", "-") if several else "")
        return "-".join(filter(None, parts))

    @property
    def text(self) -> Path:
        """What was printed when it was recorded."""
        return RECORDINGS / f"{self.name}.txt"

    @property
    def lab_kernel(self) -> LabKernel:
        """The kernel, without its files."""
        return LabKernel(self.kernel, self.release, self.version, Path(), None, None, self.design)

    def run(self, design: str | None = None) -> Run:
        """The run that was recorded; beside another design, if one is given."""
        known, name = catalogue.load(), design or self.design
        scenario = known.scenario(self.scenario)
        order = parse_order(self.order, scenario)
        return Run(scenario, order, self.lab_kernel, known.design(name), name, fs=self.fs)

    def asked(self, *words: str) -> int:
        """Where in the events the last request is that begins with these words."""
        return max(
            i for i, e in enumerate(self.events) if e.kind == "ask" and e.what[: len(words)] == [*words]
        )

    def after(self, at: int) -> list[Event]:
        """The events from a request to the next one."""
        return [*takewhile(lambda e: e.kind != "ask", self.events[at + 1 :])]


# --- recording ------------------------------------------------------------------------------------


class Recorder(Guest):
    """A guest that notes what it is asked, and what comes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.noted: list[Event] = []
        self.noting = False
        self._asked = 0.0
        self._numbers: dict[Request, int] = {}
        self._open: list[Request] = []
        self._lines = 0  # of the console, that were noted

    def boot(self, timeout: float = guests.BOOT_SECONDS) -> float:
        took = super().boot(timeout)
        self._lines = len(self.console)
        self.noting = True
        return took

    def ask(self, task: str, op: str, *args: object) -> Request:
        self.pump(0)  # what comes now is no answer to this
        request = super().ask(task, op, *args)
        if self.noting and op != "where":
            self._asked = time.monotonic()
            self.note("ask", task, op, *map(str, args))
            self._numbers[request] = len(self._numbers)
            self._open.append(request)
        return request

    def pump(self, seconds: float) -> bool:
        goes_on = super().pump(seconds)
        for request in [r for r in self._open if r.done]:
            self._open.remove(request)
            number = self._numbers[request]
            if request.error is not None:
                self.note("error", number, request.error)
            else:
                self.note("answer", number, request.values)
        assert self._link is not None
        if self.noting and self._link.lines[self._lines :]:
            self.note("console", self._link.lines[self._lines :])
            self._lines = len(self._link.lines)
        if self.noting and not goes_on:
            self.note("gone", self.exit_reason)
            self.noting = False
        return goes_on

    def settle(self, *requests: Request, patience: Patience = PATIENCE) -> list[Where | None]:
        found = super().settle(*requests, patience=patience)
        for request, where in zip(requests, found, strict=True):
            if where is not None:
                frames = ",".join(where.stack) or "-"
                self.note("blocked", self._numbers[request], where.state, where.wchan or "-", frames)
        return found

    def note(self, kind: str, *what: Any) -> None:
        """Add an event, unless it is a look that shows what the last one showed."""
        at = round(time.monotonic() - self._asked, DIGITS)
        if not self.noting:
            return
        if kind == "console" and self.noted[-1].kind == kind and at - self.noted[-1].at < TOGETHER:
            self.noted[-1].what[0] += what[0]
            return
        if kind in ("page", "ref"):
            since = [*takewhile(lambda e: e.kind != "ask", reversed(self.noted))]
            last = next((e for e in since if (e.kind, e.what[0]) == (kind, what[0])), None)
            if last is not None and last.what == list(what):
                return
        self.noted.append(Event(at, kind, list(what)))


class Watcher(Inspector):
    """An inspector that notes what it sees."""

    def __init__(self, guest: Recorder) -> None:
        self._recorder = guest
        guest.noting = False
        super().__init__(guest)
        guest.noting = True

    def page(self, pfn: int) -> PageCounts | None:
        found = super().page(pfn)
        self._recorder.note("page", pfn, list(vars(found).values()) if found else None)
        self.pgmap_ref(pfn)  # beside another design it may be asked for
        return found

    def pgmap_ref(self, pfn: int) -> int | None:
        found = super().pgmap_ref(pfn)
        self._recorder.note("ref", pfn, found)
        return found


def record(scenario: str, kernel: str, fs: str = "", order: str | None = None) -> Recording:
    """Run a scenario on a kernel that is set up; what was told then can be told again."""
    known = catalogue.load()
    guest: list[Recorder] = []
    inspector: list[Watcher] = []

    def make(*args: Any, **options: Any) -> Recorder:
        guest.append(Recorder(*args, **options))
        return guest[-1]

    def watch(of: Recorder) -> Watcher:
        inspector.append(Watcher(of))
        return inspector[-1]

    at = kernels.find(kernel)
    what = known.scenario(scenario)
    text = what.orders[0] if order is None else order
    run = Run(what, parse_order(text, what), at, known.design(at.design), at.design, fs=fs)
    with patch.object(conform, "Guest", make), patch.object(conform, "Inspector", watch):
        found = conform.conform(run)
    if found.verdict != AGREES:
        raise SystemExit(f"it does not agree:\n{render(found)}")
    seen = inspector[-1]
    names = (scenario, text, kernel, at.release, at.version, at.design, found.accel)
    recording = Recording(
        *names, seen._vmemmap, seen._direct_map or 0, seen.layout.page_size, fs, guest[-1].noted
    )
    if render(told(recording)) != render(found):
        raise SystemExit(f"it is told otherwise:\n{render(found)}\n{render(told(recording))}")
    return recording


# --- telling it again -----------------------------------------------------------------------------


@dataclass
class Clock:
    """In the place of the time module: the time of a recording."""

    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


class Tape:
    """A recording as what a guest is connected to.

    A request is the first one of the recording that is the same and was not asked yet.  With it
    comes what came then, until the next one.
    """

    def __init__(self, recording: Recording, clock: Clock) -> None:
        self.recording = recording
        self.lines: list[str] = []
        self.heard = clock.now
        self.ended: str | None = None
        self.agent = self  # what is asked, it is asked itself
        self._clock = clock
        self._asks = [i for i, e in enumerate(recording.events) if e.kind == "ask"]
        self._requests: dict[int, Request] = {}  # by their numbers in the recording
        self._begin, self._end = 0, self._asks[0]  # the events from the last request to the next one
        self._asked = clock.now
        self._come: set[int] = set()
        self.looked: set[tuple[int, str, int]] = set()  # after which request, at what, of which page

    def ask(self, task: str, op: str, *args: object) -> Request:
        words = [task, op, *map(str, args)]
        if op == "where":
            return Request(-1, task, op, tuple(words[2:]), self._where(words[2]).split(" "))
        self._let_come(inf)
        events = self.recording.events
        for number, at in enumerate(self._asks):
            if number not in self._requests and events[at].what == words:
                break
        else:
            raise LabError(f"the recording has no more {' '.join(words)}")
        request = self._requests[number] = Request(number, task, op, tuple(words[2:]))
        for event in events[self._end : at]:  # requests were left out
            if event.kind in ("answer", "error"):
                self._comes(event)
        self._begin, self._end = at + 1, next((i for i in self._asks if i > at), len(events))
        self._asked, self._come = self._clock.now, set()
        return request

    def pump(self, seconds: float) -> bool:
        until = self._clock.now + seconds
        coming = [self._asked + e.at for i, e in self._here() if i not in self._come and e.kind in NEWS]
        if self.ended is None and coming:
            until = max(self._clock.now, min(until, coming[0]))
        self._clock.now = until
        self._let_come(until)
        return self.ended is None

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def seen(self, kind: str, pfn: int) -> Any:
        """The last that was seen of a page until now, or else the next."""
        self.looked.add((self._begin - 1, kind, pfn))
        before = self._looks(self.recording.events[: self._begin], kind, pfn)
        here = self._looks((e for _, e in self._here()), kind, pfn)
        past = [e for e in here if self._asked + e.at <= self._clock.now]
        found = [*past[-1:], *here[:1], *before[-1:]]
        if not found:
            raise LookupError(f"nobody has looked at the {kind} of {pfn:#x}")
        return found[0].what[1]

    def _looks(self, events: Iterable[Event], kind: str, pfn: int) -> list[Event]:
        return [e for e in events if (e.kind, e.what[0]) == (kind, pfn)]

    def _where(self, task: str) -> str:
        """The agent's words for where a task is: where it was blocked last, if it was."""
        asked = {n for n, r in self._requests.items() if r.task == task and not r.done}
        known = self.recording.events[: self._end]
        blocked = [e.what[1:] for e in known if e.kind == "blocked" and e.what[0] in asked]
        return " ".join(blocked[-1]) if blocked else "R - -"

    def _here(self) -> Iterator[tuple[int, Event]]:
        return ((i, self.recording.events[i]) for i in range(self._begin, self._end))

    def _let_come(self, until: float) -> None:
        for i, event in self._here():
            if i not in self._come and self._asked + event.at <= until and self.ended is None:
                self._come.add(i)
                self._comes(event)

    def _comes(self, event: Event) -> None:
        request = self._requests.get(event.what[0]) if event.kind in ("answer", "error") else None
        if event.kind == "console":
            self.lines += event.what[0]
            self.heard = self._clock.now
        elif event.kind == "gone":
            self.ended = event.what[0]
        elif request is not None and event.kind == "answer":
            request.values = event.what[1]
        elif request is not None:
            request.error = event.what[1]


class Replay(Guest):
    """A guest that is a recording."""

    def __init__(self, tape: Tape, fails: BootFailed | None = None) -> None:
        super().__init__(tape.recording.lab_kernel, None, accel=tape.recording.accel)
        self.tape, self._fails = tape, fails

    def boot(self, timeout: float = guests.BOOT_SECONDS) -> float:
        if self._fails is not None:
            raise self._fails
        self._link = cast(Link, self.tape)
        return 0.0


class Seen(Inspector):
    """An inspector that sees what was seen."""

    def __init__(self, guest: Replay) -> None:
        self._tape = guest.tape
        of = self._tape.recording
        self._vmemmap, self._direct_map = of.vmemmap, of.direct_map
        self.layout = cast(Layout, SimpleNamespace(page_size=of.page_size))

    def page(self, pfn: int) -> PageCounts | None:
        counts = self._tape.seen("page", pfn)
        return None if counts is None else PageCounts(*counts)

    def pgmap_ref(self, pfn: int) -> int | None:
        found: int | None = self._tape.seen("ref", pfn)
        return found


@contextmanager
def replaying(*recordings: Recording, fails: BootFailed | None = None) -> Iterator[list[Tape]]:
    """Within, the guests of these recordings' kernels are replays, and no others are set up.

    Yields the tapes that are played.
    """
    clock = Clock()
    tapes: list[Tape] = []
    known = {recording.kernel: recording for recording in recordings}

    def make(kernel: LabKernel, archive: Path, **options: Any) -> Replay:
        tapes.append(Tape(known[kernel.name], clock))
        return Replay(tapes[-1], fails)

    def installed(name: str) -> LabKernel | None:
        return known[name].lab_kernel if name in known else None

    with ExitStack() as stack:
        for module, name, stand_in in (
            (conform, "Guest", make),
            (conform, "Inspector", Seen),
            (asking, "time", clock),
            (conform, "time", clock),
            (real, "time", clock),
            (guests, "time", clock),
            (kernels, "installed", installed),
            (initramfs, "build", lambda kernel: Path()),
            (accel, "choose", lambda: recordings[0].accel),
        ):
            stack.enter_context(patch.object(module, name, stand_in))
        yield tapes


def told(recording: Recording, design: str | None = None, fails: BootFailed | None = None) -> Conformance:
    """What a recording comes to."""
    with replaying(recording, fails=fails):
        return conform.conform(recording.run(design))


def main(args: list[str]) -> None:
    if args:
        fs, *order = args[2:] if args[2:3] in (["ext4"], ["xfs"]) else ["", *args[2:]]
        recording = record(args[0], args[1], fs, *order)
        RECORDINGS.mkdir(exist_ok=True)
        recording.save()
        recordings = [recording]
    else:
        recordings = [Recording.load(path.stem) for path in sorted(RECORDINGS.glob("*.json"))]
    for recording in recordings:
        recording.text.write_text(render(told(recording)) + "\n", encoding="ascii")
        print(recording.name)


if __name__ == "__main__":
    main(sys.argv[1:])
