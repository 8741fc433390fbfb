"""What is printed, to the letter."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import toys
from zonedev.explore.check import Verdict, check
from zonedev.explore.run import run
from zonedev.explore.trace import Change, TraceStep
from zonedev.report import text, timeline

#: Lines of tests/toys.py move; the golden texts have N for them.
TOYS = "tests/toys.py:"


def told(verdict: Verdict) -> str:
    return stable(text.render(verdict))


def stable(rendered: str) -> str:
    """The text with the line numbers of the toys taken out."""
    parts = rendered.split(TOYS)
    return parts[0] + "".join(f"{TOYS}N{part.lstrip('0123456789')}" for part in parts[1:])


def block(golden: str) -> str:
    return textwrap.dedent(golden).strip("\n")


def test_a_counterexample() -> None:
    found = check(toys.ToyUnbindVsPin, toys.ToyOld, known=toys.RULES)
    assert told(found) == block("""
        toy-unbind-vs-pin, toy-1: violated: page-lifetime
        A: page = t.pin(m.dev)
           3  get_page              page0._refcount 1 -> 2
        B: t.unbind(m.dev)
           7  unbind                dev.page page0 -> NULL
           9  put_page              page0._refcount 2 -> 1
          10  unbind                page0.live 1 -> 0
        A: t.dma_write(page)
          11  dma_write             page.dirty = True
        => page-lifetime: dma_write writes page0.dirty after page0 was freed
           step 11 at tests/toys.py:N; 2 task switches; 44 states explored
        """)


def test_a_deadlock_shows_the_locks() -> None:
    found = check(toys.ToyLocks, toys.ToyOld, known=toys.RULES)
    assert told(found) == block("""
        toy-locks, toy-1 (pages=2): violated: no-deadlock
        A: t.lock_both(m.pages[0], m.pages[1])
           1  lock_page             page0.lock.held 0 -> 1
        B: t.lock_both_other(m.pages[0], m.pages[1])
           2  lock_page             page1.lock.held 0 -> 1
        => no-deadlock: A waits in lock_page (tests/toys.py:N): lock(page.lock); B
           waits in lock_page (tests/toys.py:N): lock(page.lock)
           step 2 at tests/toys.py:N; 1 task switch; 8 states explored
        """)


def test_holds_is_one_line() -> None:
    found = check(toys.ToyLocks, toys.ToyNew, known=toys.RULES)
    assert told(found) == "toy-locks, toy-2 (pages=2): holds (16 states, 16 transitions, depth 8)"


def test_undetermined_says_how_far() -> None:
    found = Verdict(
        "s", "d", {"pages": 2}, "undetermined", states=9, transitions=12, stopped="--max-states 8", covered=3
    )
    assert text.render(found) == block("""
        s, d (pages=2): undetermined: stopped by --max-states 8, complete to depth 3 (9
            states, 12 transitions)
        """)


def test_a_timeline() -> None:
    found = run(toys.ToyUnbindVsPin, toys.ToyOld, {}, 0, toys.RULES)
    assert timeline.render(found) == block("""
        toy-unbind-vs-pin, toy-1, seed 0
                                                   page0
                                               _refcount
        at the beginning                               1
        A: page = t.pin(m.dev)
           3  get_page                                 2
        A: t.dma_write(page)
           5  dma_write                                2
                page0.dirty 0 -> 1
        A: t.unpin(m.dev, page)
           6  put_page                                 1
        B: t.unbind(m.dev)
           9  unbind                                   1
                dev.page page0 -> NULL
          11  put_page                                 0
          12  put_page                                 0
                dev.done.done 0 -> 1
          13  unbind                                   0
                page0.live 1 -> 0
        => finished after 13 steps
        """).replace("  11  put_page                                 0\n", "")


def step(
    n: int, task: str, calls: tuple[str, ...], changes: list[tuple[str, str, str]], **more: Any
) -> TraceStep:
    return TraceStep(
        n,
        task,
        calls[-1],
        calls,
        "kernel/x.py:1",
        "a statement",
        tuple(Change(w, a, b) for w, a, b in changes),
        call=f"t.{calls[1]}()",
        **more,
    )


def long_trace() -> list[TraceStep]:
    """Forty functions in two system calls, three task switches."""
    steps = []
    for n in range(1, 41):
        half = "outer" if n % 10 < 5 else "other"
        calls = ("task", "unbind", half, f"function_{n}")
        steps.append(
            step(
                n, "AB"[(n // 12) % 2], calls, [("page0._refcount", str(n), str(n + 1)), (f"x{n}", "0", "1")]
            )
        )
    return steps


def test_a_long_counterexample_fits() -> None:
    found = Verdict("s", "d", {}, "violated", "page-lifetime", "it broke", 9, 9, 40, trace=long_trace())
    lines = text.render(found).splitlines()
    assert len(lines) <= text.MAX_LINES + 20  # what cannot be merged is never left out
    assert all(len(line) <= 80 for line in lines)


def test_merging_keeps_the_net_change() -> None:
    steps = [
        step(n, "A", ("task", "unbind", "zap", f"f{n}"), [("page0._refcount", str(n), str(n + 1))])
        for n in range(1, 41)
    ]
    assert text.story(steps, 2) == ["A: t.unbind()", "  40  zap                   page0._refcount 1 -> 41"]


def test_merging_leaves_out_what_comes_to_nothing() -> None:
    there = [
        step(n, "A", ("task", "unbind", "zap", f"f{n}"), [("x", str(n % 2), str(1 - n % 2))])
        for n in range(2, 6)
    ]
    last = step(6, "A", ("task", "unbind", "end"), [("y", "0", "1")])
    assert text.story([*there, last], 2) == ["A: t.unbind()", "   6  end                   y 0 -> 1"]


names = st.sampled_from(["alpha", "beta", "gamma", "a_function_of_the_kernel_with_a_long_name"])
random_steps = st.lists(
    st.tuples(
        st.sampled_from("ABC"),
        st.lists(names, min_size=2, max_size=5),
        st.lists(st.tuples(names, st.sampled_from("0123"), st.sampled_from("0123")), max_size=3),
    ),
    min_size=1,
    max_size=60,
)


@given(random_steps)
def test_any_trace_is_told_in_80_columns_with_its_last_step(raw: list[Any]) -> None:
    steps = [step(n, task, tuple(calls), changes) for n, (task, calls, changes) in enumerate(raw, 1)]
    found = Verdict("s", "d", {}, "violated", "page-lifetime", "it broke", 9, 9, len(steps), trace=steps)
    lines = text.render(found).splitlines()
    assert all(len(line) <= 80 and line.isascii() for line in lines)
    tasks = [line[0] for line in lines if line[:2] in ("A:", "B:", "C:")]
    assert tasks[-1] == steps[-1].task


@pytest.mark.parametrize("count", [0, 1, 2])
def test_plurals(count: int) -> None:
    assert text.plural(count, "step", "steps") == f"{count} step{'' if count == 1 else 's'}"
