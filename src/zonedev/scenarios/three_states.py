"""Campbell's three states of a device page, told apart by the count."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds

POINTS = ("free", "in the page cache", "mapped", "pinned", "pinned and unmapped", "unmapped again")
UNCOUNTED_1 = dict(zip(POINTS, (1, 1, 1, 2, 2, 1), strict=True))
UNCOUNTED = dict(zip(POINTS, (1, 1, 1, 1025, 1025, 1), strict=True))
COUNTED = dict(zip(POINTS, (0, 0, 1, 1025, 1024, 0), strict=True))
ENTERED = dict(zip(POINTS, (0, 1, 1, 1025, 1025, 1), strict=True))


class ThreeStates(Scenario):
    """A page of a file is free, in the page cache, mapped, pinned; its count is watched.

    "free" has no entry in the file's page cache; "in the page cache" has one, and nobody has
    it mapped.
    """

    source = "Ralph Campbell, mm: support THP migration to device private memory, 2020-11-06"
    observes = True
    orders = ("",)
    expected = {
        "linux-4.5": holds("free and cached look alike", UNCOUNTED_1),
        "linux-4.12": holds("free and cached look alike", UNCOUNTED_1),
        "linux-5.10": holds("free and cached look alike", UNCOUNTED),
        "linux-6.1": holds("free and cached look alike", UNCOUNTED),
        "linux-6.12": holds("free and cached look alike", UNCOUNTED),
        "linux-6.15": holds("free and cached look alike, mapped does not", COUNTED),
        "linux-7.2": holds("free and cached look alike, mapped does not", COUNTED),
        "dax-gup-fix-2022": holds("free and cached differ, mapped does not", ENTERED),
    }

    def setup(m: Any) -> None:
        m.file = m.k.dax_file(m.k.pmem_device())
        m.page = m.file.pages[0]
        m.first = m.task("A").mmap(m.file)
        m.second = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.observe("free", m.page)
        t.touch(m.first)
        t.munmap(m.first)
        t.observe("in the page cache", m.page)
        t.touch(m.second)
        t.observe("mapped", m.page)
        page = t.pin_user_pages_fast(m.second)
        t.observe("pinned", m.page)
        t.munmap(m.second)
        t.observe("pinned and unmapped", m.page)
        t.unpin_user_page(page)
        t.observe("unmapped again", m.page)
