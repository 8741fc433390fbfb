"""v6.15, and until huge entries were no longer special: text 4 as merged."""

from __future__ import annotations

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.lang.primitives import WARN_ON, atomic_read
from zonedev.lang.records import replace


class Linux615(Linux72):
    """v6.15: device-dax pages are counted when they are mapped.

    "device/dax: Properly refcount device dax pages when mapping" (Alistair Popple, text
    4, v9 20/20 of "fs/dax: Fix ZONE_DEVICE page reference counts").
    """

    name = "linux-6.15"
    title = "device-dax pages counted when mapped"

    def mk_entry(k, vma: Vma, page: Page, write: bool) -> Pte:
        """Huge entries were marked special until "mm/huge_memory: don't mark refcounted
        folios special in vmf_insert_folio_pmd()" and "..._pud()" (2025-06; v6.17 at the latest)."""
        special = k.page_folio(page).large
        return replace(super().mk_entry(vma, page, write), special=special)

    def wait_entry_unlocked_exclusive(k, inode: Inode, index: int, entry: DaxEntry) -> DaxEntry:
        """Waits for an entry that is locked, and then goes on behind it: xas_pause() moves on to
        the next index (fs/dax.c), until dd59137bfe70 "fs/dax: Fix "don't skip locked entries when
        scanning entries"" (v6.16)."""
        if not entry.locked:
            return entry
        k.wait_for_entry(inode, index)
        return NO_ENTRY

    def dax_folio_put(k, folio: Page) -> None:
        """A small folio keeps its index, which then looks like a share, and is not looked at
        (fs/dax.c), until dax_folio_reset_order() (2026)."""
        if k.dax_folio_is_shared(folio):
            share = folio.index
            folio.index = share - 1
            if share > 1:
                return
        folio.mapping = None
        if folio.large:
            folio.index = 0
            WARN_ON(atomic_read(folio._refcount) != 0, "dax_folio_put() of a folio in use")
