"""The native engine against the reference: same counts, verdicts and paths on everything."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from programs import load, programs
from zonedev.explore import llvmgen, native_store
from zonedev.explore.cache import Cache
from zonedev.explore.native import NativeEngine
from zonedev.explore.native_code import compile_object
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import (
    DEADLOCK,
    LIVELOCK,
    LOST_WAKEUP,
    NO_FINISH,
    Exploration,
    Limits,
    Progress,
    Question,
)
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import (
    Lock,
    WaitQueue,
    atomic_dec_and_test,
    atomic_inc,
    atomic_t,
    lock,
    unlock,
    wait_event,
    wake_up,
)
from zonedev.lang.records import Record, array, count, embed, flag
from zonedev.lang.runtime import atomic, choose, ensure, when
from zonedev.lang.system import Monitor, Specification, System
from zonedev.lang.transition import TransitionSystem, lower

SMALL = 3000  # states
NOTHING = Cache(None)  # is kept


class Thing(Record):
    n = count(0, 3, below="below")
    signed = count(-4, 3)
    wide = count(0, (1 << 62) - 1)
    negative = count(-(1 << 61), (1 << 61) - 1)
    cells = array(count(-4, 60), 40)
    flag = flag()
    refs = atomic_t(0, 3, initial=1, below="below")
    a = embed(Lock)
    b = embed(Lock)
    queue = embed(WaitQueue)


class Plain(Specification):
    thing: Any


def system(
    *tasks: Callable[[Any], None], monitors: tuple[Monitor, ...] = (), actors: int = 0
) -> TransitionSystem:
    """A design with one Thing; the last `actors` of the tasks are actors."""
    made = System(Plain, monitors=monitors)
    for number in range(len(tasks)):
        made.task(f"T{number}")
    made.k.thing = made.new(Thing, "thing")
    for number, task in enumerate(tasks):
        made.run(f"T{number}", task, made.k, actor=number >= len(tasks) - actors)
    made.seal()
    return lower(made)


def timeless(found: Exploration) -> Exploration:
    return replace(found, seconds=0.0)


def agree(ts: TransitionSystem, question: Question = Question()) -> Exploration:  # noqa: B008
    """Explore with every engine; they have to agree in everything."""
    reference = PythonEngine(ts)
    wanted = timeless(reference.explore(question))
    for workers in (1, 2, 3):
        native = NativeEngine(ts, workers, cache=NOTHING)
        assert timeless(native.explore(question)) == wanted, f"{workers} workers"
    for state in reference.states[: 4 * 256]:
        assert native.expand(state) == reference.expand(state)
        if not native.expand(state):
            assert native.stuck(state, question) == reference.stuck(state, question)
    return wanted


# --- random programs --------------------------------------------------------------------------


@given(text=programs(tasks=3, length=5), bits=st.tuples(st.booleans(), st.booleans(), st.booleans()))
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_random_programs(tmp_path: Path, text: str, bits: tuple[bool, bool, bool]) -> None:
    try:
        ts = lower(load(text, tmp_path)())
    except SpecError:
        assume(False)
    assume(PythonEngine(ts).explore(Question(*bits), Limits(states=SMALL)).stopped is None)
    agree(ts, Question(*bits))


# --- one for each ending ------------------------------------------------------------------------


def counter(k: Any) -> None:
    for _ in range(3):
        atomic_inc(k.thing.refs)
        if atomic_dec_and_test(k.thing.refs):
            k.thing.flag = True


def test_holds() -> None:
    found = agree(system(counter, counter))
    assert found.path is None and found.ending is None and found.ends == 1


def over(k: Any) -> None:
    atomic_inc(k.thing.refs)
    atomic_inc(k.thing.refs)


def test_a_step_breaks_a_rule() -> None:
    found = agree(system(over, over))
    assert found.path == [(0, 0), (0, 0), (1, 0)] and found.ending is not None and found.ending >= 0


def ab(k: Any) -> None:
    lock(k.thing.a)
    lock(k.thing.b)
    unlock(k.thing.b)
    unlock(k.thing.a)


def ba(k: Any) -> None:
    lock(k.thing.b)
    lock(k.thing.a)
    unlock(k.thing.a)
    unlock(k.thing.b)


def test_deadlock() -> None:
    ts = system(ab, ba)
    assert agree(ts).ending == DEADLOCK
    assert agree(ts, Question(deadlock=False)).ending == NO_FINISH
    assert agree(ts, Question(deadlock=False, finish=False)).ending is None


def sleeper(k: Any) -> None:
    wait_event(k.thing.queue, lambda: k.thing.flag)


def careless(k: Any) -> None:
    wake_up(k.thing.queue)
    k.thing.flag = True


def test_lost_wakeup() -> None:
    ts = system(sleeper, careless)
    assert agree(ts).ending == LOST_WAKEUP
    assert agree(ts, Question(lost_wakeup=False, finish=False)).ending is None


def at_rest(k: Any) -> None:
    ensure("at-rest", not k.thing.flag, "raised at rest")


def raises(k: Any) -> None:
    k.thing.flag = True


def lowers(k: Any) -> None:
    k.thing.flag = False


def test_broken_at_rest() -> None:
    ts = system(raises, lowers, monitors=(Monitor("at-rest", at_rest),))
    found = agree(ts)
    assert found.path is not None and found.path[-1] == (0, 0)
    assert ts.fails[found.ending or 0][0] == "at-rest"


def spins(k: Any) -> None:
    while not k.thing.flag:
        k.thing.n = 1


def hangs(k: Any) -> None:
    if choose(3) == 2:
        while True:
            k.thing.signed = -1


def test_no_finish() -> None:
    assert agree(system(spins)).ending == NO_FINISH
    found = agree(system(spins, raises, hangs))
    assert found.ending == NO_FINISH and found.path == [(2, 2)]
    assert agree(system(raises, spins)).ending is None


def test_an_actor_need_not_finish() -> None:
    found = agree(system(raises, spins, hangs, actors=2))
    assert found.ending is None and found.ends


def ping_pong(k: Any) -> None:
    """Chains of kept successors run in circles here, and each circle has a way out."""
    while True:
        if choose(2) == 1:
            with atomic("a test"):
                k.thing.n = (k.thing.n + 1) % 4
        x = k.thing.n
        if x == 3:
            break


def test_circles_with_an_exit() -> None:
    found = agree(system(ping_pong, ping_pong, spins, raises))
    assert found.ending == LIVELOCK  # all can finish, but who always chooses 0 goes round for ever


# --- numbers ------------------------------------------------------------------------------------


def signed(k: Any) -> None:
    x = choose(8)
    k.thing.signed = x - 4
    y = k.thing.signed
    k.thing.n = (y // 3) % 4
    k.thing.cells[(y - 1) % 40] = y % -5
    k.thing.signed = (y >> 1) | -2
    z = k.thing.signed
    k.thing.cells[11] = max(z * y, y << 1) & 31


def test_negative_numbers() -> None:
    assert agree(system(signed)).ending is None


def indexed(k: Any) -> None:
    x = choose(40)
    k.thing.cells[x] = x - 4
    y = choose(40)
    got = k.thing.cells[y]
    k.thing.n = got & 3
    k.thing.cells[39 - y] = got


def test_an_array_of_several_words() -> None:
    ts = system(indexed)
    assert ts.words > 2
    assert agree(ts).ending is None


def edges(k: Any) -> None:
    less = choose(2)
    k.thing.wide = (1 << 62) - 1 - less
    with atomic("a test"):
        k.thing.negative = (k.thing.wide >> 1) - less
    with atomic("a test"):
        k.thing.wide = k.thing.negative ^ 5
        k.thing.negative = -(1 << 61) + (k.thing.wide & 1)
    with atomic("a test"):
        k.thing.n = k.thing.negative % 4
        k.thing.signed = (k.thing.negative // 3) % 4
    with atomic("a test"):
        k.thing.negative = (1 << 61) - 1 - (k.thing.wide & 3)


def test_words_of_62_bits() -> None:
    assert agree(system(edges)).ending is None


def plain(k: Any) -> None:
    x = choose(7)
    k.thing.signed = (x % 11) - 3


def patched(e: Any, new: Any) -> Any:
    """Lowered effects with the expression `% 11` replaced; the language itself refuses faulty ones."""
    if isinstance(e, tuple) and len(e) == 3 and e[0] == "%" and e[2] == ("c", 11):
        return new(e[1])
    return type(e)(patched(part, new) for part in e) if isinstance(e, tuple | list) else e


def with_expression(new: Callable[[Any], Any]) -> TransitionSystem:
    ts = system(plain)
    for step in ts.tasks[0].steps:
        step.body = patched(step.body, new)
    return ts


def number(n: int) -> tuple[str, int]:
    return ("c", n)


def faulty(x: Any, op: str) -> Any:
    """An expression that has no 64-bit value for x = 0, and one in 0..6 for x > 0."""
    if op in ("//", "%"):
        return (op, number(6), x)
    if op in ("<<", ">>"):
        return (op, number(0), ("-", x, number(1)))
    raise AssertionError(op)


@pytest.mark.parametrize("op", ["//", "%", "<<", ">>"])
def test_arithmetic_without_a_result_is_an_error(op: str) -> None:
    ts = with_expression(lambda x: faulty(x, op))
    with pytest.raises((ZeroDivisionError, ValueError)):
        PythonEngine(ts).explore()
    with pytest.raises(SpecError, match="64 bits"):
        NativeEngine(ts, cache=NOTHING).explore()


@pytest.mark.parametrize("op", ["//", "%", "<<", ">>"])
@pytest.mark.parametrize("guard", ["?", "and", "or"])
def test_operands_that_are_not_taken_do_no_harm(op: str, guard: str) -> None:
    def guarded(x: Any) -> Any:
        if guard == "?":
            return ("?", ("==", x, number(0)), number(2), faulty(x, op))
        if guard == "and":
            return ("and", x, faulty(x, op))
        return ("or", ("==", x, number(0)), ("!=", faulty(x, op), number(2)))

    assert agree(with_expression(guarded)).ends


def too_wide(k: Any) -> None:
    more = choose(2)
    k.thing.wide = (1 << 61) + more
    with atomic("a test"):
        k.thing.n = (k.thing.wide * 8) % 3


def test_what_64_bits_cannot_hold_is_an_error() -> None:
    with pytest.raises(SpecError, match="64 bits"):
        NativeEngine(system(too_wide), cache=NOTHING).explore()


# --- size, limits, interruption --------------------------------------------------------------------


def busy(k: Any) -> None:
    for n in range(5):
        x = k.thing.cells[n % 3]
        with atomic("a test"):
            when(lambda: not k.thing.flag)
            k.thing.cells[n % 3] = min(x + 1, 2)
        k.thing.n = (x + n) % 4


@pytest.fixture(scope="module")
def large() -> TransitionSystem:
    return system(busy, busy, busy)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_tables_and_boxes_that_fill_up(
    large: TransitionSystem, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = timeless(NativeEngine(large, cache=NOTHING).explore())
    assert wanted.states > 10**5
    monkeypatch.setattr("zonedev.explore.native_search.BOX", 1)
    monkeypatch.setattr("zonedev.explore.native_search.ALONE", 1)
    assert timeless(NativeEngine(large, workers, cache=NOTHING).explore()) == wanted


def test_limits(large: TransitionSystem) -> None:
    native = NativeEngine(large, cache=NOTHING)
    found = native.explore(limits=Limits(states=20_000))
    assert found.stopped == "--max-states 20000" and 20_000 < found.states < 120_000
    assert found.frontier > 0 and found.path is None
    assert native.explore(limits=Limits(seconds=0.0)).stopped == "--max-seconds 0"
    assert native.explore(limits=Limits(memory=1 << 20)).stopped == f"--max-memory {1 << 20}"


def test_more_states_than_can_be_numbered(large: TransitionSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_store, "MOST_STATES", 50_000)
    found = NativeEngine(large, 2, cache=NOTHING).explore()
    assert found.stopped is not None and "2**31" in found.stopped and found.path is None


@pytest.mark.parametrize("make", [PythonEngine, NativeEngine, lambda ts: NativeEngine(ts, 2)])
def test_interruption(
    large: TransitionSystem, make: Callable[[TransitionSystem], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zonedev.explore.native_search.REPORT_EVERY", 0.0)

    def interrupt(progress: Progress) -> None:
        if progress.states > 20_000:
            raise KeyboardInterrupt

    engine = make(large)
    found = engine.explore(report=interrupt)
    assert found.stopped == "interrupted" and found.path is None
    assert 20_000 < found.states < 161_149 and found.frontier > 0
    if isinstance(engine, NativeEngine):
        assert engine.explore().stopped is None


def test_progress_is_reported(large: TransitionSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zonedev.explore.native_search.REPORT_EVERY", 0.0)
    seen: list[int] = []
    found = NativeEngine(large, 2).explore(report=lambda p: seen.append(p.states))
    assert seen == sorted(seen) and seen[-1] <= found.states


# --- compiled code ---------------------------------------------------------------------------------


def test_cache(tmp_path: Path) -> None:
    ts = system(ab, ba)
    place = tmp_path / "deep" / "cache"
    cache = Cache(place)
    first = NativeEngine(ts, cache=cache)
    model, loops = sorted(place.iterdir(), key=lambda entry: entry.stat().st_size)
    again = NativeEngine(ts, cache=cache)
    assert not first.code.cached and again.code.cached
    assert timeless(first.explore()) == timeless(again.explore())
    for entry in (model, loops):
        sound = entry.read_bytes()
        for damaged in (b"", sound[:-1], sound[:100] + b"x" + sound[101:], b"\0" * len(sound)):
            entry.write_bytes(damaged)
            mended = NativeEngine(ts, cache=cache)
            assert not mended.code.cached and mended.explore().ending == DEADLOCK
            assert entry.read_bytes() == sound


def test_a_cache_that_cannot_be_used(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    assert NativeEngine(system(ab, ba), cache=Cache(blocked)).explore().ending == DEADLOCK


def test_the_text_is_the_same_every_time() -> None:
    texts = {llvmgen.generate(system(ab, ba, counter)) for _ in range(3)}
    assert len(texts) == 1
    assert compile_object(texts.pop())


def test_tags() -> None:
    for task, choice, fail in itertools.product((0, 65535), (0, 4294967295), (-1, 0, llvmgen.FAULT)):
        assert llvmgen.untag(llvmgen.tag(task, choice, fail)) == (task, choice, fail)
