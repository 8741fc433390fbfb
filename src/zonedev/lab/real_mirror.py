"""What a machine's tasks do with a device that mirrors their memory: the driver test_hmm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from zonedev.lab.model import BY_DMA
from zonedev.lab.places import SETUP
from zonedev.lab.real_files import FileCalls
from zonedev.lab.story import Ongoing
from zonedev.lab.things import PAGE_SIZE, Device, Mirror, PageOf, Va


class MirrorCalls(FileCalls):
    """One method for each call; ordinary memory is mapped at set-up, and nobody looks at its pages."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._mapped: dict[Va, int] = {}  # bytes of ordinary memory

    def _make(self, call: Ongoing, name: str, args: Sequence[object]) -> None:
        """What has the device opened is in the process that has opened it."""
        mirror = next((a for a in args if isinstance(a, Mirror)), None)
        known = call.task in self._tasks or call.task in self._unborn
        if mirror is not None and not known:
            self._tasks.add(call.task)
            self.reports.runs_as(call.task, self.guest.call(mirror.task, "thread", call.task, seconds=SETUP))
        super()._make(call, name, args)

    def _found(self, call: Ongoing, va: Va, ended: Callable[[PageOf], None]) -> None:
        if va.device.ordinary:
            ended(va.page)
        else:
            super()._found(call, va, ended)

    def _do_mmap_anonymous(self, call: Ongoing, va: Va, pages: int) -> None:
        def mapped(address: str) -> None:
            self._address[va], self._mapped[va] = address, pages * PAGE_SIZE
            call.end("done")

        self._ask(call, mapped, "mmap_anon", pages * PAGE_SIZE)

    def _do_dmirror_open(self, call: Ongoing, device: Device) -> None:
        def opened(handle: str) -> None:
            call.end("done", Mirror(call.task, handle))

        self._ask(call, opened, "open", self._places[device].path)

    def _migrate(self, call: Ongoing, mirror: Mirror, va: Va, pages: int, to: str) -> None:
        ended = partial(self._migrated, call)
        self._ask(call, ended, "mirror_migrate", mirror.handle, self._at(va), pages, to)

    def _migrated(self, call: Ongoing, _: str) -> None:
        call.end("done", True)

    def _do_dmirror_migrate_to_device(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._migrate(call, mirror, va, pages, "d")

    def _do_dmirror_migrate_to_system(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._migrate(call, mirror, va, pages, "s")

    def _do_dmirror_exclusive(self, call: Ongoing, mirror: Mirror, va: Va, pages: int = 1) -> None:
        self._migrate(call, mirror, va, pages, "x")

    def _do_gpu_read(self, call: Ongoing, mirror: Mirror, va: Va) -> None:
        def loaded(found: str) -> None:
            call.end(f"reads {found}", True)

        self._ask(call, loaded, "mirror_read", mirror.handle, self._at(va), 1)

    def _do_gpu_write(self, call: Ongoing, mirror: Mirror, va: Va, value: Any = BY_DMA[0]) -> None:
        stored = bytes([value]).hex()
        self._ask(call, lambda _: call.end("done", True), "mirror_write", mirror.handle, self._at(va), stored)
