"""Where the lab keeps what it has fetched and built; an entry is complete or not there.

Everything is made under a temporary name beside its place and renamed.  Who makes something holds a
lock, so that two set-ups wait for each other, and what a killed one left is known to be stale.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zonedev.lab.errors import LabError

STALE = ".tmp"
NO_SPACE = "no space left for the cache: free 1 GiB, or set ZONEDEV_LAB to another directory"
KEPT = 3600  # seconds that a built file is kept after its last use; it is soon built again


def root() -> Path:
    """The directory of the cache: $ZONEDEV_LAB, or zonedev/lab in the user's cache directory."""
    given = os.environ.get("ZONEDEV_LAB")
    if given:
        return Path(given).absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache").absolute() / "zonedev" / "lab"


@contextmanager
def locked(
    directory: str, waiting: Callable[[], None] = lambda: None, shared: bool = False
) -> Iterator[Path]:
    """Hold a directory of the cache, cleared of what a killed holder left half-made.

    `waiting` is called once where somebody else holds it.  A `shared` lock is held by children too
    that keep open files: one that outlives its killed parent is done with its files before others
    begin.  LabError where the directory cannot be made.
    """
    place = root() / directory
    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LabError(
            f"{place}: {error.strerror}: set ZONEDEV_LAB to a directory that can be written"
        ) from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock, shared)
        for depth in ("", "*/", "*/*/"):
            for left in place.glob(f"{depth}*{STALE}"):
                remove(left)
        yield place
    finally:
        os.close(lock)


@contextmanager
def making(place: Path) -> Iterator[Path]:
    """A path to make a file or directory at; it becomes `place` when all went well."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f"{place.name}{STALE}")
    remove(temporary)
    try:
        yield temporary
        if place.is_dir() and not place.is_symlink():
            remove(place)  # a directory cannot be renamed over another one
        temporary.replace(place)
    finally:
        remove(temporary)


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """A directory for the time being."""
    with tempfile.TemporaryDirectory(suffix=STALE, dir=place) as name:
        yield Path(name)


def remove(path: Path) -> None:
    """Remove a file or a tree, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def used(path: Path) -> Path:
    """Mark a built file as used now."""
    os.utime(path)
    return path


def expire(directory: Path) -> None:
    """Remove built files that nobody has used for some time."""
    for path in directory.iterdir():
        if path.name != ".lock" and time.time() - path.stat().st_mtime > KEPT:
            remove(path)


def size(path: Path) -> int:
    """Bytes in a file or in all files of a tree."""
    if not path.is_dir():
        return path.stat().st_size if path.exists() else 0
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_symlink() or p.is_file())
