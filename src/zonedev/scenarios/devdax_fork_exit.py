"""Inherited mappings that end in any order."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import RELEASES, SIZE


class DevdaxForkExit(Scenario):
    """A process forks; parent and child touch the mapping, unmap and exit in any order."""

    source = "kernel/fork.c, mm/memory.c: vma_needs_copy(), copy_page_range()"
    scope = {"size": SIZE}
    orders = ("parent child parent parent child", "parent parent parent child child")
    expected = {name: holds("every mapping gives back what it took") for name in RELEASES}

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(pages=1, size=m.scope["size"])
        m.va = m.task("parent").mmap(m.dax)
        m.task("parent").may_fork("child")
        m.child = m.task("child").task
        m.task("parent").touch(m.va)

    def task_parent(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.munmap(m.va)
        t.exit()

    def task_child(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.touch(m.va)
        t.exit()
