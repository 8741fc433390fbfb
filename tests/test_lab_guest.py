"""Guests that really run: booted, asked, watched, read, and gone when they should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from zonedev.lab import accel, debuginfo, initramfs, kernels, qemu
from zonedev.lab.channel import CallFailed
from zonedev.lab.counts import Inspector, PageCounts
from zonedev.lab.errors import LabError
from zonedev.lab.guests import BootFailed, Guest, GuestGone, GuestTimeout
from zonedev.lab.kernels import LabKernel
from zonedev.lab.layout import Layout
from zonedev.lab.memory import symbols
from zonedev.lab.qemu import Hardware

pytestmark = pytest.mark.xdist_group("guests")  # one guest at a time, as in conftest.py

NONE = Hardware(nvdimms=())
VMEMMAP = 0xFFFFEA0000000000
UNBIND = "/sys/bus/dax/drivers/device_dax/unbind"


def needs(name: str | None = None) -> tuple[LabKernel, Path]:
    """A kernel that is set up, with its initramfs; skips the test where there is none."""
    try:
        qemu.program()
        kernel = kernels.find(name) if name else accel.any_kernel()
        return kernel, initramfs.build(kernel)
    except LabError as error:
        pytest.skip(str(error))


def booted(name: str | None = None) -> Guest:
    kernel, archive = needs(name)
    guest = Guest(kernel, archive, accel="tcg")
    guest.boot()
    return guest


@pytest.fixture(scope="module")
def shared() -> Iterator[Guest]:
    """A guest for tests that do it no harm."""
    with booted() as guest:
        yield guest


def ended(pid: int, seconds: float = 2.0) -> bool:
    """Whether a process ends in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.02)
    return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# The question that started it all


@pytest.mark.parametrize("name", list(kernels.STOCK))
def test_unbind_with_a_pin(name: str) -> None:
    with booted(name) as guest:
        inspector = Inspector(guest)
        dax = guest.shell("/lab/devdax 4K")[1].split()[0]
        sysfs = f"/sys/bus/dax/devices/{dax}"
        size, start = guest.shell(f"cat {sysfs}/size {sysfs}/resource")[1].split()
        pfn = int(start, 16) >> 12
        idle = inspector.pgmap_ref(pfn)
        assert inspector.page(pfn) == PageCounts(1, 0, 0)
        assert idle is not None and idle > 1

        for task in "AB":
            guest.call("-", "spawn", task)
        va = guest.call("A", "mmap", f"/dev/{dax}", 0, size)
        guest.call("A", "touch", va, "w")
        mapped = 1 if name == "7.2" else 0
        assert inspector.page(pfn) == PageCounts(1 + mapped, mapped, 0)
        assert int(guest.call("A", "pfn", va), 0) in (pfn, 0)
        pin = guest.call("A", "vmsplice", va, 4096)
        assert inspector.page(pfn) == PageCounts(2 + mapped, mapped, 0)

        unbind = guest.ask("B", "write_file", UNBIND, dax)
        where = guest.blocked(unbind)
        if name == "5.10":
            assert where is not None and where.state == "D" and "memunmap_pages" in where.stack
            assert inspector.pgmap_ref(pfn) == 1  # the page that is pinned
            guest.call("A", "drop", pin)
            assert guest.wait(unbind, 20) and unbind.error is None
            assert guest.events == [] and guest.alive
        else:
            assert where is None and unbind.error is None
            assert inspector.page(pfn) is None and inspector.pgmap(pfn) is None
            assert not guest.wait(guest.ask("A", "drop", pin), 20)
            oops, panic = guest.events
            assert oops.kind == "oops" and oops.function == "page_cache_pipe_buf_release"
            assert oops.address is not None and inspector.pfn_of(oops.address) == pfn
            assert str(panic) == "panic: Fatal exception"
            assert not guest.alive and guest.exit_reason == "kernel panic: Fatal exception"
            with pytest.raises(GuestGone, match="kernel panic"):
                guest.call("B", "exit")


# Asking


