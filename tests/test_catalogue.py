"""The catalogue: expected verdicts, goldens, and the same answers from every engine."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from zonedev.designs import DESIGNS
from zonedev.explore.cache import Cache, directory
from zonedev.explore.check import select, set_up
from zonedev.explore.lowered import lowered
from zonedev.explore.matrix import read_goldens
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import Exploration
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS, fsync_vs_writer, scenarios_in
from zonedev.scenarios.base import full_scope
from zonedev.scenarios.parts import PRIVATE_RELEASES, RELEASES
from zonedev.scenarios.suites import SUITES

PAIRS = [(s, d) for s, scenario in SCENARIOS.items() for d in scenario.expected]
#: The largest spaces, in which the engine's tables grow and workers share the states.
LARGE = [("devdax-pinners-vs-unbind", "linux-5.10"), ("files-at-work", "linux-6.15")]


def other_sizes(scenario: str) -> list[dict[str, str]]:
    """The scopes that differ in the level at which the device or file maps, where there is no scenario
    of that name too."""
    size = SCENARIOS[scenario].scope.get("size")
    if size is None or scenario.endswith(("-pmd", "-pud")) or scenario == "devdax-pinners-vs-unbind":
        return []
    return [{"size": z} for z in size.choices[1:]]


def cases(whole: bool) -> list[tuple[str, str, dict[str, str]]]:
    """Scenarios, designs and scopes that the engines are held against each other on.

    To lower a pair takes longer than to explore it, and designs differ little in one scenario: so each
    is tried under one design, that which has had its turn least often, and at every other size under
    one more.  `whole`: under all.
    """
    found: list[tuple[str, str, dict[str, str]]] = [] if whole else [(s, d, {}) for s, d in LARGE]
    turns: Counter[str] = Counter()
    for name, scenario in SCENARIOS.items():
        designs = list(scenario.expected)
        for scope in ({}, *other_sizes(name)):
            chosen = designs if whole else [min(designs, key=lambda d: turns[d])]
            turns.update(chosen)
            found += [(name, d, scope) for d in chosen if (name, d, scope) not in found]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        chosen = cases(metafunc.config.getoption("--whole"))
        metafunc.parametrize("case", chosen, ids=["-".join([s, d, *z.values()]) for s, d, z in chosen])


def golden_of(scenario: str, design: str) -> dict[str, Any]:
    found = read_goldens(SCENARIOS[scenario]).get(design)
    assert found is not None, "run: zonedev matrix --promote"
    return found


def facts(found: Exploration) -> tuple[Any, ...]:
    return (found.states, found.transitions, found.depth, found.ends, found.path, found.ending, found.stopped)


def test_engines_agree(case: tuple[str, str, dict[str, str]]) -> None:
    """With each other, whatever the number of workers, and with the golden."""
    scenario, design, scope = case
    cls = SCENARIOS[scenario]
    selection = select(cls, RULES)
    system = set_up(cls, DESIGNS[design], full_scope(cls, scope), selection.monitors)
    ts = lowered(system, selection.names, Cache(directory()))
    reference = PythonEngine(ts).explore(selection.question)
    for workers in (1, 2):
        assert facts(NativeEngine(ts, workers).explore(selection.question)) == facts(reference)
    if not scope:
        golden = golden_of(scenario, design)
        for key in ("states", "transitions", "depth"):
            assert getattr(reference, key) == golden[key]
        assert (reference.path is None) == (golden["verdict"] == "holds")


def test_no_design_is_left_out() -> None:
    """Of those whose engines are held against each other."""
    assert {d for _, d, _ in cases(whole=False)} == {d for _, d in PAIRS}
    assert {s for s, _, _ in cases(whole=False)} == set(SCENARIOS)
    assert {(s, d) for s, d, _ in cases(whole=True)} == set(PAIRS)


@pytest.mark.parametrize(("scenario", "design"), PAIRS)
def test_every_pair_has_its_golden(scenario: str, design: str) -> None:
    golden = golden_of(scenario, design)
    expected = SCENARIOS[scenario].expected[design]
    assert (golden["verdict"], golden["rule"]) == (expected.verdict, expected.rule)
    assert expected.why


def test_every_golden_is_of_a_scenario() -> None:
    """So that no module is forgotten in MODULES."""
    cases = [case for suite in SUITES.values() for case in suite]
    known = {scenario.golden_file() for scenario in (*SCENARIOS.values(), *cases)}
    assert known >= set(Path(fsync_vs_writer.__file__).parent.glob("*.json"))


def test_what_scenarios_have_in_common_is_none() -> None:
    found = [s.__name__ for s in scenarios_in(fsync_vs_writer)]
    assert found[0] == "FsyncVsWriter" and "FileCalls" not in found


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
    released = tuple(n for n, d in DESIGNS.items() if d.release)
    assert released == tuple(sorted({*RELEASES, *PRIVATE_RELEASES}, key=list(DESIGNS).index))
