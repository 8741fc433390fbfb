"""What the model makes of a device that mirrors a task's memory: the driver test_hmm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.lab.model_files import FileStories
from zonedev.lab.story import Ongoing
from zonedev.lab.things import PAGE_SHIFT, PAGE_SIZE, Device, Mirror, PageOf, Va


class MirrorStories(FileStories):
    """The part of the model's side that such devices need."""

    _va: dict[Va, int]
    _tasks: set[str]
    _address: Callable[[Va], int]

    def _mirror_device(self, device: Device) -> Any:
        shape = device.shape
        return self.machine.dmirror_device(shape["pages"], atomics=shape.get("atomics", False))

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
        def mapped(address: int) -> None:
            self._va[va] = address
            call.end("done")

        self._run(call, "mmap_anonymous", [pages << PAGE_SHIFT], mapped)

    def _do_dmirror_open(self, call: Ongoing, device: Device) -> None:
        def opened(record: Any) -> None:
            call.end("done", Mirror(call.task, record))

        self._run(call, "dmirror_open", [self._records[device]], opened)

    def _on_pages(self, call: Ongoing, name: str, mirror: Mirror, va: Va, pages: int) -> None:
        args = [self._join(call, mirror), self._address(va), pages]
        self._run(call, name, args, lambda found: self._end(call, found))

    def _do_dmirror_migrate_to_device(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_migrate_to_device", mirror, va, pages)

    def _do_dmirror_migrate_to_system(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_migrate_to_system", mirror, va, pages)

    def _do_dmirror_exclusive(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._on_pages(call, "dmirror_exclusive", mirror, va, pages)

    def _do_gpu_read(self, call: Ongoing, mirror: Mirror, va: Va) -> None:
        args = [self._join(call, mirror), self._address(va), 1]
        self._run(call, "gpu_read", args, lambda b: call.end(f"reads {b.hex()}", True))

    def _do_gpu_write(self, call: Ongoing, mirror: Mirror, va: Va, value: int = 2) -> None:
        """The whole page, as the driver has it."""
        args = [self._join(call, mirror), self._address(va), bytes([value]).ljust(PAGE_SIZE, b"\0")]
        self._run(call, "gpu_write", args, lambda _: call.end("done", True))
