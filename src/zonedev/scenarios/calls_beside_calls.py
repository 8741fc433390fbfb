"""Calls on one file that have to keep out of each other's way: two at a time, as small as can be."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import holds
from zonedev.scenarios.fsync_vs_writer import FileCalls
from zonedev.scenarios.parts import FILE_PMD, Event

BOTH = ("linux-6.15", "linux-7.2")


class PwriteVsPwrite(FileCalls):
    """Two programs write to one hole; they take one block, and there is one left for another file."""

    source = "fs/ext4/file.c: ext4_dax_write_iter()"
    expected = dict.fromkeys(BOTH, holds("i_rwsem is held over the look and the allocation"))

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(pages=2)
        m.file = m.k.dax_file(m.pmem, blocks=0)
        m.other = m.k.dax_file(m.pmem, blocks=0)
        m.written = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.pwrite(m.file, 0)
        t.wait_for(m.written)
        t.assert_eq("st_blocks", t.blocks_of(m.file), 1)
        t.assert_eq("write", int(t.pwrite(m.other, 0)), 1)

    def task_B(t: Any, m: Any) -> None:
        t.pwrite(m.file, 0)
        t.happens(m.written)


class PunchVsTruncate(FileCalls):
    """A hole is punched into a file while it is truncated; a program reads what is left."""

    source = "fs/ext4/extents.c: ext4_fallocate(); fs/ext4/inode.c: ext4_setattr()"
    expected = dict.fromkeys(BOTH, holds("both take i_rwsem first, then invalidate_lock"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(pages=2))
        m.va = m.task("C").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.punch_hole(m.file, 0, 1)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 1)
        t.assert_eq("size", m.file.i_size, 1)

    def task_C(t: Any, m: Any) -> None:
        t.touch(m.va, False)


class UnlinkVsMunmap(FileCalls):
    """A file is unlinked while the last program that has it mapped unmaps it: one of them evicts it."""

    source = "fs/inode.c: iput()"
    expected = dict.fromkeys(BOTH, holds("the count and I_FREEING change under i_lock"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va)
        m.gone = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)
        t.happens(m.gone)

    def task_B(t: Any, m: Any) -> None:
        t.unlink(m.file)
        t.wait_for(m.gone)
        t.assert_eq("umount", int(t.umount(m.file.dax)), 1)


class ForkVsMunmap(FileCalls):
    """A program with a file that has no name forks, while another one unmaps it; then the file goes."""

    source = "kernel/fork.c: dup_mmap(), get_file()"
    expected = dict.fromkeys(BOTH, holds("each mapping holds the file, and their count is atomic"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.other = m.task("B").mmap(m.file)
        m.task("A").may_fork("child")
        m.child = m.task("child").task
        m.task("B").unlink(m.file)
        m.gone = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.munmap(m.va)

    def task_child(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.munmap(m.va)
        t.happens(m.gone)

    def task_B(t: Any, m: Any) -> None:
        t.munmap(m.other)
        t.wait_for(m.gone)


class PinVsPinPmd(FileCalls):
    """Two programs pin a PMD of a file at the same time, with locks, and give it back."""

    source = "mm/gup.c: try_grab_folio(), gup_put_folio()"
    scope = {"size": FILE_PMD}
    expected = dict.fromkeys(BOTH, holds("a large folio counts pins apart, atomically"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.va = m.task("A").mmap(m.file)
        m.other = m.task("B").mmap(m.file)
        m.task("A").touch(m.va)
        m.task("B").touch(m.other)

    def task_A(t: Any, m: Any) -> None:
        t.unpin_user_page(t.pin_user_pages(m.va))

    def task_B(t: Any, m: Any) -> None:
        t.unpin_user_page(t.pin_user_pages(m.other))


class MemoryFailureVsFault(FileCalls):
    """A page breaks while one program faults on it, and another one calls fsync()."""

    source = "fs/dax.c: dax_lock_folio()"
    expected = dict.fromkeys(BOTH, holds("who has locked the entry is waited for, and has it for itself"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.other = m.task("B").mmap(m.file)
        m.task("B").touch(m.other)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.fsync(m.file)

    def task_C(t: Any, m: Any) -> None:
        t.mf_generic_kill_procs(m.file.pages[0])  # which memory_failure() calls with the pagemap held
