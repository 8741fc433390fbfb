"""Stories that the model tells, of every scenario that programs can act out, beside themselves."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zonedev.designs import DESIGNS
from zonedev.lab import kernels
from zonedev.lab.compare import AGREES, UNSEEN, Conformance, compare, crashed
from zonedev.lab.conform import Run, foretell, orders_of
from zonedev.lab.kernels import LabKernel
from zonedev.lab.means import pins_of
from zonedev.lab.model import Model
from zonedev.lab.story import Line
from zonedev.lab.teller import Teller, parse_order
from zonedev.lang.errors import ZonedevError
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import Scenario, full_scope
from zonedev.scenarios.parts import RELEASES

ACTED = [name for name, scenario in SCENARIOS.items() if scenario.orders]
SIZES = {"dax0": 1 << 30, "pmem0": 1 << 30, "file0": 4 << 20, "file1": 4 << 20}


def run_of(scenario: type[Scenario], order: Sequence[str], design: str) -> Run:
    release = design.removeprefix("linux-")
    kernel = LabKernel(release, release, release, Path(), None, None, design)
    return Run(scenario, tuple(order), kernel, DESIGNS[design], design)


def told(run: Run, hints: Sequence[Line] = ()) -> list[Line]:
    """What the model says in the machine's place, having heard what was foretold."""
    model = Model(run.design, SIZES, pins_of(run.kernel.version))
    try:
        teller = Teller(model, run.scenario, full_scope(run.scenario, {}), run.design)
        teller.set_up()
        teller.hear(hints)
        return teller.tell(run.order)
    finally:
        model.close()


def foretold(run: Run) -> list[Line]:
    return foretell(run, SIZES, pins_of(run.kernel.version))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ACTED)
def test_a_story_agrees_with_itself(name: str) -> None:
    scenario = SCENARIOS[name]
    for design in (d for d in RELEASES if d in scenario.expected):
        for order in orders_of(scenario, None):
            run = run_of(scenario, order, design)
            ours = foretold(run)
            theirs = told(run, ours)
            assert theirs == ours
            found = Conformance(name, design, design, design, rows=compare(ours, theirs))
            found.conclude()
            assert found.verdict == AGREES
            assert len(found.rows) == len(ours) == len({line.key for line in ours})
            unseen = [row.line for row in found.rows if row.verdict == UNSEEN]
            assert all(line.said is None for line in unseen)
            if scenario.expected[design].verdict == "holds":
                assert [line for line in ours if line.kind == "end" or crashed(line)] == []


@pytest.mark.parametrize("design", RELEASES)
def test_only_who_is_expected_to_waits_for_the_pin(design: str) -> None:
    """The first question of all, answered by stories: they end in a wait or in an oops."""
    scenario = SCENARIOS["devdax-unbind-vs-pin"]
    (order,) = orders_of(scenario, None)
    lines = {line.text: line for line in foretold(run_of(scenario, order, design)) if line.kind == "call"}
    holds = scenario.expected[design].verdict == "holds"
    waits = lines["unbind(dax0)"].said == "waits"
    assert lines["unpin_user_page(page0)"].said == ("done" if holds else "oops on page0")
    assert waits or not holds


def test_a_wait_for_good_is_said() -> None:
    scenario = SCENARIOS["devdax-unbind-vs-pin"]
    (order,) = orders_of(scenario, None)
    last = foretold(run_of(scenario, order, "linux-4.12-wait-first"))[-1]
    assert (last.kind, last.task, last.text, last.said) == ("end", "B", "unbind(dax0)", "waits for good")


@pytest.mark.parametrize(
    ("name", "order", "design", "text", "said"),
    [
        ("devdax-unbind-vs-pin", "A B A", "linux-7.2", "dma_write(page0)", "oops on page0"),
        ("devdax-unbind-vs-pin", "A B A", "linux-5.10", "unbind(dax0)", "waits"),
        ("devdax-mmap-vs-unbind", "B A", "linux-6.1", "mmap_fixed(va)", "fails"),
        (
            "devdax-fault-vs-unbind",
            "writer unbind reader",
            "linux-4.5",
            "touch(reader, write=False)",
            "SIGBUS",
        ),
        ("devdax-gup-fast-vs-munmap", "A B B", "linux-7.2", "reuse_if_idle(page0)", "busy"),
        ("devdax-gup-fast-vs-munmap", "B B A", "linux-7.2", "reuse_if_idle(page0)", "reused"),
        ("devdax-gup-fast-vs-munmap", "B B A", "linux-7.2", "pin_user_pages_fast(va)", "fails"),
        ("truncate-vs-fault", "B A", "linux-6.12", "touch(va)", "SIGBUS"),
        ("truncate-stale-tlb", "A B thread", "linux-6.12", "touch(va)", "SIGSEGV"),
        ("truncate-vs-sync-fault", "A B", "linux-7.2", "touch(va)", "done"),
        ("private-vs-truncate", "A A A B A", "linux-7.2", "pin_user_pages_fast(va)", "copy0"),
    ],
)
def test_outcomes(name: str, order: str, design: str, text: str, said: str) -> None:
    lines = foretold(run_of(SCENARIOS[name], order.split(), design))
    assert [line.said for line in lines if line.kind == "call" and line.text == text] == [said]


