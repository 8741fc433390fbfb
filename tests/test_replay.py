"""Trace files and the debugger."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import toys
from test_cli import fails, inside, zonedev

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def trace(capsys: Capsys, tmp_path: Path) -> Path:
    """A counterexample in a file."""
    _, out, _ = inside(capsys, "check", "toy-unbind-vs-pin", "--design", "toy-1", "--format", "json")
    file = tmp_path / "trace.json"
    file.write_text(out)
    return file


def edited(file: Path, **changes: Any) -> str:
    """The file with some keys changed; None removes one."""
    value = json.loads(file.read_text())
    value.update(changes)
    file.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))
    return str(file)


def test_replay_breaks_the_rule_again(capsys: Capsys, trace: Path) -> None:
    code, out, _ = inside(capsys, "replay", str(trace))
    assert code == 2
    assert "=> page-lifetime: dma_write writes page0.dirty after page0 was freed" in out
    code, out, _ = inside(capsys, "replay", str(trace), "--format", "json")
    assert code == 2
    assert json.loads(out)["trace"] == json.loads(trace.read_text())["trace"]


def test_replay_of_a_list_and_of_a_deadlock(capsys: Capsys, tmp_path: Path) -> None:
    _, out, _ = inside(
        capsys,
        "check",
        "toy-locks",
        "toy-unbind-vs-pin",
        "--design",
        "toy-1",
        "--design",
        "toy-2",
        "--format",
        "json",
    )
    file = tmp_path / "list.json"
    file.write_text(out)
    code, out, _ = inside(capsys, "replay", str(file))
    assert code == 2
    assert "violated: no-deadlock" in out and "violated: page-lifetime" in out


def test_every_truncation_gets_one_line(capsys: Capsys, trace: Path) -> None:
    text = trace.read_text()
    for length in range(0, len(text.rstrip()) - 1, 97):
        trace.write_text(text[:length])
        assert "cut off" in fails(capsys, "replay", str(trace))


def test_a_trace_that_lacks_steps(capsys: Capsys, trace: Path) -> None:
    steps = json.loads(trace.read_text())["trace"]
    assert "it has 5 steps of 11" in fails(capsys, "replay", edited(trace, trace=steps[:5]))
    assert "step 1 of the trace is missing" in fails(capsys, "replay", edited(trace, trace=steps[1:]))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"schema_version": 99}, "schema_version is 99, this zonedev reads 1"),
    ({"schema_version": None}, "schema_version is None"),
    ({"scenario": "toy-unbind-vs-pn"}, "no scenario 'toy-unbind-vs-pn': did you mean toy-unbind-vs-pin?"),
    ({"design": "toy-9"}, "no design 'toy-9'"),
    ({"scope": None}, "scope is missing"),
    ({"scope": {"pages": 3}}, "toy-unbind-vs-pin has no scope 'pages'"),
    ({"verdict": "holds"}, "no counterexample in it"),
    ({"trace": "x"}, "trace is missing or not as zonedev writes it"),
    ({"design": "toy-2"}, "the specification has changed since"),
]


@pytest.mark.parametrize(("changes", "text"), BAD, ids=[text[:30] for _, text in BAD])
def test_bad_traces(capsys: Capsys, trace: Path, changes: dict[str, Any], text: str) -> None:
    assert text in fails(capsys, "replay", edited(trace, **changes))


def test_not_a_trace(capsys: Capsys, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    for content, text in (
        ("[1]", "not a verdict"),
        ("{} x", "x.json:1: not JSON"),
        ("[]", "no counterexample"),
    ):
        file.write_text(content)
        assert text in fails(capsys, "replay", str(file))
    file.write_bytes(b"\xff\xfe")
    assert "not a text file" in fails(capsys, "replay", str(file))


def test_a_step_of_nobody(capsys: Capsys, trace: Path) -> None:
    steps = json.loads(trace.read_text())["trace"]
    steps[3]["task"] = "Z"
    assert "step 4 of the trace: toy-unbind-vs-pin has no task Z" in fails(
        capsys, "replay", edited(trace, trace=steps)
    )


def test_pdb_stops_at_each_step(trace: Path) -> None:
    found = zonedev("replay", str(trace), "--pdb", input="p dev\n" + "c\n" * 11)
    assert found.returncode == 2
    stops = [line for line in found.stdout.splitlines() if "--- step" in line]
    assert len(stops) == 11
    assert "--- step 5, task B" in found.stdout
    assert "pin()\n-> lock(dev.lock)\n(Pdb) dev\n" in found.stdout
    assert "runtime.py" not in found.stdout


def test_pdb_next_and_quit(trace: Path) -> None:
    found = zonedev("replay", str(trace), "--pdb", input="n\np page\nw\nq\n")
    assert (found.returncode, found.stderr) == (0, "")
    assert "-> page = dev.page" in found.stdout
    assert "-> page = t.pin(m.dev)" in found.stdout


def test_toys_are_the_catalogue() -> None:
    assert set(toys.catalogue().scenarios) >= {"toy-unbind-vs-pin", "toy-locks"}
