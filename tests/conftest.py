"""Tests name files relative to the project, so they run there."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest


def child_seconds() -> float:
    """CPU seconds of the processes that were waited for: unlike the clock it does not mind a busy machine."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def a_second() -> float:
    """What is a second on the machine that the figures in the docs are from: more where Python is slower."""
    begun, n = time.process_time(), 0
    while n < 3_000_000:
        n += 1
    return max(1.0, (time.process_time() - begun) / 0.2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="every pair of the catalogue, not a choice of them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Guests of several tests at a time would wait for each other's CPUs."""
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(pytest.mark.xdist_group("guests"))


ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
