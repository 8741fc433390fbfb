"""The command line: exit codes, streams, and one clear line for whatever is wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import toys
from conftest import ROOT, a_second, child_seconds
from zonedev import catalogue, cli
from zonedev.scenarios.base import holds

SCRIPT = str(ROOT / "tests" / "toy_cli.py")
ENV = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
ENV.pop("PYTHONDONTWRITEBYTECODE", None)  # with it every start compiles every module


def zonedev(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=ENV,
        timeout=60,
        **options,
    )


def inside(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """The same in this process, which is faster."""
    code = cli.main(args, load=toys.catalogue)
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line that wrong input gets."""
    code, out, err = inside(capsys, *args)
    assert (code, out) == (1, "")
    assert err.startswith("zonedev: error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("zonedev: error: ").rstrip("\n")


def test_violated_exits_2_and_uses_stdout_only() -> None:
    found = zonedev("check", "toy-unbind-vs-pin", "--design", "toy-1")
    assert (found.returncode, found.stderr) == (2, "")
    assert "violated: page-lifetime" in found.stdout


def test_cold_start_is_fast() -> None:
    zonedev("check", "toy-unbind-vs-pin", "--design", "toy-1")  # writes the byte code
    begun = child_seconds()
    zonedev("check", "toy-unbind-vs-pin", "--design", "toy-1")
    assert child_seconds() - begun < a_second()


def test_light_imports() -> None:
    heavy = ["llvmlite", "numpy", "rich", "jinja2"]
    code = f"import sys, zonedev.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENV)
    assert found.stdout == "[]\n"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["check", "toy-unbind-vs-pin", "--design", "toy-2"], 0),
        (["check", "toy-unbind-vs-pin"], 0),  # the newest design
        (["check", "toy-unbind-vs-pin", "toy-locks", "--design", "toy-2", "--design", "toy-1"], 2),
        (["check", "toy-big", "--max-states", "3000"], 3),
        (["check", "toy-big", "toy-locks", "--design", "toy-1", "--max-states", "3000"], 2),
        (["run", "toy-unbind-vs-pin", "--design", "toy-1"], 0),
        (["designs"], 0),
        (["rules"], 0),
        (["scenarios"], 0),
        (["cost"], 0),
        (["diff", "toy-1", "toy-2"], 0),
    ],
)
def test_exit_codes(capsys: pytest.CaptureFixture[str], args: list[str], code: int) -> None:
    found, out, _ = inside(capsys, *args)
    assert found == code
    assert out.isascii()
    assert all(len(line) <= 80 for line in out.splitlines())


def test_output_is_the_same_every_time() -> None:
    args = ("check", "toy-unbind-vs-pin", "toy-locks", "toy-big", "--design", "toy-1", "--design", "toy-2")
    one, two = (zonedev(*args) for _ in range(2))
    assert one.stdout == two.stdout


