"""Two threads fault at one address."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import END_RULES, PMD, PUD, SIZE


class ThreadsFault(Scenario):
    """Two threads of a process write to, and read, a page of a device that is not mapped yet."""

    source = "mm/memory.c: insert_page_into_pte_locked(); mm/huge_memory.c: insert_pmd(), insert_pud()"
    scope = {"size": SIZE}
    rules = (
        "refcount-exact",
        "data-integrity",
        "kernel-asserts",
        "no-deadlock",
        "fault-terminates",
        *END_RULES,
    )
    progress = "fault-terminates"
    expected = {
        "linux-6.15": holds("who comes second finds the page mapped, under the page-table lock"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax(size=m.scope["size"])
        m.va = m.task("A").mmap(m.dax)
        m.task("B").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, False)


class ThreadsFaultPmd(ThreadsFault):
    """The same with a PMD."""

    scope = {"size": PMD}


class ThreadsFaultPud(ThreadsFault):
    """The same with a PUD."""

    scope = {"size": PUD}
