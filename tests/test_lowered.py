"""What is kept from one command to the next: the same system, and never another's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import toys
import zonedev
from zonedev.designs import DESIGNS
from zonedev.explore import llvmgen, lowered
from zonedev.explore.cache import Cache
from zonedev.explore.check import check, select, set_up
from zonedev.explore.python import PythonEngine
from zonedev.explore.reduce import reduced
from zonedev.kernel.memremap import Memremap
from zonedev.lang.system import System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import full_scope

SOME = [
    (name, design)
    for n, name in enumerate(sorted(SCENARIOS))
    for m, design in enumerate(sorted(SCENARIOS[name].expected))
    if (n + m) % 24 == 0
]


def fresh(name: str, design: str, scope: dict[str, Any] | None = None) -> tuple[System, frozenset[str]]:
    scenario = SCENARIOS[name]
    selection = select(scenario, RULES)
    system = set_up(scenario, DESIGNS[design], full_scope(scenario, scope or {}), selection.monitors)
    return system, selection.names


def kept(cache: Cache, name: str, design: str, scope: dict[str, Any] | None = None) -> TransitionSystem:
    return lowered.lowered(*fresh(name, design, scope), cache)


def entries(cache: Cache) -> list[Path]:
    assert cache.directory is not None
    return sorted(cache.directory.iterdir())


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    (tmp_path / "kept").mkdir()
    return Cache(tmp_path / "kept")


def same(one: TransitionSystem, other: TransitionSystem) -> None:
    assert llvmgen.generate(one) == llvmgen.generate(other)
    assert one.initial() == other.initial() and one.fails == other.fails
    assert one.freed == other.freed and one.monitors == other.monitors
    assert [t.loads for t in one.tasks] == [t.loads for t in other.tasks]
    assert [s.place for t in one.tasks for s in t.steps] == [s.place for t in other.tasks for s in t.steps]
    assert repr([t.entry for t in one.tasks]) == repr([t.entry for t in other.tasks])


@pytest.mark.parametrize(("name", "design"), SOME)
def test_what_is_kept_is_what_lowers(cache: Cache, name: str, design: str) -> None:
    first = kept(cache, name, design)
    again = kept(cache, name, design)
    assert len(entries(cache)) == 1 and first.digest == again.digest
    same(lower(*fresh(name, design)), again)


def test_a_kept_system_explores_alike(cache: Cache) -> None:
    name, design = "devdax-unbind-vs-pin", "linux-7.2"
    found = [PythonEngine(kept(cache, name, design)).explore() for _ in range(2)]
    assert found[0].states == found[1].states and found[0].path == found[1].path


def test_everything_that_matters_is_in_the_name(cache: Cache) -> None:
    name = "devdax-pinners-vs-unbind"
    kept(cache, name, "linux-5.10")
    kept(cache, name, "linux-4.12")
    kept(cache, name, "linux-5.10", {"processes": "3"})
    system, rules = fresh(name, "linux-5.10")
    lowered.lowered(system, rules - {"page-lifetime"}, cache)
    assert len(entries(cache)) == 4
    page = system.records["Page"][0]
    page._values["mapcount"] = 1
    lowered.lowered(system, rules, cache)
    assert len(entries(cache)) == 5


@pytest.mark.parametrize("what", ["scenario", "design", "patched"])
def test_foreign_code_is_lowered_each_time(cache: Cache, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "scenario":
        system = set_up(toys.ToyBig, toys.ToyNew, {}, ())
    else:

        class Mine(DESIGNS["linux-7.2"]):  # type: ignore[misc, valid-type]
            """A user's."""

        def memunmap_pages(k: Any, pgmap: Any) -> None:
            """A patched kernel function."""

        if what == "patched":
            monkeypatch.setattr(Memremap, "memunmap_pages", memunmap_pages)
        scenario = SCENARIOS["devdax-unbind-vs-pin"]
        design = DESIGNS["linux-7.2"] if what == "patched" else Mine
        system = set_up(scenario, design, full_scope(scenario, {}), ())
    assert lowered.lowered(system, frozenset(), cache).digest is None
    assert not entries(cache)


