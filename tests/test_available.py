"""How much memory a check takes, and that it stops before there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from test_native import NOTHING, busy, system, timeless
from zonedev.explore import available
from zonedev.explore.available import bounded, groups, left, meminfo, share
from zonedev.explore.native import NativeEngine
from zonedev.explore.native_store import Store
from zonedev.explore.result import Limits, Stop

MEBI = 1 << 20


def test_meminfo(tmp_path: Path) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal:  100 kB\nMemFree:  20 kB\nMemAvailable:   64 kB\n")
    assert meminfo(file) == 64 << 10
    assert meminfo(tmp_path / "none") is None


def group(place: Path, limit: str, used: int, files: int = 0) -> None:
    place.mkdir(exist_ok=True)
    (place / "memory.max").write_text(f"{limit}\n")
    (place / "memory.current").write_text(f"{used}\n")
    (place / "memory.stat").write_text(f"anon {used - files}\ninactive_file {files}\n")


def test_control_groups(tmp_path: Path) -> None:
    """The root has no such files, and the least of all limits on the way counts."""
    file = tmp_path / "cgroup"
    file.write_text("0::/outer/inner\n")
    group(tmp_path / "outer", str(50 * MEBI), 30 * MEBI, 10 * MEBI)
    group(tmp_path / "outer" / "inner", "max", 5 * MEBI)
    assert groups(file, tmp_path) == [None, 30 * MEBI, None]
    file.write_text("1:memory:/old\n")
    assert groups(file, tmp_path) == []
    group(tmp_path / "outer", str(MEBI), 2 * MEBI)
    assert left(tmp_path / "outer") == 0


def test_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(available, "meminfo", lambda file: 100 * MEBI)
    monkeypatch.setattr(available, "groups", lambda file: [None, 40 * MEBI])
    share.cache_clear()
    assert (share(1), share(4), share(1000)) == (36 * MEBI, 9 * MEBI, MEBI)
    assert bounded(Limits(states=7), 4) == Limits(states=7, memory=9 * MEBI)
    assert bounded(Limits(memory=5), 4) == Limits(memory=5)
    share.cache_clear()


PROGRAM = """
import json, sys
from pathlib import Path
from zonedev.explore import native_store
from zonedev.explore.check import check
from zonedev.explore.result import Limits
from zonedev.scenarios import SCENARIOS
from zonedev.designs import DESIGNS
if sys.argv[2] == "careless":
    native_store.Store.look = lambda self, more: None
found = check(SCENARIOS["devdax-pinners-vs-unbind"], DESIGNS["linux-4.5"], {"processes": 4}, engine="native",
              limits=Limits(memory=int(sys.argv[1])))
# Not ru_maxrss, which a process begins with from the one that started it.
(line,) = [s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM:")]
peak = int(line.split()[1]) << 10
print(json.dumps([found.stopped, found.states, peak]))
"""


def peak(memory: int, how: str = "careful") -> Any:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(memory), how], capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_the_peak_stays_below_the_limit() -> None:
    """What is there before the search is not counted; a search that does not look ahead takes too much."""
    limit = 134 * MEBI
    peak(limit)  # compiles, which takes much memory, and keeps that
    _, states, before = peak(MEBI)
    assert states < 100_000
    stopped, states, most = peak(limit)
    assert stopped == f"--max-memory {limit}" and states > 6 * 10**6
    assert most - before < limit
    assert peak(limit, "careless")[2] - before > limit


def test_a_stop_while_states_are_laid_out_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states are as they were: what was found before is told."""
    ts = system(busy, busy, busy)
    adapt, seen = Store.adapt, list[tuple[Any, Any]]()

    def tight(self: Store) -> None:
        count = self.states
        if count < 1000:
            return adapt(self)
        before = [self.state(0, n) for n in range(0, count, 97)]
        self.allowed = self.bytes
        try:
            adapt(self)
        except Stop:
            seen.append((before, [self.state(0, n) for n in range(0, count, 97)]))
            raise
        return None

    monkeypatch.setattr(Store, "adapt", tight)
    found = timeless(NativeEngine(ts, cache=NOTHING).explore())
    if seen:
        assert seen[0][0] == seen[0][1] and found.stopped is not None
    else:
        pytest.fail("no layout changed late enough")
