"""The processes in which many checks run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from zonedev.explore.pool import FORKS, pool

PARENT = """
import os, time
from zonedev.explore.pool import pool

with pool(None, 2) as workers:
    print(*{workers.submit(os.getpid).result() for _ in range(50)}, flush=True)
    workers.submit(time.sleep, 60)
"""


def test_it_runs_calls_and_passes_errors_on() -> None:
    with pool(None, 2) as workers:
        assert list(workers.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
        with pytest.raises(ZeroDivisionError):
            workers.submit(divmod, 1, 0).result()
        with pytest.raises(BrokenExecutor):
            workers.submit(os._exit, 1).result()


def running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.skipif(not FORKS, reason="processes are told of the end of their parent on Linux only")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_they_do_not_outlive_who_began_them(by: signal.Signals) -> None:
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=path
    ) as parent:
        assert parent.stdout is not None
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        assert workers and all(map(running, workers))
        parent.send_signal(by)
        parent.wait()
    ends = time.monotonic() + 20
    while any(map(running, workers)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert not any(map(running, workers))
