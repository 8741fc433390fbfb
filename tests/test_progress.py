"""Livelocks: fair cycles, found by both engines, as small programs and as brute force have them."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

import toys
from programs import load
from rounds import Brute, Steps, busy_programs, busy_source
from test_cli import zonedev
from test_native import agree, system
from test_report import block, long_trace, told
from zonedev import cli
from zonedev.explore.check import Verdict, check, select
from zonedev.explore.fair import looping
from zonedev.explore.native import NativeEngine
from zonedev.explore.python import PythonEngine
from zonedev.explore.replay import Replay, ReplayMismatch
from zonedev.explore.result import LIVELOCK, NO_FINISH, Limits, Question
from zonedev.lang.primitives import lock, trylock, unlock, wait_event, wake_up
from zonedev.lang.runtime import atomic, choose, when
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.report import text
from zonedev.scenarios.base import build

# --- programs whose answer is known -------------------------------------------------------------


def ab(k: Any) -> None:
    lock(k.thing.a)
    while not trylock(k.thing.b):
        unlock(k.thing.a)
        lock(k.thing.a)
    unlock(k.thing.b)
    unlock(k.thing.a)


def ba(k: Any) -> None:
    lock(k.thing.b)
    while not trylock(k.thing.a):
        unlock(k.thing.b)
        lock(k.thing.b)
    unlock(k.thing.a)
    unlock(k.thing.b)


def test_two_that_back_off_for_ever() -> None:
    found = agree(system(ab, ba))
    assert found.ending == LIVELOCK and found.path is not None
    assert (found.loop, found.path) == (2, [(n, 0) for n in (0, 1, 1, 1, 1, 0, 0, 0)])


def a_then_b(k: Any) -> None:
    lock(k.thing.a)
    lock(k.thing.b)
    unlock(k.thing.b)
    unlock(k.thing.a)


def test_locks_in_one_order() -> None:
    assert agree(system(ab, a_then_b)).ending is None


def takes_turns(k: Any) -> None:
    while not k.thing.flag:
        lock(k.thing.a)
        unlock(k.thing.a)


def locks_and_ends(k: Any) -> None:
    lock(k.thing.a)
    k.thing.flag = True
    unlock(k.thing.a)


def test_a_waiter_that_loses_every_race_is_in_no_livelock() -> None:
    assert agree(system(takes_turns, locks_and_ends)).ending is None


def tries_and_ends(k: Any) -> None:
    while not trylock(k.thing.a):
        pass
    k.thing.flag = True
    unlock(k.thing.a)


def test_a_spinner_that_loses_every_race_is_in_one() -> None:
    assert agree(system(takes_turns, tries_and_ends)).ending == LIVELOCK


def holds_for_a_while(k: Any) -> None:
    lock(k.thing.a)
    k.thing.n = 1
    k.thing.n = 2
    unlock(k.thing.a)


def test_a_spinner_whose_holder_can_go_on() -> None:
    assert agree(system(holds_for_a_while, tries_and_ends)).ending is None


def keeps(k: Any) -> None:
    lock(k.thing.a)


def test_a_spinner_whose_holder_never_lets_go() -> None:
    assert agree(system(keeps, tries_and_ends)).ending == NO_FINISH


def keeps_and_waits(k: Any) -> None:
    lock(k.thing.a)
    with atomic("waits for the spinner"):
        when(lambda: k.thing.flag)


def test_a_spinner_whose_holder_waits_for_it() -> None:
    assert agree(system(keeps_and_waits, tries_and_ends)).ending == NO_FINISH


def picks(k: Any) -> None:
    while choose(2) == 0:
        pass


def test_a_choice_may_be_the_same_every_time() -> None:
    found = agree(system(picks))
    assert (found.ending, found.path, found.loop) == (LIVELOCK, [(0, 0)], 0)


def waits_for_flag(k: Any) -> None:
    with atomic("a wait"):
        when(lambda: k.thing.flag)


def picks_and_raises(k: Any) -> None:
    while choose(2) == 0:
        pass
    k.thing.flag = True


def test_who_waits_all_the_while_needs_no_step() -> None:
    found = agree(system(waits_for_flag, picks_and_raises))
    assert (found.ending, found.path, found.loop) == (LIVELOCK, [(1, 0)], 0)


def raises(k: Any) -> None:
    k.thing.flag = True


def until_raised(k: Any) -> None:
    while not k.thing.flag:
        k.thing.n = 1


def test_who_can_always_run_breaks_the_loop() -> None:
    assert agree(system(until_raised, raises)).ending is None
    assert agree(system(until_raised, until_raised, raises)).ending is None


def swings(k: Any) -> None:
    while not k.thing.flag:
        k.thing.n = 1
        k.thing.n = 0


def at_one(k: Any) -> None:
    """Waits for n to be 1, and ends the others' loop."""
    with atomic("a wait"):
        when(lambda: k.thing.n == 1)
        k.thing.flag = True


