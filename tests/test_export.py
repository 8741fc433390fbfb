"""Exported models: what other checkers find in them, and that they would notice if it were wrong."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import toys
from programs import load, source
from zonedev import catalogue, cli
from zonedev.explore.matrix import read_goldens
from zonedev.explore.result import Question
from zonedev.export import LANGUAGES, exported, judges
from zonedev.export.compare import answer_of, compare, disagreement, without_comments
from zonedev.export.judges import JUDGES, STUCK, Answer, Limits, asked
from zonedev.export.model import Task, guard_of
from zonedev.lang import expr as ir
from zonedev.lang.errors import SpecError
from zonedev.lang.transition import TransitionSystem, lower

LIMITS = Limits(seconds=120.0, memory=2 << 30, states=100_000)
SAFETY = Question(finish=False)  # no judge is asked about progress
EVERY = list(JUDGES)


def needed(name: str) -> None:
    """Skip where a judge is not installed, and say what is missing."""
    missing = JUDGES[name].missing()
    if missing:
        pytest.skip(missing)


def toy(name: str, design: str) -> TransitionSystem:
    """A toy scenario, lowered with all its rules."""
    from zonedev.explore.check import select, set_up
    from zonedev.scenarios.base import full_scope

    known = toys.catalogue()
    scenario = known.scenario(name)
    selection = select(scenario, known.rules)
    system = set_up(scenario, known.design(design), full_scope(scenario, {}), selection.monitors)
    return lower(system, selection.names)


def answer(name: str, ts: TransitionSystem, place: Path, style: str = "loop") -> Answer:
    """What a judge says of a model."""
    text = exported(ts, SAFETY, JUDGES[name].language, "a test", style)
    found = asked(JUDGES[name], text, True, place, LIMITS)
    assert found.stopped is None
    return found


# --- agreement -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("scenario", "design"),
    [
        ("toy-unbind-vs-pin", "toy-1"),
        ("toy-unbind-vs-pin", "toy-2"),
        ("toy-locks", "toy-1"),
        ("toy-big", "toy-2"),
    ],
)
def test_judges_agree_on_toys(name: str, scenario: str, design: str) -> None:
    needed(name)
    row = compare(toys.catalogue, scenario, design, None, [name], LIMITS)
    assert (row.error, row.differs, row.open) == (None, [], False)


def test_idiomatic_promela_has_the_same_states(tmp_path: Path) -> None:
    """SPIN's own program counters stand for ours: unreduced, there are as many states."""
    needed("spin")
    for design in ("toy-1", "toy-2"):
        ts = toy("toy-unbind-vs-pin", design)
        ours, _ = answer_of(ts, SAFETY)
        found = answer("spin", ts, tmp_path, "processes")
        assert (found.states, found.broken) == (ours.states, ours.broken)
        text = exported(ts, SAFETY, "promela", "a test", "processes")
        reduced = judges.spin(text, True, tmp_path, LIMITS, (), ("-O0",))
        assert (reduced.broken is None) == (ours.broken is None)
        assert (reduced.states or 0) <= (ours.states or 0)


def test_idiomatic_promela_hides_no_variable_from_spin() -> None:
    """SPIN 6.5.2 counts the bits of a process's variables, and forgets that no bit field crosses a word."""
    for scenario, design in (("toy-big", "toy-2"), ("toy-locks", "toy-1")):
        text = exported(toy(scenario, design), SAFETY, "promela", "a test", "processes")
        inside = re.findall(r"^proctype.*?^}", text.replace("active ", ""), re.MULTILINE | re.DOTALL)
        assert inside
        assert not re.search(r"^  (?:bit|unsigned) ", "\n".join(inside), re.MULTILINE)


def test_idiomatic_promela_of_a_scenario_has_the_same_states(tmp_path: Path) -> None:
    """One whose states SPIN took for the same while its variables were bit fields."""
    needed("spin")
    from zonedev.explore.check import select, set_up
    from zonedev.scenarios.base import full_scope

    known = catalogue.load()
    scenario = known.scenario("devdax-pinners-vs-unbind")
    selection = select(scenario, known.rules)
    scope = full_scope(scenario, {})
    system = set_up(scenario, known.design("linux-4.5"), scope, selection.monitors)
    found = answer("spin", lower(system, selection.names), tmp_path, "processes")
    assert found.states == read_goldens(scenario)["linux-4.5"]["states"]


