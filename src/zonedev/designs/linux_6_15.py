"""v6.15, and until huge entries were no longer special: text 4 as merged."""

from __future__ import annotations

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
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
