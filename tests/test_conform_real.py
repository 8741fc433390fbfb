"""The comparison with kernels that really run; where they are not set up, it is skipped.

python -m pytest -m real        these and nothing else
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recorded import RECORDINGS, Recording
from zonedev.designs import DESIGNS
from zonedev.lab import accel, cpio, initramfs, kernels, qemu
from zonedev.lab.compare import AGREES, Conformance
from zonedev.lab.conform import Run, conform, orders_of
from zonedev.lab.counts import Inspector
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest, GuestGone
from zonedev.lab.kernels import LabKernel
from zonedev.lab.reproducer import program_of
from zonedev.report.conformance import render
from zonedev.scenarios import SCENARIOS

pytestmark = pytest.mark.real

SECONDS = 180.0  # for a run, beside whatever else this host does
PIN = "devdax-unbind-vs-pin"


def ready(name: str) -> tuple[LabKernel, Path]:
    """A kernel that is set up, with its initramfs; skips the test where something is missing."""
    try:
        qemu.program()
        kernel = kernels.find(name)
        return kernel, initramfs.build(kernel)
    except LabError as error:
        pytest.skip(str(error))


def run_of(scenario: str, kernel: LabKernel, order: tuple[str, ...], fs: str = "") -> Run:
    return Run(SCENARIOS[scenario], order, kernel, DESIGNS[kernel.design], kernel.design, fs=fs)


def agrees(scenario: str, kernel: str, order: tuple[str, ...], fs: str = "") -> Conformance:
    """What a run comes to, which is agreement."""
    found = conform(run_of(scenario, ready(kernel)[0], order, fs), SECONDS)
    assert found.verdict == AGREES, render(found)
    return found


def said(found: Conformance, text: str) -> str | None:
    """What the machine says of a call."""
    lines = [row.machine for row in found.rows if row.machine is not None and row.line.kind == "call"]
    return [line.said for line in lines if line.text == text][-1]


@pytest.mark.parametrize("kernel", kernels.STOCK)
def test_who_waits_for_the_pin(kernel: str) -> None:
    (order,) = orders_of(SCENARIOS[PIN], None)
    found = agrees(PIN, kernel, order)
    old = kernel == "5.10"
    assert said(found, "unbind(dax0)") == ("waits" if old else "done")
    assert said(found, "unpin_user_page(page0)") == ("done" if old else "oops on page0")


@pytest.mark.parametrize("kernel", kernels.STOCK)
def test_a_mapping_ends_in_a_signal(kernel: str) -> None:
    (order,) = orders_of(SCENARIOS["devdax-unbind-vs-mapping"], None)
    assert said(agrees("devdax-unbind-vs-mapping", kernel, order), "touch(va)") == "SIGBUS"


@pytest.mark.parametrize("order", SCENARIOS["devdax-gup-fast-vs-unbind"].orders)
@pytest.mark.parametrize("kernel", kernels.STOCK)
def test_references_without_a_lock(kernel: str, order: str) -> None:
    found = agrees("devdax-gup-fast-vs-unbind", kernel, tuple(order.split()))
    if order == "A B A":
        assert said(found, "put_page(page0)") == ("done" if kernel == "5.10" else "oops on page0")
    else:
        assert said(found, "get_user_pages_fast(va)") == "fails"


@pytest.mark.parametrize(("kernel", "fs"), [("6.12", "xfs"), ("7.2", "xfs")])
def test_a_pin_of_a_file_that_nobody_has_mapped(kernel: str, fs: str) -> None:
    """On ext4 it is shown in docs/findings.md."""
    (order,) = orders_of(SCENARIOS["truncate-vs-pin-unmapped"], None)
    found = agrees("truncate-vs-pin-unmapped", kernel, order, fs)
    assert said(found, "ftruncate(file0, 0)") == ("done" if kernel == "6.12" else "waits")
    warnings = [where for row in found.rows if row.machine for where in row.machine.warned]
    assert len(warnings) == (1 if kernel == "6.12" else 0)


@pytest.mark.parametrize(
    "path", sorted(RECORDINGS.glob("devdax-refcounts*.json")), ids=lambda path: path.stem
)
def test_a_recording_is_of_today(path: Path) -> None:
    """What was recorded once is what is seen now."""
    recording = Recording.load(path.stem)
    found = agrees(recording.scenario, recording.kernel, recording.run().order)
    text = recording.text.read_text(encoding="ascii").splitlines()
    assert render(found).splitlines()[1:] == text[1:]


# The C program


def carrying(archive: Path, source: str, place: Path) -> Path:
    """An initramfs with the program in it, as /reproducer."""
    code, built, carries = place / "reproducer.c", place / "reproducer", place / "initramfs.cpio"
    code.write_text(source, encoding="ascii")
    initramfs.compile_static([code], built)
    with carries.open("wb") as out:
        out.write(archive.read_bytes())
        writer = cpio.Writer(out)
        writer.add(cpio.file("reproducer", built.read_bytes(), 0o755))
        writer.close()
    return carries


@pytest.mark.parametrize("name", ["5.10", "7.2"])
def test_the_c_program_shows_the_same(name: str, tmp_path: Path) -> None:
    kernel, archive = ready(name)
    (order,) = orders_of(SCENARIOS[PIN], None)
    carries = carrying(archive, program_of(run_of(PIN, kernel, order)), tmp_path)
    with Guest(kernel, carries, accel=accel.choose(), fresh=True) as guest:
        guest.boot(SECONDS)
        inspector = Inspector(guest)
        assert guest.shell("/lab/devdax 4K") == (0, "dax0.0\n")
        if name == "5.10":
            code, output = guest.shell("/reproducer /dev/dax0.0")
            assert code == 0
            steps = re.findall(r"^ *(\d+) +([=!] \S+|blocks|has not returned)$", output, re.MULTILINE)
            assert ("3", "blocks") in steps and ("4", "= 0") in steps and ("3", "= 6") in steps
            assert ("3", "has not returned") not in steps
            assert guest.events == []
        else:
            with pytest.raises(GuestGone, match="Fatal exception"):
                guest.shell("/reproducer /dev/dax0.0")
            oops = guest.events[0]
            assert oops.kind == "oops" and oops.address is not None
            assert inspector.pfn_of(oops.address) is not None
