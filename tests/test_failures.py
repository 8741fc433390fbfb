"""All violations: what is found beyond the first, what is the same bug, and what is printed."""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings

import toys
from programs import load, programs, source
from rounds import Brute
from test_native import SMALL, Plain, Thing, agree, system
from test_report import block, stable
from zonedev import catalogue, cli
from zonedev.explore import check as checks
from zonedev.explore.check import check
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import DEADLOCK, LIVELOCK, LOST_WAKEUP, NO_FINISH, Failure, Limits, Question
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import lock, unlock, wait_event, wake_up
from zonedev.lang.records import Record, count
from zonedev.lang.runtime import atomic, choose, ensure, free, when
from zonedev.lang.system import Monitor, System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.report import text

ALL = Question(everything=True)


def failures(ts: TransitionSystem, question: Question = ALL) -> list[Failure]:
    """All failures, which every engine has to find alike."""
    return agree(ts, replace(question, everything=True)).failures


def told(found: list[Failure]) -> list[tuple[Any, ...]]:
    return [(f.ending, f.calls, f.functions, f.count, len(f.path)) for f in found]


# --- programs whose answer is known ---------------------------------------------------------------


def breaks_twice(k: Any) -> None:
    """Two assertions, each of which fails where the flag is up."""
    x = choose(2)
    if x == 0:
        with atomic("a test"):
            ensure("one", not k.thing.flag, "one")
    else:
        with atomic("a test"):
            ensure("two", not k.thing.flag, "two")


def raises(k: Any) -> None:
    k.thing.flag = True


def test_two_rules() -> None:
    ts = system(breaks_twice, raises)
    found = failures(ts)
    assert [ts.fails[f.ending][0] for f in found] == ["one", "two"]
    assert [(f.count, f.path) for f in found] == [
        (1, [(1, 0), (0, 0), (0, 0)]),
        (1, [(1, 0), (0, 1), (0, 0)]),
    ]


def test_nothing_fails() -> None:
    found = agree(system(raises, raises), ALL)
    assert (found.failures, found.stopped, found.path) == ([], None, None)


def checks_flag(k: Any) -> None:
    with atomic("a test"):
        ensure("raised", not k.thing.flag, "raised")


def ensures(k: Any) -> None:
    checks_flag(k)


def test_a_line_is_one_bug_whoever_comes_there() -> None:
    """Two programs come to the same assertion."""
    (found,) = failures(system(ensures, checks_flag, raises))
    assert (found.calls, found.functions, found.count) == (("checks_flag", "ensures"), ("checks_flag",), 4)


class Fleeting(Record):
    freed_breaks = "lifetime"
    n = count(0, 3)
    m = count(0, 3)


class Other(Fleeting):
    pass


def freeing(*tasks: Callable[[Any], None]) -> TransitionSystem:
    made = System(Plain)
    for number in range(len(tasks)):
        made.task(f"T{number}")
    made.k.thing, made.k.one, made.k.other = made.new(Thing, "thing"), made.new(Fleeting), made.new(Other)
    for number, task in enumerate(tasks):
        made.run(f"T{number}", task, made.k)
    made.seal()
    return lower(made)


def task_reads(k: Any) -> None:
    first(k)
    second(k)


def first(k: Any) -> None:
    k.one.n = 1
    inner(k)


def inner(k: Any) -> None:
    k.one.m = 1


def second(k: Any) -> None:
    k.other.n = 1
    k.one.n = 2


def task_frees(k: Any) -> None:
    free(k.one)
    free(k.other)


def test_what_is_freed_is_one_bug_in_a_system_call() -> None:
    """Where in first() the freed record is reached is chance; second() is another call, and Other another
    class.  Every step of the reader can come after each of the two frees, as far as it gets there."""
    ts = freeing(task_reads, task_frees)
    found = failures(ts)
    assert [(f.calls, f.functions, f.count, len(f.path)) for f in found] == [
        (("first",), ("first", "inner"), 4, 2),
        (
            ("second",),
            ("second",),
            2,
            5,
        ),  # of one: freed after first(); and 1 more where other is still there
        (("second",), ("second",), 1, 5),
    ]


def ab(k: Any) -> None:
    lock(k.thing.a)
    lock(k.thing.b)
    unlock(k.thing.b)
    unlock(k.thing.a)


