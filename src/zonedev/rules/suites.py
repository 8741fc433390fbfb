"""suite-asserts: what a case of the kernel's own tests asserts."""

from __future__ import annotations

from zonedev.rules.base import Rule

SUITE_ASSERTS = Rule(
    "suite-asserts",
    "safety",
    "What a case of the kernel's own test suite asserts holds.",
)
