"""Where many checks run: in processes on this machine, or on a Ray cluster."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from zonedev.explore.on import connect, cores_of
from zonedev.lang.errors import ZonedevError

P = ParamSpec("P")
T = TypeVar("T")

#: Whether processes have what this one has, and need not load it.
FORKS = sys.platform == "linux"
PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
GONE = "a process was killed: give it more memory, or fewer --jobs"


def pool(on: str | None, jobs: int | None) -> Executor:
    """`jobs` processes here (by default one a core), or a cluster; BrokenExecutor where one is killed."""
    if on is not None:
        return Cluster(on, jobs)
    if not FORKS:
        return ProcessPoolExecutor(jobs or os.cpu_count() or 1)
    return ProcessPoolExecutor(jobs or os.cpu_count() or 1, get_context("fork"), end_with, (os.getpid(),))


def end_with(parent: int) -> None:
    """Have this process end when `parent` does, which tells nobody when it is killed."""
    from ctypes import CDLL  # here, since only this needs it

    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def size_of(made: Executor) -> int:
    """How many calls run at the same time."""
    return made.at_once if isinstance(made, Cluster) else made._max_workers  # type: ignore[attr-defined]


class Cluster(Executor):
    """Calls on a Ray cluster: each where there is a core, and no more than `jobs` at a time.

    They run in the directory of this process, where the machine there has it, so that files are
    found by the same names.
    """

    def __init__(self, on: str, jobs: int | None) -> None:
        self.ray = connect(on, 1)
        there = cores_of(self.ray)
        self.at_once = min(jobs or there, there)
        self.call = self.ray.remote(num_cpus=1)(call_there)
        self.lock = Lock()
        self.waiting: deque[tuple[Future[Any], tuple[Any, ...]]] = deque()
        self.running: dict[Future[Any], Any] = {}

    def submit(self, function: Callable[P, T], /, *args: P.args, **named: P.kwargs) -> Future[T]:
        found: Future[T] = Future()
        with self.lock:
            self.waiting.append((found, (str(Path.cwd()), function, args, named)))
            self.begin()
        return found

    def begin(self) -> None:
        """Begin what is waiting, as far as there is room; with the lock."""
        while self.waiting and len(self.running) < self.at_once:
            found, job = self.waiting.popleft()
            self.running[found] = ref = self.call.remote(*job)
            ref.future().add_done_callback(partial(self.settle, found))

    def settle(self, found: Future[Any], done: Future[Any]) -> None:
        """Pass an answer on; what Ray has to complain of is a broken pool."""
        with self.lock:
            self.running.pop(found, None)
            self.begin()
        error = done.exception()
        if error is None:
            found.set_result(done.result())
        elif isinstance(error, self.ray.exceptions.RayTaskError) and isinstance(error.cause, Exception):
            found.set_exception(error.cause)
        elif isinstance(error, self.ray.exceptions.RayError):
            found.set_exception(BrokenExecutor(GONE))
        else:
            found.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            with self.lock:
                self.waiting.clear()
                for ref in self.running.values():
                    self.ray.cancel(ref, force=True)


def call_there(directory: str, function: Callable[..., T], args: Any, named: Any) -> T:
    """A call, in the directory of whoever asks."""
    try:
        os.chdir(directory)
    except OSError:
        raise ZonedevError(f"{directory}: the machines of the cluster need to have this directory") from None
    return function(*args, **named)
