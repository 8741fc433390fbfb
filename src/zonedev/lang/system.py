"""One instance of a specification: its records, tasks and programs, as set up by a scenario."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, TypeVar

from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import Cpu
from zonedev.lang.records import Array, Field, Kind, Packed, Record, record_class
from zonedev.lang.runtime import Runtime, Scheduler, ensure, ghost, here

R = TypeVar("R", bound=Record)


class Specification:
    """The base of every design: kernel functions are its methods, with `k` for self."""

    #: The class of the tasks; a kernel adds fields to Cpu.
    task_class: type[Cpu] = Cpu
    #: Whether a statement may touch one shared place only; of more, each access is a step.
    one_access = True
    #: What the design becomes when set-up has ended; None: it stays what it is.
    once_set_up: type[Specification] | None = None
    system: System

    def boot(self) -> None:
        """Create the records that exist before any scenario's set-up."""

    def task_created(self, task: Cpu) -> None:
        """Complete a new task, at set-up."""

    def actors(self) -> Iterator[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
        """Activities that are no task's: a name, a program and its arguments."""
        return iter(())


@dataclass(frozen=True)
class Monitor:
    """A check that a rule hangs on a function's return, or on the state at rest.

    `check` is called with the design, the function's arguments by name, and
    `result`; it calls `ensure`.
    """

    rule: str
    check: Callable[..., None]
    after: str | None = None  # the function; None: when all tasks have finished

    def __call__(self, k: Any, known: Mapping[str, Any]) -> None:
        """Run the check on what it asks for of the arguments and the result."""
        names = self.check.__code__.co_varnames[1 : self.check.__code__.co_argcount]
        self.check(k, **{n: known[n] for n in names if n in known})


@dataclass
class Program:
    """What a task runs."""

    task: Cpu
    function: Callable[..., Any]
    args: tuple[Any, ...]
    actor: bool = False


@dataclass(frozen=True)
class Group:
    """All locations of one field: records times array elements."""

    cls: str
    path: str
    field: Field
    records: tuple[Record, ...]
    length: int

    @property
    def size(self) -> int:
        return len(self.records) * self.length

    @property
    def kind(self) -> Kind:
        assert self.field.kind is not None
        return self.field.kind

    def owner(self, index: int) -> Record:
        """The record, possibly embedded, that holds element `index`."""
        record = self.records[index // self.length]
        for part in self.path.split(".")[:-1]:
            record = record._values[part]
        return record

    def peek(self, index: int) -> Any:
        """The present value, without a step."""
        value = self.owner(index)._values[self.field.name]
        return value.peek(index % self.length) if isinstance(value, Array) else value

    def label(self, index: int) -> str:
        """How the location is called in a trace."""
        text = self.owner(index)._label(self.field.name)
        return f"{text}[{index % self.length}]" if self.field.length is not None else text


class TaskHandle:
    """Calls system calls as a task at set-up: ``m.task("A").mmap(dax)``."""

    def __init__(self, task: Cpu) -> None:
        self.task = task

    def __getattr__(self, name: str) -> Callable[..., Any]:
        task = self.task
        method = getattr(task._system.k, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with task._system.running_as(task):
                return method(*args, **kwargs)

        return call


class _As:
    def __init__(self, system: System, task: Cpu | None) -> None:
        self.entered = (task, system.runtime)

    def __enter__(self) -> None:
        self.left = (here.task, here.runtime)
        here.task, here.runtime = self.entered

    def __exit__(self, *_: object) -> None:
        here.task, here.runtime = self.left


class System:
    """The records and tasks of one scenario under one design.

    A scenario's `setup` adds attributes of its own (``m.dax``, ``m.va``), which its
    tasks read as constants.
    """

    def __init__(
        self,
        design: type[Specification],
        scope: Mapping[str, Any] | None = None,
        monitors: Sequence[Monitor] = (),
        *,
        sparse: bool = False,
    ) -> None:
        self.scope = dict(scope or {})
        #: A machine by hand: objects come into being when they are touched, and no counter is bounded above.
        self.sparse = sparse
        self.records: dict[str, list[Record]] = {}
        self.tasks: list[Cpu] = []
        self.programs: list[Program] = []
        self.runtime: Runtime = Runtime()
        self.sealed = False
        self.monitors = tuple(monitors)
        self.observations: list[tuple[str, str, Any]] = []
        self._named: dict[str, Cpu] = {}
        self.k: Any = design()
        self.k.system = self
        with self.running_as(None):
            self.k.boot()
        self._hook()

    def _hook(self) -> None:
        """Let the monitors see the returns of the functions that they name."""
        for name in dict.fromkeys(m.after for m in self.monitors if m.after is not None):
            function = getattr(type(self.k), name, None)
            if function is not None:
                setattr(self.k, name, self._watched(MethodType(function, self.k), name))

    def _watched(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        shape = inspect.signature(method)

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            if isinstance(here.runtime, Scheduler) and not here.ghost:
                bound = shape.bind(*args, **kwargs)
                bound.apply_defaults()
                with ghost():
                    for monitor in self.monitors:
                        if monitor.after == name:
                            monitor(self.k, {**bound.arguments, "result": result})
            return result

        watched.watches = (method, name)  # type: ignore[attr-defined]
        watched.__wrapped__ = method  # type: ignore[attr-defined]
        return watched

    # --- set-up ------------------------------------------------------------------------------

    def running_as(self, task: Cpu | None) -> _As:
        """A context in which kernel functions run as `task`, at once."""
        return _As(self, task)

    def new(self, cls: type[R], name: str = "", **values: Any) -> R:
        """Create a record at set-up, with the given field values."""
        if self.sealed:
            raise SpecError(f"{cls.__name__}: records are created at set-up only")
        peers = self.records.setdefault(cls.__name__, [])
        if peers and type(peers[0]) is not cls:
            raise SpecError(f"two classes of records are called {cls.__name__}: rename one")
        record = cls(self, name or f"{cls.short or cls.__name__.lower()}{len(peers)}", len(peers))
        peers.append(record)
        for key, value in values.items():
            if key not in cls._fields:
                raise SpecError(f"{cls.__name__} has no field {key!r}")
            record._values[key] = value
        return record

    def task(self, name: str) -> TaskHandle:
        """The task called `name`, created on first use."""
        if name not in self._named:
            task = self.new(self.k.task_class, name)
            self.tasks.append(task)
            self._named[name] = task
            with self.running_as(task):
                self.k.task_created(task)
        return TaskHandle(self._named[name])

    def run(self, name: str, function: Callable[..., Any], *args: Any, actor: bool = False) -> None:
        """Give the task called `name` a program."""
        self.programs.append(Program(self.task(name).task, function, args, actor))

    def seal(self) -> None:
        """End the set-up: add the actors' programs and fix the records."""
        if self.k.once_set_up is not None:
            self.k.__class__ = self.k.once_set_up
            self._hook()
        for name, function, args in self.k.actors():
            self.run(name, function, *args, actor=True)
        order = {id(p.task): n for n, p in enumerate(self.programs)}
        self.programs.sort(key=lambda p: order[id(p.task)])
        self.sealed = True

    # --- reading the state ---------------------------------------------------------------------

    def instances(self, cls: type[Record] | str) -> list[Record]:
        """All records of a class or of the one class derived from it."""
        name = record_class(cls)
        if name in self.records:
            return self.records[name]
        for records in self.records.values():
            if any(c.__name__ == name for c in type(records[0]).__mro__):
                return records
        return []

    def groups(self) -> list[Group]:
        """Every shared field of every record, in a fixed order."""
        found: list[Group] = []
        for cls, records in self.records.items():
            self._collect(cls, "", tuple(records), tuple(records), found)
        return found

    def _collect(
        self,
        cls: str,
        prefix: str,
        tops: tuple[Record, ...],
        records: tuple[Record, ...],
        found: list[Group],
    ) -> None:
        for field in records[0]._fields.values():
            path = prefix + field.name
            if field.embed is not None:
                inner = tuple(r._values[field.name] for r in records)
                self._collect(cls, path + ".", tops, inner, found)
            elif field.kind is not None:
                length = 1
                if field.length is not None:
                    length = max(len(r._values[field.name]) for r in records)
                if length:
                    found.append(Group(cls, path, field, tops, length))

    def bits(self, kind: Kind) -> int:
        """The width of a value of `kind`, given the records that exist."""
        if kind.what == "bool":
            return 1
        if kind.what in ("int", "enum"):
            return (kind.hi - kind.lo).bit_length()
        if kind.what == "ref":
            return len(self.instances(kind.cls)).bit_length()
        return sum(self.bits(k) for k in kind.cls._members.values())

    def encode(self, kind: Kind, value: Any) -> int:
        """The number that stands for `value`; for ints the value itself."""
        if kind.what == "ref":
            return 0 if value is None else value._index + 1
        if kind.what != "packed":
            return int(value)
        word = shift = 0
        for name, member in kind.cls._members.items():
            word |= (self.encode(member, getattr(value, name)) - member_low(member)) << shift
            shift += self.bits(member)
        return word

    def decode(self, kind: Kind, number: int) -> Any:
        """The value that `number` stands for."""
        if kind.what == "bool":
            return bool(number)
        if kind.what == "int":
            return number
        if kind.what == "enum":
            return kind.cls(number)
        if kind.what == "ref":
            return None if number == 0 else self.instances(kind.cls)[number - 1]
        members = {}
        for name, member in kind.cls._members.items():
            width = self.bits(member)
            members[name] = self.decode(member, (number & ((1 << width) - 1)) + member_low(member))
            number >>= width
        return kind.cls(**members)

    def spawn(self, ignored: frozenset[str] = frozenset()) -> Scheduler:
        """Start every program as a thread that stands before its first step."""
        scheduler = Scheduler()
        scheduler.ignored = ignored
        self.runtime = scheduler
        for program in self.programs:
            scheduler.spawn(program.task, partial(program.function, *program.args))
        return scheduler


def member_low(kind: Kind) -> int:
    """What is subtracted from a value before it is packed."""
    return kind.lo if kind.what == "int" else 0


def show(value: Any) -> str:
    """A value as a trace prints it."""
    if isinstance(value, bool):
        return str(int(value))
    if value is None:
        return "NULL"
    text = getattr(value, "show", None)
    if text is not None and isinstance(value, Packed):
        return str(text())
    return value.name if hasattr(value, "name") and not isinstance(value, Record) else repr(value)


__all__ = ["Group", "Monitor", "Program", "Specification", "System", "ensure", "show"]
