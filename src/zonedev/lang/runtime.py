"""The language as plain Python: one thread per task, a baton handed over at each step.

The words that a specification uses (`atomic`, `when`, `choose`, `current`,
`ensure`, `free`) are defined here as they act on ordinary objects; `lower` gives
the same words their meaning in a transition system.  The two are independent, and
every counterexample is replayed here before it is shown.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from zonedev.lang.errors import CounterRange, RuleBroken, SpecError, WouldBlock

if TYPE_CHECKING:
    from zonedev.lang.records import Field, Record

F = TypeVar("F", bound=Callable[..., Any])

#: Files that are never the line of the specification that is running.
OWN_FILES = (__file__, str(Path(__file__).with_name("records.py")))

REASON = 'with atomic("why the kernel does this as one"):'

#: Functions whose steps count as steps of the line that calls them.
PRIMITIVES: set[CodeType] = set()


def primitive(fn: F) -> F:
    """Mark `fn` as one kernel primitive: its steps belong to the calling line."""
    PRIMITIVES.add(fn.__code__)
    PRIMITIVES.update(c for c in fn.__code__.co_consts if isinstance(c, CodeType))
    return fn


#: Functions that are evaluated once, when a program is lowered.
AT_SETUP: set[CodeType] = set()


def at_setup(fn: F) -> F:
    """Mark `fn` as ordinary Python over what set-up has fixed; its arguments must be fixed."""
    AT_SETUP.add(fn.__code__)
    return fn


class _Here(threading.local):
    """What the running thread is doing."""

    task: Any = None
    number: int = 0  # of the program
    runtime: Runtime | None = None
    atomic: int = 0  # depth of atomic blocks
    pending: bool = False  # an atomic block was entered, its step has not begun
    where: Where | None = None  # of the atomic block
    ghost: int = 0  # depth of rule checks, whose reads are no steps


here = _Here()


@dataclass(frozen=True)
class Where:
    """A line of the specification."""

    file: str
    line: int
    function: str


def _where() -> Where:
    """The line of the specification that is running."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        own = code.co_filename in OWN_FILES or code in PRIMITIVES
        if not own and code.co_name not in ("<lambda>", "<genexpr>"):
            return Where(code.co_filename, frame.f_lineno, code.co_name)
        frame = frame.f_back
    return Where("?", 0, "?")


class Runtime:
    """Carries out accesses at once, for set-up and for reading the state: nothing may wait."""

    #: Rules that a run does not check.
    ignored: frozenset[str] = frozenset()

    def point(
        self,
        guard: Callable[[], bool] | None = None,
        choices: int = 1,
        lost: Callable[[], bool] | None = None,
    ) -> int:
        """A step begins: wait for the baton, then for `guard`.  Returns the choice made."""
        if guard is not None:
            with ghost():
                if not guard():
                    where = _where()
                    raise WouldBlock(
                        f"{where.file}:{where.line}: {where.function} has to wait during set-up: "
                        "move the call into a task"
                    )
        return 0

    def access(self, record: Record, field: Field, *, write: bool) -> None:
        """A statement reaches a shared location."""
        if here.ghost:
            return
        begin_atomic(self)
        if field.private:
            return
        if not here.atomic:
            self.point()
        owner = record
        while owner._parent is not None:
            owner = owner._parent
        rule = owner.freed_breaks
        if rule is not None and rule not in self.ignored and not owner._values["live"]:
            verb = "writes" if write else "reads"
            does = f"{verb} {record._label(field.name)} after {owner._name} was freed"
            if field.name == "live":
                does = f"frees {owner._name} again"
            raise RuleBroken(rule, f"{_where().function} {does}")


def begin_atomic(runtime: Runtime) -> None:
    """The step of the atomic block that was entered begins now, if it has not begun."""
    if here.pending:
        here.pending = False
        runtime.point()


class atomic:  # noqa: N801  (reads as a keyword of the language)
    """``with atomic("why"):`` makes its block one step, because the kernel does.

    `why` is a reason that a kernel developer would accept; it must not be empty.
    """

    def __init__(self, why: str) -> None:
        if not isinstance(why, str) or not why.strip():
            where = _where()
            raise SpecError(f"{where.file}:{where.line}: atomic needs a reason: {REASON}")

    def __enter__(self) -> None:
        if here.atomic == 0 and not here.ghost:
            here.pending = True
            here.where = _where()
        here.atomic += 1

    def __exit__(self, *_: object) -> None:
        here.atomic -= 1
        if here.atomic == 0:
            if here.runtime is not None:  # a block that reached nothing is a step as well
                begin_atomic(here.runtime)
            here.pending = False
            here.where = None


@contextmanager
def ghost() -> Iterator[None]:
    """Reads inside are no steps: for rules and displays, not for kernel code."""
    here.ghost += 1
    try:
        yield
    finally:
        here.ghost -= 1


def when(guard: Callable[[], bool], lost: Callable[[], bool] | None = None) -> None:
    """As first statement of an atomic block: the step can only be taken when `guard` holds.

    A deadlock in which the task stands here although `lost` holds is a lost wake-up.
    """
    if here.ghost:
        return
    if here.atomic != 1 or not here.pending:
        where = _where()
        raise SpecError(f"{where.file}:{where.line}: when() has to be the first statement of an atomic block")
    here.pending = False
    assert here.runtime is not None
    here.runtime.point(guard, lost=lost)


