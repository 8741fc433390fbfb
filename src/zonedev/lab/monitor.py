"""QEMU's monitor (QMP): commands, events, and the guest's memory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zonedev.lab.channel import Wire
from zonedev.lab.qemu import Channels

ANSWER_SECONDS = 10.0
NOTHING: Mapping[str, Any] = {}


class Monitor:
    """Commands to QEMU.  `pump(seconds)` lets everything that comes from the guest in, once."""

    def __init__(self, wire: Wire, pump: Callable[[float], bool], channels: Channels) -> None:
        self.wire = wire
        self.events: list[dict[str, Any]] = []
        self._pump = pump
        self._memory, self._memory_name = channels.memory, channels.memory_name
        self._number = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._opened = False

    def answer(self, line: str) -> None:
        """Take a line from QEMU."""
        try:
            said = json.loads(line)
        except ValueError:
            return
        if "event" in said:
            self.events.append(said)
        elif "id" in said:
            self._answers[said["id"]] = said

    def execute(
        self, command: str, arguments: Mapping[str, Any] = NOTHING, fds: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        """QEMU's answer, with "return" or "error"; None where QEMU is gone or does not answer.

        `fds` are file descriptors that go with the command.
        """
        if not self._opened:
            self._opened = True
            self.execute("qmp_capabilities")
        self._number += 1
        number = self._number
        if not self.wire.send(
            json.dumps({"execute": command, "arguments": dict(arguments), "id": number}), fds
        ):
            return None
        until = time.monotonic() + ANSWER_SECONDS
        while number not in self._answers:
            if not self._pump(0.2) or time.monotonic() > until:
                return None
        return self._answers.pop(number)

    def read(self, address: int, size: int) -> bytes | None:
        """The guest's memory at a kernel's virtual address; None where something of it is not mapped."""
        return self._saved("memsave", address, size)

    def read_physical(self, address: int, size: int) -> bytes | None:
        """The guest's physical memory; None where there is none."""
        return self._saved("pmemsave", address, size)

    def _saved(self, command: str, address: int, size: int) -> bytes | None:
        signed = address - (1 << 64) if address >> 63 else address  # QMP's numbers are signed
        answer = self.execute(command, {"val": signed, "size": size, "filename": self._memory_name})
        if answer is None or "error" in answer:
            return None
        data = os.pread(self._memory, size, 0)
        return data if len(data) == size else None
