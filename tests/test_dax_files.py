"""Files on DAX, call by call: what each leaves of blocks, entries, mappings, counts and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import file_programs
from file_seeds import SyncFaultMapsFirst
from zonedev.designs.linux_7_2 import Linux72
from zonedev.explore.check import check
from zonedev.lang.errors import RuleBroken, SpecError, ZonedevError
from zonedev.machine import Job, Machine
from zonedev.memory import BusError
from zonedev.rules import RULES
from zonedev.rules.base import Rule
from zonedev.scenarios.parts import RELEASES

PAGE = 4096
BIG = 2 << 20
#: How files map, with the size of a block.
SIZES = [("4KiB", PAGE), ("2MiB", BIG)]
#: v4.5 reads holes through pages of the page cache, which are not modelled.
HOLES = RELEASES[1:]
WAITING = ["linux-5.10", "linux-6.1", "linux-6.12", "linux-6.15", "linux-7.2", "dax-gup-fix-2022"]


@pytest.fixture(params=["linux-5.10", "linux-6.12", "linux-6.15", "linux-7.2"])
def m(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Machine(request.param) as found:
        yield found


def but(left_out: str) -> dict[str, Rule]:
    """All rules but one."""
    return {name: rule for name, rule in RULES.items() if name != left_out}


def file_of(m: Machine, blocks: int, each: int = PAGE, **named: Any) -> Any:
    """A file of a few blocks on a device that has twice as many."""
    pmem = m.pmem_device(size=2 * blocks * each, align=each)
    return m.dax_file(pmem, size=blocks * each, **named)


def blocks(inode: Any) -> list[int | None]:
    """The first page of each block of a file, as the device numbers them."""
    extents = inode._values["extents"]
    found = [extents.peek(i) for i in range(0, inode.nr, inode.per_folio)]
    return [None if page is None else page.number // inode.per_folio for page in found]


def entry(inode: Any, index: int = 0) -> Any:
    return inode._values["i_pages"].peek(index)


# --- holes and blocks ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("align", "each"), SIZES)
@pytest.mark.parametrize("design", RELEASES[3:])
def test_a_hole_is_read_as_zeros_and_filled_by_a_write(design: str, align: str, each: int) -> None:
    with Machine(design) as m:
        file = file_of(m, 2, each, allocated=each)
        a = m.task("A")
        va = a.mmap(file)
        assert a.read(va + each, 3) == b"\0\0\0"
        assert blocks(file) == [0, None]
        with pytest.raises(ZonedevError, match="is in a hole of inode0"):
            m.page(va + each)
        a.write(va + each + 5, b"x")
        assert blocks(file) == [0, 1]
        assert a.read(va + each + 4, 3) == b"\0x\0"
        assert m.page(va + each)._mapcount == int(m.k.MAPPING_HOLDS_REF)


def test_the_zero_page_is_counted_by_nobody(m: Machine) -> None:
    file = file_of(m, 1, allocated=0)
    a, b = m.task("A"), m.task("B")
    for task in (a, b):
        va = task.mmap(file)
        task.read(va, 1)
    assert m.k.zero_page._values["_refcount"]._values["value"] == 0
    a.munmap(va)
    assert entry(file).zero
    b.write(va, b"x")
    assert repr(entry(file).page) == m.page(va, b).name


def test_a_write_to_a_hole_of_a_full_device_is_a_bus_error(m: Machine) -> None:
    pmem = m.pmem_device(size=PAGE)
    m.dax_file(pmem)
    hole = m.dax_file(pmem, allocated=0)
    a = m.task("A")
    va = a.mmap(hole)
    with pytest.raises(BusError):
        a.write(va, b"x")
    assert a.pwrite(hole, 0) is False
    assert a.read(va, 1) == b"\0"


def test_bytes_go_with_the_block_and_not_with_the_file(m: Machine) -> None:
    """And who gets the block after another finds zeros."""
    pmem = m.pmem_device(size=PAGE)
    old, new = m.dax_file(pmem), m.dax_file(pmem, allocated=0)
    a, b = m.task("A"), m.task("B")
    va, other = a.mmap(old), b.mmap(new)
    a.write(va, b"secret")
    a.punch_hole(old, 0, 1)
    assert a.read(va, 6) == b"\0" * 6
    assert b.pwrite(new, 0) is True
    assert (blocks(old), blocks(new)) == ([None], [0])
    assert b.read(other, 6) == b"\0" * 6


# --- truncate and punch ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("align", "each"), SIZES)
@pytest.mark.parametrize("design", HOLES)
def test_truncate_takes_what_lies_behind(design: str, align: str, each: int) -> None:
    with Machine(design) as m:
        file = file_of(m, 3, each)
        a = m.task("A")
        va = a.mmap(file)
        for n in range(3):
            a.write(va + n * each, b"%d" % n)
        a.ftruncate(file, each // PAGE)
        assert blocks(file) == [0, None, None]
        assert a.read(va, 1) == b"0"
        with pytest.raises(BusError, match=f"at VA {each:#x}"):
            a.read(va + each, 1)
        a.ftruncate(file, 3 * each // PAGE)
        assert a.read(va + each, 1) == b"\0"


def test_punch_takes_the_middle(m: Machine) -> None:
    file = file_of(m, 4)
    a = m.task("A")
    va = a.mmap(file)
    for n in range(4):
        a.write(va + n * PAGE, b"%d" % n)
    a.punch_hole(file, 1, 2)
    assert blocks(file) == [0, None, None, 3]
    assert [a.read(va + n * PAGE, 1) for n in range(4)] == [b"0", b"\0", b"\0", b"3"]


def test_of_a_large_file_truncate_takes_what_nobody_has_touched(m: Machine) -> None:
    """Page by page that would take hours."""
    pmem = m.pmem_device(size="1TiB")
    old, new = m.dax_file(pmem), m.dax_file(pmem, allocated=0)
    a = m.task("A")
    va = a.mmap(old)
    a.write(va + (1 << 30), b"far")
    a.punch_hole(old, 0, 1 << 19)
    a.ftruncate(old, 1 << 20)
    assert blocks_at(old, 0, (1 << 19) - 1, 1 << 19, (1 << 20) - 1, 1 << 20) == [0, 0, 1, 1, 0]
    assert a.read(va + (3 << 30), 3) == b"\0\0\0"
    assert a.pwrite(new, 0) is True
    page = new._values["extents"].peek(0)
    assert page.number not in range(1 << 19, 1 << 20)  # what the first file still has
    with pytest.raises(BusError):
        a.read(va + (1 << 32), 1)


def blocks_at(inode: Any, *indices: int) -> list[int]:
    return [int(inode._values["extents"].peek(i) is not None) for i in indices]


@pytest.mark.parametrize("design", WAITING)
def test_truncate_waits_for_a_pin_with_the_locks_dropped(design: str) -> None:
    with Machine(design) as m:
        file = file_of(m, 1)
        a, b = m.task("A"), m.task("B")
        va = a.mmap(file)
        pin = a.pin_user_pages_fast(va)
        job = b.ftruncate(file, 0)
        assert isinstance(job, Job)
        assert job.stack[0].startswith("ftruncate")
        assert "wait_page_idle" in job.stack[-1] or "dax_break" in job.stack[-1]
        assert blocks(file) == [0]
        assert a.read(va, 1) == b"\0"  # invalidate_lock is free: a fault maps the page again
        a.munmap(va)
        assert not job.done
        a.unpin_user_page(pin)
        assert job.done
        assert blocks(file) == [None]


@pytest.mark.parametrize("design", ["linux-4.5", "linux-4.12", "linux-4.13"])
def test_truncate_waited_for_nobody(design: str) -> None:
    with Machine(design) as m:
        file = file_of(m, 1)
        a = m.task("A")
        a.pin_user_pages_fast(a.mmap(file))
        with pytest.raises(RuleBroken, match="block-reuse: the block of page1 in inode0 is freed, but A"):
            m.task("B").ftruncate(file, 0)


# --- the end of a file -----------------------------------------------------------------------------------


def test_the_last_close_of_a_file_without_a_name_frees_it(m: Machine) -> None:
    file = file_of(m, 1)
    m.open(file)
    a, b = m.task("A"), m.task("B")
    va = a.mmap(file)
    a.write(va, b"x")
    a.unlink(file)
    assert blocks(file) == [0] and a.read(va, 1) == b"x"
    b.close(file)
    assert blocks(file) == [0] and a.read(va, 1) == b"x"
    a.munmap(va)
    assert blocks(file) == [None] and not entry(file).there


def test_a_file_with_a_name_keeps_its_blocks(m: Machine) -> None:
    """Its entries go when its inode does."""
    file = file_of(m, 1)
    a = m.task("A")
    va = a.mmap(file)
    a.write(va, b"x")
    a.drop_caches(file.dax)
    assert entry(file).there  # it is in use
    assert a.umount(file.dax) is False
    a.munmap(va)
    assert entry(file).there
    assert a.umount(file.dax) is True
    assert blocks(file) == [0] and not entry(file).there


@pytest.mark.parametrize("design", ["linux-6.15", "linux-7.2"])
def test_eviction_waits_for_a_pin(design: str) -> None:
    """Since v6.15; before, it freed the block under the I/O."""
    with Machine(design) as m:
        file = file_of(m, 1)
        m.open(file)
        a, b = m.task("A"), m.task("B")
        va = a.mmap(file)
        pin = a.pin_user_pages_fast(va)
        a.munmap(va)
        b.unlink(file)
        job = b.close(file)
        assert isinstance(job, Job)
        assert [f.split()[0] for f in job.stack][-1].startswith("wait_page_idle")
        assert blocks(file) == [0]
        a.unpin_user_page(pin)
        assert job.done and blocks(file) == [None]


# --- reflink ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["linux-6.12", "linux-6.15", "linux-7.2"])
def test_a_write_to_a_shared_block_makes_a_copy(design: str) -> None:
    with Machine(design) as m:
        pmem = m.pmem_device(size=4 * PAGE)
        file = m.dax_file(pmem, size=2 * PAGE)
        a, b = m.task("A"), m.task("B")
        va = a.mmap(file)
        a.write(va, b"both!")
        a.munmap(va)
        a.umount(pmem)
        copy = m.dax_file(pmem, shares=file)
        assert blocks(copy) == blocks(file) == [0, 1]
        other = b.mmap(copy)
        assert b.read(other, 5) == b"both!"
        b.write(other, b"mine")
        assert (blocks(file), blocks(copy)) == ([0, 1], [2, 1])
        va = a.mmap(file)
        assert (a.read(va, 5), b.read(other, 5)) == (b"both!", b"mine!")
        third = m.dax_file(pmem, size=PAGE, allocated=0)
        assert b.pwrite(third, 0) is True
        assert blocks(third) == [3]  # the other file still has block 0
        a.ftruncate(file, 0)
        assert (blocks(file), blocks(copy)) == ([None, None], [2, 1])
        assert b.read(other, 4) == b"mine"


# --- MAP_SYNC and fsync ----------------------------------------------------------------------------------


def sync_order(design: Any) -> list[str]:
    """In which order a fault through MAP_SYNC commits and maps."""
    with Machine(design) as m:
        file = file_of(m, 1, allocated=0)
        a = m.task("A")
        a.write(a.mmap(file, sync=True), b"x")
        changes = [(c.where, c.new) for step in m.trace() for c in step.changes]
    watched = {"inode0.i_dirty": "commit", "mm0.pte[0]": "map"}
    return [watched[w] for w, new in changes if w in watched and (w, new) != ("inode0.i_dirty", "1")]


@pytest.mark.parametrize("design", RELEASES[3:])
def test_map_sync_commits_before_it_maps(design: str) -> None:
    assert sync_order(design) == ["commit", "map"]
    assert sync_order(SyncFaultMapsFirst)[0] == "map"  # or this test sees nothing


def test_fsync_makes_mappings_read_only(m: Machine) -> None:
    file = file_of(m, 1)
    a = m.task("A")
    va = a.mmap(file)
    a.write(va, b"x")
    pte = m.system.records["Mm"][0].pte  # type: ignore[attr-defined]
    assert entry(file).dirty and pte.peek(0).write
    a.fsync(file)
    assert not entry(file).dirty
    assert pte.peek(0).present and not pte.peek(0).write and not pte.peek(0).dirty
    a.write(va, b"y")
    assert entry(file).dirty and a.read(va, 1) == b"y"


# --- the lock of an entry --------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["linux-5.10", "linux-6.12", "linux-6.15", "linux-7.2"])
def test_who_waits_for_an_entry_goes_on_when_it_is_unlocked(design: str) -> None:
    """A fault, and truncate, which is behind it in the queue."""
    m = Machine(design, rules=but("lock-balance"))
    file = file_of(m, 1)
    a, b, c = m.task("A"), m.task("B"), m.task("C")
    va = b.mmap(file)
    a.grab_mapping_entry(file, 0)
    fault = b.write(va, b"x")
    assert isinstance(fault, Job)
    assert any(frame.startswith("get_next_unlocked_entry") for frame in fault.stack)
    trunc = c.ftruncate(file, 0)
    assert isinstance(trunc, Job)
    a.dax_unlock_entry(file, 0)
    assert fault.done and trunc.done
    assert blocks(file) == [None]


# --- bad input -------------------------------------------------------------------------------------------

BAD_FILES = [
    ({"size": 1}, "size 1: give a multiple of 4KiB"),
    ({"size": "4KiB"}, "a file of 1 pages: give 512 to 1024, in steps of 512"),
    ({"size": "6MiB"}, "a file of 1536 pages: give 512 to 1024, in steps of 512"),
    ({"size": "2MiB", "allocated": "4MiB"}, "a file with blocks for 1024 pages: give 0 to 512"),
    ({"allocated": "4KiB"}, "a file with blocks for 1 pages: give 0 to 1024, in steps of 512"),
    ({"size": None}, "size None: give bytes"),
]


@pytest.mark.parametrize(("named", "error"), BAD_FILES)
def test_a_file_fits_into_its_device(named: dict[str, Any], error: str) -> None:
    with Machine("linux-7.2") as m:
        pmem = m.pmem_device(size="4MiB", align="2MiB")
        with pytest.raises(ZonedevError, match=error):
            m.dax_file(pmem, **named)
        assert blocks(m.dax_file(pmem)) == [0, 1]  # nothing was taken


def test_what_lies_on_no_device_that_has_files() -> None:
    with Machine("linux-7.2") as m:
        pmem, other, dax = m.pmem_device(), m.pmem_device(), m.device_dax()
        file = m.dax_file(pmem)
        with pytest.raises(
            ZonedevError, match=r"dax_file\(\): pmem dax0: give what pmem_device\(\) returned"
        ):
            m.dax_file(dax)
        with pytest.raises(ZonedevError, match="shares inode0: give a file on pmem1"):
            m.dax_file(other, shares=file)
        with pytest.raises(ZonedevError, match="shares inode0: give no size and no blocks"):
            m.dax_file(pmem, size="4KiB", shares=file)
        with pytest.raises(ZonedevError, match="align '1GiB': a device maps with 4KiB or 2MiB"):
            m.pmem_device(size="1GiB", align="1GiB")
        m.dax_file(pmem, allocated=0)
        m.dax_file(pmem, allocated=0)
        with pytest.raises(ZonedevError, match="pmem0 has 3 files, and can have no more"):
            m.dax_file(pmem, allocated=0)


BAD_CALLS = [
    (("ftruncate", "file", -1), "a size of -1 pages for inode0: give 0 to 4"),
    (("ftruncate", "file", 5), "a size of 5 pages for inode0: give 0 to 4"),
    (("ftruncate", "large", 1), "a size of 1 pages for inode1: give 0 to 1024, in steps of 512"),
    (("ftruncate", "file", "4KiB"), r"ftruncate\(\): size '4KiB': give a number"),
    (("ftruncate", "dax", 0), r"ftruncate\(\): inode dax0: give what dax_file\(\) returned"),
    (("pwrite", "file", 4), "1 pages from 4 on of inode0: give some of 0 to 4"),
    (("pwrite", "file", -1), "1 pages from -1 on of inode0: give some of 0 to 4"),
    (("pwrite", "large", 1), "512 pages from 1 on of inode1: give some of 0 to 1024, in steps of 512"),
    (("punch_hole", "file", 2, 3), "3 pages from 2 on of inode0: give some of 0 to 4"),
    (("punch_hole", "file", 0, 0), "0 pages from 0 on of inode0: give some of 0 to 4"),
    (("umount", "file"), r"umount\(\): pmem inode0: give what pmem_device\(\) returned"),
    (("mmap", "pmem"), r"mmap\(\): file pmem0: give what device_dax\(\) or dax_file\(\) returned"),
    (("touch", 4 * PAGE), "VA 0x4000: A has mapped nothing but what is below 0x4000"),
    (("touch", -1), "VA -1: give an address in bytes"),
    (("pin_user_pages_fast", 4 * PAGE), "VA 0x4000: A has mapped nothing"),
    (("read", 4 * PAGE, 1), "SIGBUS or SIGSEGV at VA 0x4000"),
    (("read", 0, -1), "-1 bytes: give a number of bytes"),
    (("write", 0, "text"), "data 'text': give bytes"),
    (("dma_write", None, b"x"), "DMA to None: give what a pin returned"),
    (("dma_read", "pin", 1, PAGE), "bytes 4096 to 4097 of page1: it has 4096"),
    (("unpin_user_page", None), r"unpin_user_page\(\): page None: give what a pin returned"),
]


@pytest.mark.parametrize(("call", "error"), BAD_CALLS, ids=[f"{c[0]}-{c[1]}-{c[-1]}" for c, _ in BAD_CALLS])
def test_bad_calls_are_one_line_and_leave_no_lock(call: tuple[Any, ...], error: str) -> None:
    with Machine("linux-7.2") as m:
        pmem, dax = m.pmem_device(size=4 * PAGE), m.device_dax()
        file, large = m.dax_file(pmem), m.dax_file(m.pmem_device(size="4MiB", align="2MiB"))
        a = m.task("A")
        va = a.mmap(file)
        known = {"file": file, "large": large, "dax": dax, "pmem": pmem, "pin": a.pin_user_pages_fast(va)}
        name, *args = call
        with pytest.raises(ZonedevError, match=error) as caught:
            getattr(a, name)(*(known.get(x, x) if isinstance(x, str) else x for x in args))
        assert "\n" not in str(caught.value)
        a.unpin_user_page(known["pin"])
        assert not isinstance(a.ftruncate(file, 0), Job)


BAD_SCENARIOS = [
    ("pass", "m.k.dax_file(m.pmem, pages=3)", "a file of 3 pages: give 1 to 2"),
    ("pass", "m.k.dax_file(m.pmem, blocks=1)", "a file with blocks for 1 pages: give 0 to 0"),
    ("pass", "m.k.dax_file(m.k.device_dax())", r"dax0 has no files: give what pmem_device\(\) returned"),
    ("pass", "m.k.dax_file(m.k.pmem_device(), shares=m.file)", "shares inode0: give a file on pmem1"),
    ("t.ftruncate(m.file, 3)", "pass", "a size of 3 pages for inode0: give 0 to 2"),
    ("t.punch_hole(m.file, 1, 2)", "pass", "2 pages from 1 on of inode0: give some of 0 to 2"),
    ("t.pwrite(m.file, 2)", "pass", r"inode0.extents\[2\]: the index is not below 2: mend the index"),
    ("t.touch(m.va_A + 2)", "pass", r"A.tlb\[2\]: the index is not below 2: mend the index"),
]


@pytest.mark.parametrize(("call", "setup", "error"), BAD_SCENARIOS)
def test_bad_scenarios(call: str, setup: str, error: str, tmp_path: Path) -> None:
    text = file_programs.HEADER.format(pages=2, blocks=2, sync=False)
    text += f"        {setup}\n\n    @staticmethod\n    def task_A(t: Any, m: Any) -> None:\n        {call}\n"
    with pytest.raises(SpecError, match=error) as caught:
        check(file_programs.load(text, tmp_path, "bad"), Linux72)
    assert "\n" not in str(caught.value)
