"""Runs of scenarios on real kernels beside the model, several guests side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from zonedev.lab import accel, hmm_suite, initramfs
from zonedev.lab.compare import NOT_RUN, OOPS, TIMEOUT, Conformance, compare
from zonedev.lab.counts import Inspector
from zonedev.lab.errors import LabError
from zonedev.lab.guests import BootFailed, Guest, GuestTimeout
from zonedev.lab.kernels import LabKernel
from zonedev.lab.means import Pin, pins_of
from zonedev.lab.model import Model
from zonedev.lab.places import MIRROR_MODULE
from zonedev.lab.plan import devices_of, has_copies, obstacle
from zonedev.lab.qemu import Hardware
from zonedev.lab.real import Real
from zonedev.lab.story import Crash, Line
from zonedev.lab.teller import Teller
from zonedev.lab.things import Device
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.scenarios.base import Scenario, full_scope

#: Bytes of an NVDIMM on which a device of 1 GiB pages fits.
NVDIMM_PUD = 3 << 30


@dataclass(frozen=True)
class Run:
    """One scenario in one order on one kernel, beside one design.

    `fs` is the file system of its files, "" where it has none.
    """

    scenario: type[Scenario]
    order: tuple[str, ...]
    kernel: LabKernel
    design: type[Specification]
    design_name: str
    scope: Mapping[str, str | int] = field(default_factory=dict)
    fs: str = ""

    @property
    def devices(self) -> list[Device]:
        """What its set-up makes."""
        return devices_of(self.scenario, full_scope(self.scenario, self.scope))

    @property
    def obstacle(self) -> str:
        """Why it cannot be run, whatever is set up; "" where it can."""
        why = obstacle(self.devices, self.fs, self.kernel.release)
        return why or (hmm_suite.obstacle(self.kernel.name) if self.mirrors else "")

    @property
    def mirrors(self) -> bool:
        """Whether a device mirrors a task's memory, for which a kernel has to be set up with test_hmm."""
        return any(device.kind == "dmirror_device" for device in self.devices)

    @property
    def prepared(self) -> bool:
        """Whether what it needs beside the kernel is set up."""
        return not self.mirrors or hmm_suite.installed(self.kernel) is not None

    def blank(self) -> Conformance:
        """What is known of it before it was run."""
        scope = full_scope(self.scenario, self.scope)
        given = {n: scope[n] for n in self.scope}
        return Conformance(
            self.scenario.name(),
            self.kernel.name,
            self.kernel.version or self.kernel.release,
            self.design_name,
            " ".join(self.order),
            given,
            fs=self.fs,
        )


def conform(run: Run, seconds: float = 60.0) -> Conformance:
    """Run one; what goes wrong is in its verdict, never raised."""
    found = run.blank()
    begun = time.monotonic()
    try:
        if run.obstacle:
            raise LabError(run.obstacle)
        found.accel = accel.choose()
        archive = archive_of(run)
        with Guest(run.kernel, archive, accel=found.accel, hardware=hardware(run)) as guest:
            try:
                guest.boot(seconds)
                tell_both(run, guest, found, begun + seconds)
            finally:
                found.console = list(guest.console[-40:])
    except BootFailed as error:
        found.verdict, found.why, found.console = NOT_RUN, str(error), error.tail
    except GuestTimeout as error:
        found.verdict, found.why = TIMEOUT, str(error)
    except Crash as crash:
        found.verdict, found.why = OOPS, f"at set-up: {crash.said}: {crash.note}"
    except (ZonedevError, OSError) as error:
        found.verdict, found.why = NOT_RUN, str(error)
    found.seconds = time.monotonic() - begun
    return found


def archive_of(run: Run) -> Path:
    """What the guest begins with: where a device mirrors a task's memory, its driver too."""
    if not run.mirrors:
        return initramfs.build(run.kernel)
    return initramfs.with_files(run.kernel, {MIRROR_MODULE: hmm_suite.find(run.kernel).module})


def hardware(run: Run) -> Hardware:
    """NVDIMMs that a device of the scenario's page size fits on."""
    pud = full_scope(run.scenario, run.scope).get("size") == "pud"
    return Hardware(nvdimms=(NVDIMM_PUD,)) if pud else Hardware()


def tell_both(run: Run, guest: Guest, found: Conformance, until: float) -> None:
    """The machine makes its devices, the model tells with theirs, the machine tells."""
    pins = pins_of(run.kernel.version)
    scope = full_scope(run.scenario, run.scope)
    real = Real(guest, Inspector(guest), pins, until, fs=run.fs, reflink=has_copies(run.devices))
    machine = Teller(real, run.scenario, scope, run.design)
    machine.set_up()
    foretold = foretell(run, real.sizes, pins)
    machine.hear(foretold)
    told = machine.tell(run.order)
    if real.chosen:  # which free block a file gets is up to the file system
        foretold = foretell(run, real.sizes, pins, real.chosen)
    found.means = {n: p.described for n, p in pins.items() if any(n + "(" in line.text for line in told)}
    found.rows = compare(foretold, told)
    found.conclude()


def foretell(
    run: Run, sizes: Mapping[str, int], pins: Mapping[str, Pin], chosen: Mapping[int, str] | None = None
) -> list[Line]:
    """What the model says, with devices of the given sizes in bytes; `chosen` are the blocks that the
    machine's file system has taken."""
    model = Model(run.design, sizes, pins, chosen)
    try:
        teller = Teller(model, run.scenario, full_scope(run.scenario, run.scope), run.design)
        teller.set_up()
        return teller.tell(run.order)
    finally:
        model.close()


def conform_all(
    runs: Sequence[Run], jobs: int, seconds: float, done: Callable[[int, int], None]
) -> list[Conformance]:
    """All of them, `jobs` guests at a time, in the order in which they are given; after an
    interrupt those that have come so far."""
    found: list[Conformance] = []
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for result in pool.map(lambda run: conform(run, seconds), runs):
                found.append(result)
                done(len(found), len(runs))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
    return found


def orders_of(scenario: type[Scenario], given: str | None) -> list[tuple[str, ...]]:
    """The orders to try: what the user gives, or the scenario's own."""
    from zonedev.lab.teller import parse_order

    return [parse_order(text, scenario) for text in ([given] if given is not None else scenario.orders)]
