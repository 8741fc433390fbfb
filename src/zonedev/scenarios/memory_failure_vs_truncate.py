"""A broken page finds its file while truncate takes it away."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated


class MemoryFailureVsTruncate(Scenario):
    """memory_failure() looks up the file of a page whose I/O ends while truncate waits for it."""

    source = "c2a7d2a11552 filesystem-dax: Introduce dax_lock_mapping_entry(), 2018 (v4.19)"
    progress = alone = "truncate-terminates"
    expected = {
        "linux-5.10": violated("kernel-asserts", "the scan skips the entry that memory_failure() has locked"),
        "linux-6.1": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.12": violated("kernel-asserts", "as linux-5.10"),
        "linux-6.15": violated("kernel-asserts", "waits for the entry, and then leaves it"),
        "linux-7.2": holds("dd59137bfe70: looks again where it waited"),
        "dax-gup-fix-2022": violated("kernel-asserts", "the last put clears the mapping before the unlock"),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.va = m.task("A").mmap(m.file)
        m.page = m.task("A").pin_user_pages_fast(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.unpin_user_page(m.page)

    def task_B(t: Any, m: Any) -> None:
        t.ftruncate(m.file, 0)

    def task_C(t: Any, m: Any) -> None:
        t.mf_generic_kill_procs(m.page)  # which memory_failure() calls with the pagemap held