def ba(k: Any) -> None:
    lock(k.thing.b)
    lock(k.thing.a)
    ensure_not(k)
    unlock(k.thing.a)
    unlock(k.thing.b)


def ensure_not(k: Any) -> None:
    with atomic("a test"):
        ensure("never", k.thing.n != 0, "never")


def test_a_deadlock_beside_a_failing_step() -> None:
    ts = system(ab, ba)
    never = [rule for rule, _ in ts.fails].index("never")
    assert told(failures(ts)) == [
        (DEADLOCK, ("ab", "ba"), ("ab", "ba"), 1, 2),
        (never, ("ba",), ("ensure_not",), 2, 3),  # the other has not begun, or has finished
    ]
    assert [f.ending for f in failures(ts, Question(deadlock=False, finish=False))] == [never]


def test_who_waits_where_nobody_asks_for_deadlocks_can_never_finish() -> None:
    ts = system(ab, ba)
    never = [rule for rule, _ in ts.fails].index("never")
    assert [f.ending for f in failures(ts, Question(deadlock=False))] == [NO_FINISH, never]


def sleeper(k: Any) -> None:
    wait_event(k.thing.queue, lambda: k.thing.flag)


def careless(k: Any) -> None:
    wake_up(k.thing.queue)
    k.thing.flag = True


def waits_for_n(k: Any) -> None:
    with atomic("a wait"):
        when(lambda: k.thing.n == 3)


def test_of_a_lost_wakeup_those_that_sleep() -> None:
    """Others that wait make no other bug of it.  Where nobody is asleep they are a deadlock."""
    found = failures(system(sleeper, careless, waits_for_n))
    assert [(f.ending, f.calls) for f in found] == [(LOST_WAKEUP, ("sleeper",)), (DEADLOCK, ("waits_for_n",))]


def at_rest(k: Any) -> None:
    ensure("at-rest", not k.thing.flag, "raised at rest")


def lowers(k: Any) -> None:
    k.thing.flag = False


def test_at_rest() -> None:
    ts = system(raises, lowers, monitors=(Monitor("at-rest", at_rest),))
    (found,) = failures(ts)
    assert (found.calls, found.count, found.path) == ((), 1, [(1, 0), (0, 0)])


def spins(k: Any) -> None:
    while not k.thing.flag:
        k.thing.n = 1


def fails_or_spins(k: Any) -> None:
    x = choose(2)
    if x == 0:
        ensure_not(k)
    else:
        spins(k)


def test_a_livelock_behind_a_failure() -> None:
    """A check ends at the assertion; the loop is found by going on."""
    ts = system(fails_or_spins)
    assert agree(ts).ending == 0
    assert [(f.ending, f.count, f.path, f.loop) for f in failures(ts)] == [
        (0, 1, [(0, 0), (0, 0)], None),
        (LIVELOCK, 2, [(0, 1), (0, 0), (0, 0), (0, 0), (0, 0)], 3),
    ]


def spins_alone(k: Any) -> None:
    while k.thing.n != 3:
        k.thing.signed = -1


def would_fail(k: Any) -> None:
    with atomic("a wait"):
        when(lambda: k.thing.signed == -1)
        ensure("hit", k.thing.n == 3, "hit")


def test_who_could_break_a_rule_ends_a_livelock() -> None:
    """`would_fail` can take a step all the while, though one that fails: if it gets its turn, the rule
    breaks."""
    (found,) = failures(system(spins_alone, would_fail))
    assert found.ending == 0


def two_loops(k: Any) -> None:
    x = choose(2)
    if x == 0:
        spins(k)
    else:
        spins_alone(k)


def task_two(k: Any) -> None:
    two_loops(k)


def task_other(k: Any) -> None:
    spins(k)


def test_livelocks_in_the_same_calls_are_one() -> None:
    """Each for itself, and none of both together, which would contain one of one."""
    found = failures(system(task_two, task_other))
    assert [f.calls for f in found] == [("spins", "two_loops")]
    alone = failures(system(task_two))
    assert [(f.calls, f.count) for f in alone] == [(("two_loops",), 4)]


# --- brute force ------------------------------------------------------------------------------------


