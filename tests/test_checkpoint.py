"""A search that is killed at any moment goes on where it was, to the same answer."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from test_native import ab, ba, busy, over, spins, system, timeless
from zonedev.explore import native_checkpoint
from zonedev.explore.native import NativeEngine
from zonedev.explore.native_checkpoint import Checkpoint
from zonedev.explore.result import Limits, Question
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem

SYSTEMS: dict[str, tuple[Callable[[Any], None], ...]] = {
    "holds": (busy, busy),
    "deadlock": (busy, ab, ba),
    "rule": (busy, over, over),
    "no-finish": (busy, spins),
}


def made(name: str) -> TransitionSystem:
    return system(*SYSTEMS[name])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", SYSTEMS)
def test_from_any_point_on(name: str, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop after every so many states, and go on."""
    monkeypatch.setattr("zonedev.explore.native_search.CHUNK", 16)
    monkeypatch.setattr("zonedev.explore.native_search.ALONE", 1)
    wanted = timeless(NativeEngine(made(name), workers).explore())
    found, states, stops = None, 0, 0
    while found is None or found.stopped is not None:
        states += 1 + states // 4
        checkpoint = Checkpoint(tmp_path, resume=True)
        found = NativeEngine(made(name), workers).explore(limits=Limits(states), checkpoint=checkpoint)
        stops += found.stopped is not None
    assert timeless(found) == wanted
    assert stops > 4
    again = Checkpoint(tmp_path, resume=True)  # of a search that is over
    assert timeless(NativeEngine(made(name), workers).explore(checkpoint=again)) == wanted


def test_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken between any two rounds is enough."""
    monkeypatch.setattr("zonedev.explore.native_search.CHUNK", 16)
    monkeypatch.setattr(native_checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(native_checkpoint, "SHARE", 0)
    kept: list[bytes] = []
    save = Checkpoint.save

    def keep(checkpoint: Checkpoint, search: Any) -> None:
        save(checkpoint, search)
        kept.append(checkpoint.file.read_bytes())

    monkeypatch.setattr(Checkpoint, "save", keep)
    wanted = timeless(NativeEngine(made("holds")).explore(checkpoint=Checkpoint(tmp_path, resume=False)))
    monkeypatch.setattr(Checkpoint, "save", save)
    assert len(kept) > 50
    for n, data in enumerate(kept[:: len(kept) // 12]):
        place = tmp_path / str(n)
        place.mkdir()
        (place / "search").write_bytes(data)
        assert (
            timeless(NativeEngine(made("holds")).explore(checkpoint=Checkpoint(place, resume=True))) == wanted
        )


def test_what_is_refused(tmp_path: Path) -> None:
    NativeEngine(made("holds")).explore(checkpoint=Checkpoint(tmp_path, resume=False))
    with pytest.raises(ZonedevError, match="add --resume"):
        Checkpoint(tmp_path, resume=False)
    for workers, name, question, text in (
        (2, "holds", Question(), "--workers 1"),
        (1, "deadlock", Question(), "another check"),
        (1, "holds", Question(finish=False), "another check"),
    ):
        with pytest.raises(ZonedevError, match=text):
            NativeEngine(made(name), workers).explore(question, checkpoint=Checkpoint(tmp_path, resume=True))
    sound = (tmp_path / "search").read_bytes()
    for damaged in (b"", sound[:-1], sound[:100] + b"x" + sound[101:], sound[:-9] + b"x" + sound[-8:]):
        (tmp_path / "search").write_bytes(damaged)
        with pytest.raises(ZonedevError, match="damaged"):
            NativeEngine(made("holds")).explore(checkpoint=Checkpoint(tmp_path, resume=True))
    with pytest.raises(ZonedevError, match="name a directory"):
        Checkpoint(tmp_path / "search", resume=False)


CHILD = """
import sys
from pathlib import Path
from zonedev.explore import native_checkpoint, native_search
native_checkpoint.EVERY = native_checkpoint.SHARE = 0
native_search.CHUNK = 512
from zonedev.explore.native import NativeEngine
from test_native import busy, system, timeless
engine = NativeEngine(system(busy, busy, busy), 2)
print("ready", flush=True)
found = engine.explore(checkpoint=native_checkpoint.Checkpoint(Path(sys.argv[1]), resume=True))
print(timeless(found))
"""


def test_killed_ten_times(tmp_path: Path) -> None:
    """kill -9 at random moments, also while a checkpoint is written."""
    moments = random.Random(0)
    wanted = repr(timeless(NativeEngine(system(busy, busy, busy), 2).explore()))
    kills = 0
    while True:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        if kills < 10:
            time.sleep(moments.uniform(0.0, 0.3))
            child.kill()
            kills += child.wait() == -9
        rest = child.stdout.read()
        if child.wait() == 0:
            assert rest == wanted + "\n"
            break
    assert kills > 3


LARGE = """
import sys
from zonedev import cli
from zonedev.explore import native_checkpoint
native_checkpoint.EVERY = native_checkpoint.SHARE = 1
raise SystemExit(cli.main(sys.argv[1:]))
"""


def test_a_large_check_killed_ten_times(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """zonedev itself, with 14 million states: what it prints is the same, byte for byte."""
    if not pytestconfig.getoption("--whole"):
        pytest.skip("a check of 14,144,265 states, which takes minutes: with --whole")
    moments = random.Random(0)
    command = [sys.executable, "-c", LARGE, "check", "devdax-pinners-vs-unbind", "--design", "linux-4.5"]
    command += ["--scope", "processes=4", "--resume", "--checkpoint"]
    wanted = subprocess.run([*command, tmp_path / "one"], capture_output=True, check=True).stdout
    assert b"(14144265 states" in wanted.replace(b"\n    ", b" ")
    kept: list[int] = []  # the sizes of the checkpoint when the search was killed
    while len(kept) < 10:
        child = subprocess.Popen([*command, tmp_path / "other"], stdout=subprocess.PIPE)
        time.sleep(moments.uniform(1.5, 5.0))
        child.kill()
        text, _ = child.communicate()
        if child.returncode == 0:
            break
        file = tmp_path / "other" / "search"
        kept.append(file.stat().st_size if file.exists() else 0)
    else:
        text = subprocess.run([*command, tmp_path / "other"], capture_output=True, check=True).stdout
    assert text == wanted
    assert len(kept) > 4 and len(set(kept)) > 2, f"it was not killed on its way: {kept}"
