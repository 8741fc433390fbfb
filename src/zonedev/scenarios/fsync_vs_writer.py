"""fsync() of a mapped file, beside those who write to it."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import BLOCK_RULES, FILE_SIZE, Event

#: With the promise of fsync(), and with what a test asserts at the end.
WRITE_RULES = ("fsync-complete", "suite-asserts", "kernel-asserts", *BLOCK_RULES)
WHY = "the entry is locked until its mappings are read-only and its tag is clear"


class FileCalls(Scenario):
    """Calls on files, as small as can be: what these scenarios have in common."""

    rules = WRITE_RULES
    progress = alone = "truncate-terminates"


class FsyncVsWriter(FileCalls):
    """A program writes to a page of a file again and again, while another one calls fsync()."""

    source = "Jan Kara, dax: Clear dirty entry tags on cache flush, 2016 (4b4bb46d00b3)"
    scope = {"size": FILE_SIZE}
    expected = {"linux-6.15": holds(WHY), "linux-7.2": holds(WHY)}

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va)
        m.other = m.task("C").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.fsync(m.file)

    def task_C(t: Any, m: Any) -> None:
        t.touch(m.other)


class FsyncVsSyncWriter(FsyncVsWriter):
    """A page is written to for the first time with MAP_SYNC, and read through another mapping."""

    source = "Jan Kara, dax, iomap: Add support for synchronous faults, 2017 (v4.15)"

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]), blocks=0)
        m.va = m.task("A").mmap(m.file, True)
        m.other = m.task("C").mmap(m.file)

    def task_C(t: Any, m: Any) -> None:
        t.touch(m.other, False)


class FsyncVsZap(FileCalls):
    """A thread writes to a page while another throws its mapping away; fsync() misses no write."""

    source = "Linus Torvalds, mm: split 'tlb_flush_mmu()' into tlb flushing and memory freeing parts, 2014"
    expected = {
        "linux-6.15": holds("a dirty entry is flushed before the page-table lock is dropped"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.task("B").clone_vm("A")
        m.task("B").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_C(t: Any, m: Any) -> None:
        t.fsync(m.file)


class HoleReadVsWrite(FileCalls):
    """A hole is read through one mapping and written through another; then both see what was written."""

    source = "fs/dax.c, dax_insert_entry(): we are replacing a zero page with block mapping"
    scope = {"size": FILE_SIZE}
    expected = {"linux-6.15": holds(WHY), "linux-7.2": holds(WHY)}

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]), blocks=0)
        m.va = m.task("A").mmap(m.file)
        m.other = m.task("B").mmap(m.file)
        m.written = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.wait_for(m.written)
        t.assert_eq("data", t.read_value(m.va), 2)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.other, True, 2)
        t.happens(m.written)


class PrivateVsPrivate(FileCalls):
    """Two threads write to a page of a private mapping that both have read: there is one copy."""

    source = "mm/memory.c: wp_page_copy(), finish_fault()"
    expected = {
        "linux-6.15": holds("the entry is looked at again under the lock"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(pages=2))
        m.va = m.task("A").mmap(m.file, private=True)
        m.task("B").clone_vm("A")
        m.task("A").touch(m.va, False)
        m.task("B").touch(m.va, False)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 1)
        t.touch(m.va, False)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, True, 1)
        t.assert_eq("data", t.read_value(m.va), 1)
