"""Patch series: the design as of every patch, and which patch turns which verdict."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import toys
from zonedev import catalogue as built_in
from zonedev import cli
from zonedev.catalogue import Catalogue
from zonedev.designs.series import BASE, Patch, Series, add
from zonedev.explore.check import Verdict
from zonedev.explore.matrix import Cell
from zonedev.explore.series import read_goldens, turns
from zonedev.lang.errors import ZonedevError
from zonedev.lang.primitives import wait_for_completion
from zonedev.report import series as printed


class ToyWaits(toys.ToyOld):
    """As of patch 02."""

    def drain(k, dev: toys.Device) -> None:
        """Wait for the references that are left."""
        wait_for_completion(dev.done)


class ToyOrdered(ToyWaits):
    """As of patch 04."""

    def lock_both_other(k, a: toys.Page, b: toys.Page) -> None:
        """In address order."""
        k.lock_both(a, b)


class ToyHurried(ToyOrdered):
    """As of patch 05."""

    def drain(k, dev: toys.Device) -> None:
        """Unbind is faster that way."""


PATCHES = (
    Patch("01", "toy: Describe what a pin is"),
    Patch("02", "toy: Wait for pins", "unbind waits for the last reference", ToyWaits),
    Patch("03", "toy: Rename a variable of which nobody knows any more what it once was called for"),
    Patch("04", "toy: Lock pages in order", "both callers lock in address order", ToyOrdered),
    Patch("05", "toy: Speed up unbind", "unbind does not wait", ToyHurried),
)

TOY = Series(
    name="toy-fix",
    title="wait for pins, and lock in order",
    source="A. Toy, 2022-10-14",
    base=toys.ToyOld,
    patches=PATCHES,
    file=str(Path(__file__).with_name("no_such_series.py")),
    scenarios=("toy-unbind-vs-pin", "toy-locks"),
)
SERIES = {TOY.name: TOY}


def catalogue() -> Catalogue:
    return replace(toys.catalogue(), series=SERIES)


@pytest.fixture
def goldens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The series with goldens in a directory of their own."""
    monkeypatch.setitem(SERIES, TOY.name, replace(TOY, file=str(tmp_path / "toy_fix.py")))
    return tmp_path / "toy_fix.json"


def inside(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(args, load=catalogue)
    out, err = capsys.readouterr()
    assert out.isascii()
    assert "json" in args or all(len(line) <= 80 for line in out.splitlines())
    return code, out, err


def test_the_design_as_of_a_patch() -> None:
    assert list(TOY.steps()) == [BASE, "02", "04", "05"]
    found = [TOY.at(step) for step in (BASE, "01", "02", "03", "04", "05")]
    assert found == [toys.ToyOld, toys.ToyOld, ToyWaits, ToyWaits, ToyOrdered, ToyHurried]
    assert catalogue().design("toy-fix/03") is ToyWaits
    assert catalogue().design("toy-fix/base") is toys.ToyOld


UNKNOWN = [
    ("toy-fix/5", "no patch '5' in toy-fix: did you mean toy-fix/05?"),
    ("toy-fix/06", "no patch '06' in toy-fix: there is base, and 01 to 05"),
    ("toy-fx/05", "no series 'toy-fx': did you mean toy-fix?"),
    ("toy-fix", "design toy-fix: name a patch of the series too, such as toy-fix/05"),
]


@pytest.mark.parametrize(("name", "text"), UNKNOWN)
def test_unknown_steps(name: str, text: str) -> None:
    with pytest.raises(ZonedevError, match=f"^{re.escape(text)}$"):
        catalogue().design(name)


def test_without_any_series() -> None:
    with pytest.raises(ZonedevError, match=r"^no series 'some': there is none$"):
        toys.catalogue().design("some/01")


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["check", "toy-unbind-vs-pin", "--design", "toy-fix/03"], 0, "toy-unbind-vs-pin, toy-fix/03: holds"),
        (["check", "toy-unbind-vs-pin", "--design", "toy-fix/01"], 2, "violated: page-lifetime"),
        (["run", "toy-unbind-vs-pin", "--design", "toy-fix/02"], 0, "toy-unbind-vs-pin, toy-fix/02, seed 0"),
        (["diff", "toy-fix/base", "toy-fix/03"], 0, "There is no waiting yet."),
        (["cost", "--design", "toy-fix/05"], 0, "toy-fix/05"),
        (["designs"], 0, "toy-fix  5 patches on toy-1: wait for pins, and lock in order"),
        (["series"], 0, "toy-fix  5 patches on toy-1: wait for pins, and lock in order"),
    ],
)
def test_other_commands(capsys: pytest.CaptureFixture[str], args: list[str], code: int, text: str) -> None:
    found, out, err = inside(capsys, *args)
    assert found == code and "error" not in err  # on a busy machine there is progress
    assert text in out


