"""Runs the kernel's own tests of device-private memory in a guest, beside the model's answers.

The tests are Linux's tools/testing/selftests/mm/hmm-tests.c with the module lib/test_hmm.c, a driver of a
device that there is not.  Its private memory lies at addresses where there is nothing.  Its coherent
memory has to be there: a part of the guest's memory is taken out for it at boot (memmap=).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from zonedev.lab import accel, hmm_suite, initramfs, selftest
from zonedev.lab.compare import AGREES, DIFFERS, NOT_RUN, OOPS, TIMEOUT, UNSEEN
from zonedev.lab.errors import LabError
from zonedev.lab.guests import Guest
from zonedev.lab.kernels import LabKernel
from zonedev.lab.places import MIRROR_MODULE
from zonedev.lab.qemu import MIB, Hardware
from zonedev.lab.selftest import SKIP, CaseResult, listed, parse

SECONDS = 900.0
#: Bytes of coherent memory of a device (DEVMEM_CHUNK_SIZE of lib/test_hmm.c); there are two.
CHUNK = 256 * MIB
COHERENT = 1024 * MIB  # where it begins
HARDWARE = Hardware(nvdimms=(), memory=2048 * MIB)
LINE = f"memmap={2 * CHUNK // MIB}M${COHERENT // MIB}M"
MODULE, PROGRAM = MIRROR_MODULE, "hmm-tests"
PARAMETERS = f"spm_addr_dev0={COHERENT:#x} spm_addr_dev1={COHERENT + CHUNK:#x}"
#: Which tests run with which transparent huge pages.  A coherent device of test_hmm has no memory for them:
#: it would map its one chunk again, and oopses where it then tries with small pages.
HUGE_PAGES = {"private": "always", "coherent": "never"}
#: What fails without them.
NEED_HUGE = ("migrate_anon_huge_err", "migrate_anon_huge_zero_err")
NO_HUGE = "test_hmm has no huge pages of coherent memory"
BENCHMARKS = ("benchmark_thp_migration",)
NO_TIME = "a benchmark, which says nothing under emulation"


def run_suite(
    kernel: LabKernel, seconds: float = SECONDS, done: Callable[[int, int], None] = lambda done, total: None
) -> list[CaseResult]:
    """What became of every test; `done` is told how many there are so far.

    LabError where the kernel cannot run them, or the module does not load; BootFailed.
    """
    until = time.monotonic() + seconds
    how = accel.choose()
    with booted(kernel, how, seconds) as guest:
        guest.shell("echo on >/proc/sys/kernel/printk_devkmsg")  # or it would be rationed
        names = listed(guest.shell(f"/{PROGRAM} -l 2>&1")[1])
        omitted = {name: why for name in names if (why := why_not(name, how))}
        for variant in HUGE_PAGES:
            leave = [name.rpartition(".")[2] for name in omitted if CaseResult(name).variant == variant]
            run_variant(guest, variant, leave, until, lambda: done(len(parse(guest.console)), len(names)))
        return results(names, omitted, parse(guest.console), guest.exit_reason)


@contextmanager
def booted(kernel: LabKernel, how: str, seconds: float = SECONDS) -> Iterator[Guest]:
    """A guest with the module: /dev/hmm_dmirror0 and 1 are private, 2 and 3 coherent."""
    suite = hmm_suite.find(kernel)
    archive = initramfs.with_files(kernel, {MODULE: suite.module, PROGRAM: suite.program})
    with Guest(kernel, archive, accel=how, fresh=True, hardware=HARDWARE, append=LINE) as guest:
        guest.boot(seconds)
        code, said = guest.shell(f"insmod /{MODULE} {PARAMETERS} 2>&1")
        if code:
            raise LabError(f"kernel {kernel.name}: its module test_hmm does not load: {last(said, guest)}")
        yield guest


def last(said: str, guest: Guest) -> str:
    return (said.strip().splitlines() or guest.console or ["it says nothing"])[-1].strip()


def why_not(name: str, how: str) -> str:
    """Why a test is left out; "" where it is not."""
    if how == "tcg" and name.endswith(BENCHMARKS):
        return NO_TIME
    return NO_HUGE if CaseResult(name).variant == "coherent" and name.endswith(NEED_HUGE) else ""


def run_variant(
    guest: Guest, variant: str, leave: Sequence[str], until: float, tick: Callable[[], None]
) -> None:
    """Run the tests of a variant; what they say is on the guest's console."""
    if not guest.alive:
        return
    chosen = [f"-T {name}" for name in leave]  # the first option that fits a test decides
    chosen += [f"-v {fixture}_device_{variant}" for fixture in ("hmm", "hmm2")]
    huge = f"echo {HUGE_PAGES[variant]} >/sys/kernel/mm/transparent_hugepage/enabled"
    request = guest.ask("-", "sh", f"{huge}; /{PROGRAM} {' '.join(chosen)} >/dev/kmsg 2>&1")
    while time.monotonic() < until and not guest.wait(request, 1.0) and guest.alive:
        tick()


def results(
    names: Sequence[str], omitted: Mapping[str, str], found: Sequence[CaseResult], ended: str | None
) -> list[CaseResult]:
    """The results in the order of the names; a test that was not run has the reason."""
    known = {result.name: result for result in found}
    known |= {name: CaseResult(name, SKIP, why) for name, why in omitted.items()}
    why = ended or "the time was up"
    return [known.get(name) or CaseResult(name, selftest.NOT_RUN, why) for name in names]


@dataclass(frozen=True)
class Compared:
    """A test, beside what the model says of it: pass, fail, other words, or None for no answer."""

    result: CaseResult
    answer: str | None

    @property
    def verdict(self) -> str:
        outcome = self.result.outcome
        if outcome in (selftest.OOPS, selftest.TIMEOUT):
            return OOPS if outcome == selftest.OOPS else TIMEOUT
        sides = {outcome, self.answer}
        if not sides <= {selftest.PASS, selftest.FAIL}:
            return UNSEEN
        return AGREES if len(sides) == 1 else DIFFERS


@dataclass
class SuiteRun:
    """A run of the tests on a kernel beside a design."""

    kernel: str
    version: str
    design: str
    cases: list[Compared] = field(default_factory=list)
    why: str = ""  # one line, where it did not come to a comparison
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """The gravest of all; what nobody has an answer to is no agreement."""
        found = {case.verdict for case in self.cases}
        return next((v for v in (OOPS, TIMEOUT, DIFFERS, AGREES) if v in found), NOT_RUN)


def compare(results: Sequence[CaseResult], answers: Mapping[str, str]) -> list[Compared]:
    """Each test beside the model's answer, which is known by a name such as "migrate (private)"."""
    return [Compared(result, answers.get(result.case)) for result in results]
