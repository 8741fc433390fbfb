"""The kernel's own tests of device memory on the model: they pass, and seeded bugs make them fail."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from zonedev import catalogue
from zonedev.cli import main
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import Verdict, check
from zonedev.explore.matrix import kept_of, read_goldens
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.test_hmm import Dmirror
from zonedev.lang.primitives import lock, spin_lock, spin_unlock, unlock
from zonedev.scenarios import hmm_tests
from zonedev.scenarios.hmm_suite import BOTH, HmmTest

BUILT_IN = catalogue.load()
CASES = [case for case in hmm_tests.HMM_TESTS if not case.unmodelled]
CELLS = [(case.name(), design) for case in CASES for design in case.expected]


@cache
def checked(name: str, design: type[Any], known_as: str | None = None) -> Verdict:
    return check(BUILT_IN.scenario(name), design, design_name=known_as)


@pytest.mark.parametrize(("name", "design"), CELLS, ids=[f"{n}.{d}" for n, d in CELLS])
def test_the_case_passes(name: str, design: str) -> None:
    """With the counts of its golden."""
    found = checked(name, BUILT_IN.design(design), design)
    assert (found.verdict, found.rule, found.objects) == ("holds", None, None)
    assert kept_of(found) == read_goldens(BUILT_IN.scenario(name))[design]


def cases_of(kernel: str) -> set[str]:
    return {case.test() for case in hmm_tests.HMM_TESTS if kernel in case.expected}


def test_every_case_of_the_kernels_is_there() -> None:
    assert (len(cases_of("linux-6.12")), len(cases_of("linux-7.2"))) == (29, 38)
    assert cases_of("linux-6.12") < cases_of("linux-7.2")
    assert all(case.__doc__ and case.source for case in hmm_tests.HMM_TESTS)


def test_they_are_no_ordinary_scenarios() -> None:
    assert not set(BUILT_IN.scenarios) & {case.name() for case in hmm_tests.HMM_TESTS}
    assert set(BUILT_IN.everything()) > set(BUILT_IN.scenarios)


def test_one_golden_file() -> None:
    assert {case.golden_file() for case in hmm_tests.HMM_TESTS} == {hmm_tests.HMM_TESTS[0].golden_file()}


def test_what_is_not_modelled_says_why() -> None:
    for case in hmm_tests.HMM_TESTS:
        assert bool(case.unmodelled) != ("setup" in {n for c in case.__mro__ for n in vars(c)} - {"setup"} or case in CASES)


# --- answers ------------------------------------------------------------------------------------------


def test_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rounds decide; a case whose device memory is not used has the same answer for both."""
    some = {"open_close", "anon_write_child", "migrate_shared", "migrate_anon_huge_zero"}
    monkeypatch.setattr(hmm_tests, "HMM_TESTS", tuple(c for c in hmm_tests.HMM_TESTS if c.test() in some))
    old, new = hmm_tests.answers("linux-6.12"), hmm_tests.answers("linux-7.2")
    assert dict(old) == {
        f"{case} ({variant})": "pass"
        for case in ("open_close", "anon_write_child", "migrate_shared")
        for variant in ("private", "coherent")
    }
    zero = "not modelled: there is no huge zero page"
    huge = {f"migrate_anon_huge_zero ({variant})": zero for variant in ("private", "coherent")}
    assert dict(new) == {**old, **huge}


def test_whose_cases_a_design_is_asked() -> None:
    designs = BUILT_IN.designs
    asked = {name: hmm_tests.kernel_of(design, designs) for name, design in designs.items()}
    assert (asked["linux-6.1"], asked["linux-6.12"], asked["linux-7.2"]) == (BOTH[0], *BOTH)


# --- seeded bugs --------------------------------------------------------------------------------------


class MprotectTellsNobody(Linux72):
    """mprotect() calls no notifier."""

    def change_protection(k, vma: Vma, read: bool, write: bool) -> None:
        k.change_pte_range(vma, read, write)


class MprotectKeepsWrite(Linux72):
    """hmm_range_fault() does not look at VM_WRITE."""

    def hmm_vma_fault(k, vma: Vma, va: int, write: bool) -> None:
        k.handle_mm_fault(vma, va, write)


class MigratesWithoutCopy(Linux72):
    """The driver does not copy what it migrates."""

    def dmirror_copy_page(k, mirror: Dmirror, va: int, spage: Page | None) -> None:
        super().dmirror_copy_page(mirror, va, None)


class ChildMayWrite(Linux612):
    """fork() leaves the child's entries writable."""

    def set_child_pte(k, dst: Vma, src: Vma, va: int, pte: Pte) -> None:
        super().set_child_pte(dst, src, va, Pte(present=True, write=True, dirty=True, page=pte.page))


class RestoresSilently(Linux612):
    """The CPU takes a page back from a device that has it for itself, and does not tell the device."""

    def restore_under_notifier(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            k.restore_exclusive_pte(vma, va, orig_pte)
        spin_unlock(vma.mm.ptl)


class FaultsPageByPage(Linux72):
    """A driver that faults a page and tries again counts a fault for each."""

    def dmirror_fault(k, mirror: Dmirror, first: int, nr: int, write: bool) -> int:
        for va in range(first, first + nr):
            if mirror.pt[va].page is None:
                return super().dmirror_fault(mirror, va, 1, write)
        return super().dmirror_fault(mirror, first, nr, write)


class MunmapTellsNobody(Linux72):
    """munmap() calls no notifier."""

    def zap_vma(k, vma: Vma) -> None:
        k.unmap_page_range(vma, vma.start, vma.nr)


class SnapshotSeesOthers(Linux72):
    """A snapshot takes every page of a device for its own."""

    def is_of_device(k, mirror: Dmirror, page: Page) -> bool:
        return True


class KeepsMirror(Linux72):
    """A driver that ignores whose migration it is told of."""

    def dmirror_do_update(k, mirror: Dmirror, first: int, nr: int) -> None:
        """Nothing is dropped."""


BUGS: list[tuple[type[Any], str, str]] = [
    (MprotectTellsNobody, "hmm-anon-write-prot", "holds"),
]


def failing(design: type[Any], name: str) -> str | None:
    """The rule that breaks when nothing but what the case asserts is looked at."""
    return check(BUILT_IN.scenario(name), design, rules=["suite-asserts"]).rule