def test_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    _, out, _ = inside(capsys, "check", "toy-unbind-vs-pin", "--design", "toy-fix/05", "--format", "json")
    (tmp_path / "trace.json").write_text(out)
    code, out, _ = inside(capsys, "replay", str(tmp_path / "trace.json"))
    assert code == 2 and "toy-unbind-vs-pin, toy-fix/05: violated: page-lifetime" in out


def test_the_patches(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "series", "toy-fix")
    assert code == 0
    assert out == (
        "toy-fix: wait for pins, and lock in order\n"
        "A. Toy, 2022-10-14; on toy-1\n"
        "\n"
        "01  toy: Describe what a pin is\n"
        "    no change of behaviour\n"
        "02  toy: Wait for pins\n"
        "    unbind waits for the last reference\n"
        "03  toy: Rename a variable of which nobody knows any more what it once was\n"
        "    called for\n"
        "    no change of behaviour\n"
        "04  toy: Lock pages in order\n"
        "    both callers lock in address order\n"
        "05  toy: Speed up unbind\n"
        "    unbind does not wait\n"
    )


CHECKED = """\
toy-fix: wait for pins, and lock in order

                  base 02 04 05
toy-unbind-vs-pin life ok .  life
toy-locks         dead .  ok .

what turns where:
02 toy: Wait for pins
   toy-unbind-vs-pin: violated page-lifetime -> holds
04 toy: Lock pages in order
   toy-locks: violated no-deadlock -> holds
05 toy: Speed up unbind
   toy-unbind-vs-pin: holds -> violated page-lifetime

.         as in the column to its left
ok        holds in every interleaving
dead      violated: no-deadlock
life      violated: page-lifetime
8 checks, all as expected
"""


def test_what_turns_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert inside(capsys, "series", "toy-fix", "--check") == (0, CHECKED, "")
    assert inside(capsys, "series", "toy-fix", *TOY.scenarios) == (0, CHECKED, "")


def test_a_scenario_that_does_not_turn(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "series", "toy-fix", "toy-big", "--jobs", "1", "--engine", "python")
    assert code == 0
    assert "no verdict turns\n" in out and "4 checks, all as expected" in out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "series", "toy-fix", "--check", "--format", "json")
    found = json.loads(out)
    assert (code, found["schema_version"], found["series"]) == (0, 1, "toy-fix")
    cells = [(c["scenario"], c["step"], c["design"], c["verdict"], c["rule"]) for c in found["cells"]]
    assert len(cells) == 8
    assert cells[:2] == [
        ("toy-unbind-vs-pin", "base", "toy-fix/base", "violated", "page-lifetime"),
        ("toy-unbind-vs-pin", "02", "toy-fix/02", "holds", None),
    ]
    assert found["turns"][1] == {
        "patch": "04",
        "subject": "toy: Lock pages in order",
        "scenario": "toy-locks",
        "before": {"verdict": "violated", "rule": "no-deadlock"},
        "after": {"verdict": "holds", "rule": None},
        "undecided": [],
    }