class AllOf:
    """All failing steps and states of a small program, by the plainest of searches."""

    def __init__(self, ts: TransitionSystem, question: Question) -> None:
        self.ts, self.brute, engine = ts, Brute(ts), PythonEngine(ts)
        self.found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
        for state, moves in self.brute.moves.items():
            for task, choice, new in moves:
                if isinstance(new, int):
                    self.found.setdefault(("step", *bug(ts, new, task)), []).append((state, task, choice))
            if not moves and (ending := engine.stuck(state, question)) is not None:
                what = ts.fails[ending] if ending >= 0 else (ending,)
                self.found.setdefault(("state", *what), []).append((state,))

    def shortest(self, targets: list[tuple[Any, ...]]) -> tuple[int, int]:
        """The length and the task switches of the best way to one of them, by Dijkstra."""
        ends = set(targets)
        best = {(self.ts.initial(), -1): (0, 0)}
        queue: list[tuple[Any, ...]] = [(0, 0, 0, self.ts.initial(), -1)]
        pushed = itertools.count(1)
        while queue:
            length, switches, _, state, last = heapq.heappop(queue)
            if (state,) in ends or state is None:
                return length, switches
            if best[state, last] < (length, switches):
                continue
            for task, choice, new in self.brute.moves[state]:
                cost = (length + 1, switches + (last not in (-1, task)))
                if isinstance(new, int):
                    if (state, task, choice) in ends:
                        heapq.heappush(queue, (*cost, next(pushed), None, task))
                elif (new, task) not in best or cost < best[new, task]:
                    best[new, task] = cost
                    heapq.heappush(queue, (*cost, next(pushed), new, task))
        raise AssertionError("no way")


def switches(path: list[tuple[int, int]]) -> int:
    return sum(a[0] != b[0] for a, b in itertools.pairwise(path))


def compared(text_: str, directory: Path, engines: bool) -> str:
    """Hold all failures of a program against brute force; how many kinds there are."""
    question = Question(everything=True)
    try:
        ts = lower(load(text_, directory)())
    except SpecError:
        return "refused"
    found = PythonEngine(ts).explore(question, Limits(states=400))
    if found.stopped is not None:
        return "large"
    if engines:
        agree(ts, question)
    brute = AllOf(ts, question)
    left = dict(brute.found)
    for failure in (f for f in found.failures if f.ending >= 0):  # others are grouped by who waits
        if failure.functions:
            targets = left.pop(("step", *bug(ts, failure.ending, failure.path[-1][0])))
        else:
            targets = left.pop(("state", *ts.fails[failure.ending]))
        assert failure.count == len(targets)
        assert (len(failure.path), switches(failure.path)) == brute.shortest(targets)
    for ending in (DEADLOCK, LOST_WAKEUP):
        states = left.pop(("state", ending), [])
        mine_ = [f for f in found.failures if f.ending == ending]
        assert sum(f.count for f in mine_) == len(states)
        if mine_:
            assert (len(mine_[0].path), switches(mine_[0].path)) == brute.shortest(states)
    assert not left, "a failure was not found"
    assert any(f.ending == LIVELOCK for f in found.failures) == brute.brute.livelocked()
    plain = PythonEngine(ts).explore()
    assert (plain.ending is None) == (not found.failures)
    if plain.ending is not None and plain.ending > LIVELOCK and plain.ending != NO_FINISH:
        assert found.failures[0].path == plain.path
    return f"{min(3, len(found.failures))} kinds"


def bug(ts: TransitionSystem, fail: int, task: int) -> tuple[Any, ...]:
    """What is the same bug in a random program, whose tasks call nothing."""
    rule, said = ts.fails[fail]
    return (rule, task) if "Fleeting" in said else (rule, said)


@given(text_=programs(tasks=3, length=5))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_programs_on_all_engines(tmp_path: Path, text_: str) -> None:
    try:
        ts = lower(load(text_, tmp_path)())
    except SpecError:
        assume(False)
    assume(PythonEngine(ts).explore(ALL, Limits(states=SMALL)).stopped is None)
    agree(ts, ALL)


#: A statement of every random program, and one more before it, that breaks a rule in some states.
LAST = "    k.a.flag = False\n\n"
ODD = """
    with atomic("a test"):
        ensure("odd", k.a.flag or not k.b.flag, "odd")
"""


def test_fixed_programs_against_brute_force(tmp_path: Path) -> None:
    kinds = Counter(
        compared(
            source(random.Random(seed).randrange, 3, 7).replace(LAST, ODD + LAST),
            tmp_path,
            engines=seed % 32 == 0,
        )
        for seed in range(80)
    )
    assert kinds["1 kinds"] > 20 and kinds["2 kinds"] > 5 and kinds["3 kinds"] > 2, kinds


