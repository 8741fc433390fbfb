"""Every rule catches a seeded bug, and is silent without it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from seeds import MORE, SEEDS, Seed
from zonedev import catalogue
from zonedev.designs import DESIGNS
from zonedev.explore.check import Verdict, check
from zonedev.rules import RULES

SCENARIOS = catalogue.load().everything()
CASES = [*SEEDS.items(), *MORE]


def run(seed: Seed, design: Any, rules: tuple[str, ...] | None = None) -> Verdict:
    return check(SCENARIOS[seed.scenario], design, rules=rules, engine="python")


def original(seed: Seed) -> Any:
    """The built-in design that the bug was put into."""
    return next(c for c in seed.design.__mro__ if c in DESIGNS.values() and c is not seed.design)


@cache
def without_bugs(scenario: str, design: Any) -> str:
    """The rule that the scenario breaks by itself, or that it holds."""
    found = check(SCENARIOS[scenario], design, engine="python")
    return found.rule or found.verdict


def test_every_rule_has_a_seed() -> None:
    assert set(SEEDS) == set(RULES)


@pytest.mark.parametrize(("rule", "seed"), CASES, ids=[f"{r}-{s.design.__name__}" for r, s in CASES])
def test_the_rule_catches_the_bug(rule: str, seed: Seed) -> None:
    found = run(seed, seed.design)
    assert (found.verdict, found.rule) == ("violated", rule)
    assert found.trace or rule in ("removal-terminates", "fault-terminates")
    assert found.objects


@pytest.mark.parametrize(("rule", "seed"), CASES, ids=[f"{r}-{s.design.__name__}" for r, s in CASES])
def test_without_the_bug_the_rule_is_silent(rule: str, seed: Seed) -> None:
    assert without_bugs(seed.scenario, original(seed)) == seed.base
    if seed.base != "holds":
        assert run(seed, original(seed), (rule,)).verdict == "holds"


@pytest.mark.parametrize("rule", [r for r, s in SEEDS.items() if s.alone])
def test_the_rule_alone_catches_it(rule: str) -> None:
    """The others together do not."""
    seed = SEEDS[rule]
    others = SCENARIOS[seed.scenario].rules or tuple(RULES)
    assert rule in others
    assert run(seed, seed.design, tuple(r for r in others if r != rule)).verdict == "holds"
