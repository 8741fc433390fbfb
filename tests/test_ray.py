"""Campaigns and searches on a Ray cluster, which is on this machine here: the same, byte for byte."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import pytest

from programs import load, source
from test_native import ab, ba, system, timeless
from zonedev import catalogue, cli
from zonedev.explore import pool as pools
from zonedev.explore.cluster import ClusterEngine
from zonedev.explore.matrix import Cell, run
from zonedev.explore.on import connect
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import DEADLOCK, Limits
from zonedev.lang.errors import SpecError, ZonedevError
from zonedev.lang.transition import lower

pytestmark = pytest.mark.xdist_group("ray")  # what its fixtures make is made once

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'zonedev[ray]'")


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.delenv("RAY_ADDRESS", raising=False)
    patch.setenv("PYTHONPATH", os.pathsep.join(p for p in sys.path if p))  # for the processes
    connect("ray", cores=3)
    yield
    ray.shutdown()
    patch.undo()


def zonedev(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(args)
    said = capsys.readouterr()
    return code, said.out, said.err


# --- campaigns -------------------------------------------------------------------------------------

CELLS = ("devdax-unbind-vs-pin", "devdax-unbind-vs-munmap")


def test_matrix(capsys: pytest.CaptureFixture[str]) -> None:
    here = zonedev(capsys, "matrix", *CELLS)
    there = zonedev(capsys, "matrix", *CELLS, "--on", "ray")
    assert here[0] == 0 and there[:2] == here[:2]


def test_a_design_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is found from the directory of whoever asks."""
    design = Path("examples/final_put.py").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(design, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    cells = [Cell("devdax-unbind-vs-pin", "mine.py:FinalPut"), Cell("devdax-unbind-vs-pin", "none.py:None")]
    assert run(catalogue.load, cells, Limits(), lambda done, total: None, on="ray")
    assert cells[0].found is not None and cells[0].found.verdict == "holds"
    assert cells[1].error is not None and cells[1].error.endswith("none.py: no such file")


def test_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools.pool("ray", 2)
    assert pools.size_of(pool) == 2
    found = {pool.submit(divmod, 100, n): n for n in range(1, 9)}
    assert {found[f]: f.result() for f in as_completed(found)} == {n: divmod(100, n) for n in range(1, 9)}
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 100, 0).result()
    pool.shutdown()


# --- one search --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_random_programs(tmp_path: Path, workers: int) -> None:
    compared = 0
    for seed in range(100 * workers, 100 * workers + 20):
        try:
            ts = lower(load(source(random.Random(seed).randrange), tmp_path)())
        except SpecError:
            continue
        wanted = timeless(PythonEngine(ts).explore(limits=Limits(states=3000)))
        if wanted.stopped is None and wanted.states > 20:
            assert timeless(ClusterEngine(ts, workers, "ray").explore()) == wanted
            compared += 1
        if compared == 3:
            break
    assert compared


@pytest.mark.parametrize(
    "asked",
    [
        ("devdax-pinners-vs-unbind", "--design", "linux-5.10"),
        ("devdax-unbind-vs-pin", "--design", "linux-6.15"),
        ("truncate-vs-refault", "--design", "linux-7.2"),
    ],
)
def test_a_scenario(capsys: pytest.CaptureFixture[str], asked: tuple[str, ...]) -> None:
    """One holds, one breaks a rule, and in one somebody can wait for ever."""
    here = zonedev(capsys, "check", *asked, "--engine", "native")
    there = zonedev(capsys, "check", *asked, "--engine", "native", "--on", "ray", "--workers", "2")
    assert here[0] in (0, 2) and there[:2] == here[:2]


def test_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("check", "devdax-pinners-vs-unbind", "--engine", "native", "--on", "ray", "--workers", "2")
    code, out, _ = zonedev(capsys, *asked, "--max-memory", "1M")
    assert code == 3 and f"stopped by --max-memory {1 << 20}" in " ".join(out.split())


def test_more_workers_than_cores(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = zonedev(
        capsys, "check", CELLS[0], "--engine", "native", "--on", "ray", "--workers", "4096"
    )
    assert code == 1 and not out and err.count("\n") == 1 and "ask for no more --workers" in err


def test_a_process_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from zonedev.explore.cluster import Cluster

    def losing(self: Any) -> None:
        ray.kill(self.processes[1])
        once(self)

    once = Cluster.round
    ts = system(ab, ba)
    assert ClusterEngine(ts, 2, "ray").explore().ending == DEADLOCK
    monkeypatch.setattr(Cluster, "round", losing)
    with pytest.raises(ZonedevError, match="a process that held states was lost"):
        ClusterEngine(ts, 2, "ray").explore()


# --- where ---------------------------------------------------------------------------------------------


def test_a_cluster_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray.shutdown()
    try:
        code, out, err = zonedev(capsys, "matrix", CELLS[0], "--on", "ray=127.0.0.1:1")
    finally:
        ray.shutdown()
        connect("ray", cores=3)
    assert code == 1 and not out and err.count("\n") == 1 and "no Ray cluster answers at 127.0.0.1:1" in err
