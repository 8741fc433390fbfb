"""What happens to the data and the blocks of a file: write, truncate, punch, share, unlink."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_WRITE
from zonedev.scenarios.dax_suite import DaxTest, blocks, device, file, reads, sigbus, writes


class PwriteRead(DaxTest):
    """What write() has written is read through a mapping, and only there are blocks (write(2))."""

    source = "write(2)"

    def setup(m: Any) -> None:
        file(m, 3)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("write", int(t.pwrite(m.file, m.n)), 1)
        blocks(t, m, 1)
        reads(t, m.va + m.n, 1)
        reads(t, m.va, 0)
        reads(t, m.va + 2 * m.n, 0)
        blocks(t, m, 1)


class MapWrite(DaxTest):
    """A hole reads as zeros and stays one, until it is written to."""

    source = "mmap(2), lseek(2): SEEK_HOLE"

    def setup(m: Any) -> None:
        file(m, 2)

    def task_A(t: Any, m: Any) -> None:
        reads(t, m.va, 0)
        blocks(t, m, 0)
        writes(t, m.va, 2)
        blocks(t, m, 1)
        reads(t, m.va, 2)
        reads(t, m.va + m.n, 0)
        t.munmap(m.va)
        blocks(t, m, 1)


class WriteAfterRead(DaxTest):
    """A page that was read first, then written, is seen by another mapping of the file."""

    source = "mmap(2): MAP_SHARED"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.second = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        reads(t, m.va, 0)
        reads(t, m.second, 0)
        writes(t, m.va, 3)
        reads(t, m.second, 3)
        t.munmap(m.va)
        writes(t, m.second, 2)
        reads(t, m.second, 2)


class NoSpace(DaxTest):
    """A device is full: write() fails, a store ends in SIGBUS, and a hole can be read."""

    source = "write(2): ENOSPC; mmap(2): SIGBUS"

    def setup(m: Any) -> None:
        device(m, 1)
        m.other = m.k.dax_file(m.pmem)
        m.file = m.k.dax_file(m.pmem, blocks=0)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("write", int(t.pwrite(m.file, 0)), 0)
        sigbus(t, m.va, True)
        reads(t, m.va, 0)
        blocks(t, m, 0)
        t.ftruncate(m.other, 0)
        writes(t, m.va, 2)
        blocks(t, m, 1)


class TruncateShorter(DaxTest):
    """A file is truncated to its first block: what lies behind is gone, and zeros when it grows again."""

    source = "ftruncate(2); mmap(2): SIGBUS"

    def setup(m: Any) -> None:
        file(m, 3, 3)

    def task_A(t: Any, m: Any) -> None:
        for at in range(3):
            writes(t, m.va + at * m.n, at + 1)
        t.ftruncate(m.file, m.n)
        blocks(t, m, 1)
        reads(t, m.va, 1)
        sigbus(t, m.va + m.n, False)
        sigbus(t, m.va + 2 * m.n, True)
        t.ftruncate(m.file, 3 * m.n)
        blocks(t, m, 1)
        reads(t, m.va + m.n, 0)
        reads(t, m.va + 2 * m.n, 0)
        writes(t, m.va + m.n, 2)
        reads(t, m.va, 1)
        blocks(t, m, 2)


class TruncateGives(DaxTest):
    """What a truncate frees another file can have, zeroed."""

    source = "ftruncate(2); mm/memory.c, fs/dax.c: nobody may see the data of another file"

    def setup(m: Any) -> None:
        device(m, 1)
        m.first = m.k.dax_file(m.pmem)
        m.file = m.k.dax_file(m.pmem, blocks=0)
        m.first_va = m.task("A").mmap(m.first)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.first_va, 3)
        t.ftruncate(m.first, 0)
        page = t.pin_user_pages(m.va, FOLL_WRITE)
        t.assert_eq("data", t.dma_read(page), 0)
        t.dma_write(page, 2)
        t.unpin_user_page(page)
        reads(t, m.va, 2)
        sigbus(t, m.first_va, False)


class PunchMiddle(DaxTest):
    """A hole is punched into the middle of three blocks: they keep their data, it reads as zeros."""

    source = "fallocate(2): FALLOC_FL_PUNCH_HOLE"

    def setup(m: Any) -> None:
        file(m, 3, 3)

    def task_A(t: Any, m: Any) -> None:
        for at in range(3):
            writes(t, m.va + at * m.n, at + 1)
        t.punch_hole(m.file, m.n, m.n)
        blocks(t, m, 2)
        reads(t, m.va, 1)
        reads(t, m.va + m.n, 0)
        reads(t, m.va + 2 * m.n, 3)
        blocks(t, m, 2)
        writes(t, m.va + m.n, 1)
        reads(t, m.va + m.n, 1)
        blocks(t, m, 3)


class PunchUnmapped(DaxTest):
    """The same of a file that nobody has mapped yet, twice; what is left is found."""

    source = "fallocate(2): FALLOC_FL_PUNCH_HOLE"

    def setup(m: Any) -> None:
        file(m, 2)

    def task_A(t: Any, m: Any) -> None:
        t.pwrite(m.file, 0)
        t.pwrite(m.file, m.n)
        t.punch_hole(m.file, 0, m.n)
        t.punch_hole(m.file, 0, m.n)
        blocks(t, m, 1)
        reads(t, m.va, 0)
        reads(t, m.va + m.n, 1)


class Shared(DaxTest):
    """Two files share a block until one is written to; the other keeps its data."""

    source = "ioctl_ficlonerange(2)"

    def setup(m: Any) -> None:
        device(m, 2)
        m.file = m.k.dax_file(m.pmem, pages=m.n)
        m.va = m.task("A").mmap(m.file)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.copy_va = m.task("A").mmap(m.copy)
        m.file.pages[0].frame._values["data"] = 3

    def task_A(t: Any, m: Any) -> None:
        reads(t, m.va, 3)
        reads(t, m.copy_va, 3)
        t.assert_eq("mappings", t.mappings_of(m.file.pages[0]), 2)
        writes(t, m.copy_va, 2)
        reads(t, m.copy_va, 2)
        reads(t, m.va, 3)
        t.assert_eq("mappings", t.mappings_of(m.file.pages[0]), 1)
        writes(t, m.va, 1)
        reads(t, m.copy_va, 2)
        reads(t, m.va, 1)
        t.ftruncate(m.file, 0)
        reads(t, m.copy_va, 2)
        t.ftruncate(m.copy, 0)
        sigbus(t, m.copy_va, False)


class SharedTruncated(DaxTest):
    """One of two files that share a block goes, and the other has it for itself."""

    source = "ioctl_ficlonerange(2)"

    def setup(m: Any) -> None:
        device(m, 2)
        m.first = m.k.dax_file(m.pmem, pages=m.n)
        m.file = m.k.dax_file(m.pmem, shares=m.first)
        m.va = m.task("A").mmap(m.file)
        m.first.pages[0].frame._values["data"] = 3

    def task_A(t: Any, m: Any) -> None:
        t.ftruncate(m.first, 0)
        blocks(t, m, 1)
        reads(t, m.va, 3)
        writes(t, m.va, 2)
        blocks(t, m, 1)
        t.assert_eq("mappings", t.mappings_of(m.first.pages[0]), 1)
        t.ftruncate(m.file, 0)
        blocks(t, m, 0)


class SharedLeft(DaxTest):
    """One of three files that have all been read goes: the others have the block, and count it twice."""

    source = "ioctl_ficlonerange(2)"

    def setup(m: Any) -> None:
        device(m, 1)
        m.first = m.k.dax_file(m.pmem, pages=m.n)
        m.second = m.k.dax_file(m.pmem, shares=m.first)
        m.file = m.k.dax_file(m.pmem, shares=m.first)
        m.first_va = m.task("A").mmap(m.first)
        m.second_va = m.task("A").mmap(m.second)
        m.va = m.task("A").mmap(m.file)
        m.first.pages[0].frame._values["data"] = 3

    def task_A(t: Any, m: Any) -> None:
        for va in (m.first_va, m.second_va, m.va):
            reads(t, va, 3)
            t.munmap(va)
        t.ftruncate(m.first, 0)
        blocks(t, m, 1)


class UnlinkMapped(DaxTest):
    """A file that was unlinked lives as long as it is mapped; then its block is free."""

    source = "unlink(2)"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.other = m.k.dax_file(m.pmem, blocks=0)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 2)
        t.unlink(m.file)
        reads(t, m.va, 2)
        t.assert_eq("write", int(t.pwrite(m.other, 0)), 0)
        t.munmap(m.va)
        t.assert_eq("write", int(t.pwrite(m.other, 0)), 1)


class Umount(DaxTest):
    """A file system is not unmounted while a file is mapped; then all inodes go, and the data stay."""

    source = "umount(2): EBUSY"

    def setup(m: Any) -> None:
        file(m, 2, 1)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 3)
        t.assert_eq("umount", int(t.umount(m.pmem)), 0)
        reads(t, m.va, 3)
        t.munmap(m.va)
        t.assert_eq("umount", int(t.umount(m.pmem)), 1)
        blocks(t, m, 1)
        t.assert_eq("data", t.dma_read(m.file.pages[0]), 3)


class DropCaches(DaxTest):
    """drop_caches lets go of an inode that nobody uses and that has no page cache; no file loses anything."""

    source = "Documentation/admin-guide/sysctl/vm.rst: drop_caches"

    def setup(m: Any) -> None:
        file(m, 2, 1)
        m.unused = m.k.dax_file(m.pmem, blocks=0)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 3)
        t.drop_caches(m.pmem)
        t.assert_eq("I_FREEING", int(m.unused.freeing), 1)
        t.assert_eq("I_FREEING", int(m.file.freeing), 0)
        reads(t, m.va, 3)
        t.munmap(m.va)
        t.drop_caches(m.pmem)
        t.assert_eq("I_FREEING", int(m.file.freeing), 0)
        blocks(t, m, 1)
