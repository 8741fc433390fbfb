"""What every command works with."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from zonedev import catalogue as catalogues
from zonedev.catalogue import Catalogue
from zonedev.explore.matrix import Loader
from zonedev.explore.result import Limits
from zonedev.explore.trace import shorten
from zonedev.lang.errors import ZonedevError

OK, ERROR, VIOLATED, UNDETERMINED = 0, 1, 2, 3


class Context:
    """The options of one command, and the catalogue that it works on."""

    def __init__(self, options: argparse.Namespace, load: Loader | None = None) -> None:
        self.options = options
        self.load: Loader = load or catalogues.load
        self._load_given = load is not None
        self._catalogue: Catalogue | None = None

    @property
    def catalogue(self) -> Catalogue:
        if self._catalogue is None:
            self._catalogue = self.load()
        return self._catalogue

    def with_operations(self) -> Catalogue:
        """The catalogue with the operations of `cost`."""
        return self.catalogue if self._load_given else catalogues.load_with_operations()

    @property
    def json(self) -> bool:
        return bool(self.options.format == "json")

    def limits(self) -> Limits:
        o = self.options
        return Limits(o.max_states, o.max_seconds, o.max_memory)


def parse_scope(given: Sequence[str]) -> dict[str, str | int]:
    """``pages=2,tasks=3`` as a mapping; ZonedevError for what is not of that form."""
    found: dict[str, str | int] = {}
    for part in (p for text_ in given for p in text_.split(",")):
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ZonedevError(f"--scope {part}: write NAME=NUMBER, such as pages=2")
        if name in found:
            raise ZonedevError(f"--scope {part}: {name} is given twice")
        found[name] = value
    return found


def complain(text: str) -> None:
    """Report an error in one line, with short paths."""
    print(f"zonedev: error: {' '.join(shorten(text).split())}", file=sys.stderr)


def show(value: str) -> None:
    print(value)
