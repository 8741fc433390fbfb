"""Searches in partitions against the reference: same counts, verdicts and paths on everything.

Here the partitions are in this process, and what they send each other is copied; test_ray.py has
them on Ray.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import test_native as toys
from fake_ray import FakeRay
from programs import load, source
from rounds import busy_source
from test_native import system, timeless
from zonedev.explore import cluster_back, partition, partition_back
from zonedev.explore.cluster import ClusterEngine
from zonedev.explore.native import NativeEngine
from zonedev.explore.partition import Partition
from zonedev.explore.partition_back import Back, Costs, Marks
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import Exploration, Limits, Question
from zonedev.lang.errors import SpecError, ZonedevError
from zonedev.lang.transition import TransitionSystem, lower

pytestmark = pytest.mark.xdist_group("cluster")  # what its fixtures make is made once

SMALL = 3000  # states


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    monkeypatch.setattr("zonedev.explore.cluster.connect", lambda on, cores: FakeRay())
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled loops are kept for the tests of this module."""
    return tmp_path_factory.mktemp("cache")


def spread(ts: TransitionSystem, workers: int, question: Question = Question(), **more: Any) -> Exploration:  # noqa: B008
    return timeless(ClusterEngine(ts, workers, "ray").explore(question, **more))


def agree(ts: TransitionSystem, question: Question = Question()) -> Exploration:  # noqa: B008
    wanted = timeless(PythonEngine(ts).explore(question))
    for workers in (1, 2, 3):
        assert spread(ts, workers, question) == wanted, f"{workers} partitions"
    return wanted


@pytest.mark.parametrize("write", [source, busy_source])
@pytest.mark.parametrize("first", range(0, 20, 5))
def test_random_programs(tmp_path: Path, write: Callable[..., str], first: int) -> None:
    for seed in range(first, first + 5):
        pick = random.Random(seed).randrange
        try:
            ts = lower(load(write(pick), tmp_path)())
        except SpecError:
            continue
        question = Question(*(pick(4) > 0 for _ in range(3)))
        wanted = timeless(PythonEngine(ts).explore(question, Limits(states=SMALL)))
        if wanted.stopped is None:
            workers = 1 + pick(3)
            assert spread(ts, workers, question) == wanted, f"seed {seed}, {workers} partitions"


@pytest.mark.parametrize(
    "test",
    [
        toys.test_holds,
        toys.test_a_step_breaks_a_rule,
        toys.test_deadlock,
        toys.test_lost_wakeup,
        toys.test_broken_at_rest,
        toys.test_no_finish,
        toys.test_an_actor_need_not_finish,
        toys.test_circles_with_an_exit,
        toys.test_negative_numbers,
        toys.test_an_array_of_several_words,
        toys.test_words_of_62_bits,
    ],
)
def test_the_toys_of_the_native_engine(test: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them says which ending it has to have."""
    monkeypatch.setattr(toys, "agree", agree)
    test()


# --- many states ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def large() -> TransitionSystem:
    return system(toys.busy, toys.busy, toys.busy)


@pytest.fixture(scope="module")
def known(large: TransitionSystem) -> Exploration:
    found = timeless(NativeEngine(large, cache=toys.NOTHING).explore())
    assert found.states > 10**5 and found.ending is None
    return found


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_boxes_and_pieces_that_fill_up(
    large: TransitionSystem, known: Exploration, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "BOX", 1)
    monkeypatch.setattr(partition_back, "PIECE", 1 << 10)
    for module in (partition_back, cluster_back):
        monkeypatch.setattr(module, "FOLLOWED", 1 << 12)
    assert spread(large, workers) == known


def both(k: Any) -> None:
    """Two of these break a rule late, after many states."""
    toys.busy(k)
    toys.over(k)


def test_a_path_through_many_states() -> None:
    ts = system(both, both, toys.busy)
    wanted = timeless(NativeEngine(ts, cache=toys.NOTHING).explore())
    assert wanted.path is not None and wanted.states > 5000
    assert spread(ts, 2) == wanted


# --- bugs that have to be noticed ------------------------------------------------------------------


def wrong(ts: TransitionSystem, wanted: Exploration) -> bool:
    """Whether a search in three partitions has another outcome, or none."""
    try:
        return spread(ts, 3) != wanted
    except (ZonedevError, AssertionError, LookupError, AttributeError):
        return True


def test_a_box_that_is_lost_is_noticed(
    large: TransitionSystem, known: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    posted, lost = Partition.posted, [7]

    def losing(self: Partition, other: int) -> Any:
        found = posted(self, other)
        if len(found):
            lost[0] -= 1
        return found[:0] if lost[0] == 0 else found

    monkeypatch.setattr(Partition, "posted", losing)
    assert wrong(large, known) and lost[0] <= 0


@pytest.mark.parametrize(
    ("tasks", "cls", "nothing"),
    [
        ((toys.ping_pong, toys.ping_pong, toys.spins, toys.raises), Marks, 0),
        ((both, both, toys.busy), Costs, partition_back.FAR),
    ],
)
def test_successors_that_are_not_looked_up_are_noticed(
    tasks: Any, cls: type[Marks | Costs], nothing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is worth what a state is that nobody knows."""
    ts = system(*tasks)
    wanted = timeless(NativeEngine(ts, cache=toys.NOTHING).explore())
    assert not wrong(ts, wanted)
    worth: Callable[..., Any] = cls.worth
    monkeypatch.setattr(cls, "worth", lambda self, numbers: 0 * worth(self, numbers) + nothing)
    assert wrong(ts, wanted)


def test_answers_that_are_not_heard_cost_time_only(
    large: TransitionSystem, known: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows no successor of a state expands it again."""
    swept: list[int] = []
    left = Back.left

    def counting(self: Back) -> int:
        swept.append(left(self))
        return swept[-1]

    monkeypatch.setattr(Back, "left", counting)
    monkeypatch.setattr(Partition, "entered", lambda self, source, states: 0 * entered(self, source, states))
    assert spread(large, 2) == known and max(swept) > 0


entered = Partition.entered


# --- limits ----------------------------------------------------------------------------------------


def test_limits(large: TransitionSystem) -> None:
    found = spread(large, 2, limits=Limits(states=20_000))
    assert found.stopped == "--max-states 20000" and found.path is None and found.frontier > 0
    assert spread(large, 2, limits=Limits(seconds=0.0)).stopped == "--max-seconds 0"


@pytest.mark.parametrize("memory", [1 << 20, 20 << 20])
def test_memory(large: TransitionSystem, memory: int) -> None:
    found = spread(large, 2, limits=Limits(memory=memory))
    assert found.stopped == f"--max-memory {memory}" and found.path is None


def test_each_partition_takes_its_share_of_its_machine(
    large: TransitionSystem, known: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def share(processes: int) -> int:
        asked.append(processes)
        return 1 << 30

    monkeypatch.setattr(partition, "share", share)
    monkeypatch.setattr("zonedev.explore.cluster.connect", lambda on, cores: FakeRay(machines=2))
    assert spread(large, 3) == known and asked == [2, 1, 2]


def test_faulty_arithmetic_is_an_error() -> None:
    with pytest.raises(SpecError, match="64 bits"):
        spread(system(toys.too_wide), 2)


def test_what_ray_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from zonedev.explore.on import connect

    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ZonedevError, match=r"pip install 'zonedev\[ray\]'"):
        connect("ray")
