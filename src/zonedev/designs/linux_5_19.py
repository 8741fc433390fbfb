"""v5.18 to v6.0, as in v5.19: private pages that nobody waits for."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_1 import Linux61
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.lang.primitives import atomic_set
from zonedev.lang.runtime import at_setup


class Linux519(Linux61):
    """v5.18 to v6.0: private pages are counted as other pages are, and hold no pagemap.

    What the series "Fix several device private page reference counting issues" (Alistair Popple,
    2022-09-28 v2; v6.1) changed.  Between 27674ef6c73f "mm: remove the extra ZONE_DEVICE struct page
    refcount" (v5.18) and it, memunmap_pages() waits for no page that is in use.
    """

    name = "linux-5.19"
    title = "v5.18 to v6.0: private pages hold no pagemap"

    def initial_count(self, kind: MemoryType) -> int:
        """Private pages too, until ef233450898f "mm: free device private pages have zero refcount"
        (v6.1)."""
        return 1

    @at_setup
    def pagemap_range_refs(self, pgmap: DevPagemap) -> bool:
        """For every page from the beginning on, until 0dc45ca1ce18 "mm/memremap.c: take a pgmap
        reference on page allocation" (v6.1)."""
        return True

    @at_setup
    def takes_pagemap_ref(self, pgmap: DevPagemap) -> bool:
        """None of its own."""
        return False

    def zone_device_page_init(k, page: Page, pgmap: DevPagemap, order: int = 0) -> None:
        """There is no such function: the driver locks a page whose count is 1 (lib/test_hmm.c,
        dmirror_devmem_alloc_page), until 0dc45ca1ce18 (v6.1)."""
        k.folio_lock(page)

    def free_drivers_folio(k, folio: Page, pgmap: DevPagemap, kind: int) -> None:
        """The count is made 1 again when the driver has its page back already, and may have given it
        out (mm/memremap.c, free_zone_device_page)."""
        k.clear_anon_exclusive(folio)
        folio.anon_vma = None
        k.folio_free(folio)
        atomic_set(folio._refcount, 1)

    def fault_device_private(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """The driver is called with nothing held but mmap_lock (mm/memory.c), until 16ce101db85d
        "mm/memory.c: fix race when faulting a device private page" (v6.1): CVE-2022-3523."""
        k.page_pgmap(orig_pte.page)
        return k.migrate_to_ram(vma, va, orig_pte.page)

    def page_pgmap(k, page: Page) -> None:
        """page->pgmap->ops: where the driver's function is looked up."""
        pgmap = page.pgmap
        pgmap.type  # noqa: B018

    def dmirror_devmem_fault(k, vma: Vma, va: int, mirror: Any, fault_page: Page | None) -> bool:
        """No page is known as the one that was faulted on (lib/test_hmm.c), until 16ce101db85d
        (v6.1)."""
        return super().dmirror_devmem_fault(vma, va, mirror, None)
