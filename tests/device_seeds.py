"""Designs with one bug each in what devices map, take and migrate."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.mmu_notifier import MmuIntervalNotifier
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Mm, Pte, Vma
from zonedev.kernel.softleaf import Copied
from zonedev.kernel.test_hmm import Dmirror
from zonedev.lang.primitives import spin_lock, spin_unlock
from zonedev.lang.runtime import current


class ForgetsSequence(Linux72):
    """An invalidation drops what a device has mapped, and does not say that it was there."""

    def mmu_interval_set_seq(k, sub: MmuIntervalNotifier) -> None:
        """Nothing is set."""


class ExclusiveTellsNobody(Linux72):
    """make_device_exclusive() converts the entry without a notifier call."""

    def make_device_exclusive(k, vma: Vma, va: int, owner: Any) -> Page | None:
        """One try, and nobody is told."""
        page = k.get_user_pages_locked(vma, va, 3)
        if page is not None:
            k.folio_lock(page)
            k.make_entry_exclusive(vma, va, page)
        return page


class FaultKeepsMirror(Linux72):
    """A page goes back to the system, and the device keeps its mapping of the old one."""

    def dmirror_fault_copy_page(k, vma: Vma, va: int, mirror: Dmirror, spage: Page | None) -> bool:
        """The entry in mirror->pt stays."""
        dpage = k.alloc_page(vma)
        if dpage is None:
            return False
        k.folio_lock(dpage)
        current().dst[va] = dpage
        k.copy_user_page(dpage, spage)
        return True


class MigratesWithoutFlush(Linux72):
    """A migration clears the entry, and leaves the TLBs as they are."""

    def flush_tlb_mm(k, mm: Mm) -> None:
        """No flush."""


class FaultLooksNotAgain(Linux72):
    """do_swap_page() takes the page of an entry that may have gone."""

    def fault_device_private(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """No pte_same()."""
        page = orig_pte.page
        spin_lock(vma.mm.ptl)
        k.get_page(page)
        spin_unlock(vma.mm.ptl)
        done = k.migrate_to_ram(vma, va, page)
        k.folio_put(page)
        return done


class FinalizeForgetsPut(Linux72):
    """The reference that a migration holds to the old page is never dropped."""

    def migrate_finalize_page(
        k, page: Page, newpage: Page | None, migrates: bool, fault_page: Page | None
    ) -> None:
        """Without folio_put(src)."""
        dst = newpage if migrates else None
        k.remove_migration_ptes(page, page if dst is None else dst)
        k.migrate_vma_unlock(page, fault_page)
        if dst is not None:
            k.folio_unlock(dst)
            k.folio_put(dst)


class ForkLeavesWritable(Linux72):
    """fork() copies the entry of a private page, and leaves the parent's writable."""

    def copy_nonpresent_pte(k, dst: Vma, src: Vma, va: int, orig_pte: Pte) -> int:
        """A reference and a mapping, and no more."""
        if k.is_device_private(orig_pte):
            k.folio_get(orig_pte.page)
            k.folio_dup_anon_rmap(orig_pte.page, orig_pte.page)
        k.set_child_pte(dst, src, va, orig_pte)
        return Copied.DONE


class PutForgetsPagemap(Linux72):
    """A private page goes back to its driver, and keeps its reference of the pagemap."""

    def free_drivers_folio(k, folio: Page, pgmap: Any, kind: int) -> None:
        """No percpu_ref_put_many()."""
        folio.anon_vma = None
        k.folio_free(folio)


class NewPagesAreShared(Linux72):
    """A new page is not marked as its mm's alone."""

    def folio_set_anon(k, folio: Page, vma: Vma, va: int) -> None:
        super().folio_set_anon(folio, vma, va)
        folio.anon_exclusive = False
