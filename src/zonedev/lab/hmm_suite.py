"""The kernel's own tests of device-private memory as they lie in the cache: lib/test_hmm.c, hmm-tests.c.

How they get there is told in hmm_setup.py, how they are run in test_hmm.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import cache, kernels, kmodule
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel

NEEDED = "DEVICE_PRIVATE"  # the option of the kernel
#: The stock kernels that have it.
WITH = ("7.2",)
MODULE, PROGRAM, RECORD = "test_hmm.ko", "hmm-tests", "suite.json"
SELFTESTS = "tools/testing/selftests"
#: What is taken out of the sources.
WANTED = (
    "lib/test_hmm.c",
    "lib/test_hmm_uapi.h",
    "mm/gup_test.h",
    "tools/arch/x86/include/uapi/asm/",
    "tools/include/uapi/",
    f"{SELFTESTS}/kselftest.h",
    f"{SELFTESTS}/kselftest_harness.h",
    f"{SELFTESTS}/mm/",
)
#: The parts of the program (tools/testing/selftests/mm/Makefile), and how they are compiled.
PARTS = ("hmm-tests.c", "vm_util.c", "hugepage_settings.c")
OPTIONS = ("-w", "-O2", "-static", "-pthread", "-D_GNU_SOURCE=")


@dataclass(frozen=True)
class Suite:
    """The tests, built for one kernel."""

    module: Path
    program: Path


def recipe() -> str:
    """A hash of how it is built, so that another release of zonedev builds it anew."""
    how = (WANTED, PARTS, OPTIONS, kmodule.recipe())
    return hashlib.sha256(repr(how).encode()).hexdigest()[:16]


def directory() -> Path:
    return cache.root() / "debian" / "test_hmm"


def place(kernel: LabKernel) -> Path:
    return directory() / f"{kernel.name}-{kernel.version}-{recipe()}"


def without(name: str) -> str:
    return f"kernel {name}: no hmm-tests: Debian builds it without CONFIG_{NEEDED}"


def obstacle(name: str) -> str:
    """Why a kernel cannot run the tests, whatever is set up; "" where it can."""
    if name in WITH:
        return ""
    if name in kernels.STOCK:
        return f"{without(name)}: take {WITH[0]}"
    return f"kernel {name}: no hmm-tests: they are set up for Debian's {', '.join(WITH)} alone"


def installed(kernel: LabKernel) -> Suite | None:
    """The tests for a kernel, if they are set up."""
    home = place(kernel)
    return Suite(home / MODULE, home / PROGRAM) if (home / RECORD).is_file() else None


def find(kernel: LabKernel) -> Suite:
    """The tests for a kernel; LabError where it cannot run them, or they are not set up."""
    if why := obstacle(kernel.name):
        raise LabError(why)
    found = installed(kernel)
    if found is None:
        raise LabError(
            f"kernel {kernel.name}: its hmm-tests are not set up: "
            f"run zonedev lab setup --kernel {kernel.name} --test-hmm"
        )
    return found
