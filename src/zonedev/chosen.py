"""What a user of the API asks for: names, or classes of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from zonedev.catalogue import Catalogue, load
from zonedev.designs.series import SERIES
from zonedev.explore.check import name_of
from zonedev.explore.trace import shorten
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.scenarios.base import Scenario

T = TypeVar("T")
Design = type[Specification]


@contextmanager
def short_errors() -> Iterator[None]:
    """Errors say what they say on the command line: one line, with short paths."""
    try:
        yield
    except ZonedevError as error:
        error.args = (" ".join(shorten(str(error)).split()),)
        raise


def called(thing: str | type) -> str:
    """The name of a scenario or design."""
    if isinstance(thing, str):
        return thing
    if issubclass(thing, Scenario):
        return thing.name()
    steps = (f"{s.name}/{p.number}" for s in SERIES.values() for p in s.patches if p.design is thing)
    return name_of(thing) if "name" in vars(thing) else next(steps, name_of(thing))


@dataclass(frozen=True)
class Chosen:
    """Scenarios and designs by name, in a catalogue that also has the classes of one's own."""

    catalogue: Catalogue
    scenarios: tuple[str, ...]
    designs: tuple[str, ...]
    own: frozenset[str]  # the names of these


def chosen(scenarios: Iterable[str | type[Scenario]], designs: Iterable[str | Design]) -> Chosen:
    """What is asked for; ZonedevError for what does not exist, or is no design or scenario."""
    known = load()
    situations, kernels = several("scenarios", scenarios), several("designs", designs)
    mine = own(situations, Scenario, "scenario", known.everything())
    patches = own(kernels, tuple(known.designs.values()), "design", known.designs)
    whole = replace(known, scenarios={**known.scenarios, **mine}, designs={**known.designs, **patches})
    names = tuple(map(called, situations)), tuple(map(called, kernels))
    for name in names[0]:
        whole.scenario(name)
    for name in names[1]:
        whole.design(name)
    return Chosen(whole, *names, own=frozenset((*mine, *patches)))


def own(
    given: Iterable[str | type], kinds: type | tuple[type, ...], what: str, known: Mapping[str, type]
) -> dict[str, type]:
    """The classes among what is given that the catalogue does not have."""
    found: dict[str, type] = {}
    for thing in given:
        if isinstance(thing, str):
            continue
        if not isinstance(thing, type) or not issubclass(thing, kinds):
            raise ZonedevError(f"{thing!r} is no {what}: give a name, or a class that derives from a {what}")
        name = called(thing)
        if known.get(name) is not thing and found.setdefault(name, thing) is not thing:
            raise ZonedevError(f"two classes of a {what} are called {name}: rename one")
    return found


def several(what: str, given: Iterable[T]) -> tuple[T, ...]:
    """Things in order; ZonedevError for a name alone, which Python takes for its letters."""
    if isinstance(given, str):
        raise ZonedevError(f"{what}={given!r}: give a list: [{given!r}]")
    return tuple(given)