@pytest.mark.parametrize(("name", "seeds"), [("spin", 12), ("rumur", 5), ("tlc", 5)])
def test_judges_agree_on_random_programs(name: str, seeds: int, tmp_path: Path) -> None:
    """Random programs, most of which nobody has a reason to expect anything of."""
    needed(name)
    ends: Counter[str] = Counter()
    for seed in range(seeds):
        text = source(random.Random(seed).randrange, tasks=3, length=5)
        try:
            ts = lower(load(text, tmp_path)())
            ours, _ = answer_of(ts, SAFETY)
            found = answer(name, ts, tmp_path)
        except SpecError:
            ends["refused"] += 1
            continue
        assert disagreement(ours, name, found) == [], f"seed {seed}"
        if name == "spin":
            idiomatic = answer(name, ts, tmp_path, "processes")
            assert disagreement(ours, name, replace(idiomatic, transitions=None)) == [], f"seed {seed}"
        ends["whole" if ours.broken is None else "broken"] += 1
    assert ends["refused"] <= seeds // 4
    assert ends["whole"] >= 2 and ends["broken"] >= 1


# --- disagreement: a judge that is told something else ----------------------------------------------


def without_a_guard(ts: TransitionSystem) -> None:
    """The first step that waits does not wait any more."""
    for task in ts.tasks:
        for step in task.steps:
            for at, effect in enumerate(step.body):
                if effect[0] == "guard":
                    del step.body[at]
                    return
    raise AssertionError("no step waits")