def test_a_waiter_gets_through_that_is_let_through_again_and_again() -> None:
    assert agree(system(swings, at_one)).ending is None


def idles_and_swings(k: Any) -> None:
    while not k.thing.flag:
        while choose(2) == 1:
            pass
        k.thing.n = 1
        k.thing.n = 0


def test_the_rest_of_a_loop_that_is_unfair_as_a_whole() -> None:
    """Without the states in which `at_one` can step, a smaller loop of one task is left."""
    found = agree(system(idles_and_swings, at_one))
    assert found.ending == LIVELOCK and found.path is not None and found.loop is not None
    assert found.path[found.loop :] == [(0, 1)]


def ticks(k: Any) -> None:
    """Raises `signed` for a moment, while n is 1."""
    while not k.thing.flag:
        with atomic("a wait"):
            when(lambda: k.thing.n == 1 or k.thing.flag)
            k.thing.signed = 1
        k.thing.signed = 0


def catches(k: Any) -> None:
    with atomic("a wait"):
        when(lambda: k.thing.signed == 1)
        k.thing.flag = True


def polls(k: Any) -> None:
    while not k.thing.flag:
        if k.thing.signed == 1:
            k.thing.flag = True


def test_a_second_round_of_pruning() -> None:
    """Without the states in which `catches` can step, `ticks` cannot step either; without those in
    which `ticks` could, nothing is left."""
    assert agree(system(swings, ticks, catches)).ending is None
    found = agree(system(swings, ticks, polls))
    assert found.ending == LIVELOCK and found.path is not None and found.loop is not None
    assert {task for task, _ in found.path[found.loop :]} == {0, 1, 2}


def sweeps(k: Any) -> None:
    """An actor that takes the flag down whenever it is up."""
    while True:
        with atomic("a softirq"):
            when(lambda: k.thing.flag)
            k.thing.flag = False


def wants_to_see_it(k: Any) -> None:
    while True:
        k.thing.flag = True
        if k.thing.flag:
            break


def test_an_actor_in_the_loop() -> None:
    found = agree(system(wants_to_see_it, sweeps, actors=1))
    assert (found.ending, found.loop, found.path) == (LIVELOCK, 1, [(0, 0), (1, 0), (0, 0), (0, 0)])
    assert agree(system(wants_to_see_it)).ending is None


def test_a_finished_task_and_an_actor_make_no_livelock() -> None:
    assert agree(system(raises, until_raised, picks, actors=1)).ending is None


def nags(k: Any) -> None:
    while not k.thing.flag:
        wake_up(k.thing.queue)


def sleeps(k: Any) -> None:
    wait_event(k.thing.queue, lambda: k.thing.n == 1)
    k.thing.flag = True


def once(k: Any) -> None:
    if choose(2) == 1:
        k.thing.n = 1
    else:
        while k.thing.n == 0:
            if choose(2) == 1:
                k.thing.n = 1


def test_a_sleeper_that_is_woken_for_nothing() -> None:
    found = agree(system(nags, sleeps, once))
    assert found.ending == LIVELOCK and found.path is not None and found.loop is not None
    assert {task for task, _ in found.path[found.loop :]} == {0, 1, 2}


def test_no_livelock_is_looked_for_unless_it_is_asked_for() -> None:
    assert agree(system(ab, ba), Question(finish=False)).ending is None


def test_where_a_task_can_come_back_to() -> None:
    ts = system(holds_for_a_while, takes_turns, raises)
    assert [bytes(flags) for flags in looping(ts)] == [bytes(5), b"\0\1\1\1", bytes(2)]


