"""The columns of a trace, and the steps that are drawn."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zonedev.catalogue import load
from zonedev.explore.check import Verdict, check
from zonedev.explore.trace import Change, TraceStep
from zonedev.report.columns import columns, drawn, group, lanes, rows, tells
from zonedev.report.text import spoken_of


@cache
def found(scenario: str, design: str) -> Verdict:
    """A counterexample of the catalogue."""
    known = load()
    return check(known.scenario(scenario), known.design(design), design_name=design)


def step(n: int, task: str = "A", *changes: tuple[str, str, str], quiet: bool = False) -> TraceStep:
    made = tuple(Change(*c, quiet) for c in changes)
    return TraceStep(n, task, "f", ("task_" + task, "f"), "kernel/page.py:1", "f()", made, "t.f()")


def test_columns_in_the_order_in_which_they_are_read() -> None:
    steps = found("evict-vs-pin", "linux-6.12").trace
    names = [c.where for c in columns(steps)]
    assert names[:3] == ["page0._refcount", "io.pins[0]", "page0.mapping"]
    assert [c.group for c in columns(steps)] == sorted(
        (c.group for c in columns(steps)),
        key=["page", "pagemap", "page tables", "file", "memory", "other"].index,
    )
    assert "mm0.pte[0]" in names and "inode0.extents[0]" in names
    assert not {"mm0.ptl.held", "io.preempt_count", "mm0.mmap_lock.readers"} & set(names)


def test_quiet_columns_where_they_are_asked_for() -> None:
    steps = found("evict-vs-pin", "linux-6.12").trace
    few, all_ = columns(steps), columns(steps, quiet=True)
    assert {c.where for c in few} < {c.where for c in all_}
    assert {c.where for c in all_} == {c.where for s in steps for c in s.changes if c.old != c.new}
    kept = columns(steps, kept={"mm0.ptl.held"})
    assert {c.where for c in kept} - {c.where for c in few} == {"mm0.ptl.held"}


def test_a_lock_that_stays_held_has_a_column_where_the_rule_is_about_waiting() -> None:
    verdict = found("devdax-unbind-vs-pin", "linux-4.12-wait-first")
    kept = spoken_of(verdict.trace, verdict.rule)
    assert kept and kept <= {c.where for c in columns(verdict.trace, kept)}


def test_numbers_are_sorted_as_numbers() -> None:
    steps = [step(1, "A", *((f"page{n}._refcount", "1", "2") for n in (10, 2, 1)))]
    assert [c.owner for c in columns(steps)] == ["page1", "page2", "page10"]


@pytest.mark.parametrize(
    ("scenario", "design"), [("evict-vs-pin", "linux-6.12"), ("devdax-unbind-vs-pin", "linux-6.15")]
)
def test_rows_follow_the_changes(scenario: str, design: str) -> None:
    steps = found(scenario, design).trace
    shown = columns(steps, quiet=True)
    values = {c.where: c.initial for c in shown}
    for row, taken in zip(rows(steps, shown), steps, strict=True):
        for change in taken.changes:
            if change.old != change.new:
                assert values[change.where] == change.old
                values[change.where] = change.new
        assert dict(zip((c.where for c in shown), row.values, strict=True)) == values
        assert {shown[n].where for n in row.changed} == {c.where for c in taken.changes if c.old != c.new}


def test_what_is_drawn() -> None:
    steps = found("evict-vs-pin", "linux-6.12").trace
    shown = drawn(steps)
    numbers = [d.step.n for d in shown]
    assert numbers[-1] == len(steps)
    assert {s.n for s in steps if any(tells(c) for c in s.changes)} <= set(numbers)
    assert len(shown) < len(steps) <= 3 * 60
    few = [d.step.n for d in drawn(steps, most=5)]
    assert len(few) == 5 and few[-1] == len(steps)
    assert 44 in few, "the change of the page's count goes last"


def test_of_too_many_the_last_are_drawn() -> None:
    steps = [step(n, "A", ("page0._refcount", str(n), str(n + 1))) for n in range(1, 100)]
    assert [d.step.n for d in drawn(steps, most=3)] == [97, 98, 99]
    assert drawn(steps, most=3)[0].folded == 96


def test_the_loop_begins_with_a_step_that_is_drawn() -> None:
    steps = [step(n, "A") for n in range(1, 10)]
    assert [d.step.n for d in drawn(steps, loop=5)] == [1, 5, 9]


@given(
    st.lists(
        st.tuples(st.sampled_from("AB"), st.sampled_from(("", "page0._refcount", "x.y", "frame0.data")))
    ),
    st.integers(1, 12),
)
def test_nothing_drawn_is_lost_or_made_up(told: list[tuple[str, str]], most: int) -> None:
    steps = [step(n, task, *([(w, "0", "1")] if w else [])) for n, (task, w) in enumerate(told, 1)]
    shown = drawn(steps, most)
    assert len(shown) == min(len(shown), most) and bool(shown) == bool(steps)
    assert sum(d.folded + 1 for d in shown) == len(steps)
    at = 0
    for d in shown:
        at += d.folded + 1
        assert d.step.n == at
    if len(shown) < most:
        assert {s.n for s in steps if s.changes} <= {d.step.n for d in shown}


def test_lanes() -> None:
    softirq = TraceStep(2, "rcu_softirq", "g", ("percpu", "g"), "f:1", "", (), "percpu")
    found_ = lanes([softirq, step(1, "A"), step(3, "gpu1"), step(4, "A")])
    assert [(lane.task, lane.kind) for lane in found_] == [
        ("A", "task"), ("gpu1", "device"), ("rcu_softirq", "actor"),
    ]  # fmt: skip
    real = lanes(found("devdax-unbind-vs-pin", "linux-6.15").trace)
    assert [(lane.task, lane.kind) for lane in real] == [
        ("A", "task"),
        ("B", "task"),
        ("rcu_softirq", "actor"),
    ]


def test_the_pages_of_every_kind_are_pages() -> None:
    steps = found("migrate-vs-device-write", "linux-7.2").trace
    counts = [c for c in columns(steps) if c.field in ("_refcount", "_mapcount")]
    assert len({c.owner for c in counts}) > 1 and {c.group for c in counts} == {"page"}


def test_groups() -> None:
    assert {group(f"{page}.live") for page in ("page3", "vram0", "copy1", "zero_page")} == {"page"}
    assert [group(w) for w in ("page3.live", "mm0.pmd[0]", "ref0", "A.tlb[1]", "mirror1.pt[0]")] == [
        "page", "page tables", "other", "page tables", "page tables",
    ]  # fmt: skip
