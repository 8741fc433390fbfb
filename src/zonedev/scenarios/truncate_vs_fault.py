"""Truncate against faults and TLBs."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES, FILE_PAGES, FILE_SIZE, two_files


class TruncateVsFault(Scenario):
    """A file is truncated while a task writes to it; its block goes to another file."""

    source = "Ross Zwisler, Jan Kara, ea3d7209ca01 ext4: fix races between page faults and hole punching"
    scope = {"pages": FILE_PAGES, "size": FILE_SIZE}
    progress = alone = "truncate-terminates"
    orders = ("A B", "B A")
    expected = {
        "linux-4.5": holds("i_mmap_sem, and i_size is looked at again under i_mmap_rwsem"),
        "linux-4.12": holds("a fault holds i_mmap_sem from its look at i_size to the PTE"),
        "linux-4.13": holds("as linux-4.12"),
        "linux-5.10": holds("as linux-4.12"),
        "linux-6.1": holds("as linux-4.12, with invalidate_lock"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": holds("as linux-6.1"),
        "linux-7.2": holds("as linux-6.1"),
        "dax-gup-fix-2022": holds("as linux-6.1"),
    }

    def setup(m: Any) -> None:
        two_files(m)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)


class TruncateVsSyncFault(Scenario):
    """The same with a hole and MAP_SYNC: the fault commits the new block before it maps it."""

    source = "Jan Kara, dax, iomap: Add support for synchronous faults, 2017 (v4.15)"
    scope = {"size": FILE_SIZE}
    progress = alone = "truncate-terminates"
    orders = ("A B", "B A")
    expected = {
        "linux-5.10": holds("i_mmap_sem is held over the commit"),
        "linux-6.1": holds("invalidate_lock is held over the commit"),
        "linux-6.12": holds("as linux-6.1"),
        "linux-6.15": holds("as linux-6.1"),
        "linux-7.2": holds("as linux-6.1"),
        "dax-gup-fix-2022": holds("as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size=m.scope["size"])
        m.file = m.k.dax_file(m.pmem, blocks=0)
        m.other = m.k.dax_file(m.pmem, blocks=0)
        m.va = m.task("A").mmap(m.file, True)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)


class TruncateStaleTlb(Scenario):
    """munmap() has unlinked its VMA and not flushed; truncate sees an idle page; a thread writes on."""

    source = "found by reading mm/vma.c: DAX VMAs miss the flush that VM_PFNMAP and VM_MIXEDMAP get"
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("B thread A", "A B thread")
    expected = {
        "linux-4.5": violated("block-reuse", "truncate flushes only what it clears itself"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": violated("block-reuse", "a mapping holds no reference that would wait for the flush"),
        "linux-6.1": violated("block-reuse", "as linux-5.10"),
        "linux-6.12": violated("block-reuse", "as linux-5.10"),
        "linux-6.15": holds("the mapping's reference is put after the flush"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": violated("block-reuse", "the entry's reference is put by truncate itself"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("A").mmap(m.file)
        m.task("thread").clone_vm("A")
        m.task("thread").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_thread(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)


class RefaultAfterZap(Scenario):
    """A file loses its second page, and its first is touched and pinned again."""

    source = "Dan Williams, 04/25 fsdax: Introduce dax_zap_mappings(), 2022-10-14"
    progress = alone = "truncate-terminates"
    orders = ("B A A A A", "A B A A A")
    expected = {
        "linux-4.5": holds("nothing remembers a scan, for there is none"),
        "linux-5.10": holds("nothing remembers the scan"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("the entry has gone, and a fault makes another"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": violated("kernel-asserts", "an entry that was zapped holds no reference"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(pages=2), pages=2)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.unpin_user_page(page)
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 1)


class FreeWakesBeforeClear(Scenario):
    """The last put wakes truncate, and goes on with a page that is another file's by then."""

    source = "Dan Williams, 23/25 mm/memremap_pages: Initialize all ZONE_DEVICE pages to start at refcount 0"
    rules = ("mapping-exact", "block-reuse", "page-lifetime", "no-deadlock", "no-lost-wakeup")
    progress = alone = "truncate-terminates"
    orders = ("B A",)
    expected = {
        "linux-5.10": holds("the last put clears no mapping"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("as linux-5.10; the wake-up is its last step"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": violated("mapping-exact", "the mapping of the next owner is cleared"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("A").mmap(m.file)
        m.page = m.task("A").pin_user_pages_fast(m.va)
        m.next = m.task("B").mmap(m.other)

    def task_A(t: Any, m: Any) -> None:
        t.unpin_user_page(m.page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.touch(m.next)
