"""The counterexample that is shown: shortest, then fewest task switches, then first in order."""

from __future__ import annotations

Edge = tuple[int, int, int]  # task, choice, and the new state, or -1 - fail


def shortest(edges: list[list[Edge]], targets: dict[int, int]) -> tuple[list[tuple[int, int]], int]:
    """The path from state 0 to a target, or with no targets over a failing edge.

    `edges` lists the steps of every state in breadth-first order of the states, so
    that a step to a state that is one level deeper is a shortest way there.  Returns
    (task, choice) pairs and the ending.
    """
    level = levels_of(edges)
    # For a state and the task of the next step: the fewest switches to a target.
    cost: dict[int, dict[int, int]] = {}
    for at in range(len(level) - 1, -1, -1):
        if at in targets or at >= len(edges):
            continue
        best: dict[int, int] = {}
        for task, _, new in edges[at]:
            found = suffix(task, new, level[at], level, cost, targets)
            if found is not None and found < best.get(task, found + 1):
                best[task] = found
        if best:
            cost[at] = best
    return walk(edges, level, cost, targets)


def levels_of(edges: list[list[Edge]]) -> list[int]:
    level = [0]
    for at, out in enumerate(edges):
        for _, _, new in out:
            if new == len(level):
                level.append(level[at] + 1)
    return level


def suffix(
    task: int,
    new: int,
    depth: int,
    level: list[int],
    cost: dict[int, dict[int, int]],
    targets: dict[int, int],
) -> int | None:
    """The switches after a step of `task` to `new`, or None where that is no shortest way."""
    if new < 0:
        return None if targets else 0
    if level[new] != depth + 1:
        return None
    if new in targets:
        return 0
    if new not in cost:
        return None
    return min(c + (t != task) for t, c in cost[new].items())


def walk(
    edges: list[list[Edge]], level: list[int], cost: dict[int, dict[int, int]], targets: dict[int, int]
) -> tuple[list[tuple[int, int]], int]:
    path: list[tuple[int, int]] = []
    at, last = 0, -1
    while at not in targets:
        left = min(c + (t != last and last >= 0) for t, c in cost[at].items())
        for task, choice, new in sorted(edges[at]):
            switched = task != last and last >= 0
            after = suffix(task, new, level[at], level, cost, targets)
            if after is not None and after + switched == left:
                path.append((task, choice))
                if new < 0:
                    return path, -1 - new
                at, last = new, task
                break
    return path, targets[at]