def test_damaged_entries_are_made_again(cache: Cache) -> None:
    name, design = "devdax-unbind-vs-pin", "linux-7.2"
    right = kept(cache, name, design)
    (entry,) = entries(cache)
    sound = entry.read_bytes()
    for damaged in (b"", sound[:-1], sound[:100] + b"x" + sound[101:], b"\0" * len(sound)):
        entry.write_bytes(damaged)
        same(right, kept(cache, name, design))
        assert entry.read_bytes() == sound
    assert right.digest is not None
    cache.write(right.digest, b"no pickle, with a sound checksum")
    same(right, kept(cache, name, design))


def test_a_cache_that_cannot_be_written_is_read(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write("0a", b"kept")

    def refuse(*_: Any) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("os.utime", refuse)
    assert cache.read("0a") == b"kept"


def test_the_name_does_not_depend_on_the_process(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed, "XDG_CACHE_HOME": str(tmp_path)}
        command = ["-m", "zonedev", "check", "devdax-unbind-vs-pin", "--design", "linux-7.2"]
        subprocess.run([sys.executable, *command], env=env, capture_output=True, check=False)
        assert len(list((tmp_path / "zonedev" / "kept").iterdir())) == 1


def test_the_oldest_entries_go_first(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zonedev.explore.cache.MOST", 250)
    for n, name in enumerate(("0a", "0b", "0c", "0d")):
        cache.write(name, b"x" * 50)
        os.utime(cache.directory / f"{name}.kept", (n, n))  # type: ignore[operator]
    assert [p.stem for p in entries(cache)] == ["0b", "0c", "0d"]
    cache.read("0b")
    cache.write("0e", b"x" * 50)
    assert [p.stem for p in entries(cache)] == ["0b", "0d", "0e"]
    cache.write("1f", b"x" * 50)
    assert len(entries(cache)) == 4


def test_a_large_space_begins_compiled_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("zonedev.explore.runner.SMALL", 1000)
    scenario, design = SCENARIOS["devdax-pinners-vs-unbind"], DESIGNS["linux-4.12"]
    first = check(scenario, design)
    monkeypatch.setattr("zonedev.explore.runner.Runner.python", None)
    again = check(scenario, design)
    assert first.engine == again.engine == "native"
    assert (first.verdict, first.states) == (again.verdict, again.states)


def test_a_reduced_system_is_kept(cache: Cache) -> None:
    ts = kept(cache, "devdax-pinners-vs-unbind", "linux-5.10")
    first = reduced(ts, ["merge"], cache)
    again = reduced(kept(cache, "devdax-pinners-vs-unbind", "linux-5.10"), ["merge"], cache)
    assert len(entries(cache)) == 2 and first.ts.digest == again.ts.digest != ts.digest
    assert (first.names, first.within) == (again.names, again.within) == (("merge",), first.within)
    same(first.ts, again.ts)
    assert len({ts.digest, reduced(ts, ["merge", "por"], cache).ts.digest, first.ts.digest}) == 3


def test_the_same_program_in_another_place_has_its_own(tmp_path: Path) -> None:
    """Steps name the files of their source, which a replay compares with where it stands."""
    root = Path(zonedev.__file__).parent
    code = "import sys; from zonedev.cli import main; sys.exit(main(sys.argv[1:]))"
    asked = ["check", "devdax-unbind-vs-pin", "--design", "linux-6.15"]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    said = []
    for place in ("here", "there"):
        shutil.copytree(root, tmp_path / place / "zonedev", ignore=shutil.ignore_patterns("__pycache__"))
        env["PYTHONPATH"] = str(tmp_path / place)
        done = subprocess.run([sys.executable, "-c", code, *asked], env=env, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1]
