"""The engines side by side: states, transitions and time on the same scenarios.

    python benchmarks/engines.py [--large] [--repeat N]

Every row is void unless its engine found the counts that stand beside the scenario.  Times
are the least of N runs, of the search with all its checks; compiling the steps is apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from zonedev.designs import DESIGNS
from zonedev.explore.cache import Cache
from zonedev.explore.check import select, set_up
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import STATE_BYTES, PythonEngine
from zonedev.explore.result import Exploration
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import full_scope

Engine = PythonEngine | NativeEngine

LINE = "{:34} {:9} {:>11} {:>12} {:>9} {:>8} {:>6} {:>7} {:>7}"
PYTHON_UP_TO = 200_000  # states; beyond, the reference engine takes minutes


@dataclass(frozen=True)
class Case:
    """A scenario under a design in a scope, with the counts that every engine has to find."""

    scenario: str
    design: str
    scope: dict[str, str | int]
    states: int
    transitions: int
    large: bool = False

    @property
    def name(self) -> str:
        return f"{self.scenario.removeprefix('devdax-')} {self.design.removeprefix('linux-')}" + "".join(
            f" {k}={v}" for k, v in self.scope.items()
        )

    def lowered(self) -> TransitionSystem:
        """The transition system, with all rules."""
        cls = SCENARIOS[self.scenario]
        selection = select(cls, RULES)
        system = set_up(cls, DESIGNS[self.design], full_scope(cls, self.scope), selection.monitors)
        return lower(system, selection.names)


PINNERS = "devdax-pinners-vs-unbind"
CASES = (
    Case("devdax-fault-vs-unbind", "linux-7.2", {}, 19_930, 62_104),
    Case(PINNERS, "linux-5.10", {}, 88_073, 282_482),
    Case(PINNERS, "linux-4.5", {"processes": 3}, 1_244_899, 4_779_295),
    Case(PINNERS, "linux-5.10", {"processes": 3}, 2_089_551, 8_448_047),
    Case(PINNERS, "linux-4.5", {"processes": 4}, 14_144_265, 65_872_737, large=True),
    Case(PINNERS, "linux-5.10", {"processes": 4}, 21_441_953, 104_504_348, large=True),
)


def engines(case: Case, ts: TransitionSystem, cache: Cache) -> list[tuple[str, Engine, float]]:
    """The engines to be measured, with the seconds that each took to compile the model."""
    found: list[tuple[str, Engine, float]] = []
    if case.states <= PYTHON_UP_TO:
        begun = time.perf_counter()
        reference = PythonEngine(ts)
        found.append(("python", reference, time.perf_counter() - begun))
    for workers in (1, 2):
        native = NativeEngine(ts, workers, cache=cache)
        found.append((f"native {workers}", native, native.compile_seconds))
    return found


def measure(engine: Engine, repeat: int) -> Exploration:
    """The fastest of some explorations."""
    return min((engine.explore() for _ in range(repeat)), key=lambda found: found.seconds)


def warm_up(ts: TransitionSystem) -> None:
    """Let the loops be compiled for this number of words."""
    for workers in (1, 2):
        NativeEngine(ts, workers, cache=Cache(None)).explore()


def row(case: Case, name: str, engine: Engine, compile_time: float, repeat: int) -> str:
    found = measure(engine, repeat)
    right = (found.states, found.transitions) == (case.states, case.transitions) and found.path is None
    size = float(STATE_BYTES)
    if isinstance(engine, NativeEngine) and engine.store is not None:
        size = engine.store.bytes / found.states
    return LINE.format(
        case.name,
        name,
        found.states,
        found.transitions,
        f"{found.seconds:.3f}" if right else "VOID",
        f"{found.states / found.seconds / 1e6:.2f}" if right else "-",
        f"{size:.0f}",
        f"{compile_time:.3f}",
        "" if right else f"counts should be {case.states} / {case.transitions}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="The engines side by side, on the same scenarios.")
    parser.add_argument("--large", action="store_true", help="also the sizes of tens of millions of states")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    titles = ("engine", "states", "transitions", "seconds", "M/s", "B/st", "compile", "")
    print(LINE.format("scenario, design, scope", *titles))
    void = False
    for case in CASES:
        if case.large and not args.large:
            continue
        ts = case.lowered()
        if not case.large:
            warm_up(ts)
        with tempfile.TemporaryDirectory() as cache:
            for name, engine, compile_time in engines(case, ts, Cache(Path(cache))):
                text = row(case, name, engine, compile_time, 1 if name == "python" else args.repeat)
                void = void or "VOID" in text
                print(text, flush=True)
    return 2 if void else 0


if __name__ == "__main__":
    raise SystemExit(main())
