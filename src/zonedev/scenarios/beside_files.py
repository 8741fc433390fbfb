"""Files whose blocks and inodes go while others use them: two calls at a time."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import holds, violated
from zonedev.scenarios.fsync_vs_writer import FileCalls
from zonedev.scenarios.parts import FILE_PMD, FILE_SIZE

BOTH = ("linux-6.15", "linux-7.2")


class TruncateVsPinOfSecond(FileCalls):
    """DMA runs into the second page of a file while the file is truncated."""

    source = "fs/dax.c: dax_layout_busy_page_range(): the first page that is busy, of all"
    expected = dict.fromkeys(BOTH, holds("every entry is looked at"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(pages=2))
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va, False)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va + 1)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)


class MmapVsMmap(FileCalls):
    """Two programs map a file that has no name any more, and close it: it stays until both have gone."""

    source = "mm/vma.c: __mmap_new_file_vma(), get_file()"
    expected = dict.fromkeys(BOTH, holds("each mapping holds the file"))

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").reserve(m.file)
        m.other = m.task("B").reserve(m.file)
        m.k.open(m.file)
        m.k.open(m.file)
        m.task("A").unlink(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)
        t.close(m.file)
        t.touch(m.va)
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.mmap_fixed(m.other)
        t.close(m.file)
        t.munmap(m.other)


class TruncateVsTruncate(FileCalls):
    """Two files that share a block are truncated at the same time: one of them frees it."""

    source = "fs/ext4/mballoc.c: mb_free_blocks(); fs/xfs/libxfs/xfs_refcount.c"
    scope = {"size": FILE_SIZE}
    expected = dict.fromkeys(BOTH, holds("the share is dropped, or the block freed, in one transaction"))

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(size=m.scope["size"])
        m.file = m.k.dax_file(m.pmem)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)

    def task_A(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.copy, 0)


class CloseVsRemoval(FileCalls):
    """A file that has no name any more is closed while its disk goes: one of them evicts it."""

    source = "fs/inode.c: evict_inodes(), iput(); block/genhd.c: del_gendisk()"
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(BOTH, holds("I_FREEING is set under i_lock, by one"))

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device()
        m.file = m.k.dax_file(m.pmem)
        m.k.open(m.file)
        m.task("A").unlink(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.close(m.file)
        t.assert_eq("st_blocks", t.blocks_of(m.file), 0)

    def task_driver(t: Any, m: Any) -> None:
        t.pmem_release_disk(m.pmem)


class CowOfUsedBlock(FileCalls):
    """A block that another file has had is the copy of a shared block: it has one file, and no other.

    The index of a page and the number of files that share it are one word.  Up to the mend of 2026 the
    index is left where a file loses a small page, so that one share more is counted.
    """

    source = "found by reading fs/dax.c: dax_folio_put(), dax_associate_entry()"
    scope = {"size": FILE_SIZE}
    expected = {
        "linux-6.15": violated("mapping-exact", "the index that is left counts as a share"),
        "linux-7.2": holds("dax_folio_reset_order() clears the word"),
    }

    def setup(m: Any) -> None:
        n = 1 if m.scope["size"] == "pte" else 2
        m.pmem = m.k.pmem_device(pages=3 * n, size=m.scope["size"], per_folio=n)
        m.first = m.k.dax_file(m.pmem, pages=2 * n)
        m.file = m.k.dax_file(m.pmem, pages=n)
        m.copy = m.k.dax_file(m.pmem, shares=m.file)
        m.n = n
        m.va = m.task("A").mmap(m.first)
        m.copy_va = m.task("A").mmap(m.copy)
        m.task("A").touch(m.va + n)
        m.file.pages[0].frame._values["data"] = 3

    def task_A(t: Any, m: Any) -> None:
        t.ftruncate(m.first, m.n)
        page = t.pin_user_pages(m.copy_va)
        t.assert_eq("data", t.dma_read(page), 3)
        t.unpin_user_page(page)
        block = m.copy.extents[0]
        t.assert_eq("FIEMAP_EXTENT_SHARED", int(m.file.extents[0] is block), 0)
        t.assert_eq("st_blocks", t.blocks_of(m.copy), 1)


class CowOfUsedBlockPmd(CowOfUsedBlock):
    """The same with PMDs, of which the folio is taken apart."""

    scope = {"size": FILE_PMD}
    expected = dict.fromkeys(BOTH, holds("the index goes with the order of the folio"))
