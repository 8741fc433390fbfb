"""Two files that share a block."""

from __future__ import annotations

from typing import Any, ClassVar

from zonedev.lang.primitives import lock, unlock
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES, FILE_SIZE, Mutex


class ReflinkShare(Scenario):
    """Two reflinked files are read through mappings, and truncated, at the same time."""

    source = "Shiyang Ruan, fsdax: introduce page->share for fsdax in reflink mode, 2022"
    scope = {"size": FILE_SIZE}
    rules: ClassVar[tuple[str, ...] | None] = None
    progress = alone = "truncate-terminates"
    orders: ClassVar[tuple[str, ...]] = ("A B A B",)
    expected = {
        "linux-6.1": violated("kernel-asserts", "the second file finds the first one's mapping"),
        "linux-6.12": violated("mapping-exact", "the count of sharers is nobody's lock's"),
        "linux-6.15": violated("kernel-asserts", "both files find the folio nobody's: no lock orders them"),
        "linux-7.2": violated("kernel-asserts", "as linux-6.15"),
        "dax-gup-fix-2022": violated("kernel-asserts", "as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size=m.scope["size"])
        m.file = m.k.dax_file(m.pmem)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.va = m.task("A").mmap(m.file)
        m.copy_va = m.task("B").mmap(m.copy)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)
        t.ftruncate(m.file, 0)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.copy_va, False)
        t.ftruncate(m.copy, 0)


class ReflinkShareLocked(ReflinkShare):
    """The same with a lock that lets only one of the two files do anything at a time."""

    orders = ()
    expected = {
        "linux-6.1": violated("kernel-asserts", "no race: reads do not know that the block is shared"),
        "linux-6.12": holds("the count of sharers is right, one after the other"),
        "linux-6.15": holds("as linux-6.12"),
        "linux-7.2": holds("as linux-6.12"),
        "dax-gup-fix-2022": violated("kernel-asserts", "as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size=m.scope["size"])
        m.file = m.k.dax_file(m.pmem)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.va = m.task("A").mmap(m.file)
        m.copy_va = m.task("B").mmap(m.copy)
        m.both = m.new(Mutex)

    def task_A(t: Any, m: Any) -> None:
        lock(m.both.lock)
        t.touch(m.va, False)
        unlock(m.both.lock)
        lock(m.both.lock)
        t.ftruncate(m.file, 0)
        unlock(m.both.lock)

    def task_B(t: Any, m: Any) -> None:
        lock(m.both.lock)
        t.touch(m.copy_va, False)
        unlock(m.both.lock)
        lock(m.both.lock)
        t.ftruncate(m.copy, 0)
        unlock(m.both.lock)


class ReflinkRefcounts(ReflinkShare):
    """The same without truncate, asked for the counts of the page and of its pagemap."""

    source = "Jason Gunthorpe's answer to 10/25 fsdax: Introduce pgmap_request_folios(), 2022"
    rules = ("refcount-exact", "page-lifetime")
    orders = ()
    expected = {
        "linux-6.1": holds("entries hold no reference"),
        "dax-gup-fix-2022": violated("refcount-exact", "both count first and look later: neither sees a 1"),
    }

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.copy_va, False)


class TruncateVsSharer(Scenario):
    """A file is truncated under I/O; another file, which shares the block, stays mapped."""

    source = "found by reading fs/dax.c of v7.2: the wait is for a count of 0, whoever maps the page"
    scope = {"size": FILE_SIZE}
    rules = tuple(rule for rule in BLOCK_RULES if rule != "mapping-exact")  # which is reflink-share's
    progress = alone = "truncate-terminates"
    orders = ("A B A",)
    expected = {
        "linux-6.1": holds("a mapping holds no reference"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": violated("truncate-terminates", "the sharer's mapping keeps the count from 0"),
        "linux-7.2": violated("truncate-terminates", "as linux-6.15"),
        "dax-gup-fix-2022": violated("truncate-terminates", "the sharer's entry keeps the count from 0"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size=m.scope["size"])
        m.file = m.k.dax_file(m.pmem)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.va = m.task("A").mmap(m.file)
        m.copy_va = m.task("sharer").mmap(m.copy)
        m.task("sharer").touch(m.copy_va, False)

    def task_A(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va, 0)
        if page is not None:
            t.put_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
