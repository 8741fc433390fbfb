"""What happens to private mappings of a file, and to their copies."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_WRITE
from zonedev.scenarios.dax_suite import DaxTest, blocks, file, reads, sigbus, writes


class FsyncPrivate(DaxTest):
    """fsync() of a file leaves the copies of private mappings alone."""

    source = "mmap(2): MAP_PRIVATE"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.private = m.task("A").mmap(m.file, private=True)
        m.copy = m.task("A").task.mm.vma_at[m.private].copies[0]

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        writes(t, m.private, 2)
        t.fsync(m.file)
        writes(t, m.private, 3)
        reads(t, m.va, 1)
        reads(t, m.private, 3)
        t.assert_eq("mappings", t.mappings_of(m.copy), 1)


class PrivateCopy(DaxTest):
    """A private mapping shows the file until it is written to; the file knows nothing of that."""

    source = "mmap(2): MAP_PRIVATE"

    def setup(m: Any) -> None:
        file(m, 2, 2)
        m.private = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        writes(t, m.va + 1, 3)
        reads(t, m.private, 1)
        writes(t, m.private, 2)
        reads(t, m.private, 2)
        reads(t, m.va, 1)
        reads(t, m.private + 1, 3)
        t.madvise_dontneed(m.private)
        reads(t, m.private, 1)
        t.munmap(m.private)
        reads(t, m.va, 1)


class PrivateUnread(DaxTest):
    """A private mapping is written to without being read: what is not written is the file's."""

    source = "mmap(2): MAP_PRIVATE"

    def setup(m: Any) -> None:
        file(m, 2, 1)
        m.file.pages[0].frame._values["data"] = 3
        m.private = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.private, FOLL_WRITE)
        t.assert_eq("data", t.dma_read(page), 3)
        t.unpin_user_page(page)
        page = t.pin_user_pages(m.private + 1, FOLL_WRITE)
        t.assert_eq("data", t.dma_read(page), 0)
        t.unpin_user_page(page)
        writes(t, m.private, 2)
        reads(t, m.va, 3)
        blocks(t, m, 1)


class PrivateReadCopied(DaxTest):
    """The same after it was read, the page of the file and the hole."""

    source = "mmap(2): MAP_PRIVATE"

    def setup(m: Any) -> None:
        file(m, 2, 1)
        m.file.pages[0].frame._values["data"] = 3
        m.private = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        reads(t, m.private, 3)
        reads(t, m.private + 1, 0)
        for at in range(2):
            page = t.pin_user_pages(m.private + at, FOLL_WRITE)
            t.assert_eq("data", t.dma_read(page), 0 if at else 3)
            t.unpin_user_page(page)
        t.assert_eq("mappings", t.mappings_of(m.file.pages[0]), 0)


class PrivatePunched(DaxTest):
    """A copy outlives a hole that is punched under it, and what was no copy reads as zeros."""

    source = "mm/memory.c: even_cows; fallocate(2)"

    def setup(m: Any) -> None:
        file(m, 2, 2)
        m.private = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        writes(t, m.va + 1, 1)
        writes(t, m.private, 2)
        reads(t, m.private + 1, 1)
        t.punch_hole(m.file, 0, 2)
        reads(t, m.private, 2)
        reads(t, m.private + 1, 0)
        reads(t, m.va, 0)
        t.ftruncate(m.file, 0)
        sigbus(t, m.private, False)
        sigbus(t, m.private + 1, True)


class PrivateUnbound(DaxTest):
    """The device goes: nothing can be read or copied any more, but the copies stay."""

    source = "mm/memory.c, fs/dax.c: SIGBUS, EIO"

    def setup(m: Any) -> None:
        file(m, 2, 2)
        m.private = m.task("A").mmap(m.file, private=True)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.private, 2)
        t.kill_dax(m.pmem)
        reads(t, m.private, 2)
        sigbus(t, m.private + 1, False)
        sigbus(t, m.private + 1, True)
        sigbus(t, m.va, False)
        sigbus(t, m.va, True)
        t.assert_eq("write", int(t.pwrite(m.file, 0)), 0)
