"""text 2: the patch that it answers, huge pages in private memory as proposed in 2020."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.designs.linux_5_10 import Linux510
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import DEVICE_PRIVATE, Pte, Vma
from zonedev.lang.primitives import (
    BUG_ON,
    atomic_read,
    atomic_set,
    local_irq_disable,
    local_irq_enable,
)
from zonedev.lang.runtime import at_setup, atomic


class ThpPrivate2020(Linux510):
    """Ralph Campbell, "mm: support THP migration to device private memory", v3 3/6, 2020-11-05: text 2
    is an answer to it.  Not merged; v6.19 has what came of it.

    A device's pages are compound from the beginning: the head idles at 1 and holds one reference of the
    pagemap for all.  A folio that is split gives each page an idle reference, and takes one of the
    pagemap for each.
    """

    name = "thp-private-2020"
    title = "text 2: huge pages in private memory, as proposed in 2020"
    release = False

    # --- counts ------------------------------------------------------------------------------------

    def memremap_pages(self, nr: int, kind: MemoryType, per_folio: int = 1) -> DevPagemap:
        """prep_transhuge_device_private_page() of each two pages (v3 2/6)."""
        pgmap = super().memremap_pages(nr, kind, per_folio)
        if kind == MemoryType.PRIVATE:
            heads: Sequence[Any] = tuple(pgmap.pages[::2])
            for head, tail in zip(heads, pgmap.pages[1::2], strict=True):
                head._values["order"] = 1
                tail._values["compound_head"] = head
                tail._refcount.value = 0
                pgmap.ref.percpu_count.value = pgmap.ref.percpu_count.value - 1
        return pgmap

    @at_setup
    def idle_count(self, page: Page) -> int:
        """A tail has none."""
        if page.memory == MemoryType.PRIVATE and page.number % 2:
            return 0
        return super().idle_count(page)

    @at_setup
    def pgmap_refs(self, pgmap: DevPagemap) -> int:
        """One for each folio, as long as none is split."""
        refs = super().pgmap_refs(pgmap)
        return refs // 2 if pgmap._values["type"] == MemoryType.PRIVATE else refs

    # --- fault and fork ------------------------------------------------------------------------------

    def do_huge_pmd_device_private(k, vma: Vma, va: int, orig_pmd: Pte) -> None:
        """In __handle_mm_fault(): the driver is called with nothing held or looked at again
        (mm/memory.c), as for pages of 4K then."""
        k.page_pgmap(orig_pmd.page)
        k.migrate_huge_to_ram(vma, va, orig_pmd.page)

    def copy_huge_pmd(k, dst: Vma, src: Vma) -> bool:
        """Untouched by the patch: of entries that are not present it knows those of migrations
        (mm/huge_memory.c)."""
        pmd = src.mm.pmd[src.start]
        BUG_ON(pmd.leaf == DEVICE_PRIVATE, "copy_huge_pmd() of an entry that is no migration's")
        return super().copy_huge_pmd(dst, src)

    # --- split -----------------------------------------------------------------------------------------

    def only_holder(k, folio: Page) -> bool:
        """can_split_huge_page(): a private folio has its idle reference (mm/huge_memory.c)."""
        expected = atomic_read(folio._mapcount) + 1 + int(k.is_device_private_page(folio))
        return atomic_read(folio._refcount) == expected

    def folio_freeze_and_split_unmapped(k, folio: Page) -> bool:
        """__split_huge_page(): each part gets an idle reference, and one of the pagemap
        (mm/huge_memory.c)."""
        idle = int(k.is_device_private_page(folio))
        local_irq_disable()
        with atomic("page_ref_freeze() is one cmpxchg"):
            frozen = folio._refcount.value == 1 + idle
            if frozen:
                folio._refcount.value = 0
        if frozen:
            k.split_unmapped_folio(folio)
            k.folio_split(folio, folio.second)
            atomic_set(folio.second._refcount, 1 + idle)
            if idle:
                pgmap = folio.pgmap
                k.percpu_ref_get_many(pgmap.ref, 1)
            atomic_set(folio._refcount, 1 + idle)
        local_irq_enable()
        return frozen

    def migrate_vma_split_large(
        k, vma: Vma, va: int, select: int, owner: Any, fault_page: Page | None
    ) -> bool:
        """A page of a larger folio is taken as if it were one of its own (mm/migrate.c)."""
        return True
