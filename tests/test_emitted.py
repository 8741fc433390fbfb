"""check --emit-test: counterexamples as pytest files, which show a bug and then watch over its mend."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import toys
from test_report import block
from zonedev import cli
from zonedev.catalogue import Catalogue, load_module
from zonedev.explore import schedule as schedules
from zonedev.explore.schedule import Schedule
from zonedev.lang.errors import ZonedevError

BUG = """
from toys import ToyOld


class Mine(ToyOld):
    def drain(k, dev):
        pass
"""
SHIFTED = BUG.replace(
    "class Mine", '"""A page of text."""\n\n\ndef nobody_calls_this():\n    return 1\n\n\nclass Mine'
)
MENDED = BUG.replace("        pass", "        super(ToyOld, k).drain(dev)")
#: Unbind in four steps instead of six.
UNLOCKED = """
from toys import ToyOld
from zonedev.lang.runtime import free


class Mine(ToyOld):
    def unbind(k, dev):
        page = dev.page
        dev.page = None
        k.put_page(dev, page)
        free(page)
"""


class Emitted:
    """Runs checks on the toys, and the tests that they write."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = tmp_path / "test_it.py"
        # A design that is written again within a second, and is as long, would be run from its old bytecode.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.setattr(schedules, "load", toys.with_endless)

    def check(self, *args: str, load: Callable[[], Catalogue] = toys.with_endless) -> int:
        return cli.main(["check", *args, "--emit-test", str(self.file)], load=load)

    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    def tests(self, fixed: bool = False) -> dict[str, Any]:
        """The tests in the file, with the bugs said to be mended or not."""
        other = self.file.with_name("test_other.py")
        text = self.text()
        assert text.count("fixed = False") == text.count("def test_")
        other.write_text(text.replace("fixed = False", f"fixed = {fixed}"), encoding="utf-8")
        return {name: f for name, f in vars(load_module(other)).items() if name.startswith("test_")}


@pytest.fixture
def emitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Emitted:
    return Emitted(tmp_path, monkeypatch)


def test_the_file(emitted: Emitted, capsys: pytest.CaptureFixture[str]) -> None:
    assert emitted.check("toy-unbind-vs-pin", "--design", "toy-1") == 2
    assert capsys.readouterr().err.endswith(f"wrote {emitted.file}\n")
    assert (
        emitted.text().split("import Schedule\n")[1]
        == "\n\n"
        + block("""
        def test_toy_unbind_vs_pin_toy_1_page_lifetime() -> None:
            fixed = False  # set this to True when the bug is mended
            schedule = Schedule(
                scenario="toy-unbind-vs-pin",
                design="toy-1",
                scope={},
                rule="page-lifetime",
                objects="dma_write writes page0.dirty after page0 was freed",
                function="dma_write",
                steps=[
                    # A: page = t.pin(m.dev)
                    "A",  # 1 pin
                    "A",  # 2 pin
                    "A",  # 3 get_page
                    "A",  # 4 pin
                    # B: t.unbind(m.dev)
                    "B",  # 5 unbind
                    "B",  # 6 unbind
                    "B",  # 7 unbind
                    "B",  # 8 unbind
                    "B",  # 9 put_page
                    "B",  # 10 unbind
                    # A: t.dma_write(page)
                    "A",  # 11 dma_write
                ],
            )
            schedule.check(fixed)
        """)
        + "\n"
    )


@pytest.mark.parametrize(
    ("scenario", "rules"),
    [
        ("toy-unbind-vs-pin", ["page_lifetime", "page_lifetime_2"]),
        ("toy-locks", ["no_deadlock"]),
        ("toy-back-off", ["removal_terminates"]),
    ],
)
def test_every_kind(emitted: Emitted, scenario: str, rules: list[str]) -> None:
    """A step that breaks a rule, a deadlock, a livelock: shown, and not mended."""
    assert emitted.check(scenario, "--design", "toy-1", "--all-violations") == 2
    tests = emitted.tests()
    assert list(tests) == [f"test_{scenario.replace('-', '_')}_toy_1_{rule}" for rule in rules]
    for test in tests.values():
        test()
    for test in emitted.tests(fixed=True).values():
        with pytest.raises(AssertionError, match=r"under toy-1 breaks .* again: "):
            test()


