"""A guest: a kernel running under QEMU, its console, its agent, its memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from zonedev.lab import waits
from zonedev.lab.channel import CallFailed, Request
from zonedev.lab.console import Report, reports
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel
from zonedev.lab.link import Link
from zonedev.lab.qemu import DEBUG_LINE, KERNEL_LINE, Hardware, Qemu, command, version
from zonedev.lab.snapshot import Snapshot, resumed
from zonedev.lab.waits import Where
from zonedev.lang.errors import ZonedevError

BOOT_SECONDS = 60.0
SILENT_SECONDS = 30.0  # without a line on the console while booting
CALL_SECONDS = 60.0
REPORT_SECONDS = 0.5  # without a line, after which a kernel report is believed to be all there
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
        self._link: Link | None = None

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Life and death

    def start(self, snapshot: int | None = None) -> Link:
        """Start QEMU, with a kernel or from the file descriptor of a snapshot."""
        self._link = Link(Qemu(self._command(), snapshot), self.kernel.name if self._debug else None)
        return self._link

    def _command(self) -> list[str]:
        return command(self.kernel.image, self._initramfs, self.hardware, self._accel, self._line)

    def boot(self, timeout: float = BOOT_SECONDS) -> float:
        """Start the guest; returns the seconds until its agent was ready.  Raises BootFailed.

        The first guest of a kind boots, and is saved; those after it begin where it was then.
        """
        begun = time.monotonic()
        saved = None if self._fresh else self._snapshot()
        if saved is None or not self._resume(saved):
            link = self._boot(timeout)
            if saved is not None:
                saved.take(link.monitor)
        return time.monotonic() - begun

    def _snapshot(self) -> Snapshot:
        files = [self.kernel.image] + ([self._initramfs] if self._initramfs else [])
        return Snapshot.of(files, version(), *self._command())

    def _resume(self, saved: Snapshot) -> bool:
        """Go on with a saved guest; False where that does not work."""
        opened = saved.open()
        if opened is None:
            return False
        try:
            link = self.start(opened)
        finally:
            os.close(opened)
        link.agent.ready = resumed(link.monitor)
        if not link.agent.ready:
            link.close()
            saved.forget()
        return link.agent.ready

    def _boot(self, timeout: float) -> Link:
        begun = time.monotonic()
        link = self.start()
        while not link.agent.ready:
            now = time.monotonic()
            if not link.pump(0.2):
                raise self._failed(f"{link.ended}")
            if now - begun > timeout:
                raise self._failed(f"not ready after {timeout:.0f} s")
            if now - link.heard > SILENT_SECONDS:
                raise self._failed(f"its console has been silent for {SILENT_SECONDS:.0f} s")
        return link

    def _failed(self, why: str) -> BootFailed:
        self.close()
        return BootFailed(f"kernel {self.kernel.name} does not boot: {why}", self.console[-TAIL:])

    def close(self) -> None:
        """End the guest at once; nothing of it is left, but what it said can still be read."""
        if self._link is not None:
            self._link.close()

    def pump(self, seconds: float) -> bool:
        """Take in what the guest says, waiting `seconds` for the first of it; False where none runs."""
        return self._link is not None and self._link.pump(seconds)

    @property
    def alive(self) -> bool:
        """Whether the guest runs."""
        return self.pump(0)

    @property
    def exit_reason(self) -> str | None:
        """Why the guest ended, in one line (a panic, a power-off, QEMU's words); None while it runs."""
        return "not booted" if self._link is None else self._link.ended

    def machine(self, command: str, **arguments: object) -> dict[str, Any]:
        """A command to QEMU (QMP), and what it returns; LabError where it refuses."""
        answer = self._link.monitor.execute(command, arguments) if self.alive and self._link else None
        if answer is None or "error" in answer:
            raise LabError(f"QEMU: {command}: {answer['error']['desc'] if answer else 'no answer'}")
        found: dict[str, Any] = answer["return"]
        return found

    # What the kernel says

    @property
    def console(self) -> list[str]:
        """The lines of the console so far; not those before a snapshot was taken."""
        self.pump(0)
        return list(self._link.lines) if self._link is not None else []

    @property
    def events(self) -> list[Report]:
        """The kernel's reports so far; waits for the end of one that is just being written."""
        running = self.pump(0)
        found = reports(self.console, ended=not running)
        while running and found and not found[-1].complete and self._silence() < REPORT_SECONDS:
            running = self.pump(0.05)
            found = reports(self.console, ended=not running)
        return found

    def _silence(self) -> float:
        """Seconds since the console's last line."""
        return time.monotonic() - self._link.heard if self._link is not None else 0.0

    # The agent

    def ask(self, task: str, op: str, *args: object) -> Request:
        """Ask a task ("-": the agent itself) for something; returns at once."""
        if self._link is None or not self._link.pump(0):
            raise GuestGone(f"the guest with kernel {self.kernel.name} is gone: {self.exit_reason}")
        return self._link.agent.ask(task, op, *args)

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
            if not self.alive:
                raise GuestGone(f"{request}: {self.exit_reason}")
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

    def _where_if_any(self, task: str) -> Where:
        try:
            return self.where(task)
        except CallFailed:  # it has exited, and the answer is on its way
            return waits.EXITED

    def settle(self, *requests: Request, patience: waits.Patience = waits.PATIENCE) -> list[Where | None]:
        """For each request None once it is answered, or where its task is blocked.

        Returns when each is one or the other.  GuestTimeout where one is neither for too long.
        """
        watching = [waits.Watch(request, patience) for request in requests]
        while any(w.undecided for w in watching):
            for w in watching:
                if not w.request.done:
                    w.look(self._where_if_any(w.request.task), time.monotonic())
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
        return self._link.monitor.read(address, size) if self._link and self._link.pump(0) else None

    def read_physical(self, address: int, size: int) -> bytes | None:
        """The guest's physical memory; None where there is none, or the guest is gone."""
        return self._link.monitor.read_physical(address, size) if self._link and self._link.pump(0) else None
