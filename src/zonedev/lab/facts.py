"""Facts about this host and about kernels that take a while to find out, kept in the cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from zonedev.lab import cache

DIRECTORY = "facts"
T = TypeVar("T")


def known(kind: str, about: Mapping[str, str], find: Callable[[], T]) -> T:
    """What `find` finds about something; asked once, and by one process at a time.

    The fact has to be something that JSON can hold.
    """
    with cache.locked(DIRECTORY) as place:
        path = place / f"{kind}-{digest(*about.values())}.json"
        try:
            fact: T = json.loads(path.read_text(encoding="utf-8"))["fact"]
            cache.used(path)
        except (OSError, ValueError, KeyError, TypeError):
            cache.expire(place)
            fact = find()
            with cache.making(path) as temporary:
                temporary.write_text(json.dumps({"about": dict(about), "fact": fact}), encoding="utf-8")
    return fact


def digest(*parts: str) -> str:
    """A short hash of several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def of_file(path: Path) -> str:
    """A hash of a file's contents."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
