"""Everything at once, to be made larger: the scope says how far."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, Scope, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES, FILE_PAGES


class FilesAtWork(Scenario):
    """I/O, writes through a mapping, truncate, and a second file that takes what is freed."""

    source = "what the scenarios of truncate look at one by one"
    scope = {
        "pages": FILE_PAGES,
        "tasks": Scope(3, 2, 3, "with 3 a task writes through a mapping of its own, too"),
        "files": Scope(2, 1, 2, "with 2 a file takes the blocks that the first one loses"),
    }
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    orders = ("io io io truncator io writer", "writer io io io truncator")
    expected = {
        "linux-4.5": violated("block-reuse", "truncate looks at no count"),
        "linux-5.10": violated("block-reuse", "a file that nobody has mapped is not looked at"),
        "linux-6.1": violated("block-reuse", "as linux-5.10"),
        "linux-6.12": violated("block-reuse", "as linux-5.10"),
        "linux-6.15": holds("cee91fa13a8e: unmapped files are looked at too"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.pages = m.scope["pages"]
        m.pmem = m.k.pmem_device(pages=m.pages)
        m.file = m.k.dax_file(m.pmem)
        m.io_va = m.task("io").mmap(m.file)
        m.va = m.task("writer").mmap(m.file)
        if m.scope["files"] > 1:
            m.other = m.k.dax_file(m.pmem, blocks=0)

    def task_io(t: Any, m: Any) -> None:
        for n in range(m.pages):
            page = t.pin_user_pages_fast(m.io_va + n)
            if page is not None:
                t.dma_write(page)
                t.unpin_user_page(page)
        t.munmap(m.io_va)

    def task_writer(t: Any, m: Any) -> None:
        if m.scope["tasks"] > 2:
            for n in range(m.pages):
                t.touch(m.va + n)
            t.munmap(m.va)

    def task_truncator(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
        if m.scope["files"] > 1:
            for n in range(m.pages):
                t.pwrite(m.other, n)
