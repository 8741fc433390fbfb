"""The published JSON schemas, held against what the commands really print."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import test_series
import toys
from recorded import RECORDINGS, Recording, told
from zonedev import cli, schema
from zonedev.catalogue import Catalogue
from zonedev.explore.check import Verdict
from zonedev.explore.vacuity import Vacuity
from zonedev.lab.compare import NOT_RUN, Conformance
from zonedev.lab.selftest import CaseResult
from zonedev.lab.test_hmm import Compared, SuiteRun
from zonedev.report import conformance, suite
from zonedev.report.json import render

#: Keys that may be missing.
OPTIONAL = {"quiet", "reductions", "observed", "vacuity", "violations", "untested", "alone", "unfinished"}
#: Objects whose keys are names that a user or a scenario has given.
FREE = {"scope", "means", "observed"}


@cache
def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(schema.load(name))


def is_valid(name: str, value: Any) -> bool:
    return bool(validator(name).is_valid(value))


def toy_catalogue() -> Catalogue:
    """Toys of every kind, and a series."""
    found = toys.with_endless()
    return Catalogue(found.designs, found.rules, found.scenarios, found.operations, series=test_series.SERIES)


CHECK = ("check", "--format", "json")
COMMANDS = {
    "check violated": (*CHECK, "toy-unbind-vs-pin", "--design", "toy-1"),
    "check loop": (*CHECK, "toy-back-off"),
    "check holds": (*CHECK, "toy-locks", "--design", "toy-2"),
    "check reduced": (*CHECK, "toy-locks", "--design", "toy-2", "--reduce", "merge"),
    "check undetermined": (*CHECK, "toy-endless", "--max-states", "100"),
    "check all": (*CHECK, "toy-unbind-vs-pin", "--design", "toy-1", "--all-violations"),
    "check several": (*CHECK, "toy-unbind-vs-pin", "--design", "toy-1", "--design", "toy-2"),
    "matrix": ("matrix", "toy-unbind-vs-pin", "toy-locks", "--jobs", "1", "--format", "json"),
    "run": ("run", "toy-unbind-vs-pin", "--design", "toy-1", "--format", "json"),
    "series all": ("series", "--format", "json"),
    "series one": ("series", "toy-fix", "--format", "json"),
    "series checked": ("series", "toy-fix", "--check", "--jobs", "1", "--format", "json"),
}  # fmt: skip


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(kind: str) -> Any:
        cli.main(COMMANDS[kind], load=toy_catalogue)
        return json.loads(capsys.readouterr().out)

    return call


@pytest.mark.parametrize("name", schema.names())
def test_they_are_schemas(name: str) -> None:
    found = schema.load(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema.referred(found) == set(found["$defs"])


@pytest.mark.parametrize("kind", COMMANDS)
def test_what_is_printed(kind: str, printed: Any) -> None:
    name, value = kind.partition(" ")[0], printed(kind)
    validator(name).validate(value)
    broken(name, value)


def test_the_kinds_are_what_they_are_called(printed: Any) -> None:
    """So that each branch of the schemas has met a real output."""
    assert printed("check loop")["loop"] and printed("check violated")["trace"]
    assert printed("check holds")["verdict"] == "holds" and printed("check reduced")["reductions"]
    assert printed("check undetermined")["stopped"] and printed("check all")["violations"]
    assert len(printed("check several")) == 2 and printed("series checked")["turns"]


def test_what_a_check_that_holds_adds() -> None:
    unseen = Vacuity(untested=("no-deadlock",), alone=("A",), unfinished=(("B", "t.unbind(m.dax)"),))
    found = Verdict("s", "d", {"pages": 1, "size": "pte"}, "holds", observed={"pte": 1}, vacuity=unseen)
    value = json.loads(render([found]))
    validator("check").validate(value)
    broken("check", value)
    assert not is_valid("check", {**value, "vacuity": {}}), "it is there where there is something to say"


RECORDED = ["devdax-unbind-vs-pin-5.10", "evict-vs-pin-7.2-xfs"]


@pytest.mark.parametrize("name", RECORDED)
def test_what_conform_prints(name: str) -> None:
    assert (RECORDINGS / f"{name}.json").is_file()
    found = [told(Recording.load(name), design) for design in (None, "linux-4.12")]
    found.append(Conformance("s", "7.2", "7.2", "linux-7.2", verdict=NOT_RUN, why="there is no QEMU"))
    value = json.loads(conformance.rendered(found, "json"))
    validator("conform").validate(value)
    broken("conform", value)


def test_what_a_suite_prints() -> None:
    cases = [Compared(CaseResult("hmm.hmm_device_private.migrate", "pass"), a) for a in ("pass", None)]
    value = json.loads(suite.rendered([SuiteRun("7.2", "7.2.3-1", "linux-7.2", cases)], "json"))
    validator("conform").validate(value)
    broken("conform", value)


def broken(name: str, value: Any) -> None:
    """Each of the changes makes it invalid."""
    value = shortened(value)
    validator(name).validate(value)
    for what, changed in mutants(value):
        assert not is_valid(name, changed), f"{name} takes a value with {what}"


def shortened(value: Any) -> Any:
    """The first three of each list."""
    if isinstance(value, list):
        return [shortened(v) for v in value[:3]]
    return {k: shortened(v) for k, v in value.items()} if isinstance(value, dict) else value


def mutants(whole: Any) -> Iterator[tuple[str, Any]]:
    """The value without one of its keys, with one that no one knows, and with one of another type."""
    for path in places(whole):
        at = find(whole, path)
        if not isinstance(at, dict) or (path and path[-1] in FREE) or (path == ("calls",)):
            continue
        yield f"a key too many at {path}", edited(whole, path, lambda o: o.update(bogus=1))
        for key in at:
            if key not in OPTIONAL:
                yield f"no {key} at {path}", edited(whole, path, lambda o, k=key: o.pop(k))
            yield (
                f"another type of {key} at {path}",
                edited(whole, path, lambda o, k=key: o.update({k: {"no": ["such thing"]}})),
            )


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all parts of a value."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


def find(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def edited(whole: Any, path: tuple[Any, ...], edit: Any) -> Any:
    copied = copy.deepcopy(whole)
    edit(find(copied, path))
    return copied


def test_a_verdict_and_what_goes_with_it(printed: Any) -> None:
    violated, holds = printed("check violated"), printed("check holds")
    assert not is_valid("check", {**violated, "verdict": "holds"})
    assert not is_valid("check", {**holds, "verdict": "violated"})
    assert not is_valid("check", {**holds, "verdict": "perhaps"})
    assert not is_valid("check", {**holds, "verdict": "undetermined"})
    assert not is_valid("check", {**violated, "rule": None})
    assert not is_valid("check", {**violated, "schema_version": 2})
    assert not is_valid("check", [violated])
    assert is_valid("check", [violated, holds])


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == [
        "check", "conform", "matrix", "run", "series",
    ]  # fmt: skip
    assert cli.main(["schema", "run"]) == 0
    assert json.loads(capsys.readouterr().out) == schema.load("run")
    assert cli.main(["schema", "rnu"]) == 1
    assert capsys.readouterr().err == "zonedev: error: no schema 'rnu': did you mean run?\n"
    assert cli.main(["schema", "parts"]) == 1
