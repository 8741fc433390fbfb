"""A running QEMU, and all that comes from it: console, answers of the agent, answers of the monitor."""

from __future__ import annotations

import select
import sys
import time

from zonedev.lab.channel import Agent, Wire
from zonedev.lab.console import reports
from zonedev.lab.monitor import Monitor
from zonedev.lab.qemu import Qemu

QUIT_SECONDS = 2.0


class Link:
    """Takes in what a guest says whenever it is asked to, in the caller's thread.

    `lines` is the console, `heard` when its last line came (time.monotonic()), `ended` why the guest
    ended, in one line, or None while it runs.
    """

    def __init__(self, qemu: Qemu, echo: str | None = None) -> None:
        """`echo` shows the console on stderr, each line after this word."""
        self.qemu = qemu
        self.lines: list[str] = []
        self.heard = time.monotonic()
        self.ended: str | None = None
        self.agent = Agent(Wire(qemu.channels.agent))
        self.monitor = Monitor(Wire(qemu.channels.monitor), self.pump, qemu.channels)
        self._console = Wire(qemu.channels.console)
        self._echo = echo

    def pump(self, seconds: float) -> bool:
        """Take in what there is, waiting `seconds` for the first of it; False once the guest has ended."""
        if self.ended is not None:
            return False
        wires = [w for w in (self._console, self.agent.wire, self.monitor.wire) if not w.closed]
        heard, _, _ = select.select(wires, [], [], seconds)
        for wire in heard:
            for line in wire.receive():
                self._take(wire, line)
        if all(wire.closed for wire in wires):
            if self._console.rest:
                self._take(self._console, self._console.rest)
            self.ended = self._why()
        return self.ended is None

    def _take(self, wire: Wire, line: str) -> None:
        if wire is self.agent.wire:
            self.agent.answer(line)
        elif wire is self.monitor.wire:
            self.monitor.answer(line)
        else:
            self.lines.append(line)
            self.heard = time.monotonic()
            if self._echo is not None:
                print(f"{self._echo}: {line}", file=sys.stderr, flush=True)

    def _why(self) -> str:
        """The kernel's panic, its power-off, or what QEMU says."""
        code = self.qemu.wait(QUIT_SECONDS)
        panics = [report.what for report in reports(self.lines) if report.kind == "panic"]
        if panics:
            return f"kernel panic: {panics[0]}"
        if code != 0:
            complaint = self.qemu.complaint().splitlines()
            return complaint[-1] if complaint else f"QEMU ended with {code}"
        return "powered off"

    def close(self) -> None:
        """End the guest at once; nothing of it is left but what it said."""
        if self.pump(0):
            self.ended = "closed"
        self.qemu.close()
