"""What an operation costs: the shared-memory steps and atomic instructions on its path."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from zonedev.lang.errors import ZonedevError
from zonedev.lang.runtime import PRIMITIVES, Runtime
from zonedev.lang.system import Specification, System

#: Primitives of the atomic_ family that are plain loads and stores.
PLAIN = frozenset({"atomic_read", "atomic_set"})


@dataclass(frozen=True)
class Cost:
    """Steps on shared memory, and how many of them are atomic read-modify-writes."""

    steps: int
    atomics: int


class CountingRuntime(Runtime):
    """Carries accesses out at once and counts them.  Nothing may wait: WouldBlock otherwise."""

    def __init__(self) -> None:
        self.steps = self.atomics = 0

    def point(
        self,
        guard: Callable[[], bool] | None = None,
        choices: int = 1,
        lost: Callable[[], bool] | None = None,
    ) -> int:
        self.steps += 1
        self.atomics += is_atomic(innermost_primitive())
        return super().point(guard, choices, lost)


def innermost_primitive() -> str:
    """The name of the primitive that is running, or ""."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code in PRIMITIVES and not frame.f_code.co_name.startswith("<"):
            return frame.f_code.co_name
        frame = frame.f_back
    return ""


def is_atomic(primitive: str) -> bool:
    """Whether a primitive's step is an atomic read-modify-write of the reference-counting kind."""
    return primitive == "cmpxchg" or (primitive.startswith("atomic_") and primitive not in PLAIN)


def measure(design: type[Specification], operation: Callable[[System], Callable[[], Any]]) -> Cost:
    """Run `operation` under `design`, alone, and count.  ZonedevError where it would have to wait."""
    system = System(design)
    with system.running_as(None):
        call = operation(system)
    counting = CountingRuntime()
    system.runtime = counting
    with system.running_as(system.tasks[0] if system.tasks else None):
        call()
    return Cost(counting.steps, counting.atomics)


def table(
    designs: Mapping[str, type[Specification]],
    operations: Mapping[str, Callable[[System], Callable[[], Any]]],
) -> dict[str, dict[str, Cost | None]]:
    """The cost of every operation under every design; None where a design does not have it."""
    found: dict[str, dict[str, Cost | None]] = {}
    for name, operation in operations.items():
        row: dict[str, Cost | None] = {}
        for design, cls in designs.items():
            try:
                row[design] = measure(cls, operation)
            except (ZonedevError, AttributeError) as error:
                if isinstance(error, ZonedevError):
                    raise ZonedevError(f"cost of {name} under {design}: {error}") from error
                row[design] = None
        found[name] = row
    return found
