"""Sizes, addresses and bytes of the machine by hand."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

from zonedev.lang.errors import ZonedevError
from zonedev.lang.records import Record
from zonedev.lang.runtime import current
from zonedev.lang.system import Monitor

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: The alignments that a device can have, and the level at which each maps.
LEVELS = {PAGE_SIZE: "pte", 1 << 21: "pmd", 1 << 30: "pud"}


class BusError(ZonedevError):
    """A task touched an address that nothing backs: SIGBUS or SIGSEGV."""


def size_of(text: str | int) -> int:
    """A size in bytes: 4096, "2MiB", "1TiB"."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]iB|B|)\s*", str(text))
    if not match:
        raise ZonedevError(f"size {text!r}: give bytes, or a number with KiB, MiB, GiB or TiB")
    return int(match[1]) * UNITS[match[2]]


def pages_of(size: str | int) -> int:
    """The pages of `size` bytes."""
    total = size_of(size)
    if total % PAGE_SIZE:
        raise ZonedevError(f"size {size!r}: a multiple of 4KiB")
    return total >> PAGE_SHIFT


def device_shape(
    size: str | int, align: str | int, levels: tuple[str, ...] = tuple(LEVELS.values())
) -> dict[str, Any]:
    """The arguments of the kernel's device_dax() and pmem_device() for a device of `size` bytes
    that maps at one of `levels`, with pages of `align`."""
    total, each = size_of(size), size_of(align)
    if LEVELS.get(each) not in levels:
        sizes = "4KiB, 2MiB or 1GiB" if "pud" in levels else "4KiB or 2MiB"
        raise ZonedevError(f"align {align!r}: a device maps with {sizes}")
    if total == 0 or total % each:
        raise ZonedevError(f"size {size!r}: a multiple of the alignment {align!r}")
    return {
        "pages": total >> PAGE_SHIFT,
        "size": LEVELS[each],
        "per_folio": each >> PAGE_SHIFT,
    }


def with_page_numbers(
    method: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments with every `va` in bytes as the page number that the kernel functions take."""
    names = list(inspect.signature(method).parameters)
    args = [to_page(a) if n < len(names) and names[n] == "va" else a for n, a in enumerate(args)]
    return args, {n: to_page(v) if n == "va" else v for n, v in kwargs.items()}


def to_page(va: Any) -> int:
    if not isinstance(va, int) or va < 0:
        raise ZonedevError(f"VA {va!r}: give an address in bytes, as mmap() returned it")
    return va >> PAGE_SHIFT


def with_flags(kwargs: dict[str, Any]) -> dict[str, Any]:
    """`longterm` and `write` as GUP flags."""
    from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE

    if not {"longterm", "write"} & set(kwargs):
        return kwargs
    rest = {n: v for n, v in kwargs.items() if n not in ("longterm", "write")}
    flags = FOLL_WRITE if kwargs.get("write", True) else 0
    return {**rest, "flags": flags | (FOLL_LONGTERM if kwargs.get("longterm") else 0)}


class Memory:
    """The bytes of the frames that were written; all others are zero."""

    def __init__(self) -> None:
        self._frames: dict[int, bytearray] = {}
        self._pinned: dict[tuple[int, int], int] = {}  # by task and page: for whose memory

    def watches(self) -> tuple[Monitor, ...]:
        """What has to be known of the kernel's own doings, in no rule's name."""

        def allocated(k: Any, inode: Any, result: Any) -> None:
            for page in () if result is None else k.block_pages(inode.dax, result):
                self._frames.pop(page.frame._index, None)

        def copied(k: Any, inode: Any, page: Any, copy: Any) -> None:
            for each in k.block_pages(inode.dax, page):
                if each.frame._index in self._frames:
                    new = k.block_page(inode.dax, copy, each.number - page.number)
                    self._frames[new.frame._index] = bytearray(self._frames[each.frame._index])

        def pinned(k: Any, va: int, result: Any) -> None:
            if result is not None:
                file = current().mm.vma_at[va].vm_file
                self._pinned[current()._index, result._index] = file.number

        names = ("pin_user_pages", "pin_user_pages_fast", "get_user_pages_fast")
        return (
            Monitor("", allocated, after="ext4_mb_new_blocks"),
            Monitor("", copied, after="dax_iomap_copy_around"),
            *(Monitor("", pinned, after=name) for name in names),
        )

    def put(self, frame: Record, offset: int, data: bytes) -> None:
        self._frames.setdefault(frame._index, bytearray(PAGE_SIZE))[offset : offset + len(data)] = data

    def get(self, frame: Record, offset: int, nr: int) -> bytes:
        return bytes(self._frames.get(frame._index, bytearray(PAGE_SIZE))[offset : offset + nr])

    # These run as the task, one page after the other, each with its own faults.

    def write(self, k: Any, va: int, data: bytes) -> int:
        """Store `data` at the byte address `va`; BusError where a page cannot be had."""
        for page_number, offset, first, end in pieces(va, len(data)):
            self.put(self.touched(k, page_number, True).frame, offset, data[first:end])
        return len(data)

    def read(self, k: Any, va: int, nr: int) -> bytes:
        """Load `nr` bytes at the byte address `va`; BusError where a page cannot be had."""
        found = b""
        for page_number, offset, first, end in pieces(va, nr):
            found += self.get(self.touched(k, page_number, False).frame, offset, end - first)
        return found

    def dma_write(self, k: Any, page: Any, data: bytes, offset: int = 0) -> None:
        """A device writes `data` to a page that the task has pinned."""
        whose = self._pinned.get((current()._index, page._index))
        k.dma_write(page) if whose is None else k.dma_write(page, whose)
        if data:
            self.put(page.frame, offset, data)

    def dma_read(self, k: Any, page: Any, nr: int = PAGE_SIZE, offset: int = 0) -> bytes:
        """A device reads `nr` bytes of a pinned page."""
        k.dma_read(page)
        return self.get(page.frame, offset, nr)

    @staticmethod
    def touched(k: Any, page_number: int, write: bool) -> Any:
        page = k.touch(page_number, write)
        if page is None:
            raise BusError(f"SIGBUS or SIGSEGV at VA {page_number << PAGE_SHIFT:#x}")
        return page


def pieces(va: int, nr: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut va..va+nr at page boundaries: page number, offset in it, and the range of the data."""
    if va < 0:
        raise ZonedevError(f"VA {va!r}: give an address in bytes, as mmap() returned it")
    done = 0
    while done < nr:
        offset = (va + done) % PAGE_SIZE
        part = min(PAGE_SIZE - offset, nr - done)
        yield (va + done) >> PAGE_SHIFT, offset, done, done + part
        done += part