def design_file(emitted: Emitted, text: str) -> str:
    file = emitted.file.with_name("mine.py")
    file.write_text(text, encoding="utf-8")
    return f"{file}:Mine"


def test_a_design_of_the_user(emitted: Emitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test finds it from where it lies itself, whatever the working directory."""
    assert emitted.check("toy-unbind-vs-pin", "--design", design_file(emitted, BUG)) == 2
    assert 'design=str(Path(__file__).parent / "mine.py") + ":Mine",' in emitted.text()
    monkeypatch.chdir("/")
    (test,) = emitted.tests().values()
    test()
    design_file(emitted, SHIFTED)
    test()


def test_mended(emitted: Emitted) -> None:
    """The old test says so; the switched one passes, and fails again when the bug comes back."""
    emitted.check("toy-unbind-vs-pin", "--design", design_file(emitted, BUG))
    (old,), (switched,) = emitted.tests().values(), emitted.tests(fixed=True).values()
    design_file(emitted, MENDED)
    with pytest.raises(AssertionError, match=r"no longer breaks page-lifetime: .*set `fixed` to True"):
        old()
    switched()
    design_file(emitted, BUG)
    old()
    with pytest.raises(AssertionError, match="page-lifetime again: dma_write writes"):
        switched()


def test_a_mend_that_only_moves_the_bug(emitted: Emitted) -> None:
    """The schedule cannot be taken to the letter any more; as near to it as the tasks can go, the rule still
    breaks."""
    emitted.check("toy-unbind-vs-pin", "--design", design_file(emitted, BUG))
    (old,), (switched,) = emitted.tests().values(), emitted.tests(fixed=True).values()
    design_file(emitted, UNLOCKED)
    with pytest.raises(AssertionError, match="no longer breaks page-lifetime: step 9 of the trace: task B"):
        old()
    with pytest.raises(AssertionError, match="breaks page-lifetime again"):
        switched()


def test_no_deadlock_any_more(emitted: Emitted) -> None:
    both = BUG.replace(
        "def drain(k, dev):\n        pass", "def lock_both_other(k, a, b):\n        k.lock_both(b, a)"
    )
    emitted.check("toy-locks", "--design", design_file(emitted, both))
    (old,), (switched,) = emitted.tests().values(), emitted.tests(fixed=True).values()
    old()
    design_file(emitted, both.replace("lock_both(b, a)", "lock_both(a, b)"))
    switched()
    with pytest.raises(AssertionError, match="no longer breaks no-deadlock"):
        old()


def test_of_a_loop_that_ends_now(emitted: Emitted) -> None:
    """The tasks do not back off and try again, but lock in the same order."""
    here = BUG.replace("def drain(k, dev):\n        pass", "def nothing(k):\n        pass")
    emitted.check("toy-back-off", "--design", design_file(emitted, here))
    (old,), (switched,) = emitted.tests().values(), emitted.tests(fixed=True).values()
    old()
    mended = here.replace("nothing(k)", "migrate(k, a, b)")
    design_file(emitted, mended)
    switched()
    with pytest.raises(AssertionError, match="no longer breaks removal-terminates"):
        old()


def test_one_task_that_waits_for_ever(emitted: Emitted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the scenario says that its progress rule breaks then."""

    class ToyLeft(toys.ToyUnbindVsPin):
        """Nobody completes what B waits for."""

        rules = ("removal-terminates", "no-deadlock")  # type: ignore[assignment]
        alone = "removal-terminates"

    def load() -> Catalogue:
        plain = toys.catalogue()
        return Catalogue(plain.designs, plain.rules, {"toy-left": ToyLeft}, plain.operations)

    forgets = BUG.replace("ToyOld", "ToyNew").replace("def drain(k, dev)", "def put_page(k, dev, page)")
    assert emitted.check("toy-left", "--design", design_file(emitted, forgets), load=load) == 2
    assert 'rule="removal-terminates"' in emitted.text()
    monkeypatch.setattr(schedules, "load", load)
    (old,), (switched,) = emitted.tests().values(), emitted.tests(fixed=True).values()
    old()
    with pytest.raises(AssertionError, match="again: B waits in drain"):
        switched()
    design_file(emitted, forgets.replace("put_page(k, dev, page)", "nothing(k)"))
    switched()
    with pytest.raises(AssertionError, match="no longer breaks removal-terminates: it comes to its end"):
        old()


def schedule(**changes: Any) -> Schedule:
    given: dict[str, Any] = {
        "scenario": "toy-unbind-vs-pin",
        "design": "toy-1",
        "rule": "page-lifetime",
        "objects": "dma_write writes page0.dirty after page0 was freed",
        "function": "dma_write",
        "steps": ["A"] * 4 + ["B"] * 6 + ["A"],
    }
    return Schedule(**{**given, **changes})


def test_it_asserts_rule_objects_and_step() -> None:
    schedule().check(catalogue=toys.catalogue())
    for wrong in (
        {"objects": "something else"},
        {"function": "pin"},
        {"steps": ["A"] * 4 + ["B"] * 6 + ["A"] * 2},
    ):
        with pytest.raises(AssertionError, match="otherwise, in step 11"):
            schedule(**wrong).check(catalogue=toys.catalogue())
    with pytest.raises(AssertionError, match="no longer breaks refcount-exact"):
        schedule(rule="refcount-exact").check(catalogue=toys.catalogue())
    with pytest.raises(AssertionError, match="no task Z"):
        schedule(steps=["Z"]).check(catalogue=toys.catalogue())


@pytest.mark.parametrize("fixed", [False, True])
def test_what_does_not_exist(fixed: bool) -> None:
    for wrong in ({"scenario": "toy-lock"}, {"design": "toy-3"}, {"rule": "page"}, {"scope": {"pages": 9}}):
        with pytest.raises(ZonedevError):
            schedule(**wrong).check(fixed, toys.catalogue())


def test_nothing_to_write(emitted: Emitted, capsys: pytest.CaptureFixture[str]) -> None:
    assert emitted.check("toy-unbind-vs-pin", "--design", "toy-2") == 0
    assert not emitted.file.exists()
    assert capsys.readouterr().err.endswith("is not written: there is no counterexample\n")


def test_several_checks_in_one_file(emitted: Emitted) -> None:
    assert emitted.check("toy-unbind-vs-pin", "toy-locks", "--design", "toy-1", "--design", "toy-2") == 2
    assert len(emitted.tests()) == 2


def test_what_cannot_be_written(emitted: Emitted, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(file: Path) -> str:
        emitted.file = file
        assert emitted.check("toy-locks", "--design", "toy-1") == 1
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    there = emitted.file
    there.write_text("# mine\n", encoding="utf-8")
    assert "it exists already: remove it, or choose another name" in refused(there)
    assert there.read_text(encoding="utf-8") == "# mine\n"
    assert "name a Python file, such as " in refused(there.with_suffix(".txt"))
    assert "there is no directory" in refused(there.parent / "none" / "test_it.py")


def test_under_pytest(tmp_path: Path) -> None:
    """As a user has it: a design in a file, and nothing but pytest and zonedev."""
    design = textwrap.dedent('''
        from zonedev.designs.linux_7_2 import Linux72


        class NoWake(Linux72):
            """The last put of an fsdax page wakes nobody."""

            def free_zone_device_folio(k, folio):
                if folio.pgmap is None:
                    return
    ''')
    (tmp_path / "no_wake.py").write_text(design, encoding="utf-8")
    (tmp_path / "tests").mkdir()
    file = tmp_path / "tests" / "test_wake.py"
    name = f"{tmp_path / 'no_wake.py'}:NoWake"
    assert cli.main(["check", "free-reads-pagemap", "--design", name, "--emit-test", str(file)]) == 2
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout
