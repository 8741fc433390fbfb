"""A guest: a kernel running under QEMU, its console, its agent, its memory."""

from __future__ import annotations

import os
import select
import sys
import time
from pathlib import Path
from types import TracebackType

from zonedev.lab import waits
from zonedev.lab.channel import Agent, CallFailed, Request, Wire
from zonedev.lab.console import Report, reports
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel
from zonedev.lab.monitor import Monitor
from zonedev.lab.qemu import DEBUG_LINE, KERNEL_LINE, Hardware, Qemu, version
from zonedev.lab.snapshot import Snapshot, resumed
from zonedev.lab.waits import Where
from zonedev.lang.errors import ZonedevError

BOOT_SECONDS = 60.0
SILENT_SECONDS = 30.0  # without a line on the console while booting
CALL_SECONDS = 60.0
REPORT_SECONDS = 0.5  # without a line, after which a kernel report is believed to be all there
QUIT_SECONDS = 2.0
TAIL = 30  # lines of a console that a failed boot shows: a panic with its call trace


class BootFailed(LabError):
    """The guest did not come up; `tail` has the last lines of its console."""

    def __init__(self, text: str, tail: list[str]) -> None:
        super().__init__(text)
        self.tail = tail


class GuestGone(ZonedevError):
    """The guest ended (a panic, mostly) while something was asked of it."""


class GuestTimeout(ZonedevError):
    """A guest that runs did not answer in time."""


