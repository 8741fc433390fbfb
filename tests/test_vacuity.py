"""What a scenario that holds does not show: tasks that never meet, rules that nothing tests, calls that
never come back."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import toys
from programs import load, source
from test_native import Plain, Thing
from test_report import block
from zonedev import cli
from zonedev.catalogue import Catalogue
from zonedev.explore import stepper as stepping
from zonedev.explore.check import Verdict, check
from zonedev.explore.matrix import Cell
from zonedev.explore.native import NativeEngine
from zonedev.explore.outcome import Walk
from zonedev.explore.python import PythonEngine
from zonedev.explore.reached import SAMPLE, Listed, Reached
from zonedev.explore.result import Limits, Question, State
from zonedev.explore.stepper import Stepper
from zonedev.explore.vacuity import Vacuity, vacuity
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import lock, unlock
from zonedev.lang.records import Field, Record
from zonedev.lang.runtime import atomic, choose, ensure, here, primitive, when
from zonedev.lang.system import Monitor, System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.report import json as json_text
from zonedev.report import text
from zonedev.report.notes import of_matrix
from zonedev.scenarios.base import Scenario

Program = Callable[[Any], None]


def made(*tasks: Program, monitors: Sequence[Monitor] = ()) -> TransitionSystem:
    """Tasks that share two things."""
    system = System(Plain, monitors=monitors)
    for number in range(len(tasks)):
        system.task(f"T{number}")
    system.k.thing, system.k.other = system.new(Thing, "thing"), system.new(Thing, "other")
    for number, task in enumerate(tasks):
        system.run(f"T{number}", task, system.k)
    system.seal()
    return lower(system)


def asked(ts: TransitionSystem, *rules: str) -> Vacuity:
    """What every engine has to say alike."""
    question = Question(deadlock=False, finish=False)
    answers = []
    for engine in (PythonEngine(ts), NativeEngine(ts, workers=1), NativeEngine(ts, workers=2)):
        found = engine.explore(question)
        assert found.path is None
        answers.append(vacuity(ts, engine.found(), found.states, rules))
    assert answers[0] == answers[1] == answers[2]
    return answers[0]


# --- who meets whom -------------------------------------------------------------------------------


def one(k: Any) -> None:
    k.thing.n = 1
    k.thing.n = 0


def another(k: Any) -> None:
    k.other.n = 1
    k.other.n = 0


def looks(k: Any) -> None:
    x = k.thing.n
    if x == 1:
        k.other.signed = 1


def looks_too(k: Any) -> None:
    x = k.thing.n
    if x == 1:
        k.other.wide = 1


def test_tasks_that_write_apart_never_meet() -> None:
    assert asked(made(one, another)) == Vacuity(alone=("T0", "T1"))


def test_who_writes_what_another_writes_or_reads_meets_it() -> None:
    assert not asked(made(one, one))
    assert not asked(made(one, looks))


def test_who_only_reads_what_others_read_meets_nobody() -> None:
    assert asked(made(looks, looks_too)).alone == ("T0", "T1")


def test_one_task_that_is_left_out() -> None:
    assert asked(made(one, another, looks)).alone == ("T1",)


def test_a_task_of_its_own_has_nobody_to_meet() -> None:
    assert not asked(made(one))


def waits_then_writes(k: Any) -> None:
    with atomic("a wait"):
        when(lambda: k.other.flag)
    k.thing.n = 1


def test_only_steps_that_are_taken_count() -> None:
    """The write that would meet the other comes after a wait that nobody ends."""
    assert asked(made(waits_then_writes, looks)).alone == ("T0", "T1")


def picks(k: Any) -> None:
    x = choose(2)
    k.thing.cells[x] = 1


def second(k: Any) -> None:
    k.thing.cells[1] = 2


def third(k: Any) -> None:
    k.thing.cells[2] = 2


def test_elements_of_an_array_are_places_of_their_own() -> None:
    assert not asked(made(picks, second))
    assert asked(made(picks, third)).alone == ("T0", "T1")


def fine(n: int) -> bool:
    return n < 3


class Watched(Plain):
    thing: Thing
    other: Thing

    def change(k) -> None:
        k.other.signed = 1
        k.other.signed = 0


def of_a_rule(k: Any) -> None:
    ensure("small", fine(k.thing.n), "too large")


def changes(k: Any) -> None:
    k.change()


def test_what_a_rule_looks_at_is_no_meeting() -> None:
    """The check hangs on the return of change(), and hands what it reads to a function."""
    system = System(Watched, monitors=[Monitor("small", of_a_rule, after="change")])
    for name in "AB":
        system.task(name)
    system.k.thing, system.k.other = system.new(Thing, "thing"), system.new(Thing, "other")
    system.run("A", one, system.k)
    system.run("B", changes, system.k)
    system.seal()
    assert asked(lower(system), "small") == Vacuity(tested=("small",), alone=("A", "B"))


# --- rules ------------------------------------------------------------------------------------------


def up(k: Any) -> None:
    ensure("up", k.thing.n == 0, "up")


def sometimes(k: Any) -> None:
    if k.thing.signed == 1:
        ensure("up", k.thing.n == 0, "up")


def wide(k: Any) -> None:
    ensure("wide", k.other.wide < 2, "wide")


AT_REST = (Monitor("up", up),)


def test_a_rule_at_rest() -> None:
    assert asked(made(one, one, monitors=AT_REST), "up").tested == ("up",)


def test_nobody_comes_to_rest() -> None:
    ts = made(one, waits_then_writes, monitors=AT_REST)
    assert asked(ts, "up").untested == ("up",)


def test_what_never_changes_needs_no_test() -> None:
    """Nobody writes what the rule is about."""
    monitors = (Monitor("wide", wide),)
    assert asked(made(one, one, monitors=monitors), "wide").untested == ("wide",)
    assert asked(made(looks, looks_too, one, monitors=monitors), "wide").tested == ("wide",)


def signs(k: Any) -> None:
    x = choose(3)
    k.thing.signed = x - 2 if x != 2 else -3


def signs_up(k: Any) -> None:
    x = choose(3)
    k.thing.signed = x - 1


def test_a_rule_whose_precondition_never_holds() -> None:
    monitors = (Monitor("up", sometimes),)
    assert asked(made(one, signs, monitors=monitors), "up").untested == ("up",)
    assert asked(made(one, signs_up, monitors=monitors), "up").tested == ("up",)


def inner(k: Any, yes: bool) -> None:
    x = k.other.n
    if x == 2 or yes:
        with atomic("a test"):
            ensure("never", k.thing.n < 3, "never")


def careful(k: Any) -> None:
    k.other.n = 1
    inner(k, False)


def careless(k: Any) -> None:
    k.other.n = 1
    inner(k, True)


def test_a_check_on_a_way_that_is_never_taken() -> None:
    assert asked(made(careful, one), "never").untested == ("never",)
    assert asked(made(careless, one), "never").tested == ("never",)


# --- calls ------------------------------------------------------------------------------------------


def task_waits(k: Any) -> None:
    wait_for_flag(k)


def wait_for_flag(k: Any) -> None:
    k.thing.n = 1
    with atomic("a wait"):
        when(lambda: k.thing.flag)


def task_keeps(k: Any) -> None:
    take(k)
    take(k)


def take(k: Any) -> None:
    lock(k.thing.a)


def task_raises(k: Any) -> None:
    give_flag(k)


def give_flag(k: Any) -> None:
    k.thing.flag = True


def task_locks(k: Any) -> None:
    take(k)
    unlock(k.thing.a)


def test_who_waits_for_ever_does_not_come_back() -> None:
    assert asked(made(task_waits, one)).unfinished == (("T0", "wait_for_flag"),)
    assert not asked(made(task_waits, task_raises))


def test_of_several_calls_of_a_function_one_that_comes_back_is_enough() -> None:
    """The second take() waits for ever; no call of T1 comes back in any order, but for take() itself."""
    assert asked(made(task_keeps, task_locks)).unfinished == (("T0", "take"),)
    assert not asked(made(task_locks, task_locks))


def test_a_call_that_is_never_begun() -> None:
    def task_late(k: Any) -> None:
        with atomic("a wait"):
            when(lambda: k.other.flag)
        take(k)

    assert asked(made(task_late, one)).unfinished == ()


# --- many states: the sample is not enough ----------------------------------------------------------


def rare(k: Any) -> None:
    """Only one way of many comes to the check."""
    x = choose(60)
    y = choose(60)
    k.other.n = 1
    if x == 17 and y == 23:
        with atomic("a test"):
            ensure("rare", k.other.n < 3, "rare")


def test_what_few_states_show_is_found() -> None:
    ts = made(rare, one)
    engine = PythonEngine(ts)
    states = engine.explore().states
    some = Listed(engine.states[:: states // SAMPLE])
    assert Reached(ts, some, SAMPLE, ("rare",)).untested, "a sample does not show it"
    assert asked(ts, "rare").tested == ("rare",)


# --- what is printed --------------------------------------------------------------------------------


class ToyApart(Scenario):
    """Two tasks, each with a page of its own, and one that waits for nobody."""

    rules = ("page-lifetime", "refcount-exact")

    @staticmethod
    def setup(m: Any) -> None:
        m.pages, m.dev = [m.new(toys.Page) for _ in range(2)], m.k.device()

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.dma_write(m.pages[0])

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.dma_write(m.pages[1])

    @staticmethod
    def task_C(t: Any, m: Any) -> None:
        t.drain(m.dev)


def checked(scenario: type[Scenario], design: Any = toys.ToyNew, **options: Any) -> Verdict:
    return check(scenario, design, known=toys.RULES, **options)


@pytest.mark.parametrize("engine", ["python", "native"])
def test_notes(engine: str) -> None:
    found = checked(ToyApart, engine=engine)
    assert text.render(found) == block("""
        toy-apart, toy-2: holds (4 states, 4 transitions, depth 2)
        note: not put to the test: page-lifetime, refcount-exact
        note: A and B and C meet no other task in a place that one of them writes
        note: C never comes back from drain
        """)
    assert json_text.verdict_object(found)["vacuity"] == {
        "untested": ["page-lifetime", "refcount-exact"],
        "alone": ["A", "B", "C"],
        "unfinished": [{"task": "C", "call": "drain"}],
    }


def test_nothing_to_say() -> None:
    found = checked(toys.ToyUnbindVsPin)
    assert found.vacuity == Vacuity(tested=("page-lifetime", "refcount-exact"))
    assert "note" not in text.render(found) and "vacuity" not in json_text.verdict_object(found)


def test_only_rules_that_somebody_names() -> None:
    class Unnamed(toys.ToyUnbindVsPin):
        """Nobody says that it is about WARN_ON."""

        rules = None  # type: ignore[assignment]

    assert checked(Unnamed).vacuity == Vacuity()
    asked_for = checked(Unnamed, rules=["page-lifetime", "no-deadlock"])
    assert asked_for.vacuity == Vacuity(tested=("page-lifetime",))


def test_only_where_it_holds() -> None:
    assert checked(toys.ToyUnbindVsPin, toys.ToyOld).vacuity is None
    assert checked(toys.ToyBig, limits=Limits(states=100)).vacuity is None


def cell(scenario: str, design: str, said: Vacuity | None, rule: str | None = None) -> Cell:
    verdict = Verdict(scenario, design, {}, "violated" if rule else "holds", rule, vacuity=said)
    return Cell(scenario, design, verdict)


def test_of_a_matrix() -> None:
    """A rule that some check tests or breaks, and a task that meets another in some check, are no news."""
    waits = (("C", "drain"),)
    cells = [
        cell("a", "1", Vacuity(untested=("x", "y"), alone=("A", "B"), unfinished=waits)),
        cell("a", "2", Vacuity(untested=("x", "z"), tested=("y",), alone=("B",))),
        cell("a", "3", None, rule="z"),
        Cell("a", "4"),
        cell("b", "1", Vacuity(untested=("x",), unfinished=waits)),
    ]
    assert list(of_matrix(cells)) == [
        "not put to the test: x",
        "a: B meets no other task in a place that one of them writes",
        "b: C never comes back from drain",
    ]


def apart() -> Catalogue:
    plain = toys.catalogue()
    return Catalogue(plain.designs, plain.rules, {"toy-apart": ToyApart}, plain.operations)


def test_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["matrix", "--jobs", "1"], load=apart) == 0
    out = capsys.readouterr().out
    assert "note: not put to the test: page-lifetime\n" in out  # the other breaks under toy-1
    assert "note: toy-apart: A and B and C meet no other task" in out
    assert cli.main(["matrix", "--jobs", "1", "--format", "json"], load=apart) == 0
    broken, held = json.loads(capsys.readouterr().out)["cells"]
    assert "vacuity" not in broken and held["vacuity"]["alone"] == ["A", "B", "C"]


# --- against plain Python ---------------------------------------------------------------------------


class Noting(Stepper):
    """Notes what each step reaches."""

    def __init__(self, ignored: frozenset[str] = frozenset()) -> None:
        super().__init__(ignored)
        self.reached: set[tuple[str, bool]] = set()

    @primitive
    def access(self, record: Record, field: Field, *, write: bool) -> None:
        super().access(record, field, write=write)
        if not here.ghost and not field.private:
            self.reached.add((f"{record._name}.{field.name}", write))


def touched(build: Callable[[], System], path: Sequence[tuple[int, int]]) -> set[tuple[str, bool]]:
    """What the last step of a path reaches in a plain run."""
    stepper = stepping.start(build(), frozenset(), Noting)
    assert isinstance(stepper, Noting)
    try:
        for task, choice in path:
            stepper.reached.clear()
            stepper.step(task, choice)
        return set(stepper.reached)
    finally:
        stepper.close()


def lowered(ts: TransitionSystem, walk: Walk, state: State, task: int, choice: int) -> set[tuple[str, bool]]:
    """The same by the lowered body; that a record is there is looked at as well, which a plain run does not
    count."""
    outcome = walk.step(ts.tasks[task].steps[ts.pcs(state)[task] - 1], state, choice)
    groups = {(g.cls, g.path): g for g in ts.system.groups()}

    def label(place: tuple[str, str, int]) -> str:
        group = groups[place[:2]]
        return f"{group.owner(place[2])._name}.{group.field.name}"

    reads = {(label(p), False) for p in outcome.reads if p[1] != "live"}
    return reads | {(label(p), True) for p in outcome.writes}


def changing(ts: TransitionSystem) -> set[str]:
    return {f"{g.owner(n)._name}.{g.field.name}" for g, n, _ in ts.shared(ts.initial())}


def compared(text: str, directory: Path) -> str:
    build = load(text, directory)
    try:
        ts = lower(build())
    except SpecError:
        return "refused"
    engine = PythonEngine(ts)
    if engine.explore(Question(everything=True), Limits(states=200)).stopped is not None:
        return "large"
    walk, changes = Walk(ts), changing(ts)
    paths: dict[State, list[tuple[int, int]]] = {ts.initial(): []}
    pairs: dict[int, set[tuple[str, bool]]] = {n: set() for n, t in enumerate(ts.tasks) if t.steps}
    for state in engine.states:
        for task, choice, new in engine.expand(state):
            if isinstance(new, int):
                continue
            path = [*paths[state], (task, choice)]
            paths.setdefault(new, path)
            plain = {(where, write) for where, write in touched(build, path) if where in changes}
            assert lowered(ts, walk, state, task, choice) == plain
            pairs[task] |= plain
            if "gone.live" in changes and any(where.startswith("gone.") for where, _ in plain):
                pairs[task].add(("gone.live", False))
    if any("cell" in where for touched_ in pairs.values() for where, _ in touched_):
        return "compared"  # a plain run does not tell which element is reached
    pairs = {n: reached for n, reached in pairs.items() if not ts.tasks[n].actor}
    alone = [n for n in pairs if not any(meet(pairs[n], pairs[m]) for m in pairs if m != n)]
    said = Reached(ts, engine.found(), len(engine.states), ()).alone
    assert said == (set(alone) if len(pairs) > 1 else set())
    return f"{len(alone)} alone"


def meet(a: set[tuple[str, bool]], b: set[tuple[str, bool]]) -> bool:
    """Whether one writes what the other reaches."""
    return any(where == other and (w or v) for where, w in a for other, v in b)


def test_what_steps_touch_against_plain_python(tmp_path: Path) -> None:
    kinds = Counter(compared(source(random.Random(seed).randrange, 2, 4), tmp_path) for seed in range(60))
    assert kinds["compared"] > 3 and kinds["0 alone"] > 5 and kinds["2 alone"] > 1, kinds
