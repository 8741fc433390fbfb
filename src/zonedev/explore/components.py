"""Strongly connected components, by Tarjan's algorithm without recursion."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def components(nodes: Iterable[N], after: Callable[[N], Iterable[N]]) -> Iterator[list[N]]:
    """The components of a graph; `after` gives a node's successors, which have to be in `nodes`."""
    index: dict[N, int] = {}
    low: dict[N, int] = {}
    open_: list[N] = []  # nodes whose component is not complete yet
    is_open: set[N] = set()
    for root in nodes:
        if root in index:
            continue
        stack: list[tuple[N, Iterator[N]]] = []
        enter: N | None = root
        while enter is not None or stack:
            if enter is not None:
                index[enter] = low[enter] = len(index)
                open_.append(enter)
                is_open.add(enter)
                stack.append((enter, iter(after(enter))))
                enter = None
            node, rest = stack[-1]
            for new in rest:
                if new not in index:
                    enter = new
                    break
                if new in is_open:
                    low[node] = min(low[node], index[new])
            else:
                stack.pop()
                if stack:
                    low[stack[-1][0]] = min(low[stack[-1][0]], low[node])
                if low[node] == index[node]:
                    at = len(open_) - 1
                    while open_[at] != node:
                        at -= 1
                    yield open_[at:]
                    is_open.difference_update(open_[at:])
                    del open_[at:]
