"""A page of the system is moved by somebody who has no mmap_lock, as compaction and offlining do."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import PRIVATE_RULES, private_page

BOTH = ("linux-6.15", "linux-7.2")


class MoveVsFork(Scenario):
    """A page is moved while its process forks; the child reads what was there."""

    source = "mm/migrate.c: migrate_folio_unmap(), migration_entry_wait()"
    rules = PRIVATE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(BOTH, holds("a child gets the entry of the migration, and waits as well"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.page = m.k.free_pages[0]
        m.task("A").touch(m.va, True, 1)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.touch(m.va, False)

    def task_C(t: Any, m: Any) -> None:
        t.migrate_pages(m.page)


class MoveVsPin(MoveVsFork):
    """A page is moved while it is pinned, written to by a device, and read through the mapping."""

    def setup(m: Any) -> None:
        private_page(m, pages=2)
        m.page = m.k.free_pages[0]

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_store(m.va, page)
            t.touch(m.va, False)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        """Nobody reads."""
