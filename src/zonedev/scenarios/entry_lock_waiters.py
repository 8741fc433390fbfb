"""Who is woken when the entry that several wait for has gone."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import BLOCK_RULES


class EntryLockWaiters(Scenario):
    """One fsync() has an entry locked; truncate and two more fsync() wait for it, in any order."""

    source = "Vivek Goyal, 237388320dee dax: Wake up all waiters after invalidating dax entry, 2021"
    rules = BLOCK_RULES
    progress = alone = "truncate-terminates"
    expected = {
        "linux-4.5": holds("entries have no lock"),
        "linux-4.12": violated("no-lost-wakeup", "truncate wakes one, who finds nothing and wakes nobody"),
        "linux-4.13": violated("no-lost-wakeup", "as linux-4.12"),
        "linux-5.10": holds("fsync() does not wait; 237388320dee wakes all"),
        "linux-6.1": holds("as linux-5.10"),
        "linux-6.12": holds("as linux-5.10"),
        "linux-6.15": holds("as linux-5.10"),
        "linux-7.2": holds("as linux-5.10"),
        "dax-gup-fix-2022": violated(
            "refcount-exact", "the scan skips a locked entry: its reference is lost"
        ),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.task("A").touch(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.fsync(m.file)

    def task_B(t: Any, m: Any) -> None:
        t.fsync(m.file)

    def task_C(t: Any, m: Any) -> None:
        t.fsync(m.file)

    def task_D(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)
