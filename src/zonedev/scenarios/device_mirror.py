"""A device that maps what a process has, without memory of its own: notifiers and the retry loop."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import EXCLUSIVE_RELEASES, MIRROR_RULES, PRIVATE_RELEASES, mirrored_page


class NotifierRetry(Scenario):
    """A device faults on a page, reads and writes it, while a thread throws it away and makes a new one."""

    source = "Documentation/mm/hmm.rst"
    rules = MIRROR_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        PRIVATE_RELEASES, holds("what was looked up before the invalidation is not used")
    )

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)
        t.touch(m.va, True, 3)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_write(m.mirror, m.va)
        t.gpu_read(m.mirror, m.va)


class NotifierRetryUnchecked(Scenario):
    """As notifier-retry, where the driver looks at no sequence number: HMM_DMIRROR_EXCLUSIVE."""

    source = "Alistair Popple, Re: [PATCH v1 04/12] mm/rmap: implement make_device_exclusive()..., 2025-01-30"
    rules = MIRROR_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        EXCLUSIVE_RELEASES, violated("mirror-coherent", "the page went before the device mapped it")
    )

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_exclusive(m.mirror, m.va)
