"""Faults on huge pages of anonymous memory (mm/huge_memory.c, mm/memory.c)."""

from __future__ import annotations

from zonedev.kernel.ext4 import Ext4
from zonedev.kernel.huge_memory import TABLE
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, Pte, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic


class HugeFault(Ext4):
    """The PMD half of a fault as of v7.2; the huge zero page is not modelled."""

    def handle_pmd_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """Whether a fault is done with the huge entry; if not, the PTE is next (mm/memory.c,
        __handle_mm_fault)."""
        orig_pmd = vma.mm.pmd[vma.start]
        if orig_pmd == NONE:
            return k.do_huge_pmd_anonymous_page(vma, write)
        if orig_pmd.page is None:
            return False
        if orig_pmd.present:
            return not write or orig_pmd.write or k.do_huge_pmd_wp_page(vma, orig_pmd)
        if k.is_device_private(orig_pmd):
            k.do_huge_pmd_device_private(vma, va, orig_pmd)
        else:
            k.pmd_migration_entry_wait(vma)
        return True

    def do_huge_pmd_anonymous_page(k, vma: Vma, write: bool) -> bool:
        """A huge page for a write, where there is one; else a page table (mm/huge_memory.c)."""
        folio = k.alloc_huge_folio(vma) if write else None
        spin_lock(vma.mm.ptl)
        if vma.mm.pmd[vma.start] == NONE:
            if folio is None:
                vma.mm.pmd[vma.start] = TABLE
            else:
                k.map_anon_folio_pmd(vma, folio)
                spin_unlock(vma.mm.ptl)
                return True
        spin_unlock(vma.mm.ptl)
        if folio is not None:
            k.folio_put(folio)
        return False

    def map_anon_folio_pmd(k, vma: Vma, folio: Page) -> None:
        """Its first reference becomes that of the mapping (mm/huge_memory.c)."""
        k.folio_set_anon(folio, vma, vma.start)
        k.folio_add_new_anon_rmap(folio)
        vma.mm.pmd[vma.start] = Pte(present=True, write=True, dirty=True, page=folio)

    def alloc_huge_folio(k, vma: Vma) -> Page | None:
        """Two free pages that lie together, as one folio with a reference, and zeroed
        (mm/huge_memory.c, vma_alloc_anon_folio_pmd)."""
        found: Page | None = None
        with atomic("the page allocator gives a page to one task only"):
            for page in k.allocatable(vma):
                if page.second is not None:  # noqa: SIM102  known at set-up
                    if found is None and k.is_free(page) and k.is_free(page.second):
                        page._refcount.value = 1
                        for each in (page, page.second):
                            each.frame.owner = vma.number
                            each.frame.data = 0
                        page.order = 1
                        page.second.compound_head = page
                        found = page
        return found

    def is_free(k, page: Page) -> bool:
        """Whether the page allocator has a page."""
        return page.frame.owner == 0 and page._refcount.value == 0

    def do_huge_pmd_wp_page(k, vma: Vma, orig_pmd: Pte) -> bool:
        """A huge page that is this mm's alone becomes writable; another one is split, and copied page
        by page (mm/huge_memory.c)."""
        folio = orig_pmd.page
        spin_lock(vma.mm.ptl)
        same = vma.mm.pmd[vma.start] == orig_pmd
        reused = same and folio.anon_exclusive
        if reused:
            vma.mm.pmd[vma.start] = replace(orig_pmd, write=True, dirty=True)
        spin_unlock(vma.mm.ptl)
        if same and not reused:
            k.split_huge_pmd(vma)
            return False
        return True

    def do_huge_pmd_device_private(k, vma: Vma, va: int, orig_pmd: Pte) -> None:
        """As do_swap_page(), but who finds the folio locked returns and faults again, and so it is in
        v7.3 (mm/huge_memory.c)."""
        folio = orig_pmd.page
        spin_lock(vma.mm.ptl)
        if vma.mm.pmd[vma.start] != orig_pmd or not k.folio_trylock(folio):
            spin_unlock(vma.mm.ptl)
            return
        k.folio_get(folio)
        spin_unlock(vma.mm.ptl)
        k.migrate_huge_to_ram(vma, va, folio)
        k.folio_unlock(folio)
        k.folio_put(folio)

    def migrate_huge_to_ram(k, vma: Vma, va: int, page: Page) -> None:
        """pgmap->ops->migrate_to_ram() for a huge entry, without vmf->pte."""
