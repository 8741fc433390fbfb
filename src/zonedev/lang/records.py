"""Typed kernel objects: records of bounded fields, and packed values.

A *record* stands for a kernel structure (`struct page`, `struct dev_pagemap`).
Its shared fields are the shared memory of the specification: every access to
one is a step (see `runtime`).  A *packed* value stands for a word that the CPU
reads and writes as a whole, such as a page-table entry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from zonedev.lang.errors import CounterRange, SpecError

if TYPE_CHECKING:
    from zonedev.lang.system import System

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """What a shared location or a local may hold.

    `what` is one of ``int``, ``bool``, ``enum``, ``ref`` and ``packed``; `lo` and
    `hi` bound an ``int``; `cls` names the record, enum or packed class.
    """

    what: str
    lo: int = 0
    hi: int = 1
    cls: Any = None

    def default(self) -> Any:
        if self.what == "bool":
            return False
        if self.what == "enum":
            return self.cls(0)
        if self.what == "packed":
            return self.cls()
        return None if self.what == "ref" else max(0, self.lo)

    def fits(self, value: Any) -> bool:
        """Whether a number is in the range."""
        return self.what not in ("int", "enum") or self.lo <= value <= self.hi


@dataclass
class Field:
    """One declared field of a record; a descriptor that makes each access a step."""

    kind: Kind | None  # None: constant after set-up, or an embedded structure
    initial: Any = None
    length: int | None = None  # of an array; 0 grows at set-up
    embed: type[Record] | None = None
    below: str | None = None  # the rule that a value under the range breaks
    quiet: bool = False  # left out of printed traces
    private: bool = False  # only the task that owns the record writes it: no step
    mask: bool = False  # a number whose bits stand for tasks
    name: str = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, obj: Record | None, owner: type) -> Any:
        if obj is None:
            return self
        value = obj._values[self.name]
        if self.kind is None or self.length is not None:
            return value
        obj._system.runtime.access(obj, self, write=False)
        return obj._values[self.name]

    def __set__(self, obj: Record, value: Any) -> None:
        if self.kind is None:
            if obj._system.sealed:
                raise SpecError(f"{obj._name}.{self.name} is constant after set-up")
            obj._values[self.name] = value
            return
        if self.length is not None:
            raise SpecError(f"assign to an element of {obj._name}.{self.name}, not to the array")
        obj._system.runtime.access(obj, self, write=True)
        obj._values[self.name] = self.checked(obj, value)

    def checked(self, obj: Record, value: Any) -> Any:
        """`value`, or CounterRange where it leaves the declared range."""
        kind = self.kind
        assert kind is not None
        if not kind.fits(value) and not (obj._system.sparse and value > kind.hi):
            raise CounterRange(obj._label(self.name), int(value), kind.lo, kind.hi, self.below)
        return bool(value) if kind.what == "bool" else value


class Array:
    """The elements of an array field; reading or writing one is a step."""

    def __init__(self, owner: Record, field: Field, length: int) -> None:
        assert field.kind is not None
        self._owner, self._field = owner, field
        self._default = field.kind.default() if field.initial is None else field.initial
        self._length = length
        self._values: dict[int, Any] = {}
        self._first: Callable[[int], Any] | None = None

    def __len__(self) -> int:
        return self._length

    def grow(self, length: int) -> None:
        """Extend the array at set-up."""
        self._length = max(self._length, length)

    def begin_as(self, first: Callable[[int], Any]) -> None:
        """Let each element be `first(index)` until it is written, at set-up; it is asked when
        the element is looked at."""
        self._first = first

    def begun(self, index: int) -> Any:
        """What an element was at first."""
        if self._first is not None and index < self._length:
            return self._first(index)
        return self._default

    def peek(self, index: int) -> Any:
        return self._values[index] if index in self._values else self.begun(index)

    def poke(self, index: int, value: Any) -> None:
        if value == self._default and self._first is None:
            self._values.pop(index, None)
        else:
            self._values[index] = value

    def _check(self, index: int) -> None:
        if not 0 <= index < self._length:
            raise SpecError(
                f"{self._owner._label(self._field.name)}[{index}]: the index is not below {self._length}"
            )

    def __getitem__(self, index: int) -> Any:
        self._check(index)
        self._owner._system.runtime.access(self._owner, self._field, write=False)
        return self.peek(index)

    def __setitem__(self, index: int, value: Any) -> None:
        self._check(index)
        self._owner._system.runtime.access(self._owner, self._field, write=True)
        self.poke(index, self._field.checked(self._owner, value))

    def has(self, index: int) -> bool:
        """Whether an element was written, and holds something else than the default."""
        return index in self._values

    def touched(self) -> Iterator[int]:
        """The indices whose value is not the default."""
        return iter(sorted(self._values))


class Record:
    """A kernel object.  Subclasses declare fields; `System.new` creates instances."""

    _fields: ClassVar[dict[str, Field]] = {}
    #: Set by a class whose objects can be freed: the rule that a later access breaks.
    freed_breaks: ClassVar[str | None] = None
    #: Whether its fields are given before a run, and so are not what set-up has left there.
    given: ClassVar[bool] = False
    #: What to call an instance in a trace; the index is appended.
    short: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        fields = dict(cls._fields)
        fields.update((n, f) for n, f in vars(cls).items() if isinstance(f, Field))
        if cls.freed_breaks is not None and "live" not in fields:
            live = Field(Kind("bool"), initial=True)
            live.__set_name__(cls, "live")
            cls.live = live  # type: ignore[attr-defined]
            fields["live"] = live
        cls._fields = fields

    def __init__(self, system: System, name: str, index: int, parent: Record | None = None) -> None:
        self._system, self._name, self._index, self._parent = system, name, index, parent
        self._values: dict[str, Any] = {}
        for field in self._fields.values():
            if field.embed is not None:
                self._values[field.name] = embedded(self, field)
            elif field.length is not None:
                self._values[field.name] = Array(self, field, field.length)
            elif field.initial is not None or field.kind is None:
                self._values[field.name] = field.initial
            else:
                self._values[field.name] = field.kind.default()

    def _label(self, field: str) -> str:
        """How a location of this record is called in a trace: page0._refcount."""
        own = f"{self._name}.{field}"
        return self._name if field == "value" else own

    def __repr__(self) -> str:
        return self._name


def embedded(owner: Record, field: Field) -> Record:
    """The structure that `field` embeds in `owner`."""
    assert field.embed is not None
    return field.embed(owner._system, f"{owner._name}.{field.name}", owner._index, owner)


def count(lo: int, hi: int, *, initial: int = 0, below: str | None = None, quiet: bool = False) -> Any:
    """A shared bounded integer in lo..hi; a value under lo breaks the rule `below`."""
    return Field(Kind("int", lo, hi), initial, below=below, quiet=quiet)


def task_mask(*, quiet: bool = False) -> Any:
    """A shared set of tasks: a number with a bit for each, by its `_index`; at most six."""
    return Field(Kind("int", 0, 63), 0, quiet=quiet, mask=True)


def flag(*, initial: bool = False, quiet: bool = False) -> Any:
    """A shared boolean."""
    return Field(Kind("bool"), initial, quiet=quiet)


def enum(cls: type[IntEnum], *, quiet: bool = False) -> Any:
    """A shared enumeration whose values count from 0."""
    if sorted(cls) != list(range(len(cls))):
        raise SpecError(f"{cls.__name__}: the values of an enumeration count from 0, without gaps")
    return Field(Kind("enum", 0, max(cls), cls), quiet=quiet)


def ref(cls: type[Record] | str, *, quiet: bool = False) -> Any:
    """A shared pointer to a record, or None."""
    return Field(Kind("ref", cls=cls), quiet=quiet)


def packed(cls: type[Packed], *, initial: Packed | None = None, quiet: bool = False) -> Any:
    """A shared word that holds a packed value."""
    return Field(Kind("packed", cls=cls), initial, quiet=quiet)


def array(of: Any, length: int = 0, *, quiet: bool = False) -> Any:
    """A shared array of `length` elements like the field `of`; 0 lets it grow at set-up."""
    quiet = quiet or of.quiet
    return Field(of.kind, of.initial, length=length, below=of.below, quiet=quiet, private=of.private)


def private(of: Any) -> Any:
    """A field of a task's own record that only this task uses, such as a structure on its stack.

    Reading and writing it is no step; the lowering refuses an access by another task.
    """
    if of.kind is None:
        raise SpecError("private() takes a field that can change, such as count() or ref()")
    of.private = of.quiet = True
    return of


def const(default: Any = None) -> Any:
    """A field that is fixed at set-up; reading it is no step."""
    return Field(None, default)


def embed(cls: type[Record]) -> Any:
    """A structure inside the record, such as an atomic counter or a lock."""
    return Field(None, embed=cls)


BIT: Any = Kind("bool")


def number(lo: int, hi: int) -> Any:
    """A bounded integer member of a packed value."""
    return Kind("int", lo, hi)


def pointer(cls: type[Record] | str) -> Any:
    """A member of a packed value that refers to a record, or None."""
    return Kind("ref", cls=cls)


class Packed:
    """An immutable word with named members.  The default of all members is the zero word."""

    _members: ClassVar[dict[str, Kind]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        members = dict(cls._members)
        members.update((n, k) for n, k in vars(cls).items() if isinstance(k, Kind))
        cls._members = members
        for name in members:
            if name in vars(cls):
                delattr(cls, name)

    def __init__(self, **members: Any) -> None:
        for name, kind in self._members.items():
            value = members.pop(name, kind.default())
            if not kind.fits(value):
                raise CounterRange(f"{type(self).__name__}.{name}", value, kind.lo, kind.hi, None)
            object.__setattr__(self, name, bool(value) if kind.what == "bool" else value)
        if members:
            raise SpecError(f"{type(self).__name__} has no member {next(iter(members))!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise SpecError(f"{type(self).__name__} is a value: use replace()")

    def _key(self) -> tuple[Any, ...]:
        return tuple(getattr(self, n) for n in self._members)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        parts = []
        for name, kind in self._members.items():
            value = getattr(self, name)
            if kind.what == "bool":
                parts += [name] if value else []
            elif value is not None:
                parts.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(parts)})"


P = TypeVar("P", bound=Packed)


def replace(value: P, **members: Any) -> P:
    """`value` with some members changed."""
    return type(value)(**{**{n: getattr(value, n) for n in value._members}, **members})


def record_class(cls: type[Record] | str) -> str:
    return cls if isinstance(cls, str) else cls.__name__
