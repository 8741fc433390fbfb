"""Verdicts of the toy catalogue, and the replay that stands behind every counterexample."""

from __future__ import annotations

from typing import Any

import pytest

import toys
from zonedev.explore import check as checks
from zonedev.explore import runner
from zonedev.explore.check import check
from zonedev.explore.python import PythonEngine
from zonedev.explore.replay import Replay, ReplayMismatch
from zonedev.explore.result import Limits
from zonedev.lang.errors import SpecError, ZonedevError
from zonedev.lang.primitives import Lock, WaitQueue, lock, unlock, wait_event, wake_up
from zonedev.lang.records import Record, embed, flag
from zonedev.lang.runtime import atomic, free, when
from zonedev.lang.transition import lower
from zonedev.scenarios.base import Scenario, build


def verdict(scenario: Any, design: Any, **options: Any) -> checks.Verdict:
    return check(scenario, design, known=toys.RULES, **options)


def test_holds() -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyNew)
    assert (found.verdict, found.rule, found.trace) == ("holds", None, [])
    assert (found.states, found.transitions, found.engine) == (49, 70, "python")


def test_violated_names_the_objects() -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyOld)
    assert (found.verdict, found.rule) == ("violated", "page-lifetime")
    assert found.objects == "dma_write writes page0.dirty after page0 was freed"
    assert found.depth == len(found.trace) == 11
    last = found.trace[-1]
    assert (last.task, last.function, last.text) == ("A", "dma_write", "page.dirty = True")
    assert last.call == "t.dma_write(page)"
    assert last.calls == ("task_A", "dma_write")
    assert last.source.startswith("tests/toys.py:")


def test_quiet_changes_are_marked() -> None:
    first = verdict(toys.ToyUnbindVsPin, toys.ToyOld).trace[0]
    assert [(c.where, c.old, c.new, c.quiet) for c in first.changes] == [("dev.lock.held", "0", "1", True)]


def test_deadlock_says_who_waits_where() -> None:
    found = verdict(toys.ToyLocks, toys.ToyOld)
    assert found.rule == "no-deadlock"
    assert found.objects is not None
    assert "A waits in lock_page (tests/toys.py:" in found.objects
    assert "; B waits in lock_page (tests/toys.py:" in found.objects


def test_same_answer_twice() -> None:
    one, two = (verdict(toys.ToyUnbindVsPin, toys.ToyOld) for _ in range(2))
    one.seconds = two.seconds = 0.0
    assert one == two


def test_rule_selection() -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyOld, rules=["no-deadlock"])
    assert found.verdict == "holds"
    with pytest.raises(ZonedevError, match="does not check kernel-asserts: it checks page-lifetime"):
        verdict(toys.ToyUnbindVsPin, toys.ToyOld, rules=["kernel-asserts"])


def test_limits_are_undetermined() -> None:
    found = verdict(toys.ToyBig, toys.ToyNew, limits=Limits(states=3000))
    assert found.verdict == "undetermined"
    assert found.stopped == "--max-states 3000"
    assert found.covered is not None and 0 < found.covered < 24


def test_interrupt_is_undetermined(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    found = verdict(toys.ToyBig, toys.ToyNew, report=interrupted)
    assert (found.verdict, found.stopped) == ("undetermined", "interrupted")


def test_counter_range_is_an_error_with_its_place() -> None:
    with pytest.raises(
        SpecError, match=r"toys.py:\d+: spin: page0._refcount would become 4, outside its range 0..3"
    ):
        verdict(toys.ToyOverflow, toys.ToyNew)


def test_auto_moves_on_to_native_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, int]] = []

    class Native:
        def __init__(self, ts: Any, workers: int) -> None:
            self.engine = PythonEngine(ts)
            asked.append((ts, workers))

        def explore(self, question: Any, limits: Limits, report: Any) -> Any:
            return self.engine.explore(question, limits, report)

        def found(self) -> Any:
            return self.engine.found()

    monkeypatch.setattr(runner, "native_engine", lambda on=None: Native)
    monkeypatch.setattr(runner, "SMALL", 2000)
    found = verdict(toys.ToyBig, toys.ToyNew, workers=2)
    assert (found.engine, found.verdict, found.states) == ("native", "holds", 20736)
    assert [w for _, w in asked] == [2]


def test_auto_without_native_goes_on_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "native_engine", lambda on=None: None)
    monkeypatch.setattr(runner, "SMALL", 2000)
    assert verdict(toys.ToyBig, toys.ToyNew).engine == "python"
    with pytest.raises(ZonedevError, match="needs llvmlite"):
        verdict(toys.ToyBig, toys.ToyNew, engine="native")


