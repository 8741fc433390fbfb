"""The terminal's stepper, driven by its keys."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Coroutine
from functools import cache
from pathlib import Path
from typing import Any

from textual.pilot import Pilot
from textual.widgets import Static

import toys
from zonedev.catalogue import load
from zonedev.explore.check import Verdict, check
from zonedev.report.json import render
from zonedev.report.stepper_app import Help, StepperApp

Session = Callable[[StepperApp, Pilot[None]], Coroutine[Any, Any, None]]


@cache
def found(scenario: str, design: str) -> Verdict:
    known = load()
    return check(known.scenario(scenario), known.design(design), design_name=design)


def drive(session: Session, verdict: Verdict | None = None) -> None:
    """Run a session on a terminal of 120 columns."""

    async def run() -> None:
        app = StepperApp(verdict or found("devdax-unbind-vs-pin", "linux-6.15"))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause()
            await session(app, pilot)

    asyncio.run(run())


def said(app: StepperApp, where: str) -> str:
    return str(app.query_one(f"#{where}", Static).render())


def number(app: StepperApp) -> int:
    return app.current.n if app.current else 0


def row(app: StepperApp, at: int) -> list[str]:
    return [str(cell) for cell in app.table.get_row_at(at)]


def labels(app: StepperApp) -> list[str]:
    return [str(column.label) for column in app.table.ordered_columns]


def test_the_table() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        heads = labels(app)
        assert heads[:6] == ["step", "A", "B", "(rcu_softirq)", "page0\n_refcount", "page0\n_mapcount"]
        first = row(app, 0)
        assert first[0] == "0" and first[4] == "1"
        line = next(row(app, n) for n in range(app.table.row_count) if row(app, n)[0] == "23")
        assert line[1:4] == ["try_grab_folio", "", ""]
        assert line[4] == "1026" and set(line[5:]) == {""}, "only what changed"
        assert not any("ptl" in head or "preempt_count" in head for head in heads)

    drive(session)


def test_stepping() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        assert number(app) == 0 and "before the first step" in said(app, "source")
        await pilot.press("down")
        one = number(app)
        await pilot.press("j")
        two = number(app)
        assert 0 < one < two
        await pilot.press("k")
        assert number(app) == one
        await pilot.press("up")
        assert number(app) == 0
        await pilot.press("end")
        assert number(app) == len(app.steps) == 73
        await pilot.press("pageup")
        assert number(app) < 73
        await pilot.press("home")
        assert number(app) == 0

    drive(session)


def test_the_last_step_says_what_broke_and_where() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        await pilot.press("end", "k")
        assert "=> page-lifetime" not in said(app, "details")
        await pilot.press("end")
        await pilot.pause()
        text = said(app, "details")
        assert "=> page-lifetime: folio_put_refs reads page0._refcount after page0 was freed" in text
        assert "A: t.unpin_user_page(page)" in text
        marked = [line for line in said(app, "source").splitlines() if line.startswith(">")]
        source = app.steps[-1].source
        assert source in said(app, "source")
        assert len(marked) == 1 and marked[0].split()[1] == source.partition(":")[2]
        assert "atomic_sub_and_test(folio._refcount, refs)" in marked[0]

    drive(session)


def test_from_task_to_task() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        seen = []
        for _ in range(6):
            await pilot.press("n")
            assert app.current is not None
            seen.append(app.current.task)
        assert seen == ["A", "B", "rcu_softirq", "B", "A", "A"], "the last key leads nowhere"
        for task in ("B", "rcu_softirq", "B", "A", "A"):
            await pilot.press("p")
            assert app.current is not None and app.current.task == task

    drive(session)


def test_quiet_steps() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        few = app.table.row_count
        assert few < len(app.steps)
        await pilot.press("end", "q")
        assert app.table.row_count == len(app.steps) + 1
        assert number(app) == len(app.steps), "the cursor stays on its step"
        assert "mm0\nptl.held" in labels(app)
        await pilot.press("q")
        assert app.table.row_count == few and number(app) == len(app.steps)

    drive(session)


def test_searching() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        await pilot.press("slash", *"zap_pte", "enter")
        assert app.current is not None and app.current.function == "zap_pte_range"
        await pilot.press("slash", "enter")
        await pilot.press("slash", "escape")
        assert app.is_running and app.focused is app.table
        await pilot.press("slash", *["backspace"] * 8, *"nowhere", "enter")
        assert "nowhere" in said(app, "note")

    drive(session)


def test_a_quiet_step_is_found() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        shown = {s.function for s in app.shown}
        name = next(s.function for s in app.steps if s.function not in shown)
        await pilot.press("slash", *name, "enter")
        assert app.with_quiet and app.current is not None and app.current.function == name

    drive(session, found("evict-vs-pin", "linux-6.12"))


def test_help_and_the_end() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        await pilot.press("question_mark")
        assert isinstance(app.screen, Help)
        await pilot.press("escape")
        assert not isinstance(app.screen, Help) and app.is_running
        await pilot.press("escape")
        await pilot.pause()
        assert not app.is_running

    drive(session)


def test_a_loop_is_marked() -> None:
    async def session(app: StepperApp, pilot: Pilot[None]) -> None:
        marks = [row(app, n)[0] for n in range(app.table.row_count)]
        assert "@8" in marks
        await pilot.press("end")
        assert "steps 8 to 13 repeat for ever" in said(app, "details")

    drive(session, check(toys.ToyBackOff, toys.ToyNew, known=toys.RULES))


def test_show_on_a_terminal(tmp_path: Path) -> None:
    """It is the stepper that opens there, until Ctrl-Q."""
    file = tmp_path / "trace.json"
    file.write_text(render([check(toys.ToyLocks, toys.ToyOld, known=toys.RULES)]))
    main, other = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "zonedev", "show", str(file)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
    ) as process:
        os.close(other)
        seen, left = b"", False
        try:
            while piece := os.read(main, 4096):
                seen += piece
                if not left and b"next task" in seen:
                    left = os.write(main, b"\x11") == 1
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 0
    os.close(main)
    assert left and b"\x1b[?1049h" in seen, "no screen of its own"
    assert b"no-deadlock" in seen
