"""What the model makes of files: which blocks they have, and what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zonedev.lab.story import Ongoing
from zonedev.lab.things import PAGE_SHIFT, PAGE_SIZE, Device, PageOf, Va
from zonedev.lang.system import Specification
from zonedev.machine import Machine

#: What pwrite() leaves.
WRITTEN = b"w"


class FileStories:
    """The part of the model's side that files need."""

    machine: Machine

    def __init__(self, chosen: Mapping[int, str] | None) -> None:
        """`chosen` are the blocks that the machine's file system has taken, by the moment of the call."""
        self._chosen = chosen or {}
        self._moment = 0
        self._records: dict[Device, Any] = {}

    def _run(self, call: Ongoing, name: str, args: Sequence[Any], ended: Callable[[Any], None]) -> None:
        raise NotImplementedError

    def _end(self, call: Ongoing, found: Any) -> None:
        raise NotImplementedError

    # --- which block is where -------------------------------------------------------------------

    def _choosing(self, design: Any) -> type[Specification]:
        """The design with the allocator of the machine's file system, which puts new blocks where it
        likes: where it was seen to, or else where nobody has had one."""
        model = self

        class Choosing(design):  # type: ignore[misc]
            def device_blocks(self, pmem: Any) -> list[Any]:
                blocks = list(super().device_blocks(pmem))[::-1]  # that which nobody had is the last
                return sorted(blocks, key=lambda block: not model._prefers(block))

        return Choosing

    def _prefers(self, block: Any) -> bool:
        """Whether a block is the one that the machine has taken in this call."""
        name = self._chosen.get(self._moment)
        page = next((p for d in self._records for p in d.pages if p.name == name), None)
        return page is not None and page.frame is not None and block.frame is page.frame.frame

    def _file(self, device: Device, size: int) -> Any:
        """A file of as many pages and blocks as the machine's has."""
        pmem = self._records[device.on] if device.on else None
        if device.shared is not None:
            return self.machine.dax_file(pmem, shares=self._records[device.shared])
        return self.machine.dax_file(pmem, size, device.blocks)

    def _there(self, va: Va, record: Any = None) -> PageOf:
        """The page of the story at an address; of a hole that was read that which comes there."""
        file = self._records[va.device]
        if record is not None and record._values["anon"]:
            return va.copy
        if record is None and va.device.on is not None:
            index = va.offset >> PAGE_SHIFT
            first = index - index % file.per_folio
            head = file._values["extents"].peek(first)
            record = None if head is None else file.dax.pages[head.number + index - first]
        return va.page if record is None else va.page_at(record, self._records)

    # --- calls ------------------------------------------------------------------------------------

    def _do_ftruncate(self, call: Ongoing, file: Device, pages: int) -> None:
        size = file.offset(pages) >> PAGE_SHIFT
        self._run(call, "ftruncate", [self._records[file], size], lambda found: self._end(call, found))

    def _do_punch_hole(self, call: Ongoing, file: Device, index: int, nr: int) -> None:
        first, end = (file.offset(i) >> PAGE_SHIFT for i in (index, index + nr))
        args = [self._records[file], first, end - first]
        self._run(call, "punch_hole", args, lambda found: self._end(call, found))

    def _do_pwrite(self, call: Ongoing, file: Device, index: int) -> None:
        """The bytes are the model's own, which the specification's pwrite() knows nothing of."""
        record, at = self._records[file], file.offset(index) >> PAGE_SHIFT

        def written(found: Any) -> None:
            va = Va(file, index=index)
            if found is not False:
                self.machine.memory.put(self._there(va).frame.frame, 0, WRITTEN * PAGE_SIZE)
            self._end(call, found)

        self._run(call, "pwrite", [record, at], written)

    def _do_drop_caches(self, call: Ongoing, *_: Device) -> None:
        args = [r for d, r in self._records.items() if d.kind == "pmem_device"]
        self._run(call, "drop_caches", args, lambda found: self._end(call, found))