# --- limits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [PythonEngine, lambda ts: NativeEngine(ts, cache=None)])
def test_a_limit_makes_it_undetermined(
    make: Callable[[TransitionSystem], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ts = system(ab, ba)
    for module in ("python", "native_loops"):
        monkeypatch.setattr(f"zonedev.explore.{module}.CORE_BYTES", 1 << 40)
    found = make(ts).explore(limits=Limits(memory=1 << 30))
    assert (found.ending, found.path, found.stopped) == (None, None, f"--max-memory {1 << 30}")


def test_more_states_in_cycles_than_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zonedev.explore.native_loops.MOST_IN_CYCLES", 3)
    found = NativeEngine(system(ab, ba), cache=None).explore()
    assert (found.ending, found.path, found.stopped) == (None, None, "more than 3 states in cycles")


# --- what is printed, and replayed ---------------------------------------------------------------

BACK_OFF = block("""
    toy-back-off, toy-2: violated: removal-terminates
    A: t.pin(m.dev)
       3  get_page              page0._refcount 1 -> 2
    A: t.migrate(m.pages[0], m.pages[1])
       5  lock_page             page1.lock.held 0 -> 1
    B: t.migrate(m.pages[1], m.pages[0])
       6  lock_page             page2.lock.held 0 -> 1
       7  trylock_page          return trylock(page.lock)
    -- from here on this repeats for ever:
    A: t.migrate(m.pages[0], m.pages[1])
       8  trylock_page          return trylock(page.lock)
       9  migrate               page1.lock.held 1 -> 0
      10  lock_page             page1.lock.held 0 -> 1
    B: t.migrate(m.pages[1], m.pages[0])
      11  migrate               page2.lock.held 1 -> 0
      12  lock_page             page2.lock.held 0 -> 1
      13  trylock_page          return trylock(page.lock)
    => removal-terminates: A and B go round for ever: steps 8 to 13 repeat (in
       migrate); C waits in drain (tests/toys.py:N): wait_for_completion(dev.done)
       step 13 at tests/toys.py:N; 3 task switches; 70 states explored
    """)


@pytest.mark.parametrize("engine", ["python", "native"])
def test_the_loop_is_printed(engine: str) -> None:
    found = check(toys.ToyBackOff, toys.ToyNew, engine=engine, known=toys.RULES)
    assert (found.verdict, found.rule, found.depth, found.loop) == ("violated", "removal-terminates", 13, 8)
    assert told(found) == BACK_OFF


def test_a_long_loop_is_told_tersely() -> None:
    """Reads that are told in a short loop are left out, and functions become one line."""
    steps = long_trace()
    steps[20:20] = [replace(step, changes=()) for step in steps[18:20]]
    steps = [replace(step, n=n) for n, step in enumerate(steps, 1)]
    found = Verdict("s", "d", {}, "violated", "fault-terminates", "x", depth=len(steps), loop=4, trace=steps)
    lines = told(found).splitlines()
    assert lines.index("-- from here on this repeats for ever:") < 5
    assert len(lines) <= text.MAX_LINES + 10 and all(len(line) <= 80 for line in lines)
    assert "a statement" not in told(found)


def test_a_loop_of_one_task_says_so() -> None:
    class Picks(toys.ToyBackOff):
        """One task chooses for ever."""

        @staticmethod
        def task_A(t: Any, m: Any) -> None:
            while choose(2) == 0:
                pass

        @staticmethod
        def task_B(t: Any, m: Any) -> None:
            t.put_page(m.dev, m.dev.page)

    found = check(Picks, toys.ToyNew, known=toys.RULES)
    assert found.loop is not None and found.objects is not None
    assert found.objects.startswith(f"A goes round for ever: step {found.loop} repeats (in task_A)")


def test_the_replay_sees_that_a_loop_does_not_come_back_or_is_unfair() -> None:
    selection = select(toys.ToyBackOff, toys.RULES)

    def system() -> Any:
        return build(toys.ToyBackOff, toys.ToyNew, {}, selection.monitors)

    ts = lower(system(), selection.names)
    engine = PythonEngine(ts)
    found = engine.explore(selection.question)
    assert found.path is not None and found.loop is not None

    def replay(path: Steps, loop: int) -> None:
        Replay(ts, engine.code, system(), selection.ignored).run(path, LIVELOCK, loop)

    replay(found.path, found.loop)
    replay(found.path + found.path[found.loop :], found.loop)
    with pytest.raises(ReplayMismatch, match="does not come back"):
        replay(found.path[:-1], found.loop)
    with pytest.raises(ReplayMismatch, match="task A never takes a step in the loop, though it could"):
        replay([*found.path[: found.loop], (1, 0), (1, 0), (1, 0)], found.loop)


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(args, load=toys.with_endless)
    return (code, *capsys.readouterr())


@pytest.fixture
def trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Path:
    """The livelock in a file."""
    _, out, _ = run(capsys, "check", "toy-back-off", "--design", "toy-2", "--format", "json")
    file = tmp_path / "trace.json"
    file.write_text(out)
    return file


def test_a_trace_file_has_the_loop(capsys: pytest.CaptureFixture[str], trace: Path) -> None:
    written = json.loads(trace.read_text())
    assert (written["depth"], written["loop"], len(written["trace"])) == (13, 8, 13)
    code, out, _ = run(capsys, "replay", str(trace), "--format", "json")
    again = json.loads(out)
    assert code == 2 and (again["loop"], again["trace"]) == (8, written["trace"])
    code, out, _ = run(capsys, "replay", str(trace))
    assert code == 2 and "-- from here on this repeats for ever:\nA: t.migrate(" in out


@pytest.mark.parametrize(
    ("loop", "steps", "error"),
    [
        (14, 13, "loop is 14, not the number of a step"),
        ("8", 13, "loop is '8', not the number of a step"),
        (7, 13, "does not come back to where it began: the specification has changed since"),
        (8, 12, "does not come back to where it began: the specification has changed since"),
    ],
)
def test_a_trace_file_whose_loop_is_none(
    capsys: pytest.CaptureFixture[str], trace: Path, loop: Any, steps: int, error: str
) -> None:
    value = json.loads(trace.read_text())
    value.update(loop=loop, depth=steps, trace=value["trace"][:steps])
    trace.write_text(json.dumps(value))
    code, _, err = run(capsys, "replay", str(trace))
    assert code == 1 and error in err and err.count("\n") == 1


def test_pdb_goes_through_the_loop(trace: Path) -> None:
    found = zonedev("replay", str(trace), "--pdb", input="c\n" * 13)
    assert found.returncode == 2 and "--- step 13, task B" in found.stdout


# --- brute force -----------------------------------------------------------------------------------


def compared(source: str, directory: Path, engines: bool) -> str:
    """Hold the answer for a program against brute force; what it was."""
    make = load(source, directory)
    ts = lower(make())
    reference = PythonEngine(ts)
    question = Question(deadlock=False, lost_wakeup=False)
    found = reference.explore(question, Limits(states=400))
    if found.stopped is not None:
        return "large"
    if found.ending not in (None, LIVELOCK):
        return "broken"
    brute = Brute(ts)
    assert len(brute.moves) == found.states
    assert brute.livelocked() == (found.ending == LIVELOCK)
    if engines:
        agree(ts, question)
    if found.path is None:
        return "holds"
    assert found.loop is not None
    brute.assert_lasso(found.path, found.loop)
    Replay(ts, reference.code, make(), frozenset()).run(found.path, LIVELOCK, found.loop)
    return f"livelock of {len({task for task, _ in found.path[found.loop :]})}"


@pytest.fixture
def livelocks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for livelocks even where some task can never finish: most random programs are like that."""
    monkeypatch.setattr(PythonEngine, "cannot_finish", lambda engine: [])
    monkeypatch.setattr("zonedev.explore.native_finish.cannot_finish", lambda search: ([], -1))


@given(source=busy_programs())
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs(livelocks_alone: None, tmp_path: Path, source: str) -> None:
    compared(source, tmp_path, engines=True)


def test_fixed_programs_of_all_kinds(livelocks_alone: None, tmp_path: Path) -> None:
    """Programs of fixed seeds: many of them hold, and many are in livelocks of one, two and three."""
    kinds = Counter(
        compared(busy_source(random.Random(seed).randrange), tmp_path, engines=seed % 16 == 0)
        for seed in range(100)
    )
    assert kinds["broken"] == 0 and kinds["large"] < 50
    assert kinds["holds"] > 25 and kinds["livelock of 1"] > 5
    assert kinds["livelock of 2"] > 5 and kinds["livelock of 3"] > 0, kinds
