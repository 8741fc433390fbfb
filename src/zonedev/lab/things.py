"""What a story is about: devices, files, pages, addresses.  What is behind a name only a side knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
#: Bytes that one entry of the page tables maps.
LEVELS = {"pte": PAGE_SIZE, "pmd": 2 << 20, "pud": 1 << 30}


@dataclass(eq=False)
class Device:
    """A device-dax device, a pmem device or a file: something with pages.

    `shape` is what the scenario has said of it; `prefix` sets its pages apart from those of
    the first one.
    """

    name: str
    kind: str
    shape: Mapping[str, Any]
    on: Device | None = None  # the pmem device that a file lies on
    prefix: str = ""
    pages: Pages = field(init=False)

    def __post_init__(self) -> None:
        self.pages = Pages(self)

    @property
    def level(self) -> str:
        """The level at which it maps: pte, pmd or pud."""
        return str((self.on or self).shape.get("size", "pte"))

    @property
    def per_folio(self) -> int:
        """The scenario's pages that one entry maps."""
        shape = (self.on or self).shape
        return 1 if self.level == "pte" else shape.get("per_folio") or max(shape.get("pages", 1), 2)

    @property
    def ordinary(self) -> bool:
        """Whether it is no device at all, but the memory of the system."""
        return self.kind == "anonymous_memory"

    @property
    def filled(self) -> bool:
        """Whether it has pages: a device that mirrors a task's memory need not."""
        return self.shape.get("pages") != 0 or self.kind != "dmirror_device"

    def offset(self, index: int) -> int:
        """Where the scenario's page `index` is, in bytes.

        A scenario's huge page has a few pages only, and a machine's has all of them: those of
        the scenario are the first ones of it.
        """
        return index // self.per_folio * LEVELS[self.level] + index % self.per_folio * PAGE_SIZE

    @property
    def shared(self) -> Device | None:
        """The file whose blocks a file has: it is a reflink copy."""
        found: Device | None = self.shape.get("shares")
        return found

    @property
    def length(self) -> int | None:
        """Bytes of a file; None where the scenario does not say how many."""
        if self.shared is not None:
            return self.shared.length
        return self.offset(self.shape["pages"]) if self.shape.get("pages") else None

    @property
    def blocks(self) -> int | None:
        """Bytes of a file that are allocated, at its beginning; None for all."""
        if self.shared is not None:
            return self.shared.blocks
        given = self.shape.get("blocks")
        return None if given is None else self.offset(given)


@dataclass(eq=False)
class PageOf:
    """A page of a device, by its number.

    The first page of a file with a number is the one that was there at set-up, or if there was
    none, that came there first.  Others, when it has other blocks there, are page0', page0''.
    copy0 is what a private mapping has instead after a write; nobody looks at its counts, which
    the memory management of ordinary pages changes too.
    """

    device: Device
    index: int
    version: int = 0
    frame: Any = None  # what a side knows it by; None as long as it is none
    copied: bool = False

    @property
    def name(self) -> str:
        if self.copied:
            return f"{self.device.prefix}copy{self.index}"
        return f"{self.device.prefix}page{self.index}" + "'" * self.version


class Pages:
    """The pages of a device that the story has named."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._named: dict[tuple[int, int], PageOf] = {}

    def __getitem__(self, index: int) -> PageOf:
        return self._named.setdefault((index, 0), PageOf(self._device, index))

    def __iter__(self) -> Iterator[PageOf]:
        return iter([self._named[key] for key in sorted(self._named)])

    def found(self, index: int, frame: Any) -> PageOf:
        """The page with a number that a side has found to be `frame`."""
        mine = [page for page in self if page.index == index]
        for page in mine:
            if page.frame in (None, frame):
                page.frame = frame
                return page
        key = (index, len(mine))
        return self._named.setdefault(key, PageOf(self._device, *key, frame))


@dataclass(eq=False)
class Va:
    """Where a task has mapped a device, or will: the address of its page `index`.

    `sync`: mapped with MAP_SYNC; `private`: with MAP_PRIVATE.
    """

    device: Device
    called: str = "va"
    index: int = 0
    sync: bool = False
    private: bool = False
    start: Va = field(init=False)
    _copies: dict[int, PageOf] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.start = self

    def __add__(self, pages: int) -> Va:
        further = Va(self.device, index=self.index + pages)
        further.start = self.start
        return further

    @property
    def name(self) -> str:
        return self.start.called + (f" + {self.index}" if self.index else "")

    @property
    def offset(self) -> int:
        """Bytes from the beginning of the mapping."""
        return self.device.offset(self.index)

    @property
    def page(self) -> PageOf:
        """The page there at set-up."""
        return self.device.pages[self.index]

    @property
    def copy(self) -> PageOf:
        """What is there once a private mapping was written to."""
        return self.start._copies.setdefault(self.index, PageOf(self.device, self.index, copied=True))

    def page_at(self, frame: Any, devices: Iterable[Device]) -> PageOf:
        """The page there now, which a side has found to be `frame`; it may be one of others too."""
        known = (page for device in devices for page in device.pages if page.frame == frame)
        return next(known, None) or self.device.pages.found(self.index, frame)


@dataclass(eq=False)
class Mirror:
    """What a task that has its memory mirrored has opened; `handle` is what a side knows it by."""

    task: str
    handle: Any


class Flag:
    """Something that one task does and another waits for, outside the kernel."""

    def __init__(self) -> None:
        self.up = False


def counts_text(refcount: int, mapcount: int, pincount: int) -> str:
    """The counts of a page's folio; those that are 0 are left out, but for the first."""
    said = f"_refcount {refcount}"
    said += f", _mapcount {mapcount}" if mapcount else ""
    return said + (f", _pincount {pincount}" if pincount else "")


def refs_text(refs: int) -> str:
    """The references of a pagemap."""
    return f"ref {refs}"
