"""Migration of a page of the system to another one (mm/migrate.c).

The LRU is not modelled: to isolate a folio is to take a reference.  One call is one pass; the kernel makes
up to ten of them over the folios that somebody holds.
"""

from __future__ import annotations

from zonedev.kernel.mmap import Mmap
from zonedev.kernel.page import Page
from zonedev.lang.primitives import atomic_read
from zonedev.lang.runtime import atomic


class Migrate(Mmap):
    """mm/migrate.c as of v7.2, for anonymous pages of 4K."""

    def migrate_pages(k, page: Page) -> bool:
        """Move a page to another one, as offlining and compaction do; false for one that somebody holds
        (mm/migrate.c, migrate_folio_unmap, migrate_folio_move)."""
        src = k.page_folio(page)
        if not k.folio_try_get(src, 1):
            return True
        if atomic_read(src._refcount) == 1:
            k.folio_put(src)
            return True
        dst = k.alloc_system_page()
        if dst is None:
            k.folio_put(src)
            return False
        k.folio_lock(src)
        anon_vma = k.folio_get_anon_vma(src)
        k.folio_lock(dst)  # folio_trylock() in the kernel, which nobody can fail either
        mapped = k.folio_mapped(src)
        if mapped:
            k.try_to_migrate(src)
        if k.folio_mapped(src) or not k.migrate_folio(dst, src):
            if mapped:
                k.remove_migration_ptes(src, src)
            if anon_vma is not None:
                k.put_anon_vma(anon_vma)
            k.folio_unlock(src)
            k.folio_put(src)
            k.folio_unlock(dst)
            k.folio_put(dst)
            return False
        if mapped:
            k.remove_migration_ptes(src, dst)
        k.folio_unlock(dst)
        k.folio_put(dst)
        if anon_vma is not None:
            k.put_anon_vma(anon_vma)
        k.folio_unlock(src)
        k.folio_put(src)
        return True

    def migrate_folio(k, dst: Page, src: Page) -> bool:
        """False where somebody else holds the page.  Up to v6.10 it was copied last (mm/migrate.c)."""
        expected = atomic_read(src._mapcount) + 1
        if atomic_read(src._refcount) != expected:
            return False
        k.copy_user_page(dst, src)
        k._folio_migrate_mapping(dst, src)
        return True

    def folio_migrate_mapping(k, newpage: Page, page: Page, fault_page: Page | None) -> bool:
        """False where somebody else holds the page: without a mapping that is a compare, and nothing is
        frozen (mm/migrate.c)."""
        newfolio = k.page_folio(newpage)
        folio = k.page_folio(page)
        expected = atomic_read(folio._mapcount) + int(fault_page is not None and page is fault_page) + 1
        if atomic_read(folio._refcount) != expected:
            return False
        k._folio_migrate_mapping(newfolio, folio)
        return True

    def _folio_migrate_mapping(k, newfolio: Page, folio: Page) -> None:
        """__folio_migrate_mapping() without a mapping (mm/migrate.c)."""
        with atomic("words of a page that nobody can reach but through the one that is locked"):
            newfolio.index = folio.index
            newfolio.anon_vma = folio.anon_vma
