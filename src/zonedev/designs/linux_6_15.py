"""v6.15, and until huge entries were no longer special: text 4 as merged."""

from __future__ import annotations

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.dax_entry import NO_ENTRY
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Pte, Vma
from zonedev.lang.primitives import WARN_ON, atomic_read, atomic_set, spin_lock, spin_unlock
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

    # --- private memory ----------------------------------------------------------------------------

    def zone_device_page_init(k, page: Page, pgmap: DevPagemap, order: int = 0) -> None:
        """Pages of 4K only, and none after memunmap_pages() has begun: percpu_ref_tryget_live(); the
        count that is found is not looked at (mm/memremap.c), until d245f9b4ab80 "mm/zone_device:
        support large zone device private folios" (v6.19)."""
        WARN_ON(not k.percpu_ref_tryget_live(pgmap.ref), "zone_device_page_init() after memunmap_pages()")
        atomic_set(page._refcount, 1)
        k.folio_lock(page)

    def fault_device_private(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """Who finds the page locked returns, and faults again (mm/memory.c), from 1afaeb8293c9
        "mm/migrate: Trylock device page in do_swap_page" (v6.15) until b570f37a2ce4 "mm: Fix a
        hmm_range_fault() livelock / starvation problem" (v7.0, and in 6.18.y)."""
        page = orig_pte.page
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] != orig_pte or not k.folio_trylock(k.page_folio(page)):
            spin_unlock(vma.mm.ptl)
            return True
        k.get_page(page)
        spin_unlock(vma.mm.ptl)
        done = k.migrate_to_ram(vma, va, page)
        k.folio_unlock(k.page_folio(page))
        k.folio_put(k.page_folio(page))
        return done

    # --- peer-to-peer memory -----------------------------------------------------------------------

    def p2pmem_page_init(k, page: Page) -> None:
        """The warning is the wrong way round (drivers/pci/p2pdma.c), until cb500023a752 "PCI/P2PDMA: Fix
        p2pmem_alloc_mmap() warning condition" (v7.0)."""
        if k.CONFIG_DEBUG_VM:
            WARN_ON(atomic_read(page._refcount) == 0, "p2pmem_alloc_mmap() is given a free page")
        atomic_set(page._refcount, 1)

    def p2pmem_insert_failed(k, pdev: PciDev, page: Page) -> None:
        """The reference of the pagemap is forgotten (drivers/pci/p2pdma.c), until 6220694c52a5
        "PCI/P2PDMA: Release per-CPU pgmap ref when vm_insert_page() fails" (v7.0), and so is the count."""

    # --- files -------------------------------------------------------------------------------------

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
