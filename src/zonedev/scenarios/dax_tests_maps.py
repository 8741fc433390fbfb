"""What happens to mappings: MAP_SYNC, fsync, fork, direct I/O, broken pages, devices that go."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.dax_suite import DaxTest, blocks, device, file, reads, sigbus, writes
from zonedev.scenarios.parts import SIZE, Event


class Fsync(DaxTest):
    """What is written after an fsync() is found by the next one, through every mapping."""

    source = "fsync(2); 4b4bb46d00b3 dax: clear dirty entry tags on cache flush"

    def setup(m: Any) -> None:
        file(m, 2, 2)
        m.second = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        writes(t, m.second, 2)
        reads(t, m.va + m.n, 0)
        t.fsync(m.file)
        t.assert_eq("dirty", int(m.file.i_pages[0].dirty), 0)
        writes(t, m.second, 3)
        t.assert_eq("dirty", int(m.file.i_pages[0].dirty), 1)
        reads(t, m.va, 3)
        t.fsync(m.file)
        t.fsync(m.file)
        reads(t, m.va, 3)
        t.munmap(m.va)
        writes(t, m.second + m.n, 1)
        t.assert_eq("dirty", int(m.file.i_pages[m.n].dirty), 1)


class Synchronous(DaxTest):
    """With MAP_SYNC the file's metadata are there before the program can write (mmap(2))."""

    source = "mmap(2): MAP_SYNC"

    def setup(m: Any) -> None:
        device(m, 2)
        m.file = m.k.dax_file(m.pmem, blocks=0)
        m.va = m.task("A").mmap(m.file, True)
        m.plain = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.plain, 1)
        t.assert_eq("i_dirty", int(m.file.i_dirty), 1)
        writes(t, m.va + m.n, 2)
        t.assert_eq("i_dirty", int(m.file.i_dirty), 0)
        reads(t, m.va, 1)
        reads(t, m.plain + m.n, 2)
        writes(t, m.va, 3)
        reads(t, m.plain, 3)
        blocks(t, m, 2)


class Fork(DaxTest):
    """A child writes to a shared mapping, and its parent reads it, also after the child has gone."""

    source = "fork(2), mmap(2): MAP_SHARED"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.task("A").may_fork("child")
        m.child = m.task("child").task
        m.written, m.gone = m.new(Event), m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        t.fork(m.child)
        t.wait_for(m.written)
        reads(t, m.va, 2)
        t.wait_for(m.gone)
        reads(t, m.va, 2)
        t.assert_eq("mappings", t.mappings_of(m.file.pages[0]), 1)
        t.ftruncate(m.file, 0)
        sigbus(t, m.va, False)

    def task_child(t: Any, m: Any) -> None:
        t.ret_from_fork()
        reads(t, m.va, 1)
        writes(t, m.va, 2)
        t.happens(m.written)
        t.exit()
        t.happens(m.gone)


class ForkTruncate(DaxTest):
    """A truncate reaches what a child has mapped."""

    source = "fork(2), ftruncate(2)"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.task("A").may_fork("child")
        m.child = m.task("child").task
        m.written, m.gone = m.new(Event), m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.wait_for(m.written)
        t.ftruncate(m.file, 0)
        t.happens(m.gone)

    def task_child(t: Any, m: Any) -> None:
        t.ret_from_fork()
        writes(t, m.va, 2)
        t.happens(m.written)
        t.wait_for(m.gone)
        sigbus(t, m.va, False)


class UnlinkExit(DaxTest):
    """A program exits with a mapping of a file that has no name any more: the block is free."""

    source = "unlink(2), exit(2)"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.other = m.k.dax_file(m.pmem, blocks=0)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 2)
        t.unlink(m.file)
        t.exit()
        t.assert_eq("write", int(t.pwrite(m.other, 0)), 1)


class UnmapExit(DaxTest):
    """A program unmaps one of two mappings of a file and exits with the other: the file has no user then."""

    source = "munmap(2), exit(2), umount(2)"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.second = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 2)
        reads(t, m.second, 2)
        t.munmap(m.va)
        t.assert_eq("umount", int(t.umount(m.pmem)), 0)
        t.exit()
        t.assert_eq("umount", int(t.umount(m.pmem)), 1)


