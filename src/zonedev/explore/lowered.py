"""Lowered systems, kept from one command to the next.

Lowering takes most of the time of a small check, and depends on nothing but the system that
the scenario sets up, the rules, and the source of this program.  A system with code from
elsewhere, such as a user's design, is lowered each time, for there is no telling what that
code depends on.
"""

from __future__ import annotations

import io
import pickle
import sys
import zlib
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any

import zonedev
from zonedev.explore.cache import Cache, name_of, program
from zonedev.lang.records import Field, Record
from zonedev.lang.system import Group, System
from zonedev.lang.transition import TransitionSystem, lower, uncollected


class Foreign(Exception):
    """Something that is not of this program."""


def lowered(system: System, rules: frozenset[str], cache: Cache) -> TransitionSystem:
    """The system, lowered; `digest` names it where it can be kept."""
    if cache.directory is None:
        return lower(system, rules)
    try:
        place = str(Path(zonedev.__file__).parent)  # for steps name their source's file
        name = name_of("lowered", program(), place, fingerprint(system), ",".join(sorted(rules)))
    except Foreign:
        return lower(system, rules)
    kept = unpacked(system, cache.read(name))
    if isinstance(kept, TransitionSystem):
        return kept
    ts = lower(system, rules)
    ts.digest = name
    cache.write(name, packed(system, ts))
    return ts


# --- what a system is -------------------------------------------------------------------------


def fingerprint(system: System) -> bytes:
    """All that a sealed system consists of; Foreign where that is not known."""
    for cls in type(system.k).__mro__:
        for value in vars(cls).values():
            if isinstance(value, FunctionType) and not ours(value.__module__):
                raise Foreign(value.__qualname__)
    out = io.BytesIO()
    Printer(out, 5).dump(system)
    return out.getvalue()


class Printer(pickle.Pickler):
    """Writes objects down, with classes and functions by their names."""

    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, type):
            return self.named_class(thing)
        if isinstance(thing, FunctionType) and hasattr(thing, "watches"):
            return "watched", thing.watches[1]
        if isinstance(thing, FunctionType | BuiltinFunctionType):
            return named(thing)
        return None

    def named_class(self, cls: type) -> Any:
        if not issubclass(cls, Record) or found(cls.__module__, cls.__qualname__) is cls:
            return named(cls)
        # A class that atomic_t() or its like has made.
        fields = {n: v for n, v in vars(cls).items() if isinstance(v, Field)}
        return [named(base) for base in cls.__mro__[1:-1]], cls.__qualname__, fields


def named(thing: Any) -> str:
    """The name of a class or function of this program or of Python."""
    module, name = thing.__module__, thing.__qualname__
    if not ours(module) or found(module, name) is not thing:
        raise Foreign(f"{module}:{name}")
    return f"{module}:{name}"


def ours(module: str | None) -> bool:
    """Whether a module is of this program or of Python; a function of a prompt may have none."""
    return module is not None and module.partition(".")[0] in ("zonedev", *sys.stdlib_module_names)


def found(module: str, name: str) -> Any:
    """What has a name in a module."""
    thing: Any = sys.modules.get(module)
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


# --- what is made of a system ------------------------------------------------------------------


def packed(system: System, made: Any) -> bytes:
    """What was made of a system, without the system itself."""
    out = io.BytesIO()
    Packer(system, out, 5).dump(made)
    return zlib.compress(out.getvalue(), 1)


def unpacked(system: System, kept: bytes | None) -> Any:
    """What was packed, as if it had been made of this system, which is like the other; or None."""
    if kept is None:
        return None
    with uncollected():
        try:
            return Unpacker(system, io.BytesIO(zlib.decompress(kept))).load()
        except (pickle.UnpicklingError, zlib.error, AttributeError, LookupError, TypeError):
            return None


class Packer(pickle.Pickler):
    """Leaves out the system, its groups and the classes of its records."""

    def __init__(self, system: System, out: io.BytesIO, protocol: int) -> None:
        super().__init__(out, protocol)
        self.system = system
        self.classes = {cls: n for n, cls in enumerate(classes_of(system))}

    def reducer_override(self, thing: Any) -> Any:
        """Unlike persistent_id(), not called for tuples, numbers and names, which most of it is."""
        if isinstance(thing, Group):
            return elsewhere, (thing.cls, thing.path)
        if isinstance(thing, type) and thing in self.classes:
            return elsewhere, (self.classes[thing],)
        return (elsewhere, ()) if thing is self.system else NotImplemented


def elsewhere(*key: Any) -> Any:
    """Stands for what was left out; who unpacks has another system for it."""
    raise AssertionError(key)


class Unpacker(pickle.Unpickler):
    """Takes them from another system, which has the same."""

    def __init__(self, system: System, kept: io.BytesIO) -> None:
        super().__init__(kept)
        self.system = system
        self.groups = {(g.cls, g.path): g for g in system.groups()}
        self.classes = classes_of(system)

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == (__name__, elsewhere.__name__):
            return self.here
        return super().find_class(module, name)

    def here(self, *key: Any) -> Any:
        if not key:
            return self.system
        return self.classes[key[0]] if len(key) == 1 else self.groups[key]


def classes_of(system: System) -> list[type]:
    """The classes of records that groups' kinds refer to, in a fixed order."""
    found: dict[type, None] = {}
    for group in system.groups():
        if isinstance(group.kind.cls, type):
            found[group.kind.cls] = None
    return list(found)
