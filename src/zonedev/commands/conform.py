"""zonedev conform: the same on real kernels."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from zonedev.commands.context import OK, VIOLATED, Context, parse_scope, show
from zonedev.lang.errors import ZonedevError
from zonedev.report import conformance, ladder
from zonedev.report.progress import Reporter

if TYPE_CHECKING:
    from zonedev.lab.compare import Conformance
    from zonedev.lab.conform import Run
    from zonedev.lab.kernels import LabKernel
    from zonedev.lab.test_hmm import SuiteRun
    from zonedev.scenarios.base import Scenario

NOT_RUN, OOPS, TIMEOUT = 3, 4, 5


def conform(context: Context) -> int:
    """Run scenarios on model and machine, and compare what they say.

    Exit code 4 for an oops that the model did not foretell, else 5 for a run that took too
    long, else 2 for a difference, else 3 for what could not be run.
    """
    from zonedev.lab.conform import conform_all

    o = context.options
    if o.suite:
        from zonedev.commands import hmm

        return exit_code(hmm.run(o))
    runs = wanted(context)
    if o.emit_c:
        return emit_c(runs, Path(o.emit_c))
    if o.write:
        ladder.around(Path(o.write))  # what is wrong with it is said before everything is run
    with Reporter("conform", "runs") as reporter:
        found = conform_all(runs, o.jobs or os.cpu_count() or 1, o.timeout, reporter.count)
    interrupted = len(found) < len(runs)
    if o.write and not interrupted:
        ladder.write(Path(o.write), found, datetime.date.today())
        print(f"wrote {o.write}", file=sys.stderr)
    show(conformance.rendered(found, o.format))
    if interrupted:
        print(f"zonedev: interrupted after {len(found)} of {len(runs)} runs", file=sys.stderr)
    return exit_code(found) or (NOT_RUN if interrupted else OK)


def wanted(context: Context) -> list[Run]:
    """One run for each scenario, kernel, file system and order."""
    from zonedev.lab.conform import Run, orders_of
    from zonedev.scenarios.base import full_scope

    o, known = context.options, context.catalogue
    scope = parse_scope(o.scope)
    names = o.scenario or [name for name, s in known.scenarios.items() if s.orders]
    scenarios = [known.scenario(name) for name in names]
    for scenario in scenarios:
        full_scope(scenario, scope)
        if not scenario.orders:
            raise ZonedevError(f"{scenario.name()}: no program can do what its tasks do: check it instead")
    runs = []
    for scenario, kernel in product(scenarios, kernels_of(o)):
        name = o.design or kernel.design
        design = known.design(name)
        runs += [
            Run(scenario, order, kernel, design, name, scope, fs)
            for fs in file_systems(scenario, scope, o.fs, bool(o.scenario))
            for order in orders_of(scenario, o.order)
        ]
    # What cannot be run, or needs more than the kernel, is left out, unless it was asked for by its name.
    return runs if o.scenario else [run for run in runs if not run.obstacle and run.prepared]


def file_systems(
    scenario: type[Scenario], scope: Mapping[str, str | int], given: str | None, one: bool
) -> Sequence[str]:
    """Those that a scenario's files are to lie on, "" where it has none.

    By default a scenario that is asked for by its name runs on the first that it can, and of all
    scenarios each on every file system.
    """
    from zonedev.lab.plan import FILE_SYSTEMS, devices_of, has_copies, has_files
    from zonedev.scenarios.base import full_scope

    names = list(dict.fromkeys(given.split(","))) if given is not None else list(FILE_SYSTEMS)
    for fs in names:
        if fs not in FILE_SYSTEMS:
            raise ZonedevError(f"--fs {fs}: there is {', '.join(FILE_SYSTEMS)}")
    devices = devices_of(scenario, full_scope(scenario, scope))
    if not has_files(devices):
        return [""]
    if given is not None or not one:
        return names
    return ["xfs"] if has_copies(devices) else names[:1]


def kernels_of(o: argparse.Namespace) -> list[LabKernel]:
    """The kernels that are asked for: by name, a file of the user's, or all that are set up."""
    from zonedev.lab import kernels
    from zonedev.lab.errors import LabError

    if o.kernel_image:
        if o.kernel:
            raise ZonedevError("--kernel-image is a kernel of its own: leave --kernel out")
        return [
            kernels.custom(
                Path(o.kernel_image),
                Path(o.modules) if o.modules else None,
                Path(o.vmlinux) if o.vmlinux else None,
                o.design,
            )
        ]
    if o.modules or o.vmlinux:
        raise ZonedevError("--modules and --vmlinux belong to a kernel of yours: give --kernel-image too")
    names = [name for part in o.kernel for name in part.split(",")]
    if o.emit_c:
        return [kernels.named(name) for name in names or ["7.2"]]
    if names:
        return [kernels.find(name) for name in dict.fromkeys(names)]
    there = [k for name in kernels.STOCK if (k := kernels.installed(name)) is not None]
    if not there:
        raise LabError("no kernel is set up: run zonedev lab setup")
    return there


def exit_code(found: Sequence[Conformance | SuiteRun]) -> int:
    """The gravest of all."""
    from zonedev.lab import compare

    codes = {
        compare.OOPS: OOPS,
        compare.TIMEOUT: TIMEOUT,
        compare.DIFFERS: VIOLATED,
        compare.NOT_RUN: NOT_RUN,
    }
    return next((code for verdict, code in codes.items() if any(c.verdict == verdict for c in found)), OK)


def emit_c(runs: Sequence[Run], file: Path) -> int:
    """Write the operations of one run as a C program."""
    from zonedev.lab.reproducer import program_of

    if len(runs) > 1:
        raise ZonedevError("--emit-c writes one program: give one scenario, one --kernel, one --order")
    text = program_of(runs[0])
    try:
        file.write_text(text, encoding="ascii")
    except OSError as error:
        raise ZonedevError(f"{file}: {error.strerror}") from None
    show(f"wrote {file}")
    return OK
