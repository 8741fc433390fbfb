"""v6.15, and until huge entries were no longer special: text 4 as merged."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte
from zonedev.lang.records import replace


class Linux615(Linux72):
    """v6.15: device-dax pages are counted when they are mapped.

    "device/dax: Properly refcount device dax pages when mapping" (Alistair Popple, text
    4, v9 20/20 of "fs/dax: Fix ZONE_DEVICE page reference counts").
    """

    name = "linux-6.15"
    title = "device-dax pages counted when mapped"

    def insert_page_into_pte_locked(k, table: Any, at: int, page: Page, write: bool) -> None:
        """Huge entries were marked special until "mm/huge_memory: don't mark refcounted
        folios special in vmf_insert_folio_pmd()" and "..._pud()" (2025-06; v6.17 at the latest)."""
        entry = table[at]
        if entry.present:
            if write:
                table[at] = replace(entry, write=True, dirty=True)
            return
        k.folio_get(k.page_folio(page))
        k.folio_add_file_rmap(k.page_folio(page))
        special = k.page_folio(page).large
        table[at] = Pte(present=True, write=True, dirty=write, special=special, page=page)
