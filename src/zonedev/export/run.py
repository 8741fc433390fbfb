"""Programs that are run under limits, and watched."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LIMITED = 'ulimit -v "$0"; exec "$@"'


@dataclass(frozen=True)
class Ran:
    """What a program did: its exit code, what it printed, wall-clock seconds, its largest size in bytes."""

    code: int
    text: str
    seconds: float
    memory: int
    late: bool = False


def run(argv: Sequence[str], place: Path, seconds: float, memory: int | None = None) -> Ran:
    """Run `argv` in the directory `place` for at most `seconds`, in at most `memory` bytes of addresses."""
    command = [*argv] if memory is None else ["sh", "-c", LIMITED, str(memory >> 10), *argv]
    begun = time.perf_counter()
    late = threading.Event()
    with (place / "output").open("w+", errors="replace") as output:
        child = subprocess.Popen(
            command, cwd=place, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )

        def stop() -> None:
            late.set()
            os.killpg(child.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, stop)
        timer.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)
            os.wait4(child.pid, 0)
            raise
        finally:
            timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    return Ran(child.returncode, text, time.perf_counter() - begun, usage.ru_maxrss << 10, late.is_set())