def choose(n: int) -> int:
    """Any number in 0..n-1: a choice that the specification leaves open."""
    if here.atomic:
        where = _where()
        raise SpecError(f"{where.file}:{where.line}: choose() is a step of its own: not inside atomic")
    assert here.runtime is not None
    return here.runtime.point(choices=n)


def current() -> Any:
    """The running task (include/linux/sched.h, current)."""
    return here.task


def tasks() -> Sequence[Any]:
    """All tasks of the system, in a fixed order."""
    return here.task._system.tasks  # type: ignore[no-any-return]


def ensure(rule: str, holds: bool, text: str, *objects: object) -> None:
    """The rule `rule` breaks unless `holds`; `text` is formatted with `objects`."""
    if not holds:
        runtime = here.runtime
        if runtime is not None and rule in runtime.ignored:
            return
        raise RuleBroken(rule, text.format(*("NULL" if o is None else o for o in objects)))


def note(label: str, value: object) -> None:
    """Keep an observation of a plain run in ``system.observations``; no step, and nothing to the rules."""
    here.task._system.observations.append((repr(here.task), label, value))


def free(record: Record) -> None:
    """The memory of `record` goes away; later accesses break its class's rule."""
    if record.freed_breaks is None:
        raise SpecError(f"{record._name} cannot be freed: its class has no freed_breaks")
    record.live = False  # type: ignore[attr-defined]


class _Stop(BaseException):
    """Unwinds a task's thread when the run is closed."""


@dataclass
class Waiting:
    """A task that stands before its next step."""

    task: Any
    where: Where
    guard: Callable[[], bool] | None
    choices: int
    lost: Callable[[], bool] | None
    stack: list[Where]


class Scheduler(Runtime):
    """Runs tasks as threads, one step at a time, in the order that the caller asks for."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._batons: list[threading.Semaphore] = []
        self._arrived = threading.Semaphore(0)
        self._choice = 0
        self._closing = False
        self.waiting: list[Waiting | None] = []
        self.failure: BaseException | None = None
        self.result: list[Any] = []

    def spawn(self, task: Any, program: Callable[[], Any]) -> None:
        """Start `program` as `task`, up to its first step."""
        number = len(self._threads)
        baton = threading.Semaphore(0)
        self._batons.append(baton)
        self.waiting.append(None)
        self.result.append(None)

        def body() -> None:
            here.task, here.runtime, here.number = task, self, number
            try:
                self.result[number] = program()
            except _Stop:
                pass
            except BaseException as error:
                self.failure = self._explained(error)
            self.waiting[number] = None
            self._arrived.release()

        thread = threading.Thread(target=body, name=repr(task), daemon=True)
        self._threads.append(thread)
        thread.start()
        self._arrived.acquire()

    @staticmethod
    def _explained(error: BaseException) -> BaseException:
        if isinstance(error, CounterRange) and error.rule is not None:
            return RuleBroken(error.rule, str(error))
        if isinstance(error, AttributeError) and "NoneType" in str(error):
            return RuleBroken("kernel-asserts", f"NULL pointer dereference: {error}")
        if isinstance(error, IndexError):
            return SpecError(f"the index is outside of the tuple: {error}")
        return error

    def point(
        self,
        guard: Callable[[], bool] | None = None,
        choices: int = 1,
        lost: Callable[[], bool] | None = None,
    ) -> int:
        number: int = here.number
        where = here.where or _where()
        self.waiting[number] = Waiting(here.task, where, guard, choices, lost, _stack())
        self._arrived.release()
        self._batons[number].acquire()
        if self._closing:
            raise _Stop
        choice = self._choice
        if guard is not None:
            guard()  # again, as part of the step: it may reach what was freed
        return choice

    def enabled(self) -> list[int]:
        """The tasks that can take a step now."""
        return [n for n in range(len(self.waiting)) if self.ready(n)]

    def ready(self, number: int) -> bool:
        """Whether a task can take its next step; one whose guard breaks a rule can."""
        waiting = self.waiting[number]
        if waiting is None or waiting.guard is None:
            return waiting is not None
        kept = (here.task, here.runtime, here.atomic, here.pending)
        here.task, here.runtime, here.atomic, here.pending = waiting.task, self, 1, False
        try:
            return bool(waiting.guard())
        except (RuleBroken, AttributeError):
            return True
        finally:
            here.task, here.runtime, here.atomic, here.pending = kept

    def step(self, number: int, choice: int = 0) -> None:
        """Let task `number` take its next step; raises what the step raised."""
        self._choice = choice
        self._batons[number].release()
        self._arrived.acquire()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def close(self) -> None:
        """End all threads."""
        self._closing = True
        for number, waiting in enumerate(self.waiting):
            if waiting is not None:
                self._batons[number].release()
        for thread in self._threads:
            thread.join(timeout=5)


def _stack() -> list[Where]:
    """The calls that led to the running line, outermost first."""
    found: list[Where] = []
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename != __file__ and "threading" not in code.co_filename:
            found.append(Where(code.co_filename, frame.f_lineno, code.co_name))
        frame = frame.f_back
    return found[::-1]
