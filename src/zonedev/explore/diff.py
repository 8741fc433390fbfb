"""What two designs do differently: the functions, by walking their classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from zonedev.explore.trace import short_path
from zonedev.lang.system import Specification

#: What of a design says what it is, and not what it does.
ABOUT = ("name", "title", "release")


@dataclass(frozen=True)
class Definition:
    """Where a design takes a function from, and what its docstring says first."""

    cls: str
    source: str
    about: str


@dataclass(frozen=True)
class Difference:
    """A function or constant that two designs do not share; None where one lacks it."""

    name: str
    first: Definition | None
    second: Definition | None


def differences(a: type[Specification], b: type[Specification]) -> list[Difference]:
    """The names that the designs define differently, in the order of their sources."""
    found = []
    for name in dict.fromkeys([*names(a), *names(b)]):
        one, two = resolved(a, name), resolved(b, name)
        if one is not two and not same_constant(one, two):
            found.append(Difference(name, definition(a, name), definition(b, name)))
    return found


def names(design: type[Specification]) -> list[str]:
    """The functions and constants of a design, below what every specification has."""
    own: dict[str, None] = {}
    for cls in reversed(design.__mro__):
        if cls is not Specification and issubclass(cls, Specification):
            own.update(dict.fromkeys(n for n in vars(cls) if not n.startswith("_") and n not in ABOUT))
    return list(own)


def resolved(design: type[Specification], name: str) -> Any:
    for cls in design.__mro__:
        if name in vars(cls):
            return vars(cls)[name]
    return None


def same_constant(a: Any, b: Any) -> bool:
    return (
        not isinstance(a, FunctionType)
        and not isinstance(b, FunctionType)
        and type(a) is type(b)
        and bool(a == b)
    )


def definition(design: type[Specification], name: str) -> Definition | None:
    """Where `name` comes from in `design`."""
    for cls in design.__mro__:
        if name in vars(cls):
            value = vars(cls)[name]
            if isinstance(value, FunctionType):
                return Definition(cls.__name__, place(value), first_line(value))
            return Definition(cls.__name__, file_of(cls), f"{name} = {value!r}")
    return None


def file_of(cls: type) -> str:
    """The file of a class, as traces name it; what was typed into a notebook has none."""
    try:
        return short_path(inspect.getsourcefile(cls) or "?")
    except (OSError, TypeError):
        return "cell"


def place(function: FunctionType) -> str:
    code = function.__code__
    return f"{short_path(code.co_filename)}:{code.co_firstlineno}"


def first_line(function: Callable[..., Any]) -> str:
    """The first sentence of a docstring, or what of it stands on its first line."""
    text = inspect.getdoc(function) or ""
    return text.split("\n\n")[0].replace("\n", " ")