def test_a_wrong_lowering_is_found_by_the_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that stores a wrong count: the replay names the location that differs."""
    right = PythonEngine.explore

    def explore(self: Any, *args: Any) -> Any:
        found = right(self, *args)
        slot = self.ts.slots["Page", "_refcount.value"][0]
        function, fanout = self.code.steps[0][3]

        def wrong(*words: int) -> Any:
            return tuple(
                w ^ (1 << slot.shift) if n == slot.word else w for n, w in enumerate(function(*words))
            )

        self.code.steps[0][3] = (wrong, fanout)
        return found

    monkeypatch.setattr(PythonEngine, "explore", explore)
    with pytest.raises(ReplayMismatch, match=r"page0._refcount is 2 in plain Python but 3 lowered"):
        verdict(toys.ToyUnbindVsPin, toys.ToyOld)


def test_replay_names_the_location_that_differs() -> None:
    selection = checks.select(toys.ToyUnbindVsPin, toys.RULES)
    systems: list[Any] = [build(toys.ToyUnbindVsPin, toys.ToyOld, {}, selection.monitors) for _ in range(2)]
    ts = lower(systems[0], selection.names)
    systems[1].records["Page"][0]._refcount.value = 2
    with pytest.raises(ReplayMismatch, match=r"page0._refcount is 2 in plain Python but 1 lowered"):
        Replay(ts, PythonEngine(ts).code, systems[1], frozenset()).run([], 0)


class Sleeper(Record):
    queue = embed(WaitQueue)
    ready = flag()
    gate = embed(Lock)


class LostWakeup(Scenario):
    """One task sleeps, the other wakes it before it says why."""

    rules = ("no-deadlock", "no-lost-wakeup")

    def setup(m: Any) -> None:
        m.s = m.new(Sleeper)

    def task_A(t: Any, m: Any) -> None:
        wait_event(m.s.queue, lambda: m.s.ready)

    def task_B(t: Any, m: Any) -> None:
        wake_up(m.s.queue)
        m.s.ready = True


def test_lost_wakeup() -> None:
    found = verdict(LostWakeup, toys.ToyNew)
    assert found.rule == "no-lost-wakeup"
    assert found.objects is not None and found.objects.startswith("A sleeps in task_A")


class NeverFinishes(Scenario):
    """One task spins once the other has come first."""

    rules = ("removal-terminates",)

    def setup(m: Any) -> None:
        m.s = m.new(Sleeper)

    def task_A(t: Any, m: Any) -> None:
        while m.s.ready:
            pass

    def task_B(t: Any, m: Any) -> None:
        m.s.ready = True


def test_progress() -> None:
    found = verdict(NeverFinishes, toys.ToyNew)
    assert (found.verdict, found.rule) == ("violated", "removal-terminates")
    assert found.objects == "A goes round for ever: step 2 repeats (in task_A)"


class AtRest(Scenario):
    """A reference that nobody drops."""

    rules = ("refcount-exact",)

    def setup(m: Any) -> None:
        m.page = m.new(toys.Page)

    def task_A(t: Any, m: Any) -> None:
        t.get_page(m.page)


def test_rules_at_rest() -> None:
    found = verdict(AtRest, toys.ToyNew)
    assert (found.rule, found.objects) == ("refcount-exact", "page0 has 1 references left")


class GuardReadsFreed(Scenario):
    """A task waits for a lock in a page that is freed meanwhile."""

    rules = ("page-lifetime",)

    def setup(m: Any) -> None:
        m.page = m.new(toys.Page)

    def task_A(t: Any, m: Any) -> None:
        lock(m.page.lock)
        free(m.page)

    def task_B(t: Any, m: Any) -> None:
        with atomic("a wait on a flag in the page"):
            when(lambda: m.page.dirty)


def test_a_guard_that_reaches_freed_memory() -> None:
    found = verdict(GuardReadsFreed, toys.ToyNew)
    assert found.rule == "page-lifetime"
    assert found.objects == "task_B reads page0.dirty after page0 was freed"


class BadSetup(Scenario):
    """A set-up that does not work."""

    def setup(m: Any) -> None:
        m.page = m.nothing

    def task_A(t: Any, m: Any) -> None:
        unlock(m.page.lock)


def test_errors_in_setup_have_a_place() -> None:
    with pytest.raises(SpecError, match=r"test_check.py:\d+: in set-up: AttributeError"):
        verdict(BadSetup, toys.ToyNew)