# --- what is printed, and replayed ----------------------------------------------------------------


def verdict(scenario: Any, design: Any, **options: Any) -> checks.Verdict:
    return check(scenario, design, known=toys.RULES, all_violations=True, **options)


UNBIND = block("""
    toy-unbind-vs-pin, toy-1: violated in 2 ways (47 states, 68 transitions, depth
        13)

    1. page-lifetime: 1 step in dma_write
    A: page = t.pin(m.dev)
       3  get_page              page0._refcount 1 -> 2
    B: t.unbind(m.dev)
       7  unbind                dev.page page0 -> NULL
       9  put_page              page0._refcount 2 -> 1
      10  unbind                page0.live 1 -> 0
    A: t.dma_write(page)
      11  dma_write             page.dirty = True
    => page-lifetime: dma_write writes page0.dirty after page0 was freed
       step 11 at tests/toys.py:N; 2 task switches

    2. page-lifetime: 1 step in unpin (put_page)
    A: page = t.pin(m.dev)
       3  get_page              page0._refcount 1 -> 2
    A: t.dma_write(page)
       5  dma_write             page0.dirty 0 -> 1
    B: t.unbind(m.dev)
       8  unbind                dev.page page0 -> NULL
      10  put_page              page0._refcount 2 -> 1
      11  unbind                page0.live 1 -> 0
    A: t.unpin(m.dev, page)
      12  put_page              if atomic_dec_and_test(page._refcount)
    => page-lifetime: put_page reads page0._refcount after page0 was freed
       step 12 at tests/toys.py:N; 2 task switches
    """)


@pytest.mark.parametrize("engine", ["python", "native"])
def test_the_list(engine: str) -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyOld, engine=engine)
    assert stable(text.render(found)) == UNBIND


def test_the_first_is_the_one_that_a_check_tells() -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyOld)
    alone = check(toys.ToyUnbindVsPin, toys.ToyOld, known=toys.RULES)
    assert found.violations is not None and found.violations[0].trace == alone.trace
    assert (found.rule, found.objects, found.trace) == (alone.rule, alone.objects, alone.trace)


def test_holds_as_ever() -> None:
    found = verdict(toys.ToyUnbindVsPin, toys.ToyNew)
    assert (found.verdict, found.violations) == ("holds", [])
    assert text.render(found).startswith("toy-unbind-vs-pin, toy-2: holds (49 states, 70 transitions")


@pytest.mark.parametrize("engine", ["python", "native"])
def test_a_limit_leaves_what_was_found(engine: str) -> None:
    known = catalogue.load()

    def found(states: int) -> checks.Verdict:
        return check(
            known.scenario("fsdax-unbind-mounted"),
            known.design("linux-6.15"),
            engine=engine,
            limits=Limits(states=states),
            all_violations=True,
        )

    some = found(5000)
    assert some.verdict == "violated" and some.stopped == "--max-states 5000"
    assert [(v.rule, v.calls) for v in some.violations or ()] == [("page-lifetime", ("pin_user_pages_fast",))]
    head = " ".join(text.render(some).split("\n\n")[0].split())
    assert head.endswith(f"--max-states 5000, complete to depth {some.covered}, so that there may be more")
    none = found(1000)
    assert (none.verdict, none.violations) == ("undetermined", [])


def test_json_and_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    args = ["check", "toy-unbind-vs-pin", "--design", "toy-1", "--all-violations", "--format", "json"]
    assert cli.main(args, load=toys.catalogue) == 2
    out = capsys.readouterr().out
    written = json.loads(out)
    first, second = written["violations"]
    assert (first["count"], first["counted"], first["calls"]) == (1, "steps", ["dma_write"])
    assert (second["functions"], second["depth"], second["loop"]) == (["put_page"], 12, None)
    assert written["trace"] == first["trace"] and written["depth"] == len(first["trace"]) == 11
    file = tmp_path / "all.json"
    file.write_text(out)
    assert cli.main(["replay", str(file)], load=toys.catalogue) == 2
    replayed = capsys.readouterr().out
    assert "dma_write writes page0.dirty" in replayed and "put_page reads page0._refcount" in replayed


def test_without_the_option_there_is_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["check", "toy-locks", "--design", "toy-1", "--format", "json"], load=toys.catalogue)
    assert "violations" not in json.loads(capsys.readouterr().out)
