"""Whether guests run on KVM here, found out by running one."""

from __future__ import annotations

import os
import time
from pathlib import Path

from zonedev.lab import facts, kernels
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.kernels import LabKernel
from zonedev.lab.qemu import Hardware, version

NAMES = ("kvm", "tcg")
KVM = Path("/dev/kvm")
PROBE_SECONDS = 5.0
#: A kernel without a root file system says this when it has done all the rest of its boot.
BOOTED = ("Unable to mount root fs", "No working init found")


def choose(kernel: LabKernel | None = None) -> str:
    """ "kvm" where a guest has run on it on this host, or else "tcg", QEMU's emulation.

    $ZONEDEV_ACCEL decides if it is set.  The answer is kept until the host boots again or QEMU changes.
    The probe boots `kernel`, or any that is set up; LabError where there is none.
    """
    given = os.environ.get("ZONEDEV_ACCEL")
    if given:
        if given not in NAMES:
            raise LabError(f"ZONEDEV_ACCEL={given}: set it to {' or '.join(NAMES)}")
        return given
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg"
    host = {"boot": boot_id(), "qemu": version()}
    return facts.known("accel", host, lambda: "kvm" if runs(kernel or any_kernel(), "kvm") else "tcg")


def runs(kernel: LabKernel, accel: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a kernel boots on an accelerator, as far as it can without an initramfs."""
    with Guest(kernel, None, accel=accel, hardware=Hardware(nvdimms=())) as guest:
        guest.start()
        until = time.monotonic() + seconds
        while guest.pump(0.1) and time.monotonic() < until:
            pass
        return any(mark in line for line in guest.console for mark in BOOTED)


def any_kernel() -> LabKernel:
    """The newest kernel that is set up; LabError where there is none."""
    for name in reversed(kernels.STOCK):
        found = kernels.installed(name)
        if found is not None:
            return found
    raise LabError("no kernel is set up: run zonedev lab setup")


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
