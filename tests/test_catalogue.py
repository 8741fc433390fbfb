"""The catalogue: expected verdicts, goldens, and the same answers from every engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zonedev.designs import DESIGNS
from zonedev.explore.check import select, set_up
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import Exploration, Question
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import full_scope
from zonedev.scenarios.parts import RELEASES

PAIRS = [(s, d) for s, scenario in SCENARIOS.items() for d in scenario.expected]
#: The scenarios that say something else about other sizes are checked at those too.
SIZES = [
    (s, d, z)
    for s, d in PAIRS
    if "size" in SCENARIOS[s].scope and not s.endswith(("-pmd", "-pud")) and s != "devdax-pinners-vs-unbind"
    for z in SCENARIOS[s].scope["size"].choices[1:]
]


def lowered(scenario: str, design: str, scope: dict[str, Any]) -> tuple[TransitionSystem, Question]:
    cls = SCENARIOS[scenario]
    selection = select(cls, RULES)
    system = set_up(cls, DESIGNS[design], full_scope(cls, scope), selection.monitors)
    return lower(system, selection.names), selection.question


def facts(found: Exploration) -> tuple[Any, ...]:
    return (found.states, found.transitions, found.depth, found.ends, found.path, found.ending, found.stopped)


@pytest.mark.parametrize(("scenario", "design"), PAIRS)
def test_engines_agree(scenario: str, design: str) -> None:
    ts, question = lowered(scenario, design, {})
    reference = facts(PythonEngine(ts).explore(question))
    assert facts(NativeEngine(ts, 1).explore(question)) == reference
    assert facts(NativeEngine(ts, 2).explore(question)) == reference


@pytest.mark.parametrize(("scenario", "design", "size"), SIZES)
def test_engines_agree_on_huge_entries(scenario: str, design: str, size: str) -> None:
    ts, question = lowered(scenario, design, {"size": size})
    assert facts(NativeEngine(ts, 1).explore(question)) == facts(PythonEngine(ts).explore(question))


@pytest.mark.parametrize(("scenario", "design"), PAIRS)
def test_every_pair_has_its_golden(scenario: str, design: str) -> None:
    kept = json.loads(SCENARIOS[scenario].golden_file().read_text(encoding="utf-8"))
    golden = kept.get(scenario, kept).get(design)
    assert golden is not None, "run: zonedev matrix --promote"
    expected = SCENARIOS[scenario].expected[design]
    assert (golden["verdict"], golden["rule"]) == (expected.verdict, expected.rule)
    assert expected.why


def test_the_contract_names() -> None:
    """Names that other programs rely on."""
    assert set(SCENARIOS) >= {
        "devdax-refcounts",
        "devdax-unbind-vs-pin",
        "devdax-unbind-vs-mapping",
        "devdax-fault-vs-unbind",
        "devdax-gup-fast-vs-munmap",
        "devdax-gup-fast-vs-unbind",
        "devdax-fork-exit",
        "fsdax-refcounts",
        "pmem-unbind-order",
        "gup-fast-underflow",
        "free-reads-pagemap",
    }
    assert set(DESIGNS) >= {
        "linux-4.5",
        "linux-4.12",
        "linux-5.10",
        "linux-6.1",
        "linux-6.15",
        "linux-7.2",
    }
    assert tuple(n for n, d in DESIGNS.items() if d.release) == RELEASES
