"""Device memory by hand: bytes that move, counts, eviction, exclusive access, huge pages."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev import Machine
from zonedev.explore.check import check
from zonedev.lang.errors import RuleBroken, ZonedevError
from zonedev.memory import BusError
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.parts import EXCLUSIVE_RELEASES, PRIVATE_RELEASES


def mirrored(design: str, size: str = "8KiB", **device: Any) -> tuple[Any, Any, Any, Any, int]:
    """A machine, a device, a task, its mirror, and memory of the task."""
    m = Machine(design)
    gpu = m.dmirror_device(**device)
    a = m.task("A")
    va = a.mmap_anonymous(size)
    return m, gpu, a, a.dmirror_open(gpu), va


@pytest.mark.parametrize("design", PRIVATE_RELEASES)
def test_bytes_go_to_the_device_and_come_back(design: str) -> None:
    m, gpu, a, mirror, va = mirrored(design, pages=2)
    a.write(va, b"hello")
    assert a.dmirror_migrate_to_device(mirror, va, 2) is True
    assert m.page(va).memory >= 0
    a.gpu_write(mirror, va, b"J")
    assert a.gpu_read(mirror, va, 5) == b"Jello"
    assert a.read(va, 5) == b"Jello"
    assert m.page(va).anon
    assert a.read(va + 4096, 1) == b"\0"
    assert [page.free for page in gpu.pages] == [True, True]


@pytest.mark.parametrize(
    ("design", "idle", "used"), [("linux-5.10", 1, 2), ("linux-5.19", 1, 1), ("linux-7.2", 0, 1)]
)
def test_the_count_of_a_private_page(design: str, idle: int, used: int) -> None:
    m, gpu, a, mirror, va = mirrored(design, pages=1)
    assert m.page(gpu.pages[0])._refcount == idle
    a.write(va, b"x")
    a.dmirror_migrate_to_device(mirror, va)
    assert m.page(gpu.pages[0])._refcount == used
    a.munmap(va)
    assert m.page(gpu.pages[0])._refcount == idle


def test_eviction_brings_back_what_the_device_has() -> None:
    m, gpu, a, mirror, va = mirrored("linux-7.2", pages=4)
    a.write(va, b"one")
    a.write(va + 4096, b"two")
    a.dmirror_migrate_to_device(mirror, va, 2)
    m.task("driver").dmirror_device_remove_chunks(gpu)
    assert (a.read(va, 3), a.read(va + 4096, 3)) == (b"one", b"two")
    assert a.dmirror_exclusive(mirror, va) is True


def test_unbind_waits_for_a_page_in_use() -> None:
    m, gpu, a, mirror, va = mirrored("linux-7.2", pages=1)
    a.write(va, b"x")
    a.dmirror_migrate_to_device(mirror, va)
    job = m.task("driver").remove_device_pagemap(gpu)
    assert not job.done
    assert job.stack[-1].split()[0] == "memunmap_pages"
    a.munmap(va)
    assert job.done


def test_v5_19_waits_for_no_private_page() -> None:
    m, gpu, a, mirror, va = mirrored("linux-5.19", pages=1)
    a.write(va, b"x")
    a.dmirror_migrate_to_device(mirror, va)
    with pytest.raises(RuleBroken, match="unbind-drained"):
        m.task("driver").remove_device_pagemap(gpu)


@pytest.mark.parametrize("design", EXCLUSIVE_RELEASES)
def test_the_cpu_takes_an_exclusive_page_back(design: str) -> None:
    m, _, a, mirror, va = mirrored(design, pages=0, atomics=True)
    a.write(va, b"x")
    assert a.dmirror_exclusive(mirror, va) is True
    assert "mirror0.pt[0]" in m.page(va).held_by
    a.write(va, b"y")
    assert "mirror0.pt[0]" not in m.page(va).held_by
    assert a.gpu_read(mirror, va, 1) == b"y"


@pytest.mark.parametrize("name", ["linux-6.15", "linux-7.2"])
def test_half_of_a_huge_page_of_the_system_is_thrown_away(name: str) -> None:
    """What is counted is the folio, also for its second page."""
    m = Machine(name)
    a = m.task("A")
    va = a.mmap_anonymous("8KiB", thp=True)
    a.write(va, b"first")
    a.write(va + 4096, b"second")
    a.madvise_dontneed(va + 4096)
    assert a.read(va, 5) == b"first"
    assert a.read(va + 4096, 6) == bytes(6)
    a.munmap(va)


def test_a_huge_page_moves_as_a_whole_and_is_split_for_half_of_it() -> None:
    m = Machine("linux-7.2")
    gpu = m.dmirror_device(pages=2)
    a = m.task("A")
    va = a.mmap_anonymous("8KiB", thp=True)
    mirror = a.dmirror_open(gpu)
    a.write(va + 4090, b"both halves")
    assert a.dmirror_migrate_to_device(mirror, va, 2) is True
    head = gpu.pages[0]
    assert (m.page(head)._refcount, m.page(head)._mapcount, m.page(head).order) == (1, 1, 1)
    a.madvise_dontneed(va)  # the entry is split, and the folio not yet
    assert (m.page(head)._refcount, m.page(head).order) == (1, 1)
    assert a.read(va + 4096, 5) == b"alves"
    assert m.page(head).free
    assert a.read(va + 4090, 6) == bytes(6)


def test_what_cannot_be_had_is_said() -> None:
    m, gpu, a, mirror, va = mirrored("linux-7.2", pages=1)
    with pytest.raises(ZonedevError, match="no page yet"):
        m.page(va)
    a.munmap(va)
    with pytest.raises(BusError):
        a.gpu_read(mirror, va, 1)
    with pytest.raises(ZonedevError, match="a huge page has 2 pages"):
        a.mmap_anonymous("12KiB", thp=True)
    with pytest.raises(ZonedevError, match="give what dmirror_open"):
        a.dmirror_migrate_to_device(gpu, va)


@pytest.mark.parametrize(
    ("scenario", "design"),
    [
        ("migrate-vs-touch", "linux-6.12"),
        ("exclusive-vs-fork", "linux-7.2"),
        ("thp-private-fork", "linux-7.2"),
    ],
)
def test_the_engines_agree(scenario: str, design: str) -> None:
    from zonedev.designs import DESIGNS

    found = [check(SCENARIOS[scenario], DESIGNS[design], engine=e) for e in ("python", "native")]
    counts = [(v.verdict, v.rule, v.states, v.transitions, v.depth) for v in found]
    assert counts[0] == counts[1]
