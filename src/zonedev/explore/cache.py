"""What was compiled or lowered before, in the user's cache directory.

An entry is a file behind a checksum.  One that is damaged, or cannot be read or written, only
costs the time to make it again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import zonedev

MOST = 512 << 20  # bytes that the cache holds at most
SUFFIX = ".kept"


class Cache:
    """Entries by name.  `directory` None keeps nothing."""

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory

    def read(self, name: str) -> bytes | None:
        """What was kept under a name, or None."""
        if self.directory is None:
            return None
        path = self.directory / (name + SUFFIX)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        if hashlib.sha256(data[32:]).digest() != data[:32]:
            return None
        with contextlib.suppress(OSError):  # somebody else's, perhaps
            os.utime(path)  # the oldest entries are dropped first
        return data[32:]

    def write(self, name: str, data: bytes) -> None:
        """Put an entry in place at once, whoever else writes the same; failures do not matter."""
        if self.directory is None:
            return
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.directory, suffix=".new", delete=False) as file:
                draft = Path(file.name)
                try:
                    file.write(hashlib.sha256(data).digest() + data)
                    file.close()
                    draft.replace(self.directory / (name + SUFFIX))
                finally:
                    draft.unlink(missing_ok=True)
            if name.startswith("0"):  # names are digests: now and then is enough
                self.prune()

    def prune(self) -> None:
        """Drop the entries that were not used for longest, beyond MOST."""
        assert self.directory is not None
        entries = [(p.stat(), p) for p in self.directory.iterdir() if p.suffix == SUFFIX]
        total = sum(stat.st_size for stat, _ in entries)
        for stat, path in sorted(entries, key=lambda entry: entry[0].st_mtime):
            if total <= MOST:
                break
            path.unlink(missing_ok=True)
            total -= stat.st_size


def directory() -> Path | None:
    """Where things are kept; None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "zonedev" / "kept"
    except RuntimeError:
        return None


def name_of(*parts: str | bytes) -> str:
    """The name for what is made from all of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:40]


@functools.cache
def program() -> str:
    """What this program is: all of its source, and the Python that runs it."""
    root = Path(zonedev.__file__).parent
    sources = sorted(p for p in root.rglob("*.py"))
    parts = [part for p in sources for part in (str(p.relative_to(root)), p.read_bytes())]
    return name_of(sys.version, *parts)
