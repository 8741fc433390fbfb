"""What the catalogue has to show: short counterexamples in kernel function names, at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from conftest import ROOT, a_second, child_seconds
from zonedev import catalogue
from zonedev.explore.check import check
from zonedev.explore.matrix import kept_of, read_goldens
from zonedev.report import text

BUILT_IN = catalogue.load()
VIOLATED = [
    (scenario, design)
    for scenario, cls in BUILT_IN.scenarios.items()
    for design, expected in cls.expected.items()
    if expected.verdict == "violated" and design in BUILT_IN.designs
]
#: Stories of many calls, which take a line each at least, and how many lines they have.
LONG = {
    "entry-lock-waiters": 21,
    "punch-vs-gup-fast-waits": 21,
    "truncate-vs-refault": 21,
    "free-wakes-before-clear": 26,
    "fsdax-unbind-closed": 27,
    "fsdax-unbind-vs-pin": 29,
    "reflink-share": 27,
    "cow-of-used-block": 23,
    # The way to a livelock, and one round of it.
    "migrate-vs-cpu-fault": 38,
    "fork-of-private": 41,
    "private-unbind-once": 21,
    "private-unbind-vs-fault": 27,
    "exclusive-atomics": 22,
    "exclusive-atomics-same-page": 22,
    "exclusive-retry-self": 23,
    "exclusive-retry-huge": 28,
    # Who waits, and what each of the others has done before.
    "p2pdma-unbind-vs-pin": 21,
    "p2pdma-unbind-vs-exit": 23,
    "coherent-unbind-kept": 22,
}


def goldens(scenario: str) -> dict[str, dict[str, Any]]:
    return read_goldens(BUILT_IN.scenario(scenario))


def different(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One of all designs that tell the same story, as far as their counts say that."""
    found = {(s, json.dumps(goldens(s).get(d))): (s, d) for s, d in reversed(pairs)}
    return [pair for pair in pairs if pair in found.values()]


def test_the_first_answer() -> None:
    """At most 20 lines, exit code 2, under a second, and byte for byte the same again."""
    command = [sys.executable, "-m", "zonedev", "check", "devdax-unbind-vs-pin", "--design", "linux-6.15"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    subprocess.run(command, env=environment, capture_output=True)  # writes the byte code
    begun = child_seconds()
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert child_seconds() - begun < a_second()
    assert (found.returncode, found.stderr) == (2, "")
    assert len(found.stdout.splitlines()) <= 20
    for name in ("pin_user_pages", "kill_dax", "percpu_ref_kill", "folio_put_refs", "=> page-lifetime"):
        assert name in found.stdout
    assert subprocess.run(command, env=environment, capture_output=True, text=True).stdout == found.stdout


DIFFERENT = different(VIOLATED)


@pytest.mark.parametrize(("scenario", "design"), DIFFERENT, ids=[f"{s}.{d}" for s, d in DIFFERENT])
def test_every_counterexample_is_short(scenario: str, design: str) -> None:
    """And it is the one that the golden counts."""
    found = check(BUILT_IN.scenario(scenario), BUILT_IN.design(design), design_name=design)
    assert kept_of(found) == goldens(scenario)[design]
    lines = text.render(found).splitlines()
    assert len(lines) <= LONG.get(scenario, text.MAX_LINES)
    assert all(len(line) <= 80 and line.isascii() for line in lines)
