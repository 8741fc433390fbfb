"""The page of the designs: what each overrides, and for which patch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType

from markup import escaped, folded, linked, place, plain, table, target
from zonedev.catalogue import Catalogue
from zonedev.explore.diff import ABOUT
from zonedev.lang.system import Specification


def designs(known: Catalogue) -> Iterator[str]:
    """Each design with the functions of its own, then the series."""
    yield "# Designs\n"
    yield "A design overrides functions of the one that it derives from, and says of each until which"
    yield "patch it was so. [designs.md](../designs.md) tells how they hang together.\n"
    classes = {cls: name for name, cls in known.designs.items()}
    for name, design in known.designs.items():
        yield f"({target('design', name)})="
        yield f"## {name}\n"
        yield from told(design, classes)
    for series in known.series.values():
        yield f"\n## {series.name}\n"
        yield escaped(series.title) + "\n"
        rows = [(p.number, escaped(p.subject)) for p in series.patches]
        yield from table(("patch", "subject"), rows)


def told(design: type[Specification], classes: dict[type, str]) -> Iterator[str]:
    before = next((classes[c] for c in design.__mro__[1:] if c in classes), None)
    if before:
        yield f"Derives from {linked('design', before)}.\n"
    yield escaped(inspect.getdoc(design) or "") + "\n"
    for cls in layers(design, classes):
        for name, function in own(cls):
            yield f"\n### {plain(name)}()\n"
            yield escaped(inspect.getdoc(function) or "") + "\n"
            yield from folded(place(function), inspect.getsource(function))


def layers(design: type[Specification], classes: dict[type, str]) -> Iterator[type]:
    """The classes between a design and the one before it; none of the newest, which is kernel/ itself."""
    if not any(c in classes for c in design.__mro__[1:]):
        return
    for cls in design.__mro__:
        if cls is not design and (cls in classes or not cls.__module__.startswith("zonedev.designs")):
            return
        yield cls


def own(cls: type) -> list[tuple[str, FunctionType]]:
    """The functions that a class defines itself."""
    return [(n, f) for n, f in vars(cls).items() if isinstance(f, FunctionType) and n not in ABOUT]
