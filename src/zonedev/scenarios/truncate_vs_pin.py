"""Truncate against the pins of direct I/O."""

from __future__ import annotations

from typing import Any, ClassVar

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES, FILE_PAGES, FILE_SIZE, two_files


class TruncateVsPin(Scenario):
    """Direct I/O writes into a mapped file, which is truncated; its block goes to another file."""

    source = "Dan Williams, Fix the DAX-gup mistake, 2022-10-14; 5fac7408d828, 2018"
    scope = {"pages": FILE_PAGES, "size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A B A",)
    expected = {
        "linux-4.5": violated("block-reuse", "truncate looks at no count"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-4.13": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": holds("5fac7408d828: truncate waits until the page is idle"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("waits while there are references beside those of mappings"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("zaps, and waits until the page is idle"),
    }

    def setup(m: Any) -> None:
        two_files(m)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)


class TruncateVsPinUnmapped(Scenario):
    """The same after munmap(): the file is mapped nowhere, but the I/O still runs."""

    source = "Dan Williams, fsdax: Include unmapped inodes for page-idle detection, 2022-10-14"
    scope = {"pages": FILE_PAGES, "size": FILE_SIZE}
    rules: ClassVar[tuple[str, ...] | None] = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders: ClassVar[tuple[str, ...]] = ("A A B A",)
    expected = {
        "linux-4.5": violated("block-reuse", "truncate looks at no count"),
        "linux-4.12": violated("block-reuse", "as linux-4.5"),
        "linux-4.13": violated("block-reuse", "as linux-4.5"),
        "linux-5.10": violated("block-reuse", "mapping_mapped() is false: no page is looked at"),
        "linux-6.1": violated("block-reuse", "as linux-5.10"),
        "linux-6.12": violated("block-reuse", "as linux-5.10"),
        "linux-6.15": holds("cee91fa13a8e: unmapped files are looked at too"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("03/25: unmapped files are looked at too"),
    }

    def setup(m: Any) -> None:
        two_files(m)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        t.munmap(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)


class TruncateWarns(TruncateVsPinUnmapped):
    """The same, asked for the warning that v4.17 added and v6.15 took away with its cause."""

    source = "d2c997c0f145 fs, dax: use page->mapping to warn if truncate collides with a busy page"
    rules = ("kernel-asserts",)
    orders = ()
    expected = {
        "linux-4.5": holds("nothing warns"),
        "linux-4.12": holds("nothing warns"),
        "linux-5.10": violated("kernel-asserts", "warns, and frees the block"),
        "linux-6.1": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.12": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.15": holds("truncate has waited, also for unmapped files"),
        "linux-7.2": holds("as linux-6.15"),
        "dax-gup-fix-2022": holds("03/25: truncate has waited"),
    }


class TruncateVsRefault(Scenario):
    """Truncate waits for I/O without its lock; the page is touched again, and stays mapped."""

    source = "found by reading fs/dax.c of v7.2: the scan allows for mappings, the wait does not"
    scope = {"size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("A B A A A",)
    expected = {
        "linux-4.5": violated("block-reuse", "truncate waits for nobody"),
        "linux-5.10": holds("a mapping holds no reference"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": violated("truncate-terminates", "the mapping's reference keeps the count from 0"),
        "linux-7.2": violated("truncate-terminates", "as linux-6.15"),
        "dax-gup-fix-2022": holds("an entry that was zapped takes no reference again"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device(size=m.scope["size"]))
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.get_user_pages_fast(m.va)
        t.touch(m.va)
        if page is not None:
            t.put_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)


class TruncateVsLockedEntry(Scenario):
    """fsync() has the entry locked while truncate looks for pins."""

    source = "Alistair Popple, fs/dax: Don't skip locked entries when scanning entries, 2025-02-28"
    scope = {"size": FILE_SIZE}
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    expected = {
        "linux-5.10": violated("block-reuse", "23c84eb78375: the scan skips a locked entry"),
        "linux-6.1": violated("block-reuse", "as linux-5.10"),
        "linux-6.12": violated("block-reuse", "as linux-5.10"),
        "linux-6.15": violated("block-reuse", "waits for the entry, and then skips it"),
        "linux-7.2": holds("dd59137bfe70: looks again where it waited"),
        "dax-gup-fix-2022": violated("block-reuse", "as linux-6.1"),
    }

    def setup(m: Any) -> None:
        m.scope["pages"] = 1
        two_files(m)
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va)
        m.page = m.task("A").pin_user_pages_fast(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.dma_write(m.page)
        t.unpin_user_page(m.page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        t.pwrite(m.other, 0)

    def task_C(t: Any, m: Any) -> None:
        t.fsync(m.file)
