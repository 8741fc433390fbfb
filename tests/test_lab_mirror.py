"""Scenarios with a device that mirrors a task's memory, told by the model and by the driver test_hmm."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev.designs import DESIGNS
from zonedev.lab import accel, hmm_suite, initramfs, kernels
from zonedev.lab.compare import AGREES
from zonedev.lab.conform import Run, archive_of, conform, foretell
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel
from zonedev.lang.errors import ZonedevError
from zonedev.machine import Machine
from zonedev.report.conformance import render
from zonedev.scenarios.base import Scenario
from zonedev.scenarios.parts import private_page
from zonedev.scenarios.private_memory import PrivateRefcounts


def by_hand() -> bool:
    """Whether the machine by hand has such a device."""
    machine = Machine("linux-7.2", rules={})
    try:
        machine.dmirror_device(1)
    except TypeError:
        return False
    finally:
        machine.close()
    return True


needs_device = pytest.mark.skipif(not by_hand(), reason="the machine by hand has no dmirror_device()")


class Refcounts(PrivateRefcounts):
    orders = ("",)


class ThereAndBack(Scenario):
    """The device reads a page, has it, writes to it, and gives it back."""

    orders = ("",)

    def setup(m: Any) -> None:  # type: ignore[override]
        private_page(m, pages=4)

    def task_A(t: Any, m: Any) -> None:
        t.gpu_read(m.mirror, m.va)
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.gpu_write(m.mirror, m.va, 5)
        t.dmirror_migrate_to_system(m.mirror, m.va)
        t.touch(m.va, False)
        t.munmap(m.va)
        t.gpu_read(m.mirror, m.va)


class Helper(Scenario):
    """A thread of the driver's, which is in the process that has opened it, migrates a page."""

    orders = ("driver A A",)

    def setup(m: Any) -> None:  # type: ignore[override]
        private_page(m, pages=4)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.gpu_write(m.mirror, m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)


class Coherent(Scenario):
    orders = ("",)

    def setup(m: Any) -> None:  # type: ignore[override]
        m.gpu = m.k.dmirror_device(1, coherent=True)


class Huge(Scenario):
    orders = ("",)

    def setup(m: Any) -> None:  # type: ignore[override]
        m.k.anonymous_memory(4)
        m.va = m.task("A").mmap_anonymous(2, thp=True)


def run_of(scenario: type[Scenario], kernel: LabKernel) -> Run:
    (order,) = scenario.orders
    return Run(scenario, tuple(order.split()), kernel, DESIGNS["linux-7.2"], "linux-7.2")


def told(scenario: type[Scenario]) -> list[str]:
    """What the model says."""
    lines = foretell(run_of(scenario, kernels.named("7.2")), {}, {})
    return [f"{line.task + ': ' if line.task else ''}{line.text}: {line.said}" for line in lines]


@needs_device
def test_the_model_counts() -> None:
    lines = told(Refcounts)
    assert [line for line in lines if line.startswith(("idle", "migrated", "forked", "faulted"))] == [
        "idle: page0: _refcount 0",
        "migrated: page0: _refcount 1, _mapcount 1",
        "forked: page0: _refcount 2, _mapcount 2",
        "faulted back: page0: _refcount 0",
    ]
    assert "A: dmirror_migrate_to_device(mirror, va): done" in lines
    assert "gpu0.pgmap: ref 2" in lines and lines[-1] == "gpu0.pgmap: ref 1"


@needs_device
def test_the_model_moves_bytes() -> None:
    calls = [line for line in told(ThereAndBack) if line.startswith("A: ")]
    assert calls == [
        "A: gpu_read(mirror, va): reads 01",
        "A: dmirror_migrate_to_device(mirror, va): done",
        "A: gpu_write(mirror, va, 5): done",
        "A: dmirror_migrate_to_system(mirror, va): done",
        "A: touch(va, write=False): reads 05",
        "A: munmap(va): done",
        "A: gpu_read(mirror, va): fails",
    ]


@pytest.mark.parametrize(("scenario", "what"), [(Coherent, "coherent memory is"), (Huge, "huge pages are")])
def test_what_is_not_told(scenario: type[Scenario], what: str) -> None:
    with pytest.raises(ZonedevError, match=rf"set-up: {what} of the model alone"):
        told(scenario)


def test_a_kernel_without_the_driver() -> None:
    with pytest.raises(LabError, match=r"kernel 6.12: no hmm-tests: .* without CONFIG_DEVICE_PRIVATE"):
        archive_of(run_of(Refcounts, kernels.named("6.12")))


@pytest.mark.real
@needs_device
@pytest.mark.parametrize("scenario", [Refcounts, ThereAndBack, Helper])
def test_a_real_kernel_agrees(scenario: type[Scenario]) -> None:
    try:
        kernel = kernels.find("7.2")
        hmm_suite.find(kernel)
        initramfs.build(kernel)
        accel.choose()
    except LabError as error:
        pytest.skip(str(error))
    found = conform(run_of(scenario, kernel), 180.0)
    assert found.verdict == AGREES, render(found)