def test_a_call_fails_with_its_errno(shared: Guest) -> None:
    shared.call("-", "spawn", "fails")
    with pytest.raises(CallFailed, match="fails mmap /dev/none 0 4096: ENOENT") as failed:
        shared.call("fails", "mmap", "/dev/none", 0, 4096)
    assert failed.value.error == "ENOENT"


def test_a_shell_command_has_a_code_and_an_output(shared: Guest) -> None:
    assert shared.shell("echo 'a  b%20'; exit 3") == (3, "a  b%20\n")
    assert shared.shell("true") == (0, "")


def test_a_late_answer_is_a_timeout_and_comes_later(shared: Guest) -> None:
    with pytest.raises(GuestTimeout, match="no answer"):
        shared.call("-", "sh", "sleep 1.5", seconds=0.2)
    late = shared.ask("-", "sh", "sleep 0.5; echo x")
    assert not late.done and not shared.wait(late, 0.1)
    assert shared.wait(late, 10) and late.values == ["0", "x\n"]


def test_memory_is_read_from_outside(shared: Guest) -> None:
    words = shared.shell("grep -w linux_banner /proc/kallsyms")[1].split()
    banner = shared.read(int(words[0], 16), 64)
    assert banner is not None and banner.startswith(b"Linux version")
    assert shared.read(VMEMMAP + (1 << 40), 64) is None
    assert shared.read(0xDEAD000000000000, 8) is None


def test_debug_information_says_the_same() -> None:
    """drgn knows the kernel's types from DWARF, and walks the guest's page tables itself."""
    drgn = pytest.importorskip("drgn")
    found = [k for k in map(kernels.installed, kernels.STOCK) if k is not None and k.vmlinux is not None]
    if not found:
        pytest.skip("no debug information is set up: zonedev lab setup --debug-info")
    with booted(found[-1].name) as guest:
        inspector = Inspector(guest)
        program = debuginfo.program(guest, symbols(guest, debuginfo.SYMBOLS))
        assert Layout.of(debuginfo.DwarfTypes(program)) == inspector.layout
        pfn = 4096
        page = drgn.Object(program, "struct page *", value=inspector.layout.page_size * pfn + VMEMMAP)
        counts = inspector.page(pfn)
        assert counts is not None and counts.refcount == page._refcount.counter.value_()
        with pytest.raises(drgn.FaultError):
            drgn.Object(program, "struct page *", value=VMEMMAP + (1 << 40))._refcount.counter.value_()


# Beginning and end


def test_the_second_guest_of_a_kind_need_not_boot() -> None:
    kernel, archive = needs()
    with booted() as first, Guest(kernel, archive, accel="tcg") as second:
        second.boot()
        saved = second._snapshot()
        assert saved.path.is_file() and second.console == []
        assert first.shell("ls /lab") == second.shell("ls /lab")
    with Guest(kernel, archive, accel="tcg", append="zonedev.test", fresh=True) as other:
        other.boot()
        assert "zonedev.test" in other.shell("cat /proc/cmdline")[1]
        assert not other._snapshot().path.exists()


def test_a_broken_snapshot_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kernel, archive = needs()
    monkeypatch.setenv("ZONEDEV_LAB", str(tmp_path))
    with Guest(kernel, archive, accel="tcg") as guest:
        path = guest._snapshot().path
        path.parent.mkdir()
        path.write_bytes(b"QEVM, but not for long")
        guest.boot()
        assert guest.alive and path.stat().st_size > 1 << 20


def test_closing_leaves_nothing() -> None:
    guest = booted()
    assert guest._link is not None
    pid = guest._link.qemu.pid
    before = open_files()
    guest.close()
    guest.close()
    assert ended(pid, 0.1)
    assert open_files() == before - 5
    assert not guest.alive and guest.exit_reason == "closed"
    assert guest.read(0xFFFFFFFF81000000, 8) is None
    with pytest.raises(GuestGone, match="closed"):
        guest.ask("-", "sh", "true")


def test_a_power_off_is_no_panic() -> None:
    with booted() as guest:
        guest.ask("-", "poweroff")
        until = time.monotonic() + 20
        while guest.pump(0.2) and time.monotonic() < until:
            pass
        assert guest.exit_reason == "powered off" and guest.events == []


