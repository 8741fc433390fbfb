"""The bytes of the machine by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zonedev.arguments import PAGE_SHIFT, PAGE_SIZE, page_number
from zonedev.kernel.page import Page
from zonedev.lang.errors import ZonedevError
from zonedev.lang.records import Record
from zonedev.lang.runtime import current
from zonedev.lang.system import Monitor


class BusError(ZonedevError):
    """A task touched an address that nothing backs: SIGBUS or SIGSEGV."""


class DeviceFault(BusError):
    """A device touched an address that nothing backs: there is nobody to send a signal to."""


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

        def copied_on_write(k: Any, to: Any, source: Any) -> None:
            old = None if source is None else self._frames.get(source.frame._index)
            self._frames.pop(to.frame._index, None)
            if old is not None:
                self._frames[to.frame._index] = bytearray(old)

        def pinned(k: Any, va: int, result: Any) -> None:
            if result is not None:
                self._pinned[current()._index, result._index] = current().mm.vma_at[va].number

        names = ("pin_user_pages", "pin_user_pages_fast", "get_user_pages_fast")
        return (
            Monitor("", allocated, after="ext4_mb_new_blocks"),
            Monitor("", copied, after="dax_iomap_copy_around"),
            Monitor("", copied_on_write, after="copy_user_page"),
            *(Monitor("", pinned, after=name) for name in names),
        )

    def put(self, frame: Record, offset: int, data: bytes) -> None:
        self._frames.setdefault(frame._index, bytearray(PAGE_SIZE))[offset : offset + len(data)] = data

    def get(self, frame: Record, offset: int, nr: int) -> bytes:
        return bytes(self._frames.get(frame._index, bytearray(PAGE_SIZE))[offset : offset + nr])

    # These run as the task, one page after the other, each with its own faults.

    def write(self, k: Any, va: int, data: bytes) -> int:
        """Store `data` at the byte address `va`; BusError where a page cannot be had."""
        if not isinstance(data, bytes | bytearray):
            raise ZonedevError(f"data {data!r}: give bytes, such as b'hello'")
        for number, offset, first, end in pieces(va, len(data)):
            self.put(self.touched(k, number, True).frame, offset, data[first:end])
        return len(data)

    def read(self, k: Any, va: int, nr: int) -> bytes:
        """Load `nr` bytes at the byte address `va`; BusError where a page cannot be had."""
        found = b""
        for number, offset, first, end in pieces(va, nr):
            found += self.get(self.touched(k, number, False).frame, offset, end - first)
        return found

    def dma_write(self, k: Any, page: Page, data: bytes, offset: int = 0) -> None:
        """A device writes `data` to a page that the task has pinned."""
        check_dma(page, offset, len(data))
        whose = self._pinned.get((current()._index, page._index))
        k.dma_write(page) if whose is None else k.dma_write(page, whose)
        if data:
            self.put(page.frame, offset, data)

    def dma_read(self, k: Any, page: Page, nr: int = PAGE_SIZE, offset: int = 0) -> bytes:
        """A device reads `nr` bytes of a pinned page."""
        check_dma(page, offset, nr)
        k.dma_read(page)
        return self.get(page.frame, offset, nr)

    def gpu_write(self, k: Any, mirror: Any, va: int, data: bytes) -> int:
        """The device stores `data` at the byte address `va` of the process that it mirrors."""
        if not isinstance(data, bytes | bytearray):
            raise ZonedevError(f"data {data!r}: give bytes, such as b'hello'")
        for number, offset, first, end in pieces(va, len(data)):
            self.put(self.reached(k.gpu_write(mirror, number), number).frame, offset, data[first:end])
        return len(data)

    def gpu_read(self, k: Any, mirror: Any, va: int, nr: int) -> bytes:
        """The device loads `nr` bytes at the byte address `va` of the process that it mirrors."""
        found = b""
        for number, offset, first, end in pieces(va, nr):
            found += self.get(self.reached(k.gpu_read(mirror, number), number).frame, offset, end - first)
        return found

    @staticmethod
    def reached(page: Any, number: int) -> Any:
        if page is None:
            raise DeviceFault(f"the device finds nothing at VA {number << PAGE_SHIFT:#x}")
        return page

    @staticmethod
    def touched(k: Any, number: int, write: bool) -> Any:
        page = k.touch(number, write) if number < len(current().mm.vma_at) else None
        if page is None:
            raise BusError(f"SIGBUS or SIGSEGV at VA {number << PAGE_SHIFT:#x}")
        return page


def pieces(va: int, nr: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut va..va+nr at page boundaries: page number, offset in it, and the range of the data."""
    if nr < 0:
        raise ZonedevError(f"{nr} bytes: give a number of bytes, 0 or more")
    page_number(va)
    done = 0
    while done < nr:
        offset = (va + done) % PAGE_SIZE
        part = min(PAGE_SIZE - offset, nr - done)
        yield (va + done) >> PAGE_SHIFT, offset, done, done + part
        done += part


def check_dma(page: Any, offset: int, nr: int) -> None:
    """ZonedevError unless these bytes are in a page."""
    if not isinstance(page, Record):
        raise ZonedevError(f"DMA to {page!r}: give what a pin returned")
    if not 0 <= offset <= offset + nr <= PAGE_SIZE:
        raise ZonedevError(f"bytes {offset} to {offset + nr} of {page!r}: it has {PAGE_SIZE}")


def mapped_page(task: Any, address: int) -> Record | None:
    """The page of the device or file that a task has mapped at a byte address, touched or not."""
    mm = task._values.get("mm")
    va = page_number(address)
    if mm is None or va >= len(mm.vma_at):
        return None
    vma = mm.vma_at[va]
    if not vma._values["linked"]:
        return None
    if vma.anonymous:
        return anonymous_page(mm, vma, va)
    file, index = vma.vm_file, va - vma.start
    if not file.fsdax:
        page: Record = file.pages[index]
        return page
    offset = index % file.per_folio
    block = file._values["extents"].peek(index - offset)
    if block is None:
        raise ZonedevError(f"VA {address} is in a hole of {file!r}: no page is there")
    return file.dax.pages[block.number + offset]  # type: ignore[no-any-return]


def anonymous_page(mm: Any, vma: Any, va: int) -> Record:
    """The page of anonymous memory that is mapped at a VA, by the CPU or for a device only."""
    huge = mm._values["pmd"].peek(vma.start).page if vma.thp else None
    page: Record | None = mm._values["pte"].peek(va).page if huge is None else huge
    if page is None:
        raise ZonedevError(f"VA {va << PAGE_SHIFT} has no page yet: write to it")
    return page.second if huge is not None and va > vma.start else page  # type: ignore[attr-defined]