BAD = [
    (["chek"], "no command 'chek': did you mean check?"),
    (["check", "toy-unbind-vs-pn"], "no scenario 'toy-unbind-vs-pn': did you mean toy-unbind-vs-pin?"),
    (["check", "toy-big", "--design", "toy-3"], "no design 'toy-3': did you mean toy-2 or toy-1?"),
    (["check", "toy-big", "--rule", "page-lifetme"], "no rule 'page-lifetme': did you mean page-lifetime?"),
    (["check", "toy-big", "--design", "none.py:A"], "none.py: no such file"),
    (["check", "toy-big", "--design", "some.py"], "design some.py: name the class too: some.py:CLASS"),
    (["check", "toy-locks", "--scope", "pages=9"], "scope pages=9: give a number in 2..3"),
    (["check", "toy-locks", "--scope", "pages=x"], "scope pages=x: give a number in 2..3"),
    (["check", "toy-locks", "--scope", "pages"], "--scope pages: write NAME=NUMBER, such as pages=2"),
    (["check", "toy-locks", "--scope", "pages=2,pages=3"], "--scope pages=3: pages is given twice"),
    (["check", "toy-locks", "--scope", "tasks=2"], "toy-locks has no scope 'tasks': it has pages"),
    (["check", "toy-big", "--max-states", "0"], "argument --max-states: '0' is not a number above 0"),
    (["check", "toy-big", "--max-seconds", "-1"], "argument --max-seconds"),
    (["check", "toy-big", "--max-memory", "3X"], "'3X' is not a size such as 500M or 4G"),
    (["check", "toy-big", "--engine", "fast"], "argument --engine: invalid choice"),
    (["check", "toy-big", "--format", "yaml"], "argument --format: invalid choice"),
    (["check"], "the following arguments are required: SCENARIO"),
    ([], "the following arguments are required: COMMAND"),
    (["run", "toy-big"], "the following arguments are required: --design"),
    (["check", "toy-overflow"], "spin: page0._refcount would become 4, outside its range 0..3"),
    (["replay", "none.json"], "none.json: No such file or directory"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=[" ".join(a) or "nothing" for a, _ in BAD])
def test_bad_input(capsys: pytest.CaptureFixture[str], args: list[str], text: str) -> None:
    assert text in fails(capsys, *args)


FILES = {
    "syntax.py": ("class A(:\n", "syntax.py:1: syntax error: "),
    "raises.py": ("x = 1\ny = x.z\n", "raises.py:2: AttributeError: "),
    "missing.py": ("class Other:\n    pass\n", "missing.py:1: no class 'A': there is Other"),
    "alien.py": (
        "\nclass A:\n    pass\n",
        "alien.py:2: class A does not derive from a design: derive it from one",
    ),
    "value.py": ("A = 3\n", "value.py:1: A is not a class"),
    "construct.py": (
        "from toys import ToyNew\nclass A(ToyNew):\n    def drain(k, dev):\n        try:\n            pass\n"
        "        finally:\n            pass\n",
        "construct.py:4: try is not in the language",
    ),
    "two_places.py": (
        "from toys import ToyNew\nclass A(ToyNew):\n    def dma_write(k, page):\n"
        "        page.dirty = page.lock.held\n",
        "two_places.py:4: dma_write: the statement touches two shared places",
    ),
    "increment.py": (
        "from toys import ToyNew\nclass A(ToyNew):\n    def dma_write(k, page):\n"
        "        page._refcount.value += 1\n",
        "increment.py:4: += is a read and a write of page._refcount.value",
    ),
    "name.py": (
        "from toys import ToyNew\nclass A(ToyNew):\n    def dma_write(k, page):\n        page.dirty = wet\n",
        "name.py:4: the name wet is not defined",
    ),
    "overflow.py": (
        "from toys import ToyNew\nfrom zonedev.lang.primitives import atomic_add\nclass A(ToyNew):\n"
        "    def dma_write(k, page):\n        atomic_add(page._refcount, 3)\n",
        "overflow.py:5: dma_write: page0._refcount would become 5, outside its range 0..3",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_bad_design_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str) -> None:
    source, text = FILES[name]
    file = tmp_path / name
    file.write_text(source)
    assert text in fails(capsys, "check", "toy-unbind-vs-pin", "--design", f"{file}:A")


def test_a_design_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from toys import ToyNew\nclass Mine(ToyNew):\n    def drain(k, dev):\n        pass\n")
    code, out, _ = inside(
        capsys, "check", "toy-unbind-vs-pin", "--design", f"{file}:Mine", "--format", "json"
    )
    assert code == 2
    assert json.loads(out)["design"] == f"{file}:Mine"


def test_an_error_ends_its_own_check_only(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = inside(capsys, "check", "toy-overflow", "toy-locks", "--design", "toy-1")
    assert code == 1
    assert "violated: no-deadlock" in out
    assert err.count("\n") == 1


def test_internal_errors_say_how_to_get_the_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("oh")

    monkeypatch.delenv("ZONEDEV_TRACEBACK", raising=False)
    code = cli.main(["designs"], load=broken)
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert (
        err
        == "zonedev: error: internal error: RuntimeError: oh (set ZONEDEV_TRACEBACK=1 for the traceback)\n"
    )


def test_help_exits_0() -> None:
    found = zonedev("check", "--help")
    assert found.returncode == 0 and "--max-states" in found.stdout


def test_interrupt_prints_what_is_known() -> None:
    process = subprocess.Popen(
        [sys.executable, SCRIPT, "check", "toy-endless"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=ENV,
        # ignored by what a shell runs in the background, and by its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    line = process.stderr.readline()  # the first line of progress comes after a second
    assert re.match(
        r"toy-endless, toy-2: [\d.]+[kM]? states, [\d.]+[kM]? states/s, depth \d+, frontier ", line
    )
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert "undetermined: stopped by interrupted" not in out
    assert "undetermined: interrupted, complete to depth" in out
    assert "Traceback" not in err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "check", "toy-unbind-vs-pin", "--design", "toy-1", "--format", "json")
    found = json.loads(out)
    assert code == 2
    assert found["schema_version"] == 1
    wanted = (
        "scenario design scope verdict rule objects states transitions depth engine workers seconds trace"
    )
    assert set(wanted.split()) <= set(found)
    assert set(found["trace"][0]) >= {"n", "task", "function", "source", "text", "changes"}
    assert found["trace"][2]["changes"] == [{"where": "page0._refcount", "old": "1", "new": "2"}]
    _, out, _ = inside(capsys, "check", "toy-unbind-vs-pin", "toy-locks", "--format", "json")
    assert [v["scenario"] for v in json.loads(out)] == ["toy-unbind-vs-pin", "toy-locks"]


def test_ktap(capsys: pytest.CaptureFixture[str]) -> None:
    args = ["check", "toy-big", "toy-locks", "--design", "toy-1", "--design", "toy-2", "--max-states", "3000"]
    _, out, _ = inside(capsys, *args, "--format", "ktap")
    lines = [line for line in out.splitlines() if not line.startswith("#")]
    assert lines == [
        "KTAP version 1",
        "1..4",
        "not ok 1 toy-big.toy-1 # SKIP undetermined: --max-states 3000",
        "not ok 2 toy-big.toy-2 # SKIP undetermined: --max-states 3000",
        "not ok 3 toy-locks.toy-1",
        "ok 4 toy-locks.toy-2",
    ]


def test_junit(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = inside(
        capsys, "check", "toy-locks", "--design", "toy-1", "--design", "toy-2", "--format", "junit"
    )
    suite = ElementTree.fromstring(out)
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite.find("testcase/failure")
    assert failure is not None and failure.get("type") == "no-deadlock"


def test_lists_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("designs", "scenarios", "rules"):
        code, out, _ = inside(capsys, name, "--format", "json")
        assert code == 0
        assert json.loads(out)[name]


@pytest.fixture
def goldens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The toys' goldens, in a directory of their own."""
    for scenario in toys.catalogue().scenarios.values():
        file = tmp_path / f"{scenario.name()}.json"
        monkeypatch.setattr(scenario, "golden_file", classmethod(lambda cls, f=file: f))
    return tmp_path


def test_matrix(capsys: pytest.CaptureFixture[str], goldens: Path) -> None:
    code, out, _ = inside(capsys, "matrix", "toy-unbind-vs-pin", "toy-locks")
    assert code == 0
    assert "toy-unbind-vs-pin life  ok" in out
    assert "4 checks, all as expected" in out


def test_matrix_promotes_and_compares(capsys: pytest.CaptureFixture[str], goldens: Path) -> None:
    code, _, err = inside(capsys, "matrix", "toy-locks", "toy-unbind-vs-pin", "--promote")
    assert code == 0 and err.count("wrote ") == 2
    file = goldens / "toy-locks.json"
    kept = json.loads(file.read_text())
    assert kept["toy-2"] == {"verdict": "holds", "rule": None, "states": 16, "transitions": 16, "depth": 8}
    assert inside(capsys, "matrix", "toy-locks")[0] == 0
    kept["toy-2"]["states"] = 17
    file.write_text(json.dumps(kept))
    code, out, _ = inside(capsys, "matrix", "toy-locks")
    assert code == 2
    assert "toy-locks, toy-2: golden states 17, found 16" in out
    code, out, _ = inside(capsys, "matrix", "toy-locks", "--format", "json")
    assert code == 2
    assert [c["differs"] for c in json.loads(out)["cells"]] == [[], ["golden states 17, found 16"]]


def test_matrix_against_a_wrong_expectation(
    capsys: pytest.CaptureFixture[str], goldens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys.ToyLocks, "expected", {"toy-1": holds()})
    code, out, _ = inside(capsys, "matrix", "toy-locks")
    assert code == 2
    assert "expected holds, found violated no-deadlock" in " ".join(out.split())


def test_matrix_with_a_broken_golden(capsys: pytest.CaptureFixture[str], goldens: Path) -> None:
    (goldens / "toy-locks.json").write_text("{")
    assert "toy-locks.json: not a golden file" in fails(capsys, "matrix", "toy-locks")


def test_goldens_of_several_scenarios_in_one_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "all.json"
    for scenario in toys.catalogue().scenarios.values():
        monkeypatch.setattr(scenario, "golden_file", classmethod(lambda cls: file))
    assert inside(capsys, "matrix", "toy-locks", "--promote")[0] == 0
    assert inside(capsys, "matrix", "toy-unbind-vs-pin", "--promote")[0] == 0
    assert set(json.loads(file.read_text())) == {"toy-locks", "toy-unbind-vs-pin"}
    assert inside(capsys, "matrix", "toy-locks", "toy-unbind-vs-pin")[0] == 0


def test_diff(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "diff", "toy-1", "toy-2")
    assert code == 0
    assert "2 functions differ" in out
    assert re.search(r"toy-1  tests/toys.py:\d+: There is no waiting yet.", out)
    assert "toy-locks\n  toy-1  violated: no-deadlock\n  toy-2  holds" in out
    _, out, _ = inside(capsys, "diff", "toy-1", "toy-2", "--format", "json")
    assert [f["name"] for f in json.loads(out)["functions"]] == ["drain", "lock_both_other"]


def test_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "cost", "--format", "json")
    costs = {(c["operation"], c["design"]): (c["steps"], c["atomics"]) for c in json.loads(out)["costs"]}
    assert code == 0
    assert costs["get_page", "toy-1"] == (1, 1)
    assert costs["read_count", "toy-1"] == (1, 0)


def test_run_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(
        capsys, "run", "toy-unbind-vs-pin", "--design", "toy-1", "--seed", "7", "--format", "json"
    )
    found = json.loads(out)
    assert code in (0, 2)
    assert found["seed"] == 7 and found["trace"]


def test_run_finds_what_breaks_on_some_seed(capsys: pytest.CaptureFixture[str]) -> None:
    codes = {
        inside(capsys, "run", "toy-unbind-vs-pin", "--design", "toy-1", "--seed", str(seed))[0]
        for seed in range(60)
    }
    assert codes == {0, 2}


def test_a_file_imports_its_neighbour(tmp_path: Path) -> None:
    """As a script can; what lies beside it is found, and only while it is loaded."""
    (tmp_path / "patch_base.py").write_text(
        "from zonedev.designs.linux_7_2 import Linux72\n\n\nclass Base(Linux72):\n    '''Nothing.'''\n"
    )
    (tmp_path / "patch_top.py").write_text(
        "from patch_base import Base\n\n\nclass Top(Base):\n    '''Nothing.'''\n"
    )
    assert catalogue.load().design(f"{tmp_path}/patch_top.py:Top").__name__ == "Top"
    assert str(tmp_path) not in sys.path


def test_a_check_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    args = ["check", "toy-big", "--design", "toy-1", "--engine", "native"]
    keep = ["--checkpoint", str(tmp_path / "c")]
    wanted = zonedev(*args)
    stopped = zonedev(*args, *keep, "--max-states", "500")
    assert stopped.returncode == 3 and "undetermined" in stopped.stdout
    again = zonedev(*args, *keep)
    assert again.returncode == 1 and "add --resume" in again.stderr
    resumed = zonedev(*args, *keep, "--resume")
    assert (resumed.returncode, resumed.stdout) == (wanted.returncode, wanted.stdout)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--resume"], "say with --checkpoint DIR"),
        (["--checkpoint", "{}", "--engine", "python"], "leave --engine python out"),
        (["--checkpoint", "{}", "--design", "toy-2"], "one scenario and one design"),
    ],
)
def test_checkpoints_that_cannot_be(more: list[str], text: str, tmp_path: Path) -> None:
    found = zonedev("check", "toy-big", "--design", "toy-1", *(m.format(tmp_path) for m in more))
    assert found.returncode == 1 and text in found.stderr


def test_a_diff_of_chosen_scenarios(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = inside(capsys, "diff", "toy-1", "toy-2", "toy-unbind-vs-pin", "toy-unbind-vs-pin")
    assert code == 0 and "1 verdict differs of 1\n" in out
    code, _, err = inside(capsys, "diff", "toy-1")
    assert code == 1 and "required: DESIGN (see" in err
    code, _, err = inside(capsys, "diff", "toy-1", "toy-2", "toy-lock")
    assert code == 1 and "did you mean toy-locks?" in err
