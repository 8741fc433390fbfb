"""The QEMU process of a guest: its command line, and that it dies with who started it."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab.errors import LabError

PROGRAM = "qemu-system-x86_64"
MIB = 1 << 20
PR_SET_PDEATHSIG = 1
PORTS = ("console", "agent", "monitor")
#: Warnings and worse go to the console.  Nothing is randomised: addresses are the same in every boot.  The
#: kernel is mapped while a CPU runs a program too, so that its memory can be read at any time.  That a host
#: is slow is no bug of the guest's clock or scheduler.
KERNEL_LINE = (
    "console=ttyS0 loglevel=5 panic=-1 oops=panic nokaslr no5lvl pti=off "
    "tsc=reliable no_timer_check nosoftlockup"
)
DEBUG_LINE = "ignore_loglevel"

_prctl = ctypes.CDLL(None).prctl  # looked up here: little may be done between fork and exec


@dataclass(frozen=True)
class Hardware:
    """What a guest has: NVDIMMs of these sizes (bytes), CPUs and memory (bytes), other options of QEMU."""

    nvdimms: tuple[int, ...] = (512 * MIB, 512 * MIB)
    cpus: int = 2
    memory: int = 1024 * MIB
    others: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """The options of QEMU; memory is taken from the host only when the guest touches it."""
        most = self.memory + sum(self.nvdimms)
        machine = "q35,nvdimm=on" if self.nvdimms else "q35"
        given = ["-M", machine, "-smp", str(self.cpus)]
        given += ["-m", f"{self.memory // MIB}M,slots={len(self.nvdimms) + 1},maxmem={2 * most // MIB}M"]
        for number, size in enumerate(self.nvdimms):
            given += ["-object", f"memory-backend-ram,id=mem{number},size={size}"]
            given += ["-device", f"nvdimm,id=nv{number},memdev=mem{number}"]
        return [*given, *self.others]


@dataclass
class Channels:
    """Our ends of the guest's serial ports and of the monitor, and what the monitor writes memory to."""

    console: socket.socket
    agent: socket.socket
    monitor: socket.socket
    memory: int  # a memfd that QEMU has open too
    memory_name: str  # its name for QEMU

    def close(self) -> None:
        for end in (self.console, self.agent, self.monitor):
            end.close()
        os.close(self.memory)


def command(image: Path, initramfs: Path | None, hardware: Hardware, accel: str, line: str) -> list[str]:
    """How QEMU is called for a guest that boots a kernel with a command line; LabError without QEMU."""
    # Before v8.1 threads of the emulation could miss each other's changes of code, and the kernel changes
    # its own: about one boot in a hundred ended in an int3 oops.  One thread costs less, too.
    given = [program(), "-accel", "tcg,thread=single" if accel == "tcg" else accel, "-cpu", "max"]
    given += ["-nodefaults", "-display", "none", "-no-reboot", "-action", "panic=shutdown"]
    given += ["-kernel", str(image), "-append", line]
    given += ["-initrd", str(initramfs)] if initramfs else []
    return given + hardware.arguments()


class Qemu:
    """A running QEMU with its channels.  It ends when the thread that started it does, killed or not."""

    def __init__(self, given: Sequence[str], snapshot: int | None = None) -> None:
        """Boot a kernel, or go on with the guest that was saved to the file descriptor `snapshot`."""
        ours, theirs = zip(*(socket.socketpair() for _ in PORTS), strict=True)
        memory = os.memfd_create("guest-memory")
        self._stderr = os.memfd_create("qemu-stderr")
        self._closed = False
        console, agent, monitor = ours
        self.channels = Channels(console, agent, monitor, memory, f"/dev/fd/{memory}")
        inherited = [memory, *(end.fileno() for end in theirs)]
        given = list(given)
        for name, end in zip(PORTS, theirs, strict=True):
            given += ["-chardev", f"socket,id={name},fd={end.fileno()}"]
        given += ["-serial", "chardev:console", "-serial", "chardev:agent"]
        given += ["-mon", "chardev=monitor,mode=control"]
        if snapshot is not None:
            given += ["-incoming", f"fd:{snapshot}"]
            inherited.append(snapshot)
        try:
            self._process = spawn(given, self._stderr, inherited)
        except OSError as error:
            self.channels.close()
            os.close(self._stderr)
            raise LabError(f"{given[0]}: {error.strerror}") from None
        finally:
            for end in theirs:
                end.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def complaint(self) -> str:
        """What QEMU wrote to stderr."""
        return os.pread(self._stderr, 1 << 16, 0).decode(errors="replace").strip()

    def wait(self, seconds: float) -> int | None:
        """The exit code once it has ended; None if it has not in `seconds`."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End it, and close all that belongs to it; more than once does no harm."""
        if not self._closed:
            self._closed = True
            self._process.kill()
            self._process.wait()
            self.channels.close()
            os.close(self._stderr)


def program() -> str:
    """QEMU's path; LabError where there is none."""
    found = shutil.which(PROGRAM)
    if found is None:
        raise LabError(f"{PROGRAM} is missing: apt install qemu-system-x86")
    return found


@functools.cache
def version() -> str:
    """The first line of qemu --version."""
    done = subprocess.run([program(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]


def spawn(given: Sequence[str], stderr: int, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a process that is killed when the calling thread ends.

    In its own process group: Ctrl-C is for us, and we end it.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a QEMU that aborts would dump the guest's memory
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it was gone before prctl()
            os._exit(1)

    return subprocess.Popen(
        given,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        pass_fds=inherited,
        preexec_fn=die_with_parent,
        process_group=0,
    )
