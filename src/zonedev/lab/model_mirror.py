"""What the model makes of a device that mirrors a task's memory: the driver test_hmm."""

from __future__ import annotations

from typing import Any

from zonedev.lab.model_files import FileStories
from zonedev.lab.story import Ongoing
from zonedev.lab.things import PAGE_SHIFT, PAGE_SIZE, Device, Mirror, PageOf, Va


class MirrorStories(FileStories):
    """The part of the model's side that such devices need."""

    _va: dict[Va, int]
    _tasks: set[str]

    def _mirror_device(self, device: Device) -> Any:
        shape = device.shape
        made = self.machine.dmirror_device(shape["pages"], atomics=shape.get("atomics", False))
        for index in range(shape["pages"]):
            _ = made.pages[index]  # of the pages of a machine by hand the driver sees those that exist
        return made

    def _there(self, va: Va, record: Any = None) -> PageOf:
        return va.page if va.device.ordinary else super()._there(va, record)

    def _join(self, call: Ongoing, mirror: Mirror) -> Any:
        """The mirror as the specification knows it.  A task that is nobody yet and uses what another one
        has opened is in its process."""
        if call.task not in self._tasks:
            self.machine.task(call.task).clone_vm(mirror.task)
            self._tasks.add(call.task)
        return mirror.handle

    def _do_mmap_anonymous(self, call: Ongoing, va: Va, pages: int) -> None:
        def mapped(page_number: int) -> None:
            self._va[va] = page_number << PAGE_SHIFT
            call.end("done")

        self._run(call, "mmap_anonymous", [pages], mapped)

    def _do_dmirror_open(self, call: Ongoing, device: Device) -> None:
        def opened(record: Any) -> None:
            call.end("done", Mirror(call.task, record))

        self._run(call, "dmirror_open", [self._records[device]], opened)

    def _byte_at(self, va: Va) -> int:
        return self._va[va.start] + va.offset

    def _on_pages(self, call: Ongoing, name: str, mirror: Mirror, va: Va, pages: int) -> None:
        first = self._byte_at(va) >> PAGE_SHIFT
        self._run(call, name, [self._join(call, mirror), first, pages], lambda found: self._end(call, found))

    def _do_dmirror_migrate_to_device(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_migrate_to_device", mirror, va, pages)

    def _do_dmirror_migrate_to_system(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_migrate_to_system", mirror, va, pages)

    def _do_dmirror_exclusive(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_exclusive", mirror, va, pages)

    def _do_gpu_read(self, call: Ongoing, mirror: Mirror, va: Va) -> None:
        def loaded(page: Any) -> None:
            if page is None:
                call.end("fails")
            else:
                call.end(f"reads {self.machine.memory.get(page.frame, 0, 1).hex()}", True)

        self._run(call, "gpu_read", [self._join(call, mirror), self._byte_at(va)], loaded)

    def _do_gpu_write(self, call: Ongoing, mirror: Mirror, va: Va, value: int = 2) -> None:
        """The bytes are the model's own; those of the whole page, as the driver has it."""

        def stored(page: Any) -> None:
            if page is None:
                call.end("fails")
            else:
                self.machine.memory.put(page.frame, 0, bytes([value]).ljust(PAGE_SIZE, b"\0"))
                call.end("done", True)

        self._run(call, "gpu_write", [self._join(call, mirror), self._byte_at(va), value], stored)