def without_a_store(ts: TransitionSystem) -> None:
    """The first step that changes a number leaves it as it was."""
    for task in ts.tasks:
        for step in task.steps:
            for at, effect in enumerate(step.body):
                if effect[0] == "store":
                    del step.body[at]
                    return
    raise AssertionError("no step changes anything")


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("spoil", [without_a_guard, without_a_store])
def test_a_judge_notices_another_system(name: str, spoil, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Its model is written from a system that was changed behind our back."""
    needed(name)
    ts = toy("toy-unbind-vs-pin", "toy-2")
    ours, _ = answer_of(ts, SAFETY)
    spoil(ts)
    assert disagreement(ours, name, answer(name, ts, tmp_path)) != []


def test_a_judge_notices_a_step_that_was_lost(tmp_path: Path) -> None:
    """The text itself is changed: some step leads nowhere."""
    needed("spin")
    ts = toy("toy-unbind-vs-pin", "toy-2")
    ours, _ = answer_of(ts, SAFETY)
    text = exported(ts, SAFETY, "promela", "a test")
    changed = re.sub(r"\n +A_pc = 0;", "", text)
    assert changed != text
    assert disagreement(ours, "spin", asked(JUDGES["spin"], changed, True, tmp_path, LIMITS)) != []


def test_a_judge_notices_what_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registers that keep what nobody needs make more states."""
    needed("spin")
    ts = lower(load(source(random.Random(11).randrange, tasks=3, length=5), tmp_path)())
    ours, _ = answer_of(ts, SAFETY)
    monkeypatch.setattr(Task, "zeroed", lambda *_: [])
    found = answer("spin", ts, tmp_path)
    assert (found.states or 0) > (ours.states or 0) > 0


def test_disagreements_are_named() -> None:
    whole = Answer(states=5, transitions=7)
    assert disagreement(whole, "spin", Answer(states=5, transitions=7)) == []
    assert disagreement(whole, "spin", Answer(states=4, transitions=7)) == ["spin: states 4, here 5"]
    assert disagreement(whole, "tlc", Answer(broken=STUCK, level=3)) == ["tlc: stuck is broken, here nothing"]
    early = Answer(broken="refcount-exact", level=3)
    assert disagreement(early, "rumur", Answer(broken="page-lifetime", level=4)) == ["rumur: level 4, here 3"]
    assert disagreement(early, "spin", Answer(broken="page-lifetime")) == []


# --- the text --------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_text_is_readable_and_the_same_every_time(language: str) -> None:
    """Names of fields, and for each step its function, file, line and statement."""
    for style in LANGUAGES[language].styles:
        texts = {
            exported(toy("toy-unbind-vs-pin", "toy-1"), SAFETY, language, "toy", style) for _ in range(2)
        }
        (text,) = texts
        assert "page0__refcount" in text
        assert re.search(r"A 1: \w+, \S*toys\.py:\d+", text)
        assert "atomic_dec_and_test" in text
        assert not re.search(r"(?<!\w)/(?:tmp|home|root|work)/", text)


def test_comments_do_not_count() -> None:
    """What was answered before is good for a model whose lines have only moved."""
    for language, comment in (("promela", "/* x */"), ("tla", "\\* x"), ("murphi", "-- x")):
        text = exported(toy("toy-unbind-vs-pin", "toy-1"), SAFETY, language, "toy")
        assert without_comments(text) == without_comments(text.replace("toys.py:", "toys.py:1"))
        assert without_comments(f"{comment}\n{text}") == without_comments(f"\n{text}")
        assert without_comments(text) != without_comments(
            text.replace("A_pc", "A_qc").replace("pc |->", "qc |->")
        )


def test_what_others_cannot_do_is_refused() -> None:
    ts = toy("toy-unbind-vs-pin", "toy-1")
    step = ts.tasks[0].steps[0]
    step.lost = ir.const(0)
    with pytest.raises(SpecError, match="which others do not tell apart"):
        exported(ts, Question(deadlock=True, lost_wakeup=False), "promela", "a test")
    step.body.insert(0, ("let", "v999", ir.const(1)))
    group = next(e[1] for t in ts.tasks for s in t.steps for e in ir.walk(s.body) if e[0] == "store")
    step.body[0:0] = [("store", group, ir.const(0), ir.const(0)), ("guard", ("ld", group, ir.const(0)))]
    with pytest.raises(SpecError, match="waits behind a change of the state"):
        exported(ts, SAFETY, "promela", "a test")


def test_a_guard_behind_a_branch_sees_what_the_branch_left() -> None:
    """A local that one way gives a value to keeps its old one on the other."""
    local, flag = ("v", "v1"), ("v", "v2")
    step = toy("toy-unbind-vs-pin", "toy-1").tasks[0].steps[0]
    step.live = ("v1", "v2")
    step.body = [("if", flag, [("let", "v1", ir.const(1))], []), ("guard", local), ("goto", 0)]
    assert guard_of(step) == ("?", flag, ir.const(1), local)


# --- the command -------------------------------------------------------------------------------------


def run(*args: str) -> int:
    return cli.main(["export", *args], load=toys.catalogue)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("toy-unbind-vs-pin", "--design", "toy-1", "--to", "promela") == 0
    out, err = capsys.readouterr()
    assert "active proctype steps()" in out and err == ""
    file = tmp_path / "Toy.tla"
    assert run("toy-unbind-vs-pin", "--to", "tla", "-o", str(file)) == 0
    assert file.read_text().startswith("---- MODULE Toy ----")
    assert (tmp_path / "Toy.cfg").read_text() == "INIT Init\nNEXT Next\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--to", "tla", "--style", "processes"), "--style processes is for promela"),
        (("--to", "tla", "-o", "/no-such-place/X.tla"), "No such file or directory"),
        (("--to", "tla", "-o", "a-b.tla"), "a-b is no name of a module"),
        (("--to", "promela", "--scope", "x=1"), "has no scope 'x'"),
        (
            (
                "--to",
                "prolog",
            ),
            "invalid choice",
        ),
    ],
)
def test_wrong_usage(args: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("toy-unbind-vs-pin", *args) == 1
    out, err = capsys.readouterr()
    assert out == "" and message in err and err.count("\n") == 1


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert JUDGES["spin"].missing() == "spin is missing: apt install spin"
    assert JUDGES["rumur"].missing() == "rumur is missing: apt install rumur"
    monkeypatch.setenv("ZONEDEV_TLC", "/no-such-place/tla2tools.jar")
    assert "tla2tools.jar is missing" in (JUDGES["tlc"].missing() or "")