class DiskGone(DaxTest):
    """The device of a mounted file system is unbound: a load or store ends in SIGBUS, also where it would
    copy a shared block, and write() in EIO."""

    source = "drivers/dax/super.c: kill_dax(); write(2): EIO"

    def setup(m: Any) -> None:
        file(m, 2, 1)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.copy_va = m.task("A").mmap(m.copy)
        m.task("A").unlink(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.unbind_pmem(m.pmem)
        sigbus(t, m.va, False)
        sigbus(t, m.copy_va, True)
        t.assert_eq("write", int(t.pwrite(m.file, 0)), 0)
        blocks(t, m, 1)


class FsyncHole(DaxTest):
    """fsync() finds nothing to do where a hole was read."""

    source = "fsync(2); fs/dax.c: WARN_ON_ONCE(dax_is_zero_entry(entry))"

    def setup(m: Any) -> None:
        file(m, 2)

    def task_A(t: Any, m: Any) -> None:
        reads(t, m.va, 0)
        t.fsync(m.file)
        writes(t, m.va, 2)
        t.fsync(m.file)
        reads(t, m.va, 2)
        blocks(t, m, 1)


class Poison(DaxTest):
    """memory_failure() unmaps the file of a page, all of it, and knows a page that is of none."""

    source = "mm/memory-failure.c: mf_generic_kill_procs()"

    def setup(m: Any) -> None:
        file(m, 2, 2)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("memory_failure", int(t.memory_failure(m.pmem.pages[0])), 0)
        writes(t, m.va, 1)
        t.assert_eq("memory_failure", int(t.memory_failure(m.pmem.pages[0])), 1)
        t.assert_eq("mappings", t.mappings_of(m.pmem.pages[0]), 0)
        reads(t, m.va, 1)
        reads(t, m.va + m.n, 0)
        t.assert_eq("memory_failure", int(t.memory_failure(m.pmem.pages[m.n])), 1)
        t.assert_eq("mappings", t.mappings_of(m.pmem.pages[m.n]), 0)


class PoisonDevice(DaxTest):
    """The same of a device: a page that was never mapped is not known, another one is unmapped."""

    source = "ndctl: test/device-dax.c, test_dax_poison()"
    progress = "removal-terminates"
    scope = {"size": SIZE}

    def setup(m: Any) -> None:
        m.n = 1 if m.scope["size"] == "pte" else 2
        m.dax = m.k.device_dax(pages=2 * m.n, size=m.scope["size"], per_folio=m.n)
        m.va = m.task("A").mmap(m.dax)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        t.assert_eq("memory_failure", int(t.memory_failure(m.dax.pages[m.n])), 0)
        t.assert_eq("memory_failure", int(t.memory_failure(m.dax.pages[0])), 1)
        t.assert_eq("mappings", t.mappings_of(m.dax.pages[0]), 0)
        writes(t, m.va + m.n, 2)
        t.assert_eq("memory_failure", int(t.memory_failure(m.dax.pages[m.n])), 1)
        t.assert_eq("mappings", t.mappings_of(m.dax.pages[m.n]), 0)


class DirectIo(DaxTest):
    """Direct I/O into a mapped page is seen by who reads the page."""

    source = "open(2): O_DIRECT"

    def setup(m: Any) -> None:
        file(m, 2, 2)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va + m.n)
        t.dma_write(page)
        t.unpin_user_page(page)
        reads(t, m.va + m.n, 1)
        reads(t, m.va, 0)
        t.munmap(m.va)
        t.assert_eq("pin", int(t.pin_user_pages_fast(m.va) is None), 1)


class FastOnly(DaxTest):
    """get_user_pages_fast_only() takes what is mapped, of a device, of a file and of the system."""

    source = "mm/gup.c: get_user_pages_fast_only()"

    def setup(m: Any) -> None:
        file(m, 1, 1)
        m.n = 1 if m.scope["size"] == "pte" else 2
        m.dax = m.k.device_dax(pages=m.n, size=m.scope["size"], per_folio=m.n)
        m.device_va = m.task("A").mmap(m.dax)
        m.k.anonymous_memory(1)
        m.anonymous_va = m.task("A").mmap_anonymous(1)

    def task_A(t: Any, m: Any) -> None:
        for va in (m.va, m.device_va, m.anonymous_va):
            t.assert_eq("not mapped", int(t.get_user_pages_fast_only(va) is None), 1)
        for va in (m.va, m.anonymous_va):
            t.touch(va, False)
            t.assert_eq("read-only", int(t.get_user_pages_fast_only(va) is None), 1)
            writes(t, va, 1)
        writes(t, m.device_va, 1)
        for va in (m.va, m.device_va, m.anonymous_va):
            page = t.get_user_pages_fast_only(va)
            t.assert_eq("taken", int(page is not None), 1)
            if page is not None:
                t.put_page(page)
        t.unpin_user_page(t.pin_user_pages(m.anonymous_va))


class DeviceDax(DaxTest):
    """What is written to a device is there when it is mapped again."""

    source = "ndctl: test/device-dax.c"
    progress = "removal-terminates"
    scope = {"size": SIZE}

    def setup(m: Any) -> None:
        m.n = 1 if m.scope["size"] == "pte" else 2
        m.dax = m.k.device_dax(pages=2 * m.n, size=m.scope["size"], per_folio=m.n)
        m.va = m.task("A").mmap(m.dax)
        m.second = m.task("A").reserve(m.dax)

    def task_A(t: Any, m: Any) -> None:
        writes(t, m.va, 1)
        writes(t, m.va + m.n, 2)
        t.munmap(m.va)
        sigbus(t, m.va, False)
        t.assert_eq("mmap", int(t.mmap_fixed(m.second)), 1)
        reads(t, m.second, 1)
        reads(t, m.second + m.n, 2)
        page = t.pin_user_pages_fast(m.second + m.n)
        t.dma_write(page)
        t.unpin_user_page(page)
        reads(t, m.second + m.n, 1)
        t.kill_dev_dax(m.dax)
        sigbus(t, m.second, False)


class DeviceGone(DaxTest):
    """mmap() of a device that has gone fails with ENXIO, and nothing is mapped."""

    source = "mmap(2); drivers/dax/device.c: dax_mmap_prepare()"
    progress = "removal-terminates"
    scope = {"size": SIZE}

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(size=m.scope["size"])
        m.va = m.task("A").reserve(m.dax)
        m.vma = m.task("A").task.mm.vma_at[m.va]

    def task_A(t: Any, m: Any) -> None:
        t.kill_dev_dax(m.dax)
        t.assert_eq("mmap", int(t.mmap_fixed(m.va)), 0)
        t.assert_eq("mapped", int(m.vma.linked), 0)