def test_a_panic_during_boot_is_said_at_once(tmp_path: Path) -> None:
    kernel, _ = needs()
    empty = tmp_path / "empty.cpio"
    empty.write_bytes(bytes(512))
    begun = time.monotonic()
    with (
        pytest.raises(BootFailed, match=r"does not boot: kernel panic: .*root fs") as failed,
        Guest(kernel, empty, accel="tcg", hardware=NONE, fresh=True) as guest,
    ):
        guest.boot(60)
    assert time.monotonic() - begun < 50
    assert any("Kernel panic" in line for line in failed.value.tail)


def test_no_kernel_at_all(tmp_path: Path) -> None:
    _, archive = needs()
    image = tmp_path / "vmlinuz"
    image.write_bytes(bytes(1 << 16))
    broken = LabKernel("custom", "1", "1", image, None, None, "linux-7.2")
    with (
        pytest.raises(BootFailed, match="kernel custom does not boot: "),
        Guest(broken, archive, accel="tcg") as g,
    ):
        g.boot(3)


def test_an_accelerator_that_does_not_exist() -> None:
    kernel, archive = needs()
    with (
        pytest.raises(BootFailed, match="invalid accelerator"),
        Guest(kernel, archive, accel="warp") as guest,
    ):
        guest.boot()


BOOTS = """
import sys, time
from pathlib import Path
from zonedev.lab import initramfs, kernels
from zonedev.lab.guests import Guest
kernel = kernels.find(sys.argv[1])
guest = Guest(kernel, initramfs.build(kernel), accel="tcg")
guest.start() if sys.argv[2] == "start" else guest.boot()
print(guest._link.qemu.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("when", ["start", "ready"])
def test_a_killed_program_leaves_no_guest(when: str) -> None:
    kernel, _ = needs()
    command = [sys.executable, "-c", BOOTS, kernel.name, when]
    environment = {**os.environ, "PYTHONPATH": "src"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        assert program.stdout is not None
        pid = int(program.stdout.readline())
        assert not ended(pid, 0.2)
        program.send_signal(signal.SIGKILL)
        assert ended(pid, 1.0)


def test_several_guests_side_by_side() -> None:
    kernel, archive = needs()

    def uname(number: int) -> str:
        with Guest(kernel, archive, accel="tcg") as guest:
            guest.boot()
            return guest.shell(f"echo {number}; uname -r")[1]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(uname, range(3))) == [f"{n}\n{kernel.release}\n" for n in range(3)]


# The accelerator


def test_the_environment_chooses_the_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONEDEV_ACCEL", "kvm")
    assert accel.choose() == "kvm"
    monkeypatch.setenv("ZONEDEV_ACCEL", "warp")
    with pytest.raises(LabError, match="ZONEDEV_ACCEL=warp: set it to kvm or tcg"):
        accel.choose()


def test_a_probe_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ZONEDEV_ACCEL", raising=False)
    monkeypatch.setenv("ZONEDEV_LAB", str(tmp_path))
    monkeypatch.setattr(accel, "KVM", tmp_path)  # something that can be opened
    monkeypatch.setattr(accel, "version", lambda: "QEMU 1")
    answers = iter([False, True])
    monkeypatch.setattr(accel, "runs", lambda kernel, name: next(answers))
    kernel = LabKernel("custom", "1", "1", tmp_path, None, None, "linux-7.2")
    assert [accel.choose(kernel) for _ in range(3)] == ["tcg"] * 3
    monkeypatch.setattr(accel, "version", lambda: "QEMU 2")
    assert accel.choose(kernel) == "kvm"
    monkeypatch.setattr(accel, "KVM", tmp_path / "none")
    assert accel.choose(kernel) == "tcg"


def test_a_kernel_runs_on_tcg() -> None:
    kernel, _ = needs()
    assert accel.runs(kernel, "tcg", 60.0)
    assert not accel.runs(kernel, "tcg", 0.2)
