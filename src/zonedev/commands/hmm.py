"""zonedev conform --suite: the kernel's own tests on real kernels, beside the model."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Mapping

from zonedev.commands.context import show
from zonedev.lab import hmm_suite, kernels
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel
from zonedev.lab.test_hmm import SECONDS, SuiteRun, compare, run_suite
from zonedev.lang.errors import ZonedevError
from zonedev.report import suite
from zonedev.report.progress import Reporter

#: Options of conform that are about scenarios.
OTHERS = ("scenario", "fs", "order", "scope", "emit_c", "write", "kernel_image", "modules", "vmlinux")


def run(o: argparse.Namespace) -> list[SuiteRun]:
    """Run the tests on the kernels that are asked for, by default on all that can; and print them."""
    given = [name for name in OTHERS if getattr(o, name)]
    if given:
        name = "SCENARIO" if given[0] == "scenario" else f"--{given[0].replace('_', '-')}"
        raise ZonedevError(f"--suite is a run of its own: leave {name} out")
    found = [run_on(kernel, o.design or kernel.design, o.timeout) for kernel in wanted(o)]
    show(suite.rendered(found, o.format))
    return found


def wanted(o: argparse.Namespace) -> list[LabKernel]:
    names = [stock.name for stock in kernels.chosen(o.kernel)] if o.kernel else list(hmm_suite.WITH)
    found = [kernels.find(name) for name in names]
    for kernel in found:
        hmm_suite.find(kernel)  # what is missing is said before anything is run
    return found


def run_on(kernel: LabKernel, design: str, timeout: float) -> SuiteRun:
    """Run them on one kernel."""
    found = SuiteRun(kernel.name, kernel.version, design)
    told = answers(design)
    begun = time.monotonic()
    with Reporter("hmm-tests", "tests") as reporter:
        try:
            found.cases = compare(run_suite(kernel, max(timeout, SECONDS), reporter.count), told)
        except (LabError, OSError) as error:
            found.why = str(error)
    found.seconds = time.monotonic() - begun
    if not told and not found.why:
        found.why = "the model has no answers"
    return found


def answers(design: str) -> Mapping[str, str]:
    """What the model says of each test: pass, fail, or other words where it says nothing."""
    if importlib.util.find_spec("zonedev.scenarios.hmm_tests") is None:
        return {}
    found: Mapping[str, str] = importlib.import_module("zonedev.scenarios.hmm_tests").answers(design)
    return found
