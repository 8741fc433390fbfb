"""A guest's state at the moment when its agent was ready, so that the next one need not boot.

QEMU writes and reads it as it would for a migration.  It is a matter of speed alone: what is not
there, or does not fit, is booted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import cache, facts
from zonedev.lab.errors import LabError
from zonedev.lab.monitor import Monitor

DIRECTORY = "snapshots"
KEPT = 8  # that were used last; each takes some 150 MB
SAVE_SECONDS = 30.0
BANDWIDTH = 1 << 40  # bytes a second: the default is that of a network
EVERY = 0.01  # seconds between two looks at how far it is


@dataclass(frozen=True)
class Snapshot:
    """The state of one kind of guest."""

    key: str

    @classmethod
    def of(cls, files: Sequence[Path], *settings: str) -> Snapshot:
        """The snapshot of guests with these files and settings."""
        return cls(facts.digest(*(facts.of_file(path) for path in files), *settings))

    @property
    def path(self) -> Path:
        return cache.root() / DIRECTORY / self.key

    def open(self) -> int | None:
        """A file descriptor to read it from; None where there is none."""
        try:
            return os.open(cache.used(self.path), os.O_RDONLY)
        except OSError:
            return None

    def forget(self) -> None:
        """Remove one that cannot be used."""
        cache.remove(self.path)

    def take(self, monitor: Monitor) -> None:
        """Save the running guest, which stands still meanwhile, unless somebody else has."""
        try:
            with cache.locked(DIRECTORY) as place:
                if not self.path.exists():
                    self._write(monitor)
                    for old in by_use(place)[:-KEPT]:
                        cache.remove(old)
        except (LabError, OSError):
            pass  # no room, or no right to write there

    def _write(self, monitor: Monitor) -> None:
        with cache.making(self.path) as temporary:
            out = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                monitor.execute("stop")
                monitor.execute("migrate-set-parameters", {"max-bandwidth": BANDWIDTH})
                monitor.execute("getfd", {"fdname": "snapshot"}, [out])
                monitor.execute("migrate", {"uri": "fd:snapshot"})
                if not _saved(monitor):
                    raise LabError("QEMU does not save this guest")
            finally:
                os.close(out)
                monitor.execute("cont")


def by_use(place: Path) -> list[Path]:
    """The snapshots in a directory, the one that was used last at the end."""
    found = [path for path in place.iterdir() if not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _saved(monitor: Monitor) -> bool:
    """Wait until QEMU has written the guest."""
    until = time.monotonic() + SAVE_SECONDS
    while time.monotonic() < until:
        status = (monitor.execute("query-migrate") or {}).get("return", {}).get("status")
        if status not in ("setup", "active", "device"):
            return bool(status == "completed")
        time.sleep(EVERY)
    monitor.execute("migrate_cancel")
    return False


def resumed(monitor: Monitor, seconds: float = SAVE_SECONDS) -> bool:
    """Wait until QEMU has read the guest that it was started with, and let it run."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        status = (monitor.execute("query-status") or {}).get("return", {}).get("status")
        if status != "inmigrate":
            return status is not None and "return" in (monitor.execute("cont") or {})
        time.sleep(EVERY)
    return False
