"""Memory of a PCI device with I/O under way, while its driver is unbound."""

from __future__ import annotations

import time

import pytest

from zonedev.lab import accel, initramfs, kernels, p2pdma, qemu
from zonedev.lab.counts import Inspector, PageCounts
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest


def booted(name: str) -> Guest:
    """A guest with two NVMe drives; skips the test where something is missing."""
    try:
        qemu.program()
        kernel = kernels.find(name)
        archive, how = initramfs.build(kernel), accel.choose()
    except LabError as error:
        pytest.skip(str(error))
    guest = Guest(kernel, archive, accel=how, fresh=True, hardware=p2pdma.HARDWARE)
    guest.boot(180.0)
    return guest


def test_the_options_of_qemu() -> None:
    given = p2pdma.HARDWARE.arguments()
    assert given[given.index("-M") + 1] == "q35"
    assert sum("bus=down" in option for option in given) == 2
    assert "nvme,drive=provider,serial=provider,bus=down0,cmb_size_mb=16" in given


@pytest.mark.real
def test_unbind_waits_until_the_io_ends() -> None:
    with booted("7.2") as guest:
        inspector, peers = Inspector(guest), p2pdma.find(guest)
        for task in ("A", "B"):
            guest.call("-", "spawn", task)
        va = guest.call("A", "mmap", peers.memory, 0, 4096)
        pfn = int(guest.call("A", "pfn", va))
        assert inspector.page(pfn) == PageCounts(1, 1, 0)
        before = inspector.pgmap_ref(pfn)
        p2pdma.hold(guest, peers)
        io = guest.call("A", "aio_submit", peers.disk, va, 4096, "r")
        assert inspector.page(pfn) == PageCounts(1025, 1, 0)
        unbind = guest.ask("B", "write_file", p2pdma.UNBIND, peers.name)
        where = guest.blocked(unbind)
        assert where is not None and "memunmap_pages" in where.stack
        assert inspector.page(pfn) == PageCounts(1024, 0, 0)
        assert inspector.pgmap_ref(pfn) == 1  # all that is left is the page that is pinned
        assert before is not None and before > 1
        assert not guest.wait(unbind, 1.0)
        begun = time.monotonic()
        p2pdma.let_go(guest)
        assert guest.call("A", "aio_finish", io) == "4096"
        assert guest.wait(unbind, 30.0) and unbind.error is None
        assert time.monotonic() - begun < 30.0
        assert inspector.page(pfn) is None
        touch = guest.ask("A", "touch", va, "w")
        assert guest.wait(touch) and touch.error == "SIGBUS"
        assert [str(report) for report in guest.events] == []


@pytest.mark.real
def test_a_kernel_without_it() -> None:
    with booted("6.12") as guest, pytest.raises(LabError, match=r"kernel 6.12 gives away no memory of PCI"):
        p2pdma.find(guest)