class Guest:
    """A kernel under QEMU.  It ends with `close()`, at the end of a `with`, or with the calling thread."""

    def __init__(
        self,
        kernel: LabKernel,
        initramfs: Path | None,
        *,
        accel: str,
        debug: bool = False,
        fresh: bool = False,
        hardware: Hardware | None = None,
        append: str = "",
    ) -> None:
        """Nothing runs yet.

        `debug` shows the whole console on stderr.  `fresh` boots even where a snapshot would do.
        `append` goes to the kernel's command line.
        """
        self.kernel = kernel
        self.hardware = hardware or Hardware()
        self._initramfs, self._accel, self._debug = initramfs, accel, debug
        self._fresh = fresh or debug
        self._line = " ".join(filter(None, (KERNEL_LINE, DEBUG_LINE if debug else "", append)))
        self._qemu: Qemu | None = None
        self._lines: list[str] = []
        self._ended: str | None = None
        self._heard = 0.0

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Life and death

    def start(self, snapshot: int | None = None) -> None:
        """Start QEMU, with a kernel or from the file descriptor of a snapshot."""
        self._qemu = Qemu(
            self.kernel.image, self._initramfs, self.hardware, self._accel, self._line, snapshot
        )
        channels = self._qemu.channels
        self._console = Wire(channels.console)
        self._agent = Agent(Wire(channels.agent))
        self._monitor = Monitor(Wire(channels.monitor), self.pump, channels.memory, channels.memory_name)
        self._ended = None
        self._heard = time.monotonic()

    def boot(self, timeout: float = BOOT_SECONDS) -> float:
        """Start the guest; returns the seconds until its agent was ready.  Raises BootFailed.

        The first guest of a kind boots, and is saved; those after it begin where it was then.
        """
        begun = time.monotonic()
        saved = None if self._fresh else self._snapshot()
        if saved is None or not self._resume(saved):
            self._boot(timeout)
            if saved is not None:
                saved.take(self._monitor)
        return time.monotonic() - begun

    def _snapshot(self) -> Snapshot:
        files = [self.kernel.image] + ([self._initramfs] if self._initramfs else [])
        return Snapshot.of(files, version(), self._accel, self._line, repr(self.hardware))

    def _resume(self, saved: Snapshot) -> bool:
        """Go on with a saved guest; False where that does not work."""
        opened = saved.open()
        if opened is None:
            return False
        try:
            self.start(opened)
        finally:
            os.close(opened)
        self._agent.ready = resumed(self._monitor)
        if not self._agent.ready:
            self.close()
            saved.forget()
        return self._agent.ready

    def _boot(self, timeout: float) -> None:
        begun = time.monotonic()
        self.start()
        while not self._agent.ready:
            now = time.monotonic()
            if not self.pump(0.2):
                self._failed(f"does not boot: {self.exit_reason}")
            if now - begun > timeout:
                self._failed(f"does not boot: not ready after {timeout:.0f} s")
            if now - self._heard > SILENT_SECONDS:
                self._failed(f"does not boot: its console has been silent for {SILENT_SECONDS:.0f} s")

    def _failed(self, what: str) -> None:
        tail = self.console[-TAIL:]
        self.close()
        raise BootFailed(f"kernel {self.kernel.name} {what}", tail)

    def close(self) -> None:
        """End the guest at once; nothing of it is left."""
        if self._qemu is None:
            return
        if self._ended is None:
            self.pump(0)
            self._ended = self._ended or "closed"
        self._qemu.close()
        self._qemu = None

    @property
    def alive(self) -> bool:
        """Whether the guest runs."""
        if self._qemu is not None:
            self.pump(0)
        return self._qemu is not None and self._ended is None

    @property
    def exit_reason(self) -> str | None:
        """Why the guest ended, in one line (a panic, a power-off, QEMU's words); None while it runs."""
        return self._ended

    def pump(self, seconds: float) -> bool:
        """Take in what the guest says, waiting `seconds` for the first of it; False once it has ended."""
        if self._qemu is None or self._ended is not None:
            return False
        wires = [w for w in (self._console, self._agent.wire, self._monitor.wire) if not w.closed]
        heard, _, _ = select.select(wires, [], [], seconds)
        for wire in heard:
            for line in wire.receive():
                if wire is self._console:
                    self._hear(line)
                elif wire is self._monitor.wire:
                    self._monitor.answer(line)
                else:
                    self._agent.answer(line)
        if all(wire.closed for wire in wires):
            self._ended = self._why()
        return self._ended is None

    def _hear(self, line: str) -> None:
        self._lines.append(line)
        self._heard = time.monotonic()
        if self._debug:
            print(f"{self.kernel.name}: {line}", file=sys.stderr, flush=True)

    def _why(self) -> str:
        assert self._qemu is not None
        code = self._qemu.wait(QUIT_SECONDS)
        panics = [report.what for report in reports(self._lines) if report.kind == "panic"]
        if panics:
            return f"kernel panic: {panics[0]}"
        complaint = self._qemu.complaint().splitlines()
        if code != 0:
            return complaint[-1] if complaint else f"QEMU ended with {code}"
        return "powered off"

    # What the kernel says

    @property
    def console(self) -> list[str]:
        """The lines of the console so far."""
        self.pump(0)
        rest = self._console.rest if self._qemu is not None else ""
        return [*self._lines, rest] if rest else list(self._lines)

    @property
    def events(self) -> list[Report]:
        """The kernel's reports so far; waits for the end of one that is just being written."""
        found = self._reports()
        while found and not found[-1].complete and time.monotonic() - self._heard < REPORT_SECONDS:
            if not self.pump(0.05):
                break
            found = self._reports()
        return found

    def _reports(self) -> list[Report]:
        running = self.pump(0)
        return reports(self._lines, ended=not running)

    # The agent

    def ask(self, task: str, op: str, *args: object) -> Request:
        """Ask a task ("-": the agent itself) for something; returns at once."""
        if not self.pump(0):
            raise GuestGone(f"kernel {self.kernel.name} {self.exit_reason or 'is not booted'}")
        return self._agent.ask(task, op, *args)

    def wait(self, request: Request, seconds: float = CALL_SECONDS) -> bool:
        """Wait for the answer; False where there is none after `seconds`, or the guest ended."""
        until = time.monotonic() + seconds
        while not request.done and self.pump(max(0.0, min(0.2, until - time.monotonic()))):
            if time.monotonic() >= until:
                break
        return request.done

    def call(self, task: str, op: str, *args: object, seconds: float = CALL_SECONDS) -> str:
        """Ask, wait, and return the value.  Raises CallFailed, GuestTimeout or GuestGone."""
        return " ".join(self._answered(self.ask(task, op, *args), seconds))

    def _answered(self, request: Request, seconds: float = CALL_SECONDS) -> list[str]:
        if not self.wait(request, seconds):
            if self._ended is not None:
                raise GuestGone(f"{request}: {self._ended}")
            raise GuestTimeout(f"{request}: no answer from kernel {self.kernel.name} in {seconds:.0f} s")
        if request.error is not None:
            raise CallFailed(str(request), request.error)
        return request.values or []

    def shell(self, command: str, seconds: float = CALL_SECONDS) -> tuple[int, str]:
        """Run a shell command in the guest: its exit code, and what it wrote."""
        code, *output = self._answered(self.ask("-", "sh", command), seconds)
        return int(code), " ".join(output)

    def where(self, task: str) -> Where:
        """In which state a task is, and in which functions of the kernel, innermost first."""
        return Where.parse(self._answered(self.ask("-", "where", task)))

    def settle(self, *requests: Request, patience: waits.Patience = waits.PATIENCE) -> list[Where | None]:
        """For each request None once it is answered, or where its task is blocked.

        Returns when each is one or the other.  GuestTimeout where one is neither for too long.
        """
        watching = [waits.Watch(request, patience) for request in requests]
        while any(w.undecided for w in watching):
            for w in watching:
                if not w.request.done:
                    w.look(self.where(w.request.task), time.monotonic())
                if w.expired:
                    raise GuestTimeout(f"{w.request}: neither returns nor blocks: {w.last}")
            for w in watching:
                self.wait(w.request, patience.every if w.undecided else 0.0)
        return [w.verdict for w in watching]

    def blocked(self, request: Request) -> Where | None:
        """Where a request is blocked; None once it is answered."""
        return self.settle(request)[0]

    # Memory

    @property
    def cpus(self) -> int:
        return self.hardware.cpus

    def read(self, address: int, size: int) -> bytes | None:
        """The kernel's memory at a virtual address; None where nothing is mapped, or the guest is gone."""
        return self._monitor.read(address, size) if self.alive else None

    def read_physical(self, address: int, size: int) -> bytes | None:
        """The guest's physical memory; None where there is none, or the guest is gone."""
        return self._monitor.read_physical(address, size) if self.alive else None