@pytest.mark.parametrize(
    ("name", "order", "design", "text", "said", "warned"),
    [
        ("truncate-vs-pin-unmapped", "A A B A", "linux-5.10", "ftruncate(file0, 0)", "done", 1),
        ("truncate-vs-pin-unmapped", "A A B A", "linux-7.2", "ftruncate(file0, 0)", "waits", 0),
        ("evict-vs-pin", "io io A A io", "linux-6.12", "close(file0)", "done", 1),
        ("devdax-gup-walk-vs-unbind", "A B", "linux-4.11-generic-gup", "unbind(dax0)", None, 1),
    ],
)
def test_a_warning_does_not_end_the_story(
    name: str, order: str, design: str, text: str, said: str | None, warned: int
) -> None:
    lines = foretold(run_of(SCENARIOS[name], order.split(), design))
    (line,) = [line for line in lines if line.kind == "call" and line.text == text]
    assert (line.said, len(line.warned)) == (said, warned)
    assert (line is lines[-1]) == (said is None)


@pytest.mark.parametrize(
    ("version", "put", "ends"),
    [
        ("6.1.0-1", "done", ["return"]),
        ("6.1.78", "done", ["return"]),
        ("6.1.192-2", "done", ["end"]),
        ("6.12.117-1", "done", ["return"]),
    ],
)
def test_the_end_of_direct_io_on_stable_kernels(version: str, put: str, ends: list[str]) -> None:
    """That of 6.1.y wakes no truncate; a page that vmsplice() took is put as ever."""
    design = kernels.design_of(version)
    kernel = LabKernel("custom", version, version, Path(), None, None, design)
    for name, wanted in (("truncate-vs-pin", ends), ("truncate-vs-refault", ["return"])):
        scenario = SCENARIOS[name]
        (order,) = orders_of(scenario, None)
        lines = foretold(Run(scenario, order, kernel, DESIGNS[design], design))
        assert [
            line.said for line in lines if line.text in ("unpin_user_page(page0)", "put_page(page0)")
        ] == [put]
        assert [line.kind for line in lines if line.kind in ("return", "end")] == wanted
    described = pins_of(version)["pin_user_pages_fast"].described
    assert (described == "O_DIRECT with folio_put_refs()") == (ends == ["end"])


def test_a_new_block_is_the_one_that_the_machine_took() -> None:
    """By itself the model takes one that nobody has had, as ext4 does before a commit."""
    scenario = SCENARIOS["punch-vs-pin"]
    run = run_of(scenario, ["A", "A", "A", "B", "B"], "linux-7.2")
    moment = next(line.moment for line in foretold(run) if line.text == "pwrite(file1, 0)")
    for chosen, pages in (({}, {"page0", "file1.page0"}), ({moment: "page0"}, {"page0"})):
        lines = foretell(run, SIZES, pins_of("7.2"), chosen)
        assert {line.text for line in lines if line.kind == "look" and "page0" in line.text} == pages


def test_designs_tell_different_stories() -> None:
    """What the comparison of a kernel with another design's rules relies on."""
    scenario = SCENARIOS["devdax-refcounts"]
    stories = {d: tuple(line.said for line in foretold(run_of(scenario, (), d))) for d in RELEASES}
    assert len(set(stories.values())) >= 4
    assert stories["linux-5.10"] != stories["linux-7.2"]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """A scenario under any design, its tasks' calls in any order."""
    scenario = SCENARIOS[draw(st.sampled_from(ACTED))]
    tasks = [name for name, _ in scenario.real_programs()]
    order = draw(st.lists(st.sampled_from(tasks), max_size=10))
    return run_of(scenario, order, draw(st.sampled_from(sorted(DESIGNS))))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(runs())
def test_any_order_is_told_to_its_end(run: Run) -> None:
    lines = foretold(run)
    assert told(run, lines) == lines
    assert len({line.key for line in lines}) == len(lines)
    assert [line.moment for line in lines] == sorted(line.moment for line in lines)
    calls = {(line.moment, line.task): line for line in lines if line.kind == "call"}
    waiting = {line.task for line in calls.values() if line.said == "waits"}
    assert {line.task for line in lines if line.kind in ("return", "end")} <= waiting
    assert not any(crashed(line) for line in lines[:-1])  # nothing is said after it
    tasks = [line.task for line in lines if line.kind == "call"]
    for task in set(tasks):  # as often as the order says, and then until it has ended
        own = [name for name in run.order if name == task]
        assert tasks.count(task) >= min(len(own), 1)


def test_the_order_names_tasks() -> None:
    scenario = SCENARIOS["devdax-unbind-vs-pin"]
    assert parse_order("A B,A", scenario) == ("A", "B", "A")
    assert parse_order("", scenario) == ()
    with pytest.raises(ZonedevError, match="devdax-unbind-vs-pin has no task 'C': it has A, B"):
        parse_order("A C", scenario)
