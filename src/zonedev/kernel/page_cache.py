"""Mappings of files and of shared memory in the page cache (mm/filemap.c, mm/shmem.c).

As little of the page cache as programs see that map it: a file has all its pages from the beginning on,
zeroed; nothing reads ahead, writes back, reclaims or truncates, and its pages never migrate.  A private
mapping of such a file is anonymous memory that begins with what the file has.
"""

from __future__ import annotations

from typing import Any

from zonedev.kernel.mapping import AddressSpace, VmFile
from zonedev.kernel.p2pdma import P2pdma
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import NONE, Pte, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.runtime import at_setup, atomic, current


class CachedFile(VmFile):
    """A file of tmpfs or of a file system on a disk, or what is behind MAP_SHARED | MAP_ANONYMOUS; or a
    character device whose driver inserts pages."""

    short = "file"


class PageCache(P2pdma):
    """mm/filemap.c, mm/shmem.c as of v7.2."""

    # --- set-up ------------------------------------------------------------------------------------

    def cached_file(self, pages: int) -> CachedFile:
        """A file of `pages` pages of zeros."""
        file = self.system.new(CachedFile, mapping=self.system.new(AddressSpace))
        file.pages = tuple(self.new_cached_page() for _ in range(pages))
        return file

    def new_cached_page(self) -> Page:
        """A page of the page cache, which holds it."""
        page = self.new_anon_page()
        page._refcount.value = 1
        page.frame._values["owner"] = 1
        return page

    def mmap_private(self, file: CachedFile) -> int:
        """Map a file with MAP_PRIVATE.  Returns the VA (mm/mmap.c)."""
        va = self.mmap_anonymous(len(file.pages))
        current().mm.vma_at[va].vm_file = file
        return va

    def mmap_anonymous(self, pages: int = 1, thp: bool = False) -> int:
        """In syscalls.py."""
        raise NotImplementedError

    # --- faults ------------------------------------------------------------------------------------

    def handle_mm_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """Shared mappings (mm/memory.c)."""
        if k.vma_is_cached(vma) and not vma.anonymous:
            return k.do_shared_fault(vma, va, write)
        return super().handle_mm_fault(vma, va, write)

    @at_setup
    def vma_is_cached(self, vma: Vma) -> bool:
        """Whether a mapping is of such a file."""
        return isinstance(vma.vm_file, CachedFile)

    def do_shared_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """do_read_fault(), do_shared_fault() or do_wp_page(): the page of the file, which is writable after
        a write only, of which a file system is told (mm/memory.c, finish_fault, wp_page_shared)."""
        page = vma.vm_file.pages[va - vma.start]
        spin_lock(vma.mm.ptl)
        if not vma.mm.pte[va].present:
            k.folio_get(page)
            k.folio_add_file_rmap(page)
            vma.mm.pte[va] = Pte(present=True, write=write, dirty=write, page=page)
        elif write:
            vma.mm.pte[va] = Pte(present=True, write=True, dirty=True, page=page)
        spin_unlock(vma.mm.ptl)
        return True

    def zap_copy(k, vma: Vma, va: int) -> bool:
        """A page of the page cache is counted; that the rmap of a dirty one goes after the flush is not
        modelled (mm/memory.c, zap_present_folio_ptes)."""
        if not k.vma_is_cached(vma):
            return super().zap_copy(vma, va)
        with atomic("ptep_get_and_clear() is one xchg"):
            pte = vma.mm.pte[va]
            vma.mm.pte[va] = NONE
        if pte.present:
            current().gather_range = True
            k.folio_remove_rmap(pte.page)
            k.tlb_remove_page(va, pte.page)
        return True

    def do_anonymous_page(k, vma: Vma, va: int, write: bool) -> bool:
        """In a private mapping of a file: do_read_fault(), or do_cow_fault() (mm/memory.c)."""
        if not k.vma_is_cached(vma):
            return super().do_anonymous_page(vma, va, write)
        page = vma.vm_file.pages[va - vma.start]
        if not write:
            k.insert_cached_page(vma, va, page)
            return True
        if not k.folio_prealloc(vma):
            return False
        k.copy_user_page(current().cow_page, page)
        k.finish_fault(vma, va)
        k.put_unused_copy()
        return True

    def insert_cached_page(k, vma: Vma, va: int, page: Page) -> None:
        """Map a page of the file in a private mapping, whose entries of it are read-only (mm/memory.c)."""
        spin_lock(vma.mm.ptl)
        pte = vma.mm.pte[va]
        if not pte.present:
            k.folio_get(page)
            k.folio_add_file_rmap(page)
            vma.mm.pte[va] = Pte(present=True, page=page)
        spin_unlock(vma.mm.ptl)

    def mmap_inserts(k, va: int) -> None:
        """A driver's mmap() that inserts its pages at once (lib/test_hmm.c, dmirror_fops_mmap)."""
        vma = current().mm.vma_at[va]
        for i in range(vma.nr):
            k.insert_cached_page(vma, vma.start + i, vma.vm_file.pages[i])

    # --- read and write ----------------------------------------------------------------------------

    def write_file(k, file: CachedFile, index: int, value: int) -> None:
        """Write to a page of a file (mm/filemap.c, generic_perform_write)."""
        file.pages[index].frame.data = value

    def read_file(k, file: CachedFile, index: int) -> int:
        """Read a page of a file (mm/filemap.c, filemap_read)."""
        data: int = file.pages[index].frame.data
        return data

    # --- migration ---------------------------------------------------------------------------------

    def migrate_vma_collect_pte(
        k, vma: Vma, va: int, select: int, owner: Any, fault_folio: Page | None
    ) -> bool:
        """Holes of files are not migrated, and of their pages it is known here, not in
        migrate_vma_pages(), that they cannot be (mm/migrate_device.c)."""
        if k.vma_is_cached(vma):
            pte = vma.mm.pte[va]
            page = pte.page
            if (not pte.present and not pte.leaf) or page is vma.vm_file.pages[va - vma.start]:
                current().migrates[va] = False
                return False
        return super().migrate_vma_collect_pte(vma, va, select, owner, fault_folio)
