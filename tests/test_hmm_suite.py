"""The kernel's own tests of device memory on the model: they pass, and seeded bugs make them fail."""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import Any

import pytest

from seeds import SnapshotTakesAllForItsOwn
from zonedev import catalogue
from zonedev.cli import main
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check
from zonedev.explore.matrix import kept_of, read_goldens
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.kernel.test_hmm import Dmirror
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import current
from zonedev.scenarios import hmm_tests
from zonedev.scenarios.hmm_suite import BOTH

BUILT_IN = catalogue.load()
CASES = [case for case in hmm_tests.HMM_TESTS if not case.unmodelled]


def cells(whole: bool) -> list[tuple[str, str]]:
    """Cases and designs: every other case under one of its designs, in turn, or `whole` all under all."""
    each = [(case.name(), list(case.expected)) for case in CASES]
    if whole:
        return [(n, d) for n, designs in each for d in designs]
    return [(n, designs[at % len(designs)]) for at, (n, designs) in enumerate(each[1::2])]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" in metafunc.fixturenames:
        chosen = cells(metafunc.config.getoption("--whole"))
        metafunc.parametrize("cell", chosen, ids=[f"{n}.{d}" for n, d in chosen])


def test_the_case_passes(cell: tuple[str, str]) -> None:
    """With the counts of its golden; all of them: zonedev matrix --suite hmm-tests."""
    name, design = cell
    found = check(BUILT_IN.scenario(name), BUILT_IN.design(design), design_name=design)
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


class FaultsWhatMayNotBeWritten(Linux72):
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
        super().set_child_pte(dst, src, va, replace(pte, write=True))


class RestoresSilently(Linux612):
    """The CPU takes a page back from a device that has it for itself, and nobody tells the device."""

    def restore_under_notifier(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        k.mn_itree_inv_start_range(vma.mm)
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            k.restore_exclusive_pte(vma, va, orig_pte)
        spin_unlock(vma.mm.ptl)


class MunmapTellsNobody(Linux72):
    """munmap() calls no notifier."""

    def zap_vma(k, vma: Vma) -> None:
        k.unmap_page_range(vma, vma.start, vma.nr)


class HolesOfFilesMigrate(Linux72):
    """A page is put where a shared mapping has none."""

    def migrate_vma_collect_pte(
        k, vma: Vma, va: int, select: int, owner: Any, fault_folio: Page | None
    ) -> bool:
        pte = vma.mm.pte[va]
        if not pte.present and not pte.leaf:
            current().migrates[va] = True
            return False
        return super().migrate_vma_collect_pte(vma, va, select, owner, fault_folio)


class LongtermPinsStay(Linux72):
    """A page of coherent memory is pinned where it is."""

    def folio_is_longterm_pinnable(k, folio: Page) -> bool:
        return True


class SplitsNoHugeEntry(Linux72):
    """A device that has no huge page gets none at all."""

    def migrate_same_size(k, vma: Vma | None, at: int, newpage: Page, page: Page) -> bool:
        return False


#: Designs with a bug, and the cases that find it by what they assert themselves.
BUGS: list[tuple[type[Any], tuple[str, ...]]] = [
    (FaultsWhatMayNotBeWritten, ("hmm-anon-write-prot", "hmm-exclusive-mprotect")),
    (MigratesWithoutCopy, ("hmm-migrate", "hmm-migrate-coherent", "hmm-migrate-fault", "hmm-double-map")),
    (ChildMayWrite, ("hmm-anon-write-child",)),
    (RestoresSilently, ("hmm-exclusive",)),
    (MunmapTellsNobody, ("hmm-anon-read-multiple",)),
    (SnapshotTakesAllForItsOwn, ("hmm-snapshot-coherent",)),
    (HolesOfFilesMigrate, ("hmm-migrate-shared",)),
    (LongtermPinsStay, ("hmm-gup-test-coherent",)),
    (SplitsNoHugeEntry, ("hmm-migrate-anon-huge-err",)),
]


@pytest.mark.parametrize(
    ("design", "name"), [(d, n) for d, names in BUGS for n in names], ids=lambda x: getattr(x, "__name__", x)
)
def test_a_bug_fails_a_case(design: type[Any], name: str) -> None:
    """When nothing but what the case asserts is looked at."""
    found = check(BUILT_IN.scenario(name), design, rules=["suite-asserts"])
    assert (found.verdict, found.rule) == ("violated", "suite-asserts")
    assert found.trace and found.objects


@pytest.mark.parametrize("name", ["hmm-anon-write-prot", "hmm-exclusive-mprotect", "hmm-anon-read-prot"])
def test_what_the_suite_does_not_see(name: str) -> None:
    """No case writes by a device through what it mapped before mprotect()."""
    assert check(BUILT_IN.scenario(name), MprotectTellsNobody).verdict == "holds"


# --- the command --------------------------------------------------------------------------------------


def few() -> catalogue.Catalogue:
    """A catalogue with three cases."""
    some = ("open_close", "file_read", "migrate_anon_huge_zero")
    cases = tuple(c for c in hmm_tests.HMM_TESTS if c.test() in some)
    return replaced(BUILT_IN, suites={"hmm-tests": cases})


def test_matrix_of_a_suite(capsys: pytest.CaptureFixture[str]) -> None:
    """A case a line, with all its rounds; what is not modelled has its reason."""
    assert main(["matrix", "--suite", "hmm-tests"], few) == 0
    assert capsys.readouterr().out.splitlines() == [
        "                                6.12  7.2",
        "open_close              either  pass  pass",
        "file_read               either  pass  pass",
        "migrate_anon_huge_zero  either  not modelled: there is no huge zero page",
        "",
        "3 cases, 1 not modelled",
        "4 checks, all as expected",
    ]
    assert main(["matrix", "--suite", "hmm-tests", "hmm-open-close"], few) == 1
    assert capsys.readouterr().err == ("zonedev: error: --suite is a matrix of its own: leave SCENARIO out\n")


def test_a_case_is_checked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "hmm-open-close", "--design", "linux-7.2"]) == 0
    assert capsys.readouterr().out.startswith("hmm-open-close, linux-7.2 (memory=private): holds")
