"""The cases of what calls on DAX are for: they pass, and seeded bugs make them fail."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev import catalogue
from zonedev.cli import main, parser
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check
from zonedev.explore.matrix import kept_of, read_goldens
from zonedev.kernel.inode import Inode
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.errors import RuleBroken
from zonedev.mutate import runs
from zonedev.scenarios.dax_suite import DESIGNS
from zonedev.scenarios.dax_tests import DAX_TESTS
from zonedev.scenarios.suites import SUITES

BUILT_IN = catalogue.load()
CELLS = [(case.name(), design) for case in DAX_TESTS for design in DESIGNS]


def run(name: str, design: Any) -> tuple[str, ...]:
    """One schedule with all rules; what a case says, which is nothing where it comes to its end."""
    says, _ = runs.told(BUILT_IN, runs.Run(name, None), design)
    return tuple(line for line in says if line.partition(":")[0] not in runs.COSTS.values())


@pytest.mark.parametrize(("name", "design"), CELLS, ids=[f"{n}.{d}" for n, d in CELLS])
def test_the_case_passes(name: str, design: str) -> None:
    assert run(name, BUILT_IN.design(design)) == ()


@pytest.mark.parametrize("name", ["dax-map-write", "dax-fsync-pmd", "dax-fork", "dax-umount"])
def test_the_case_passes_in_every_order(name: str) -> None:
    """With the counts of its golden."""
    found = check(BUILT_IN.scenario(name), BUILT_IN.design("linux-7.2"), design_name="linux-7.2")
    assert (found.verdict, found.rule, found.objects) == ("holds", None, None)
    assert kept_of(found) == read_goldens(BUILT_IN.scenario(name))["linux-7.2"]


def test_every_case_has_its_goldens() -> None:
    assert {case.golden_file() for case in DAX_TESTS} == {DAX_TESTS[0].golden_file()}
    for case in DAX_TESTS:
        assert set(read_goldens(case)) == set(DESIGNS), case.name()
        assert case.__doc__
        assert case.source


def test_the_matrix_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("dax-pwrite-read", "dax-umount")
    assert main(["matrix", *small]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in small)


# --- seeded bugs ---------------------------------------------------------------------------------


class HolesAreNotPunched(Linux72):
    """Punching a hole frees nothing."""

    def ext4_punch_hole(k, inode: Inode, index: int, nr: int) -> None:
        """Nothing."""


class BlocksKeepData(Linux72):
    """A block that is allocated has what its last file has written."""

    def ext4_mb_new_blocks(k, inode: Inode) -> Page | None:
        page = super().ext4_mb_new_blocks(inode)
        if page is not None:
            page.frame.data = 3
        return page


class CopiesAreEmpty(Linux72):
    """The copy of a private mapping is zeroed."""

    def copy_user_page(k, to: Page, source: Page | None) -> None:
        super().copy_user_page(to, None)


class FsyncCleansCopies(Linux72):
    """fsync() makes the copies of private mappings read-only too: v7.2 looks at the page."""

    def page_vma_mkclean_one(k, vma: Vma, at: int, page: Page) -> None:
        super().page_vma_mkclean_one(vma, at, vma.mm.pte[at].page)


class DevicesAreNobodys(Linux72):
    """A fault of device-dax tells no folio whose it is."""

    def dax_set_mapping(k, vma: Vma, page: Page) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("design", "name"),
    [
        (HolesAreNotPunched, "dax-punch-middle"),
        (BlocksKeepData, "dax-truncate-gives"),
        (CopiesAreEmpty, "dax-private-unread"),
        (DevicesAreNobodys, "dax-poison-device"),
    ],
)
def test_a_bug_is_found(design: type[Linux72], name: str) -> None:
    with pytest.raises(RuleBroken) as broken:
        run(name, design)
    assert broken.value.rule == "suite-asserts"


def test_fsync_that_cleans_copies_makes_another() -> None:
    """Which a program does not see, but who looks at the counts of the copy does."""
    with pytest.raises(RuleBroken):
        run("dax-fsync-private", FsyncCleansCopies)


def test_the_command_line_offers_every_suite() -> None:
    for suite in SUITES:
        assert parser().parse_args(["matrix", "--suite", suite]).suite == suite
