"""Reverse mappings: from an anonymous page to the entries that refer to it (mm/rmap.c, mm/migrate.c)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import GUP_PIN_COUNTING_BIAS, MemoryType, Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, DEVICE_PRIVATE, MIGRATION, NONE, Pgtable, Pte, Vma
from zonedev.lang.primitives import (
    RwSem,
    atomic_dec,
    atomic_inc,
    atomic_read,
    atomic_set,
    down_read,
    down_write,
    spin_lock,
    spin_unlock,
    up_read,
    up_write,
)
from zonedev.lang.records import Record, const, count, embed
from zonedev.lang.runtime import at_setup, atomic, free, when


class AnonVma(Record):
    """struct anon_vma: the VMAs that may map an anonymous page (include/linux/rmap.h).

    Of the tree that fork() makes there is the root, which all descendants share.
    """

    short = "anon_vma"
    freed_breaks = "page-lifetime"
    rwsem: Any = embed(RwSem)
    linked = count(0, 7, quiet=True)  # VMAs in its tree, and who holds it; the last one frees it
    kept: int = const(0)  # holds that never end: those of a neighbour
    vmas: Any = const(())


class Rmap(Pgtable):
    """mm/rmap.c and the walks of mm/migrate.c as of v7.2."""

    #: Whether a page says that it is one mm's alone: PG_anon_exclusive.
    PG_ANON_EXCLUSIVE = True
    #: Whether a device has private memory, or coherent memory.
    private_exists = False
    coherent_exists = False

    def is_device_private_page(k, page: Page) -> bool:
        """include/linux/memremap.h; the type of a pagemap never changes"""
        return k.private_exists and page.memory == MemoryType.PRIVATE

    def is_device_coherent_page(k, page: Page) -> bool:
        """include/linux/memremap.h"""
        return k.coherent_exists and page.memory == MemoryType.COHERENT

    # --- counts ------------------------------------------------------------------------------------

    def folio_add_file_rmap(k, folio: Page) -> None:
        """folio_add_file_rmap_pte, _pmd, _pud (mm/rmap.c)."""
        atomic_inc(folio._mapcount)

    def folio_remove_rmap(k, folio: Page) -> None:
        """folio_remove_rmap_pte, _pmd, _pud (mm/rmap.c)."""
        atomic_dec(folio._mapcount)

    def folio_add_new_anon_rmap(k, folio: Page) -> None:
        """mm/rmap.c"""
        atomic_set(folio._mapcount, 1)

    def folio_set_anon(k, folio: Page, vma: Vma, va: int) -> None:
        """The rest of folio_add_new_anon_rmap(): whose page it is, and that it is exclusive; the page
        is not mapped yet (mm/rmap.c, __folio_set_anon)."""
        with atomic("three words of a page that nobody else can reach"):
            folio.anon_vma = vma.anon_vma
            folio.index = va - vma.start
            folio.anon_exclusive = True

    def folio_add_anon_rmap(k, folio: Page, page: Page, exclusive: bool) -> None:
        """folio_add_anon_rmap_pte() (mm/rmap.c)."""
        atomic_inc(folio._mapcount)
        if exclusive:
            page.anon_exclusive = True

    def folio_try_share_anon_rmap(k, folio: Page, page: Page) -> bool:
        """False where the page may be pinned; its entry was cleared and flushed before, so that
        GUP-fast takes no more (include/linux/rmap.h, __folio_try_share_anon_rmap; the kernel returns
        the opposite)."""
        if k.folio_maybe_dma_pinned(folio):
            return False
        page.anon_exclusive = False
        return True

    def folio_maybe_dma_pinned(k, folio: Page) -> bool:
        """include/linux/mm.h"""
        if folio.large:
            return atomic_read(folio._pincount) > 0
        return atomic_read(folio._refcount) >= GUP_PIN_COUNTING_BIAS

    def folio_mapped(k, folio: Page) -> bool:
        """include/linux/mm.h"""
        return atomic_read(folio._mapcount) > 0

    # --- walks -------------------------------------------------------------------------------------

    @at_setup
    def anon_vmas(self) -> Sequence[AnonVma]:
        """All of them."""
        return [a for a in self.system.instances(AnonVma) if isinstance(a, AnonVma)]

    def vma_address(k, folio: Page, vma: Vma) -> int:
        """Where a VMA maps a folio, if it does (mm/internal.h)."""
        return vma.start if vma.nr == 1 else vma.start + min(folio.index, vma.nr - 1)

    def try_to_migrate(k, folio: Page) -> None:
        """Turn every entry that maps a folio into one of a migration (mm/rmap.c)."""
        if not k.folio_mapped(folio):
            return
        mapping = folio.anon_vma
        for anon_vma in k.anon_vmas():
            if mapping is anon_vma and k.folio_lock_anon_vma_read(folio, anon_vma):
                for vma in anon_vma.vmas:
                    if vma.in_anon_vma:
                        k.try_to_migrate_one(folio, vma, k.vma_address(folio, vma))
                up_read(anon_vma.rwsem)

    def folio_lock_anon_vma_read(k, folio: Page, anon_vma: AnonVma) -> bool:
        """False where nothing maps the folio any more, and so nothing keeps the anon_vma (mm/rmap.c)."""
        with atomic("RCU keeps its memory while the lock is tried, and folio_mapped() is asked again"):
            when(lambda: folio._mapcount.value == 0 or not anon_vma.rwsem.writer)
            mapped = folio._mapcount.value > 0
            if mapped:
                anon_vma.rwsem.readers = anon_vma.rwsem.readers + 1
        return mapped

    def try_to_migrate_one(k, folio: Page, vma: Vma, va: int) -> None:
        """One address space: the secondary page tables first, then the entry, its rmap and its
        reference (mm/rmap.c)."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, va, 1)
        spin_lock(vma.mm.ptl)
        pte = vma.mm.pte[va]
        if pte.page is folio and pte.leaf != MIGRATION:
            k.set_migration_entry(vma, va, pte)
        spin_unlock(vma.mm.ptl)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def set_migration_entry(k, vma: Vma, va: int, pte: Pte, batch: bool = False) -> bool:
        """Clear an entry, and flush it if it was present; false for a page that may be pinned, whose
        entry stays.  `batch`: the caller flushes those of pages that may be shared (mm/rmap.c,
        try_to_migrate_one; mm/migrate_device.c, migrate_vma_collect_pmd)."""
        folio = k.page_folio(pte.page)
        exclusive = pte.page.anon_exclusive
        with atomic("ptep_get_and_clear() is one xchg"):
            pte = vma.mm.pte[va]
            vma.mm.pte[va] = NONE
        if pte.present and (exclusive or not batch):
            k.flush_tlb_mm(vma.mm)
        if exclusive and not k.folio_try_share_anon_rmap(folio, pte.page):
            vma.mm.pte[va] = pte
            return False
        vma.mm.pte[va] = Pte(leaf=MIGRATION, write=pte.write and pte.leaf != DEVICE_EXCLUSIVE, page=pte.page)
        k.folio_remove_rmap(folio)
        k.folio_put(folio)
        return True

    def remove_migration_ptes(k, src: Page, dst: Page) -> None:
        """Let the entries of a migration map `dst`, which may be what they mapped before (mm/migrate.c).
        The walk takes the anon_vma as it stands in the folio, without a reference, whether the folio is
        mapped or not (mm/rmap.c, rmap_walk_anon_lock)."""
        mapping = dst.anon_vma
        for anon_vma in k.anon_vmas():
            if mapping is anon_vma:
                down_read(anon_vma.rwsem)
                for vma in anon_vma.vmas:
                    if vma.in_anon_vma:
                        k.remove_migration_pte(src, dst, vma, k.vma_address(dst, vma))
                up_read(anon_vma.rwsem)

    def remove_migration_pte(k, src: Page, dst: Page, vma: Vma, va: int) -> None:
        """mm/migrate.c"""
        spin_lock(vma.mm.ptl)
        old = vma.mm.pte[va]
        if old.leaf == MIGRATION and old.page is src:
            k.folio_get(dst)
            k.folio_add_anon_rmap(dst, dst, old.write)
            vma.mm.pte[va] = k.mk_anon_pte(dst, old.write)
        spin_unlock(vma.mm.ptl)

    def mk_anon_pte(k, page: Page, write: bool) -> Pte:
        """The entry of an anonymous page, present or not, as the CPU can reach it (include/linux/mm.h,
        mk_pte; mm/migrate.c, remove_migration_pte)."""
        if k.is_device_private_page(page):
            return Pte(leaf=DEVICE_PRIVATE, write=write, page=page)
        return Pte(present=True, write=write, dirty=write, page=page)

    # --- the tree ----------------------------------------------------------------------------------

    def unlink_anon_vmas(k, vma: Vma) -> None:
        """The walks find the VMA no more; the last one frees the anon_vma (mm/rmap.c)."""
        down_write(vma.anon_vma.rwsem)
        vma.in_anon_vma = False
        up_write(vma.anon_vma.rwsem)
        k.put_anon_vma(vma.anon_vma)

    def folio_get_anon_vma(k, folio: Page) -> AnonVma | None:
        """Hold the anon_vma of a folio; None where nothing maps it any more, and so nothing keeps that
        (mm/rmap.c)."""
        anon_vma: AnonVma | None = None
        with atomic("RCU keeps its memory while it is counted, and folio_mapped() is asked again"):
            if folio._mapcount.value > 0:
                anon_vma = folio.anon_vma
                anon_vma.linked = anon_vma.linked + 1
        return anon_vma

    def put_anon_vma(k, anon_vma: AnonVma) -> None:
        """Drop a reference; RCU keeps the memory of an anon_vma, which is another one's then
        (mm/rmap.c)."""
        with atomic("atomic_dec_and_test(), and the kmem_cache_free() of who gets it to 0"):
            anon_vma.linked = anon_vma.linked - 1
            if anon_vma.linked == 0:
                free(anon_vma)

    def anon_vma_fork(k, vma: Vma) -> None:
        """The walks find a child's VMA before anything is copied to it (mm/rmap.c)."""
        down_write(vma.anon_vma.rwsem)
        with atomic("under the lock of the tree's root"):
            vma.anon_vma.linked = vma.anon_vma.linked + 1
            vma.in_anon_vma = True
        up_write(vma.anon_vma.rwsem)
