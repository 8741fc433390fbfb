"""Patch series: the design as of every patch, on top of those before it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification

#: The step before the first patch.
BASE = "base"

#: What the series about the references of DAX pages are held against.
SERIES_SCENARIOS = (
    "three-states",
    "fsdax-refcounts",
    "fsdax-refcounts-pmd",
    "devdax-refcounts",
    "devdax-refcounts-pmd",
    "truncate-vs-pin",
    "truncate-vs-pin-unmapped",
    "truncate-warns",
    "truncate-vs-refault",
    "truncate-vs-locked-entry",
    "evict-vs-pin",
    "evict-vs-own-pin",
    "evict-cached-vs-pin",
    "punch-vs-pin",
    "punch-beside-pin",
    "punch-vs-gup-fast",
    "punch-warns-of-gup-fast",
    "punch-vs-gup-fast-waits",
    "gup-pmd-recheck",
    "truncate-vs-fault",
    "truncate-vs-sync-fault",
    "truncate-stale-tlb",
    "refault-after-zap",
    "free-wakes-before-clear",
    "memory-failure-vs-truncate",
    "reflink-share",
    "reflink-share-locked",
    "truncate-vs-sharer",
    "private-mapping-refcounts",
    "private-vs-truncate",
    "entry-lock-waiters",
    "fsdax-unbind-vs-pin",
    "fsdax-unbind-mounted",
    "fsdax-unbind-closed",
    "fsdax-fault-vs-unbind",
    "devdax-unbind-vs-pin",
    "devdax-unbind-vs-mapping",
    "devdax-fault-vs-unbind",
    "devdax-unbind-vs-munmap",
    "devdax-gup-fast-vs-unbind",
    "devdax-gup-fast-vs-unbind-pmd",
)


@dataclass(frozen=True)
class Patch:
    """One patch of a series."""

    number: str  # "01"
    subject: str
    changes: str = ""  # what it changes here; "": no change of behaviour
    design: type[Specification] | None = None  # as of this patch; None: as of the one before


@dataclass(frozen=True, kw_only=True)
class Series:
    """A patch series on top of a design."""

    name: str
    title: str
    source: str  # author, date, and where it was posted
    base: type[Specification]
    patches: tuple[Patch, ...]
    file: str  # the module's __file__: the exact counts are kept beside it
    scenarios: tuple[str, ...] = ()  # what `zonedev series NAME --check` checks

    def steps(self) -> dict[str, type[Specification]]:
        """The base and the patches that have a design, in their order."""
        return {BASE: self.base} | {p.number: p.design for p in self.patches if p.design is not None}

    def at(self, number: str) -> type[Specification]:
        """The design as of a patch; ZonedevError where there is no such patch."""
        design = self.base
        if number == BASE:
            return design
        wanted = self.patch(number)
        for patch in self.patches:
            design = patch.design or design
            if patch is wanted:
                break
        return design

    def patch(self, number: str) -> Patch:
        """The patch with this number; ZonedevError where there is none."""
        known = {p.number: p for p in self.patches}
        if number in known:
            return known[number]
        wrong = f"no patch {number!r} in {self.name}"
        if number.zfill(2) in known:
            raise ZonedevError(f"{wrong}: did you mean {self.name}/{number.zfill(2)}?")
        raise ZonedevError(f"{wrong}: there is {BASE}, and {min(known)} to {max(known)}")

    def base_name(self) -> str:
        """What the base is called in a list of designs."""
        return str(getattr(self.base, "name", self.base.__name__))

    def golden_file(self) -> Path:
        """Where the exact counts are kept: beside the series."""
        return Path(self.file).with_suffix(".json")


#: All series, by their names.
SERIES: dict[str, Series] = {}


def add(*found: Series) -> None:
    """Put series into the list."""
    SERIES.update({s.name: s for s in found})
