"""The pages of the kernel's functions: one for each module of the specification."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import FunctionType, ModuleType

from markup import escaped, fenced, folded, linked, place, plain, target
from of_designs import own
from zonedev import kernel
from zonedev.lang.records import Record
from zonedev.lang.system import Specification


def contents(pages: Iterable[str]) -> Iterator[str]:
    yield "# Kernel functions\n"
    yield "The specification of the newest mainline, module by module, and who overrides what."
    yield "A function has the kernel's name, and its docstring the kernel's file.\n"
    yield "```{toctree}\n:maxdepth: 1\n"
    yield from sorted(pages)
    yield "```"


def pages(designs: Mapping[str, type[Specification]]) -> dict[str, Iterator[str]]:
    """The page of each module, by its name."""
    overrides = overriding(designs)
    found = {}
    for info in pkgutil.iter_modules(kernel.__path__):
        module = import_module(f"{kernel.__name__}.{info.name}")
        found[info.name] = page(module, info.name, overrides)
    return found


def overriding(designs: Mapping[str, type[Specification]]) -> dict[str, list[str]]:
    """The designs that have a function of their own, by the function's name."""
    found: dict[str, list[str]] = {}
    for name, design in designs.items():
        classes = set(designs.values()) - {design}
        for cls in design.__mro__:
            if cls in classes or not cls.__module__.startswith("zonedev.designs"):
                break
            for function, _ in own(cls):
                if name not in found.setdefault(function, []):
                    found[function].append(name)
    return found


def page(module: ModuleType, name: str, overrides: Mapping[str, list[str]]) -> Iterator[str]:
    yield f"# {name}\n"
    yield escaped(inspect.getdoc(module) or "") + "\n"
    for thing in (t for t in vars(module).values() if getattr(t, "__module__", None) == module.__name__):
        if isinstance(thing, FunctionType):
            yield from described(thing, thing.__name__, (), name)
        elif isinstance(thing, type) and issubclass(thing, Specification):
            for function_name, function in own(thing):
                yield from described(function, function_name, overrides.get(function_name, ()), name)
        elif isinstance(thing, type):
            yield from record(thing)


def described(function: FunctionType, name: str, others: Iterable[str], module: str) -> Iterator[str]:
    yield f"({target('fn', module, name)})="
    yield f"## {plain(name)}()\n"
    yield escaped(inspect.getdoc(function) or "") + "\n"
    if others:
        links = ", ".join(linked("design", d) for d in others)
        yield f"Another one in {links}.\n"
    yield from folded(place(function), inspect.getsource(function))


def record(cls: type) -> Iterator[str]:
    """A struct or an enum: its fields are read best as they are declared."""
    kind = "struct" if issubclass(cls, Record) else "class"
    yield f"## {kind} {plain(cls.__name__)}\n"
    yield from fenced(inspect.getsource(cls), "python")
