"""Hole punch against pins, those of GUP-fast in progress among them."""

from __future__ import annotations

from typing import Any, ClassVar

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import (
    BLOCK_RULES,
    FILE_PAGES,
    FILE_PMD,
    FILE_SIZE,
    TLB,
    choose_tlb,
    two_files,
)


class PunchVsPin(Scenario):
    """Direct I/O writes into a mapped file, into which a hole is punched; the block goes to another."""

    source = "Dan Williams, 5fac7408d828 mm, fs, dax: handle layout changes to pinned dax mappings, 2018"
    scope = {"pages": FILE_PAGES, "size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A B A",)
    expected = {
        "linux-4.5": violated("block-reuse", "hole punch looks at no count"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-4.13": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": holds("waits as truncate does"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("as linux-5.10"),
        "linux-7.2": holds("as linux-5.10"),
        "dax-gup-fix-2022": holds("as linux-5.10"),
    }

    def setup(m: Any) -> None:
        two_files(m)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.punch_hole(m.file, 0, m.file.per_folio)
        t.pwrite(m.other, 0)


class PunchBesidePin(Scenario):
    """A hole is punched beside the page that I/O writes into."""

    source = "fs/ext4/inode.c, fs/xfs/xfs_file.c: the layout of the whole file is broken"
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A B A",)
    expected = {
        "linux-4.5": holds("no count is looked at"),
        "linux-5.10": holds("waits for a page that it leaves alone"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("as linux-5.10"),
        "linux-7.2": holds("as linux-5.10"),
        "dax-gup-fix-2022": holds("as linux-5.10"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(pages=2), pages=2)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.punch_hole(m.file, 1, 1)


class PunchVsGupFast(Scenario):
    """A hole is punched while GUP-fast is between its look at the PTE and its reference."""

    source = "mm/gup.c: grab, then look again; fs/dax.c: unmap, then count"
    scope = {"tlb": TLB}
    rules: ClassVar[tuple[str, ...] | None] = (
        "block-reuse",
        "data-integrity",
        "page-lifetime",
        "refcount-exact",
        "mapping-exact",
    )
    progress = alone = "truncate-terminates"
    orders: ClassVar[tuple[str, ...]] = ("A B A",)
    expected = {
        "linux-4.5": violated("block-reuse", "hole punch looks at no count"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-4.13": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": holds("grab, then look again; unmap and flush, then look at the count"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("as linux-5.10"),
        "linux-7.2": holds("as linux-5.10"),
        "dax-gup-fix-2022": holds("as linux-5.10"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        choose_tlb(m)
        two_files(m)
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.punch_hole(m.file, 0, m.file.per_folio)
        t.pwrite(m.other, 0)


class PunchWarnsOfGupFast(PunchVsGupFast):
    """The same, asked for the warning of a page in use, which nobody uses here."""

    source = "found by reading: an idle count of 1 lets GUP-fast take what the scan has passed"
    rules = ("kernel-asserts",)
    orders = ()
    expected = {
        "linux-5.10": violated("kernel-asserts", "GUP-fast takes the page, and gives it back a little later"),
        "linux-6.1": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.12": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.15": holds("nobody takes a page whose count is 0"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": violated("kernel-asserts", "refault-after-zap, and another warning"),
    }


class PunchVsGupFastWaits(PunchVsGupFast):
    """The same, asked whether the punch comes to its end; the task keeps its mapping."""

    rules = ("no-deadlock", "no-lost-wakeup", "truncate-terminates")
    orders = ()
    expected = {
        "linux-5.10": holds("a mapping holds no reference"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": violated("truncate-terminates", "truncate-vs-refault without any lasting pin"),
        "linux-7.2": violated("truncate-terminates", "as linux-6.15"),
        "dax-gup-fix-2022": holds("an entry that was zapped takes no reference again"),
    }


class GupPmdRecheck(PunchVsGupFast):
    """The same with a PMD: GUP-fast finds at its second look that it has changed."""

    source = "Dan Williams, 25/25 mm/gup: Drop DAX pgmap accounting, 2022-10-14"
    scope = {"tlb": TLB, "size": FILE_PMD}
    expected = {
        "linux-4.5": violated("block-reuse", "hole punch looks at no count"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": holds("a page that has changed is given back"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("huge entries are special: not for GUP-fast"),
        "linux-7.2": holds("as linux-5.10"),
        "dax-gup-fix-2022": violated("block-reuse", "the undo is lost"),
    }
