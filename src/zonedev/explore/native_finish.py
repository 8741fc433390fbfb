"""From which states can every task still finish?  The native engine's answer.

Each state keeps one successor (see native_kernels); from most states the chain of
these ends where every task has finished.  The states where it does not are expanded
again: a step to a state that can finish settles them, and with them the chains that
lead to them.  This goes on until nothing changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from zonedev.explore.native_back import UNRESOLVED, UNSEEN
from zonedev.explore.native_store import CHUNK

if TYPE_CHECKING:
    from zonedev.explore.native_search import Search

BYTES = 2  # for a state: what is known of it, and to find those of which nothing is
FOLLOWED = 1 << 20  # states between two looks at the clock


def cannot_finish(search: Search) -> tuple[list[tuple[int, int]], int]:
    """The states (worker, number) of the first level that has any which cannot finish, and the level."""
    search.look(BYTES * sum(search.counts()))
    status = [np.zeros(n, np.uint8) for n in search.counts()]
    can = np.array([s.ctypes.data for s in status], np.int64)
    for me, n in enumerate(search.counts()):
        for end in range(n, 0, -FOLLOWED):
            todo = np.arange(end - 1, max(0, end - FOLLOWED) - 1, -1, dtype=np.int64)
            search.call("follow", can.ctypes.data, me, todo.ctypes.data, len(todo))
            search.look()
    search.look((BYTES + 8) * sum(int(np.count_nonzero(s == UNRESOLVED)) for s in status))
    left: list[Any] = [np.ascontiguousarray(np.flatnonzero(s == UNRESOLVED)[::-1]) for s in status]
    while any(len(part) for part in left):
        again = search.each(lambda me: mark_all(search, me, can, left[me]), sum(map(len, left)))  # noqa: B023
        if not any(again):
            return first_level(search, left)
        left = [part[status[me][part] == UNRESOLVED] for me, part in enumerate(left)]
        for me, part in enumerate(left):
            status[me][part] = UNSEEN
        for me, part in enumerate(left):
            search.call("follow", can.ctypes.data, me, part.ctypes.data, len(part))
            search.look()
        left = [part[status[me][part] == UNRESOLVED] for me, part in enumerate(left)]
    return [], -1


def mark_all(search: Search, me: int, can: Any, todo: Any) -> int:
    """Expand a worker's states again, in chunks; returns how many can finish after all."""
    marked = 0
    for first in range(0, len(todo), CHUNK):
        chunk = todo[first : first + CHUNK]
        marked += search.call("mark", me, can.ctypes.data, chunk.ctypes.data, len(chunk))
        if search.workers == 1:
            search.look()
    return marked


def first_level(search: Search, left: list[Any]) -> tuple[list[tuple[int, int]], int]:
    """The states of `left` that are in the least level, and that level."""
    for level in range(len(search.levels)):
        bad = [
            (me, int(n))
            for me, part in enumerate(left)
            for n in part[(part >= search.levels[level][me]) & (part < search.level_end(level, me))]
        ]
        if bad:
            return bad, level
    raise AssertionError("states without a level")
