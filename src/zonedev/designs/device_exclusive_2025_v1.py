"""text 5: one folio walk, and no notifier (David Hildenbrand, v1 04/12, 2025-01-29)."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_12 import Linux612
from zonedev.kernel.gup import FOLL_GET, FOLL_SPLIT_PMD, FOLL_WRITE
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Vma


class DeviceExclusive2025V1(Linux612):
    """Text 5: "mm/rmap: implement make_device_exclusive() using folio_walk instead of rmap walk", as it
    was posted first.  Merged for v6.15 with a notifier call, in v2 of 2025-02-10."""

    name = "device-exclusive-2025-v1"
    title = "text 5: make_device_exclusive() without a notifier call"
    release = False

    def make_device_exclusive(k, vma: Vma, va: int, owner: Any) -> Page | None:
        """Converts the one entry, if it is still that of the page; a lock that is taken, or another
        page, is -EBUSY (mm/rmap.c, v1 04/12)."""
        page = k.get_user_pages_locked(vma, va, FOLL_GET | FOLL_WRITE | FOLL_SPLIT_PMD)
        if page is None:
            return None
        folio = k.page_folio(page)
        if not k.folio_test_anon(folio) or not k.folio_trylock(folio):
            k.folio_put(folio)
            return None
        if k.make_entry_exclusive(vma, va, page):
            return page
        k.folio_unlock(folio)
        k.folio_put(folio)
        return None

    def make_entry_exclusive(k, vma: Vma, va: int, page: Page) -> bool:
        """The entry keeps the reference, and the rmap goes, "which is wrong and must be fixed"
        (mm/rmap.c, v1 04/12)."""
        found = super().make_entry_exclusive(vma, va, page)
        if found:
            k.folio_remove_rmap(k.page_folio(page))
        return found
