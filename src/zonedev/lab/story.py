"""A scenario told call by call, in a stated order, by a side: the model or a machine.

The scenario's own functions run once for each side.  Here their `t` and `m` hold names of
things (a device, a page, an address); what is behind a name only the side knows.  So one
text decides what both sides do, and the two stories can be laid side by side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from zonedev.lab.things import Device, Flag, PageOf
from zonedev.lang.errors import ZonedevError

if TYPE_CHECKING:
    from zonedev.lab.teller import Teller


#: How a call is said to have come to nothing.
FAILURES = ("fails", "SIGBUS", "SIGSEGV")


@dataclass(frozen=True)
class Line:
    """What happened, in the grammar that both sides share.

    `moment` counts the calls.  `said` is the outcome; None where it cannot be seen here.
    `warned` is where the kernel has warned meanwhile, and gone on: how often it has is compared,
    where is not.  Nor is `note`.
    """

    moment: int
    kind: str  # setup, call, return, look, observe or end
    task: str
    text: str
    said: str | None
    note: str = ""
    stack: tuple[str, ...] = ()  # of a call that waits, innermost first
    warned: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[int, str, str, str]:
        """What makes it the same line on the other side."""
        return self.moment, self.kind, self.task, self.text


@dataclass
class Ongoing:
    """A call that a side has begun.

    `said` is what it came to, in words: None while it waits, and where that cannot be seen.
    `value` is what the scenario's function is given.
    """

    task: str
    text: str
    moment: int = 0
    done: bool = False
    said: str | None = None
    value: Any = None
    note: str = ""
    stack: tuple[str, ...] = ()
    handle: Any = None  # the side's own

    def end(self, said: str | None, value: Any = None) -> None:
        self.done, self.said, self.value = True, said, value


class Crash(Exception):
    """The side's kernel went down, or would have: the story ends here."""

    def __init__(self, said: str | None, note: str = "") -> None:
        super().__init__(said)
        self.said, self.note = said, note


class Side(Protocol):
    """What can tell a story: the model, or a machine."""

    def create(self, device: Device) -> None:
        """Make a device at set-up."""

    def begin(self, call: Ongoing, name: str, args: Sequence[Any], hint: Line | None) -> None:
        """Start a call, and see what comes of it: it ends, waits, or raises Crash.

        `hint` is the line of the other side, which has told already: when to stop waiting
        for something to happen, and never what to say.
        """

    def follow(self, call: Ongoing, hint: Line | None) -> None:
        """Look again at a call that waits."""

    def look(self, page: PageOf, hint: Line | None) -> str | None:
        """The counts of a page, in words; None where they cannot be seen."""

    def look_pagemap(self, device: Device, hint: Line | None) -> str | None:
        """The references of a device's pagemap, in words; None where they cannot be seen."""

    def warned(self, task: str) -> tuple[str, ...]:
        """Where the kernel has warned in a task's calls, and outside of all tasks, since it was
        asked last.  "" as `task` is all tasks."""


class SetUp:
    """The `m` of a scenario's functions."""

    def __init__(self, teller: Teller, scope: Mapping[str, Any]) -> None:
        self.scope = scope
        self.k = _Kernel(teller)
        self._teller = teller

    def task(self, name: str) -> SetUpTask:
        return SetUpTask(self._teller, name)

    def new(self, cls: type) -> Flag:
        return Flag()

    def name_of(self, thing: Any) -> str | None:
        """The name that the set-up gave to a thing."""
        return next((n for n, v in vars(self).items() if v is thing and not n.startswith("_")), None)


class _Kernel:
    """The `m.k` of a set-up: makes devices; what else is set there is the model's alone."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller

    def __getattr__(self, kind: str) -> Callable[..., Device]:
        if kind.startswith("_"):
            raise AttributeError(kind)
        return lambda *on, **shape: self._teller.create(kind, on, shape)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            raise ZonedevError(f"the scope sets {name}, which is of the model alone: leave it out")
        super().__setattr__(name, value)


class SetUpTask:
    """A task at set-up: ``m.task("A").mmap(m.dax)``."""

    mm = None  # of the model alone

    def __init__(self, teller: Teller, name: str) -> None:
        self._teller, self.name = teller, name

    @property
    def task(self) -> SetUpTask:
        return self

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args, **named: self._teller.at_setup(self.name, name, args, named)


class _Abandoned(BaseException):
    """Unwinds a task that the story leaves where it is."""


class Program(threading.Thread):
    """A task of the scenario, stopped before each of its calls."""

    def __init__(self, name: str, function: Callable[..., None], m: SetUp) -> None:
        super().__init__(daemon=True, name=f"task {name}")
        self.task, self._function, self._m = name, function, m
        self.call: tuple[str, tuple[Any, ...]] | None = None
        self.ongoing: Ongoing | None = None
        self.error: BaseException | None = None
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._answer: Any = None
        self._abandoned = False
        self.start()
        self._stopped.acquire()
        self._raise()

    @property
    def ended(self) -> bool:
        return self.call is None

    @property
    def waits(self) -> bool:
        return self.ongoing is not None and not self.ongoing.done

    def run(self) -> None:
        try:
            self._function(_Task(self), self._m)
        except _Abandoned:
            return
        except BaseException as error:  # handed to the teller
            self.error = error
        self.call = None
        self._stopped.release()

    def stop_before(self, name: str, args: tuple[Any, ...]) -> Any:
        """In the task's thread: say which call comes, and wait for its result."""
        self.call = (name, args)
        self._stopped.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned
        return self._answer

    def answer(self, value: Any) -> None:
        """Hand the call's result to the task, and run it to its next call."""
        self._answer = value
        self._go.release()
        self._stopped.acquire()
        self._raise()

    def abandon(self) -> None:
        """End the thread of a task that nobody will let go on."""
        self._abandoned = True
        self._go.release()
        self.join()

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


class _Task:
    """The `t` of a scenario's function."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self._program.stop_before(name, args)