def test_lists_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = inside(capsys, "series", "--format", "json")
    (listed,) = json.loads(out)["series"]
    _, out, _ = inside(capsys, "series", "toy-fix", "--format", "json")
    assert json.loads(out) == {"schema_version": 1, **listed}
    assert (listed["base"], listed["scenarios"]) == ("toy-1", list(TOY.scenarios))
    assert [p["design"] for p in listed["patches"]] == [None, "ToyWaits", None, "ToyOrdered", "ToyHurried"]
    _, out, _ = inside(capsys, "designs", "--format", "json")
    assert json.loads(out)["series"] == [
        {"name": "toy-fix", "title": TOY.title, "patches": ["01", "02", "03", "04", "05"]}
    ]


BAD = [
    (["series", "toy-fx"], "no series 'toy-fx': did you mean toy-fix?"),
    (["series", "toy-fix", "toy-lock"], "no scenario 'toy-lock': did you mean toy-locks?"),
    (["series", "--check"], "name a series: zonedev series lists them"),
    (["series", "--promote"], "name a series: zonedev series lists them"),
    (["series", "toy-fix", "--check", "--jobs", "0"], "argument --jobs: '0' is not a number above 0"),
    (["check", "toy-locks", "--design", "toy-fix/99"], "no patch '99' in toy-fix: there is base, and 01"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input(capsys: pytest.CaptureFixture[str], args: list[str], text: str) -> None:
    code, out, err = inside(capsys, *args)
    assert (code, out) == (1, "")
    assert err.startswith(f"zonedev: error: {text}") and err.count("\n") == 1


def test_a_series_without_scenarios(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SERIES, TOY.name, replace(TOY, scenarios=()))
    code, out, err = inside(capsys, "series", "toy-fix", "--check")
    assert (code, out) == (1, "")
    assert err == "zonedev: error: toy-fix has no scenarios of its own: name some\n"


def test_an_error_is_one_cell(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "series", "toy-fix", "toy-overflow", "toy-locks")
    assert code == 1
    assert "toy-overflow error! error! error! error!\n" in out
    assert "   toy-locks: violated no-deadlock -> holds\n" in out


def test_limits(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "series", "toy-fix", "toy-big", "--max-states", "100")
    assert code == 3
    assert "toy-big ?    ?  ?  ?\n" in out


def test_goldens(capsys: pytest.CaptureFixture[str], goldens: Path) -> None:
    code, _, err = inside(capsys, "series", "toy-fix", "toy-locks", "--promote")
    assert code == 0 and re.fullmatch(r"wrote .*toy_fix\.json\n", err)
    assert inside(capsys, "series", "toy-fix", "--promote")[:2] == (0, CHECKED)
    kept = json.loads(goldens.read_text())
    assert list(kept) == ["toy-locks", "toy-unbind-vs-pin"]
    assert list(kept["toy-locks"]) == [BASE, "02", "04", "05"]
    assert kept["toy-locks"]["04"] == {
        "verdict": "holds", "rule": None, "states": 16, "transitions": 16, "depth": 8
    }  # fmt: skip
    assert inside(capsys, "series", "toy-fix", "--check")[0] == 0
    kept["toy-locks"]["05"]["states"] = 17
    kept["toy-locks"]["06"] = kept["toy-locks"]["05"]
    goldens.write_text(json.dumps(kept))
    code, out, _ = inside(capsys, "series", "toy-fix", "--check")
    assert code == 2
    assert "toy-locks         dead .  ok ok!\n" in out
    assert "  toy-locks, toy-fix/05: golden states 17, found 16\n" in out
    code, out, _ = inside(capsys, "series", "toy-fix", "toy-locks", "--format", "json")
    assert code == 2
    assert [c["differs"] for c in json.loads(out)["cells"]][-1] == ["golden states 17, found 16"]
    assert inside(capsys, "series", "toy-fix", "toy-locks", "--promote")[0] == 0
    assert "06" not in json.loads(goldens.read_text())["toy-locks"]
    assert inside(capsys, "series", "toy-fix", "--check")[0] == 0


@pytest.mark.parametrize("text", ["{", "[]", '{"toy-locks": 3}', '{"toy-locks": {"05": {}}}'])
def test_a_broken_golden(capsys: pytest.CaptureFixture[str], goldens: Path, text: str) -> None:
    goldens.write_text(text)
    code, out, err = inside(capsys, "series", "toy-fix", "toy-locks")
    assert (code, out) == (1, "")
    assert "toy_fix.json: not a golden file: mend it, or run zonedev series toy-fix --promote" in err
    assert inside(capsys, "series", "toy-fix", "toy-locks", "--promote")[0] == 0
    assert inside(capsys, "series", "toy-fix", "toy-locks")[0] == 0


def long_series(count: int) -> Series:
    patches = tuple(Patch(f"{n:02}", f"toy: Patch {n}", "something", ToyWaits) for n in range(1, count + 1))
    return replace(TOY, name="toy-long", patches=patches)


def cells(series: Series, scenario: str, said: Iterator[str | None]) -> list[Cell]:
    """Verdicts by the rules that they break; "" for holds, "?" for undetermined, None for an open cell."""
    found = []
    for step, rule in zip(series.steps(), said, strict=True):
        design = f"{series.name}/{step}"
        kind = {"": "holds", "?": "undetermined"}.get(rule or "", "violated")
        verdict = Verdict(scenario, design, {}, kind, rule if kind == "violated" else None)
        found.append(Cell(scenario, design, None if rule is None else verdict))
    return found


def test_a_wide_table_goes_on_below() -> None:
    series = long_series(25)
    rules = ["", "page-lifetime", "no-deadlock"]
    made = [
        *cells(series, "a-scenario-with-a-name-of-some-length", (rules[n // 3 % 3] for n in range(26))),
        *cells(series, "one-that-holds", iter([""] * 26)),
    ]
    text = printed.checked(series, made)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    heads = [line.split() for line in lines if line.startswith(" ") and line.split()[0] in series.steps()]
    assert len(heads) > 1
    assert all(a[-1] == b[0] for a, b in pairwise(heads))
    assert [heads[0][0], *(step for head in heads for step in head[1:])] == list(series.steps())
    held = [line.split()[1:] for line in lines if line.startswith("one-that-holds")]
    assert held == [["ok", *["."] * (len(head) - 1)] for head in heads]
    assert "a-scenario-with-a-name-of-some-length:" in text.split("what turns where:")[1]


def test_only_the_base() -> None:
    series = replace(TOY, patches=PATCHES[:1])
    text = printed.checked(series, cells(series, "toy-locks", iter([""])))
    assert "          base\ntoy-locks ok\n" in text


def test_what_is_not_decided_turns_nothing() -> None:
    series = long_series(5)
    found = cells(series, "toy-locks", iter(["", "?", None, "no-deadlock", "?", "no-deadlock"]))
    (turn,) = turns(series, found)
    assert (turn.patch.number, turn.undecided) == ("03", ("01", "02"))
    text = printed.checked(series, found)
    assert "toy-locks ok   ?  ... dead ?  dead\n" in text
    assert "   toy-locks: holds -> violated no-deadlock (undecided: 01, 02)\n" in text


def test_series_are_added_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from zonedev.designs import series as module

    monkeypatch.setattr(module, "SERIES", {})
    add(TOY)
    assert module.SERIES == {"toy-fix": TOY}


def built_in_series() -> list[Any]:
    return [pytest.param(s, id=name) for name, s in built_in.load().series.items()]


@pytest.mark.parametrize("series", built_in_series())
def test_every_series_is_whole(series: Series) -> None:
    known = built_in.load()
    numbers = [p.number for p in series.patches]
    assert numbers == sorted(set(numbers))
    assert series.base_name() in known.designs
    whole = list(series.steps().values())[-1]
    assert known.designs.get(series.name, whole) is whole and "/" not in series.name
    assert all(patch.changes for patch in series.patches if patch.design)
    words = [series.title, series.source, *(w for p in series.patches for w in (p.subject, p.changes))]
    assert "".join(words).isascii()
    assert set(series.scenarios) <= set(known.scenarios)
    kept = read_goldens(series)
    assert set(kept) >= set(series.scenarios), f"run: zonedev series {series.name} --promote"
    assert all(list(steps) == list(series.steps()) for steps in kept.values())
