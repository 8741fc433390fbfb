"""What a machine's tasks do to files and to the file system that they lie on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.lab.asking import Asking
from zonedev.lab.errors import LabError
from zonedev.lab.model_files import WRITTEN
from zonedev.lab.story import Ongoing
from zonedev.lab.things import PAGE_SHIFT, PAGE_SIZE, Device, PageOf, Va


class FileCalls(Asking):
    """One method for each call; a file has its first blocks until something may have moved them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._address: dict[Va, str] = {}
        self._moved: set[Device] = set()
        self._nameless: set[Device] = set()
        self._open: dict[tuple[str, Device], list[str]] = {}
        self.chosen: dict[int, str] = {}  # the blocks that were there, by the moment of the call

    # --- which page is where --------------------------------------------------------------------

    def _moves(self, file: Device) -> None:
        """From now on a page of this file may be another block than at set-up."""
        self._moved.add(file)

    def _at(self, va: Va) -> str:
        """The address of a page of a mapping, as an argument."""
        start = self._address[va.start]
        return hex(int(start, 16) + va.offset) if va.offset else start

    def _found(self, call: Ongoing, va: Va, ended: Callable[[PageOf], None]) -> None:
        """Say which page a task has at an address; a read of a hole finds that which comes there."""

        def found(pfn: str) -> None:
            ended(self._page_at(call, va, int(pfn)))

        if va.device in self._moved or va.start.private:
            self._ask(call, found, "pfn", self._at(va))
        else:
            ended(va.page)

    def _page_at(self, call: Ongoing, va: Va, pfn: int) -> PageOf:
        assert va.device.on is not None
        device = self._places[va.device.on]
        if not 0 <= pfn - device.pfn < device.size >> PAGE_SHIFT:
            return va.copy if va.start.private else va.page  # the zero page
        page = va.page_at(pfn, self._places)
        self.chosen[call.moment] = page.name
        return page

    # --- calls ------------------------------------------------------------------------------------

    def _path(self, task: str, file: Device) -> str:
        """How a task reaches a file: by its name, or by what the task has open."""
        if file not in self._nameless:
            return self._places[file].path
        handles = self._open.get((task, file))
        if not handles:
            raise LabError(f"{task} cannot reach {file.name}: it was unlinked, and {task} has not opened it")
        return self._by_handle(handles[-1])

    def _by_handle(self, handle: str) -> str:
        return f"fd:{handle}"

    def _do_ftruncate(self, call: Ongoing, file: Device, pages: int) -> None:
        self._moves(file)
        path = self._path(call.task, file)
        self._ask(call, lambda _: call.end("done"), "ftruncate", path, file.offset(pages))

    def _do_punch_hole(self, call: Ongoing, file: Device, index: int, nr: int) -> None:
        self._moves(file)
        first, end = file.offset(index), file.offset(index + nr)
        path = self._path(call.task, file)
        self._ask(call, lambda _: call.end("done"), "punch", path, first, end - first)

    def _do_pwrite(self, call: Ongoing, file: Device, index: int) -> None:
        """Afterwards it is asked which block there is now."""
        self._moves(file)
        path, offset = self._path(call.task, file), file.offset(index)

        def placed(physical: str) -> None:
            assert file.on is not None
            pfn = self._places[file.on].pfn + (int(physical, 0) >> PAGE_SHIFT)
            self._page_at(call, Va(file, index=index), pfn)
            call.end("done")

        def written(_: str) -> None:
            if file in self._moved:
                self._ask(call, placed, "fiemap", path, offset)
            else:
                call.end("done")

        self._ask(call, written, "pwrite", path, offset, PAGE_SIZE, WRITTEN.decode())

    def _do_fsync(self, call: Ongoing, file: Device) -> None:
        self._ask(call, lambda _: call.end("done"), "fsync", self._path(call.task, file))

    def _do_sync(self, call: Ongoing) -> None:
        self._ask(call, lambda _: call.end("done"), "sync")

    def _do_open(self, call: Ongoing, file: Device) -> None:
        def opened(handle: str) -> None:
            self._open.setdefault((call.task, file), []).append(handle)
            call.end("done")

        self._ask(call, opened, "open", self._path(call.task, file))

    def _do_close(self, call: Ongoing, file: Device) -> None:
        handles = self._open.get((call.task, file))
        if not handles:
            raise LabError(f"{call.task} has not opened {file.name}")
        self._ask(call, lambda _: call.end("done"), "drop", handles.pop())

    def _do_unlink(self, call: Ongoing, file: Device) -> None:
        self._ask(call, lambda _: call.end("done"), "unlink", self._path(call.task, file))
        self._nameless.add(file)

    def _do_umount(self, call: Ongoing, device: Device) -> None:
        self._ask(call, lambda _: call.end("done"), "umount", self._places[device].path)

    def _do_drop_caches(self, call: Ongoing, *_: Device) -> None:
        self._ask(call, lambda _: call.end("done"), "drop_caches")
