"""suite-asserts: what a case of a test suite asserts."""

from __future__ import annotations

from zonedev.rules.base import Rule

SUITE_ASSERTS = Rule(
    "suite-asserts",
    "safety",
    "What a case of a test suite asserts holds.",
)
