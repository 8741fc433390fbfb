"""The machine by hand: the specification as something to drive from a prompt, a notebook or a test.

    m = zonedev.Machine("linux-5.10")
    dax = m.device_dax(size="1GiB", align="2MiB")
    a = m.task("A")
    va = a.mmap(dax)
    a.write(va, b"hello")
    pin = a.pin_user_pages(va, longterm=True)
    job = m.task("B").unbind(dax)
    job.blocked_on, job.stack
    m.page(va)

Addresses are in bytes.  A device may be as large as one likes: its pages come into being when
they are touched.

A call runs until it returns, raises or blocks.  One that blocks gives a pending `Job`, which
goes on as far as it can whenever something else has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zonedev.arguments import PAGE_SHIFT, PAGE_SIZE, device_shape, for_kernel, pages_of
from zonedev.explore.replay import check_at_rest
from zonedev.explore.stepper import Stepper
from zonedev.explore.trace import TraceStep
from zonedev.explore.view import View, holders
from zonedev.job import Job
from zonedev.lang.errors import RuleBroken, ZonedevError
from zonedev.lang.records import Record
from zonedev.lang.runtime import Runtime
from zonedev.lang.system import Specification, System
from zonedev.lenient import Lenient, Warned
from zonedev.memory import Memory, mapped_page

__all__ = ["Endless", "Job", "Machine", "TaskByHand"]

#: Steps after which a call that neither returns nor blocks is given up.
MAX_STEPS = 100_000


class Endless(ZonedevError):
    """A call neither returns nor blocks."""


class TaskByHand:
    """A task whose system calls are made one by one: ``a.mmap(dax)``."""

    def __init__(self, machine: Machine, task: Any) -> None:
        self._machine, self.task = machine, task

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._kernel, name)

    def _kernel(self, name: str, *args: Any, **named: Any) -> Any:
        """Call a function of the kernel."""
        method = self._machine._method(name)
        plain = [a.task if isinstance(a, TaskByHand) else a for a in args]
        bound = for_kernel(method, self.task, plain, named)
        return self._machine._call(self.task, name, partial(method, *bound.args, **bound.kwargs), bound.args)

    def mmap(self, file: Any, *flags: bool, **named: bool) -> int:
        """Map a device or a file, with the flags that the kernel's mmap() has; the address, in bytes."""
        start: int = self._kernel("mmap", file, *flags, **named)
        return start << PAGE_SHIFT

    def mmap_anonymous(self, size: str | int = "4KiB", thp: bool = False) -> int:
        """Map `size` bytes of anonymous memory; `thp`: 8KiB, which can be a huge page.  The address, in
        bytes."""
        start: int = self._kernel("mmap_anonymous", pages_of(size), thp)
        return start << PAGE_SHIFT

    def fork(self, child: TaskByHand) -> Any:
        """`child`, a task that has mapped nothing, becomes a copy of this one; false for -ENOMEM."""
        if not child.task._values["mm"].starts:
            self._kernel("may_fork", repr(child.task))
        return self._kernel("fork", child)

    def gpu_write(self, mirror: Any, va: int, data: bytes) -> Any:
        """The device stores bytes where it mirrors the task, faulting as often as it takes; BusError
        where it cannot."""
        return self._bytes("gpu_write", mirror, va, data)

    def gpu_read(self, mirror: Any, va: int, nr: int) -> Any:
        """The device loads `nr` bytes, as gpu_write()."""
        return self._bytes("gpu_read", mirror, va, nr)

    def write(self, va: int, data: bytes) -> Any:
        """Store bytes, faulting as often as it takes; BusError for a signal."""
        return self._bytes("write", va, data)

    def read(self, va: int, nr: int) -> Any:
        """Load `nr` bytes, faulting as often as it takes; BusError for a signal."""
        return self._bytes("read", va, nr)

    def dma_write(self, page: Any, data: bytes = b"", offset: int = 0) -> Any:
        """A device writes bytes to a page that the task has pinned."""
        return self._bytes("dma_write", page, data, offset)

    def dma_read(self, page: Any, nr: int = PAGE_SIZE, offset: int = 0) -> Any:
        """A device reads bytes of a page that the task has pinned."""
        return self._bytes("dma_read", page, nr, offset)

    def _bytes(self, name: str, *args: Any) -> Any:
        call = partial(getattr(self._machine.memory, name), self._machine.k, *args)
        return self._machine._call(self.task, name, call, args)

    def __repr__(self) -> str:
        return f"<task {self.task!r}>"


