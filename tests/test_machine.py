"""The machine by hand, on the toy design."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import toys
from zonedev.lang.errors import RuleBroken, ZonedevError
from zonedev.machine import Job, Machine
from zonedev.memory import BusError


@pytest.fixture
def machine() -> Iterator[Machine]:
    with Machine(toys.ToyNew, rules={k: v for k, v in toys.RULES.items() if k != "refcount-exact"}) as found:
        yield found


def test_calls_return_values(machine: Machine) -> None:
    dev = machine.device()
    page = machine.task("A").pin(dev)
    assert repr(page) == "page0"
    assert machine.page(page)._refcount == 2


def test_a_call_that_blocks_is_a_pending_job(machine: Machine) -> None:
    dev = machine.device()
    a = machine.task("A")
    page = a.pin(dev)
    job = machine.task("B").unbind(dev)
    assert isinstance(job, Job)
    assert not job.done
    assert job.blocked_on is not None
    assert job.blocked_on.startswith("drain (tests/toys.py:")
    assert job.blocked_on.endswith(": wait_for_completion(dev.done)")
    assert [s.split()[0] for s in job.stack] == ["unbind", "drain"]
    assert machine.pending() == [job]
    with pytest.raises(ZonedevError, match="is pending"):
        job.result()
    assert a.unpin(dev, page) is None  # which lets the other call go on
    assert job.done and job.result() is None
    assert job.blocked_on is None and job.stack == []
    assert machine.pending() == []


def test_a_task_makes_one_call_at_a_time(machine: Machine) -> None:
    dev = machine.device()
    machine.task("A").pin(dev)
    b = machine.task("B")
    b.unbind(dev)
    with pytest.raises(ZonedevError, match="task B is in a call that waits"):
        b.pin(dev)


def test_the_rules_watch() -> None:
    with Machine(toys.ToyOld, rules=toys.RULES, at_rest=False) as machine:
        dev = machine.device()
        a = machine.task("A")
        page = a.pin(dev)
        machine.task("B").unbind(dev)
        with pytest.raises(
            RuleBroken, match=r"page-lifetime: dma_write writes page0\.dirty after page0 was freed"
        ):
            a.dma_write(page)


def test_deadlocks_are_only_pending_jobs(machine: Machine) -> None:
    dev = machine.device()
    machine.task("A").hold(dev)
    jobs = [machine.task(n).pin(dev) for n in "BC"]
    assert machine.pending() == jobs
    assert re.fullmatch(
        r"<B.pin\(dev\): waits in pin \(tests/toys.py:\d+\): lock\(dev.lock\)>", repr(jobs[0])
    )


def test_records_after_the_start(machine: Machine) -> None:
    first = machine.device()
    machine.task("A").pin(first)
    second = machine.device()
    page = machine.task("A").pin(second)
    assert repr(page) == "page1"


def test_who_holds_a_page(machine: Machine) -> None:
    dev = machine.device()
    view = machine.page(machine.task("A").pin(dev))
    assert view.held_by == ["dev.page"]
    assert repr(view) == "<page0: _refcount=2, dirty=0, lock.held=0, live=1; held by dev.page>"
    with pytest.raises(AttributeError, match="page0 has no colour"):
        _ = view.colour


def test_the_trace_is_like_any_other(machine: Machine) -> None:
    dev = machine.device()
    machine.task("A").pin(dev)
    steps = machine.trace()
    assert [s.n for s in steps] == list(range(1, len(steps) + 1))
    assert {s.task for s in steps} == {"A"}
    assert [(c.where, c.old, c.new) for s in steps for c in s.changes if not c.quiet] == [
        ("page0._refcount", "1", "2")
    ]
    assert steps[0].call == "pin(dev)"


def test_the_trace_can_be_short() -> None:
    with Machine(toys.ToyNew, rules={}, keep=3) as machine:
        dev = machine.device()
        for _ in range(5):
            a = machine.task("A")
            a.unpin(dev, a.pin(dev))
        assert len(machine.trace()) <= 6


def test_unknown_calls_are_suggested(machine: Machine) -> None:
    with pytest.raises(AttributeError, match="did you mean unbind"):
        machine.task("A").unbnd(1)


def test_errors_of_a_call_reach_the_caller(machine: Machine) -> None:
    with pytest.raises(TypeError):
        machine.task("A").pin()
    assert machine.pending() == []


def test_rules_at_rest() -> None:
    with Machine(toys.ToyNew, rules=toys.RULES) as machine:
        dev = machine.device()
        with pytest.raises(RuleBroken, match="refcount-exact"):
            machine.task("A").pin(dev)


def test_the_kernel_by_hand() -> None:
    with Machine("linux-5.10") as machine:
        dax = machine.device_dax(size="8KiB")
        a, b = machine.task("A"), machine.task("B")
        va = a.mmap(dax)
        assert a.touch(va) is not None
        page = a.pin_user_pages(va)
        view = machine.page(va)
        assert view.name == repr(page)
        assert any(h.startswith("mm0.pte") for h in view.held_by)
        job = b.unbind(dax)
        assert isinstance(job, Job) and not job.done
        assert job.stack[0].startswith("unbind (kernel/device_dax.py:")
        assert job.stack[-1].startswith("memunmap_pages (designs/linux_5_10.py:")
        a.unpin_user_page(page)
        assert job.done
        with pytest.raises(ZonedevError, match="no device is mapped at VA 409600"):
            machine.page(409600)


def test_bytes_reach_the_pages_and_stay_there() -> None:
    with Machine("linux-7.2") as machine:
        dax = machine.device_dax(size="16KiB")
        a, b = machine.task("A"), machine.task("B")
        va, other = a.mmap(dax), b.mmap(dax)
        assert a.write(va + 4094, b"hello") == 5
        assert b.read(other + 4094, 5) == b"hello"
        assert b.read(other, 2) == b"\0\0"
        page = b.pin_user_pages(other + 4096)
        b.dma_write(page, b"DMA", offset=1)
        assert a.read(va + 4094, 6) == b"helDMA"
        assert b.dma_read(page, 3, offset=1) == b"DMA"
        assert "1 pin of B" in machine.page(va + 4096).held_by


def test_after_unbind_an_access_is_a_bus_error() -> None:
    with Machine("linux-7.2") as machine:
        dax = machine.device_dax()
        a = machine.task("A")
        va = a.mmap(dax)
        a.write(va, b"x")
        assert machine.task("B").unbind(dax) is None
        with pytest.raises(BusError, match="SIGBUS or SIGSEGV at VA 0x0"):
            a.read(va, 1)


@pytest.mark.parametrize("design", ["linux-4.5", "linux-5.10", "linux-7.2"])
def test_a_tebibyte_is_as_quick_as_a_mebibyte(design: str) -> None:
    with Machine(design) as machine:
        dax = machine.device_dax(size="1TiB", align="2MiB")
        a = machine.task("A")
        va = a.mmap(dax)
        a.write(va + (1 << 39), b"far")
        assert a.read(va + (1 << 39), 3) == b"far"
        assert len(machine.system.records["Page"]) <= 2 * 512
        a.munmap(va)
        assert machine.task("B").unbind(dax) is None


@pytest.mark.parametrize(
    ("size", "align", "error"),
    [
        ("1GB", "4KiB", "size '1GB': give bytes"),
        ("3MiB", "2MiB", "a multiple of the alignment"),
        ("1MiB", "8KiB", "a device maps with 4KiB, 2MiB or 1GiB"),
        (0, 4096, "a multiple of the alignment"),
    ],
)
def test_bad_sizes(size: str, align: str, error: str) -> None:
    with Machine("linux-7.2") as machine, pytest.raises(ZonedevError, match=error):
        machine.device_dax(size=size, align=align)


def test_the_kernel_without_waiting() -> None:
    with Machine("linux-6.15") as machine:
        dax = machine.device_dax()
        a = machine.task("A")
        a.pin_user_pages(a.mmap(dax))
        with pytest.raises(
            RuleBroken, match="unbind-drained: unbind returned, but A still holds a pin of page0"
        ):
            machine.task("B").unbind(dax)
