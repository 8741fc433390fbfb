"""How much memory a process may take: a share of what the machine, or its container, has left."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from zonedev.explore.result import Limits

SHARE = 0.9  # of what is available; the rest is for what is not counted
GROUPS = Path("/sys/fs/cgroup")
MEBI = 1 << 20


def bounded(limits: Limits, processes: int = 1) -> Limits:
    """The limits, with one on memory where there is none: a share for each of so many processes."""
    return limits if limits.memory is not None else replace(limits, memory=share(processes))


@cache
def share(processes: int = 1) -> int | None:
    """The bytes for each of so many processes, in whole MiB; None where nobody can tell."""
    found = [n for n in (meminfo(Path("/proc/meminfo")), *groups(Path("/proc/self/cgroup"))) if n is not None]
    return max(1, int(SHARE * min(found) / processes) // MEBI) * MEBI if found else None


def meminfo(file: Path) -> int | None:
    """What the kernel holds for available without swapping."""
    for line in lines(file):
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) << 10
    return None


def groups(file: Path, root: Path = GROUPS) -> list[int | None]:
    """What the process's control group (version 2) and those above it have left, each that has a limit."""
    path = next((line[3:] for line in lines(file) if line.startswith("0::")), None)
    if path is None:
        return []
    here = root / path.strip("/")
    return [left(place) for place in (here, *here.parents) if place == root or root in place.parents]


def left(group: Path) -> int | None:
    """A group's limit less what it uses; what it holds of files can be had back."""
    limit = number(group / "memory.max")
    used = number(group / "memory.current")
    if limit is None or used is None:
        return None
    files = [line.split()[1] for line in lines(group / "memory.stat") if line.startswith("inactive_file ")]
    return max(0, limit - used + sum(map(int, files)))


def number(file: Path) -> int | None:
    """The number in a file; None where there is none, or `max`."""
    text = "".join(lines(file)).strip()
    return int(text) if text.isdigit() else None


def lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