class Machine:
    """A system of one design that takes calls one at a time, watched by the rules.

    `design` is a name, FILE.py:CLASS, or a class.  `rules` are the rules that watch (all, by
    default); the one that breaks is raised as RuleBroken, to whoever made the call.  `keep`
    is the number of steps that `trace()` remembers.  `goes_on`: a WARN_ON is put into `warnings`,
    and breaks no rule.
    """

    #: Steps after which a call raises Endless.
    max_steps = MAX_STEPS

    def __init__(
        self,
        design: str | type[Specification],
        *,
        rules: Any = None,
        keep: int = 10_000,
        at_rest: bool = True,
        goes_on: bool = False,
    ) -> None:
        if rules is None:
            from zonedev.rules import RULES as rules  # noqa: N811
        if isinstance(design, str):
            from zonedev.catalogue import load

            design = load().design(design)
        monitors = tuple(m for rule in rules.values() for m in rule.monitors)
        self._setup_runtime = Runtime()
        self.warnings: list[Warned] = []
        ignored = Lenient()
        ignored.warnings = self.warnings
        self._stepper = Stepper(ignored if goes_on else frozenset(), keep=keep)
        self._at_rest = at_rest
        self._jobs: list[Job] = []
        self._actors: dict[tuple[Any, ...], int] = {}
        self.memory = Memory()
        self.system = System(design, {}, (*monitors, *self.memory.watches()), sparse=True)
        self.k = self.system.k

    # --- set-up -------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """A set-up function of the kernel, such as ``m.device_dax``; it runs at once."""
        if name.startswith("_"):
            raise AttributeError(name)
        method = self._method(name)

        def call(*args: Any, **named: Any) -> Any:
            bound = for_kernel(method, None, args, named)
            self.system.runtime = self._setup_runtime
            with self.system.running_as(None):
                return method(*bound.args)

        return call

    def device_dax(self, size: str | int = "4KiB", align: str | int = "4KiB") -> Any:
        """A device-dax device of `size` bytes, which maps with pages of `align`."""
        return self.__getattr__("device_dax")(**device_shape(size, align))

    def pmem_device(self, size: str | int = "4KiB", align: str | int = "4KiB") -> Any:
        """A pmem device of `size` bytes, whose files map with pages of `align`: 4KiB or 2MiB."""
        return self.__getattr__("pmem_device")(**device_shape(size, align, ("pte", "pmd")))

    def dax_file(
        self, pmem: Any, size: str | int = 0, allocated: str | int | None = None, shares: Any = None
    ) -> Any:
        """A file of `size` bytes on a pmem device; as large as it, where no size is given.

        The first `allocated` bytes have blocks, by default all of them; the others are a hole.
        `shares`: a reflink copy of that file instead.
        """
        blocks = None if allocated is None else pages_of(allocated)
        return self.__getattr__("dax_file")(pmem, pages_of(size), blocks, shares)

    def task(self, name: str) -> TaskByHand:
        """The task called `name`, created on first use."""
        if not isinstance(name, str) or not name:
            raise ZonedevError(f"task {name!r}: give it a name")
        self.system.runtime = self._setup_runtime
        return TaskByHand(self, self.system.task(name).task)

    def _method(self, name: str) -> Callable[..., Any]:
        method = getattr(self.k, name, None)
        if not callable(method):
            from zonedev.catalogue import unknown

            known = [n for n in dir(type(self.k)) if not n.startswith("_")]
            raise AttributeError(str(unknown(f"function of {type(self.k).__name__}", name, known)))
        found: Callable[..., Any] = method
        return found

    # --- looking ------------------------------------------------------------------------------

    def page(self, page: Any, task: TaskByHand | str | None = None) -> View:
        """The counts and pointers of a page, and what refers to it.

        `page` is a record, or a VA: of `task`, or where that is not given of all tasks, where
        they agree.
        """
        record = page if isinstance(page, Record) else self._page_at(page, task)
        named = getattr(self.k, "named_holders", None)
        return View(record, [*(named(record) if named else []), *holders(self.system, record)])

    def _page_at(self, va: int, task: TaskByHand | str | None) -> Record:
        if task is None:
            chosen = list(self.system.tasks)
        else:
            chosen = [task.task if isinstance(task, TaskByHand) else self.system.task(task).task]
        found = {id(p): p for p in (mapped_page(t, va) for t in chosen) if p is not None}
        if len(found) != 1:
            what = "no device is" if not found else "several devices are"
            raise ZonedevError(f"{what} mapped at VA {va}: name the task: m.page({va}, a)")
        return next(iter(found.values()))

    def pending(self) -> list[Job]:
        """The calls that wait for something."""
        return [j for j in self._jobs if not j.done]

    def trace(self) -> list[TraceStep]:
        """The steps so far, as in any other trace."""
        return list(self._stepper.trace)

    # --- running ------------------------------------------------------------------------------

    def _call(self, task: Any, name: str, call: Callable[[], Any], args: Sequence[Any]) -> Any:
        """Run a system call as far as it goes, and then whatever else can go on."""
        for job in self.pending():
            if self._stepper.tasks[job.number] is task:
                raise ZonedevError(f"task {task!r} is in a call that waits: {job!r}")
        shown = f"{name}({', '.join(map(repr, args))})"
        self.system.runtime = self._stepper
        job = Job(self._stepper, len(self._stepper.tasks), f"{task!r}.{shown}")
        self._stepper.spawn(task, call, call=shown)
        self._jobs.append(job)
        try:
            self._settle(job)
        finally:
            self._jobs = self.pending()
            self.system.runtime = self._setup_runtime  # what is read between calls is no step
        return job.result() if job.done else job

    def _settle(self, first: Job) -> None:
        """Let `first` go as far as it can, then the others, until nobody moves."""
        self._run_actors()
        moved = True
        while moved:
            moved = False
            for job in [first, *(j for j in self._jobs if j is not first)]:
                while self._advance(job):
                    moved = True
        if self._at_rest and not self.pending():
            check_at_rest(self.system, self._stepper.ignored)

    def _advance(self, job: Job) -> bool:
        """One step of a job, and what the actors make of it; false where it cannot move."""
        if job.done or not self._stepper.ready(job.number):
            return False
        self._count(job)
        try:
            self._stepper.step(job.number)
        except RuleBroken as broken:
            job.error = broken
            raise
        except Exception as error:
            job.error = error
        self._run_actors()
        return True

    def _count(self, job: Job) -> None:
        job.steps += 1
        if job.steps > self.max_steps:
            raise Endless(f"{job!r} neither returns nor blocks: it took {self.max_steps} steps")

    def _run_actors(self) -> None:
        """Start the actors that are new, and run all of them until none can move."""
        self._start_actors()
        moved = True
        while moved:
            moved = False
            for number in self._actors.values():
                while self._stepper.ready(number):
                    self._stepper.step(number)
                    moved = True

    def _start_actors(self) -> None:
        for name, function, args in self.k.actors():
            key = (name, function.__name__, *map(id, args))
            if key not in self._actors:
                self.system.runtime = self._setup_runtime
                task = self.system.task(name).task
                self.system.runtime = self._stepper
                self._actors[key] = len(self._stepper.tasks)
                self._stepper.spawn(
                    task,
                    partial(function, *args),
                    function.__name__,
                    actor=True,
                )

    def close(self) -> None:
        """End the threads of pending calls."""
        self._stepper.close()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
