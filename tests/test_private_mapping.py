"""Private mappings: what is copied, who is counted, and bugs that have to be found."""

from __future__ import annotations

from typing import Any

import pytest

from zonedev import Machine
from zonedev.designs.linux_4_5 import Linux45
from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.lang.errors import ZonedevError
from zonedev.memory import BusError
from zonedev.scenarios.base import Scenario
from zonedev.scenarios.parts import two_files
from zonedev.scenarios.private_mapping import PrivateMappingRefcounts, PrivateVsTruncate

DESIGNS = ("linux-4.12", "linux-5.10", "linux-6.12", "linux-7.2")


@pytest.mark.parametrize("design", DESIGNS)
def test_a_write_goes_to_a_copy(design: str) -> None:
    m = Machine(design)
    file = m.dax_file(m.pmem_device(size="16KiB"))
    a, b = m.task("A"), m.task("B")
    shared, private = b.mmap(file), a.mmap(file, private=True)
    b.write(shared, b"file")
    assert a.read(private, 4) == b"file"
    a.write(private, b"mine")
    assert (a.read(private, 4), b.read(shared, 4)) == (b"mine", b"file")
    b.write(shared, b"more")
    assert a.read(private, 4) == b"mine"
    assert a.read(private + 4096, 1) == b"\0"
    a.write(private + 4096, b"x")  # nothing was mapped there for writing: do_cow_fault() or do_wp_page()
    assert b.read(shared + 4096, 1) == b"\0"


@pytest.mark.parametrize("design", DESIGNS)
def test_copies_outlive_a_hole_and_go_with_a_truncate(design: str) -> None:
    m = Machine(design)
    file = m.dax_file(m.pmem_device(size="8KiB"))
    a, b = m.task("A"), m.task("B")
    private = a.mmap(file, private=True)
    a.write(private, b"mine")
    page = a.pin_user_pages_fast(private)
    assert page.anon
    b.punch_hole(file, 0, 1)
    assert a.read(private, 4) == b"mine"
    assert b.ftruncate(file, 0) is None  # waits for nobody
    with pytest.raises(BusError):
        a.read(private, 1)
    a.dma_write(page, b"late")
    a.unpin_user_page(page)
    assert page._refcount.value == 0


def test_a_copy_of_a_hole_is_zeroes_and_allocates_nothing() -> None:
    m = Machine("linux-7.2")
    file = m.dax_file(m.pmem_device(size="8KiB"), allocated=0)
    a = m.task("A")
    private = a.mmap(file, private=True)
    a.write(private + 1, b"x")
    assert a.read(private, 3) == b"\0x\0"
    assert not list(file._values["extents"].touched())


class TwoWriters(Scenario):
    """Threads of one mm write to the same page of a private mapping at once."""

    def setup(m: Any) -> None:  # type: ignore[override]
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("A").mmap(m.file, private=True)
        m.task("B").clone_vm("A")
        vma = m.task("A").task.mm.vma_at[m.va]
        vma.copies = (*vma.copies, m.k.new_anon_page())

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va)


@pytest.mark.parametrize("design", [Linux45, Linux612, Linux72])
def test_two_writers_share_one_copy(design: type[Linux72]) -> None:
    assert check(TwoWriters, design).verdict == "holds"


class WritesThrough(Linux72):
    """do_wp_page() takes the mapping for a shared one."""

    def do_wp_page(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        return k.ext4_dax_huge_fault(vma, va, True)


class LeaksTheCopy(Linux72):
    """Who loses the race forgets its copy."""

    def put_unused_copy(k) -> None:
        pass


class ForgetsToHold(Linux72):
    """do_wp_page() does not hold what is copied, and wp_page_copy() puts it."""

    def do_wp_page(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        return k.wp_page_copy(vma, va, orig_pte, k.vm_normal_page(orig_pte))


class TrustsThePte(Linux72):
    """wp_page_copy() does not look again whether its page is still mapped."""

    def wp_page_copy(k, vma: Vma, va: int, orig_pte: Pte, old: Page | None) -> bool:
        if k.folio_prealloc(vma) and k.wp_page_copy_user(va, old):
            k.wp_page_switch(vma, va, old)
            k.put_old(old)
        k.put_old(old)
        return True


@pytest.mark.parametrize(
    ("design", "scenario", "rule"),
    [
        (WritesThrough, PrivateVsTruncate, "data-integrity"),
        (LeaksTheCopy, TwoWriters, "refcount-exact"),
        (ForgetsToHold, PrivateVsTruncate, "refcount-exact"),
        (TrustsThePte, PrivateVsTruncate, "refcount-exact"),
    ],
)
def test_bugs_are_found(design: type[Linux72], scenario: type[Scenario], rule: str) -> None:
    found = check(scenario, design)
    assert (found.verdict, found.rule) == ("violated", rule)


class KeepsCopies(Linux72):
    """Truncate forgets even_cows."""

    def truncate_pagecache(k, inode: Any, first: int, nr: int = 0) -> None:
        k.unmap_mapping_range(inode.mapping, first, nr)


class ZapsCopies(Linux72):
    """A hole takes the copies too."""

    def unmap_mapping_range(k, mapping: Any, first: int = 0, nr: int = 0, even_cows: bool = False) -> None:
        super().unmap_mapping_range(mapping, first, nr, True)


@pytest.mark.parametrize(("design", "point"), [(KeepsCopies, "copy truncated"), (ZapsCopies, "copy punched")])
def test_what_goes_with_the_file_is_seen(design: type[Linux72], point: str) -> None:
    right = check(PrivateMappingRefcounts, Linux72).observed
    found = check(PrivateMappingRefcounts, design).observed
    assert found is not None
    assert right is not None
    assert next(p for p in right if right[p] != found[p]) == point


@pytest.mark.parametrize(
    ("size", "flags", "text"),
    [
        ("2MiB", {"private": True}, "private=True: give a file that maps with pages of 4K, size='pte'"),
        ("4KiB", {"private": True, "sync": True}, "MAP_SYNC is for shared mappings"),
    ],
)
def test_what_cannot_be_mapped(size: str, flags: dict[str, bool], text: str) -> None:
    m = Machine("linux-7.2")
    file = m.dax_file(m.pmem_device(size="2MiB", align=size))
    with pytest.raises(ZonedevError, match=text):
        m.task("A").mmap(file, **flags)
