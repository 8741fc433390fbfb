"""Files on a DAX file system: what no scenario of the catalogue reaches."""

from __future__ import annotations

from typing import Any

import pytest

from file_seeds import EntryNotWaitedFor, EntryUnlockForgetsWake
from zonedev.designs import DESIGNS
from zonedev.explore.check import check
from zonedev.machine import Job, Machine
from zonedev.memory import BusError
from zonedev.scenarios.base import Scenario
from zonedev.scenarios.parts import FILE_SIZE, RELEASES


class FileFaultVsFault(Scenario):
    """Two processes fault on the same page of a file; one writes, the other reads and unmaps."""

    scope = {"size": FILE_SIZE}
    progress = "fault-terminates"

    @staticmethod
    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.mine = m.task("A").mmap(m.file)
        m.its = m.task("B").mmap(m.file)

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.touch(m.mine)

    @staticmethod
    def task_B(t: Any, m: Any) -> None:
        t.touch(m.its, write=False)
        t.munmap(m.its)


class PmemWithoutFiles(Scenario):
    """A pmem device that maps with PMDs is unbound, and nobody uses it."""

    @staticmethod
    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size="pmd")

    @staticmethod
    def task_A(t: Any, m: Any) -> None:
        t.unbind_pmem(m.pmem)


@pytest.mark.parametrize("size", FILE_SIZE.choices)
@pytest.mark.parametrize("design", RELEASES)
def test_faults_on_one_entry_take_turns(design: str, size: str) -> None:
    found = check(FileFaultVsFault, DESIGNS[design], scope={"size": size})
    assert (found.verdict, found.rule) == ("holds", None)


@pytest.mark.parametrize(
    ("design", "rule"), [(EntryUnlockForgetsWake, "no-lost-wakeup"), (EntryNotWaitedFor, "kernel-asserts")]
)
def test_the_lock_of_an_entry_is_needed(design: Any, rule: str) -> None:
    found = check(FileFaultVsFault, design)
    assert (found.verdict, found.rule) == ("violated", rule)


@pytest.mark.parametrize("design", RELEASES)
def test_unbind_waits_for_no_reference_that_nobody_has(design: str) -> None:
    assert check(PmemWithoutFiles, DESIGNS[design]).verdict == "holds"


def test_bytes_of_a_file() -> None:
    with Machine("linux-7.2") as machine:
        pmem = machine.pmem_device(size="1TiB", align="2MiB")
        file = machine.dax_file(pmem, size="4MiB")
        a, b = machine.task("A"), machine.task("B")
        va, other = a.mmap(file), b.mmap(file)
        assert a.write(va + 0x1FFFFC, b"two pages") == 9
        assert b.read(other + 0x1FFFFC, 9) == b"two pages"
        assert machine.page(va)._refcount == 2
        page = b.pin_user_pages_fast(other + 0x200000)
        assert machine.page(page.head)._pincount == 1
        b.dma_write(page, b"DMA")
        assert a.read(va + 0x200000, 5) == b"DMAes"
        a.munmap(va)
        b.munmap(other)
        assert machine.page(page.head)._refcount == 1
        b.unpin_user_page(page)
        assert machine.page(page.head)._refcount == 0


@pytest.mark.parametrize("design", RELEASES)
def test_a_read_maps_for_reading(design: str) -> None:
    with Machine(design) as machine:
        a = machine.task("A")
        va = a.mmap(machine.dax_file(machine.pmem_device()))
        a.read(va, 1)
        pte = machine.system.records["Mm"][0].pte  # type: ignore[attr-defined]
        assert (pte.peek(0).write, pte.peek(0).dirty) == (False, False)
        a.write(va, b"x")
        assert (pte.peek(0).write, pte.peek(0).dirty) == (True, True)
        assert machine.page(va)._mapcount == int(machine.k.MAPPING_HOLDS_REF)


@pytest.mark.parametrize("align", ["4KiB", "2MiB"])
@pytest.mark.parametrize("design", RELEASES)
def test_files_are_not_pinned_for_long(design: str, align: str) -> None:
    """From v4.15 on."""
    refused = design not in ("linux-4.5", "linux-4.12", "linux-4.13")
    with Machine(design) as machine:
        a = machine.task("A")
        va = a.mmap(machine.dax_file(machine.pmem_device(size=align, align=align)))
        a.touch(va)
        idle = machine.page(va)._refcount
        for pin in (a.pin_user_pages, a.pin_user_pages_fast):
            assert (pin(va, longterm=True) is None) == refused
            assert (machine.page(va)._refcount == idle) == refused
        assert a.pin_user_pages_fast(va) is not None


@pytest.mark.parametrize("design", RELEASES[1:])
def test_no_fault_on_a_device_that_is_gone(design: str) -> None:
    """v4.11 asks the queue, which is not modelled once the driver has let go of it."""
    with Machine(design) as machine:
        pmem = machine.pmem_device(size="8KiB")
        a = machine.task("A")
        va = a.mmap(machine.dax_file(pmem))
        assert not isinstance(machine.task("B").unbind_pmem(pmem), Job)
        with pytest.raises(BusError):
            a.write(va, b"x")
        assert not machine.pending()
