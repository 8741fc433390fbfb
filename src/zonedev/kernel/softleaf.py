"""Entries that are not present but refer to a page: of a migration, of device-private memory, or
exclusive to a device (include/linux/leafops.h, mm/memory.c).

The migration entry of a read-only page does not say whether the page was exclusive to its mm, which
costs a copy more.  An entry that the driver of no device in a scenario can make is not looked for:
of that `private_exists`, `coherent_exists` and `exclusive_exists` tell.
"""

from __future__ import annotations

from enum import IntEnum

from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import DEVICE_EXCLUSIVE, DEVICE_PRIVATE, MIGRATION, NONE, Mm, Pte, Vma
from zonedev.kernel.rmap import Rmap
from zonedev.lang.primitives import schedule, spin_lock, spin_unlock
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current


class Copied(IntEnum):
    """What becomes of an entry that fork() copies."""

    DONE = 0
    AGAIN = 1  # -EAGAIN: a page is needed
    BUSY = 2  # -EBUSY
    RESTORED = 3  # -ENOENT: it is present now


class Softleaf(Rmap):
    """Softleaf entries as of v7.2."""

    #: Whether a device takes exclusive access.
    exclusive_exists = False
    #: Whether a device-exclusive entry counts as a mapping of its page.
    EXCLUSIVE_IS_MAPPED = True

    def is_migration(k, entry: Pte) -> bool:
        """softleaf_is_migration (include/linux/leafops.h)."""
        return (k.private_exists or k.coherent_exists) and entry.leaf == MIGRATION

    def is_device_private(k, entry: Pte) -> bool:
        """softleaf_is_device_private (include/linux/leafops.h)."""
        return k.private_exists and entry.leaf == DEVICE_PRIVATE

    def is_device_exclusive(k, entry: Pte) -> bool:
        """softleaf_is_device_exclusive (include/linux/leafops.h)."""
        return k.exclusive_exists and entry.leaf == DEVICE_EXCLUSIVE

    # --- faults ------------------------------------------------------------------------------------

    def do_swap_page(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """A fault on an entry that is not present; false for SIGBUS (mm/memory.c)."""
        if k.is_migration(orig_pte):
            k.migration_entry_wait(vma.mm, va)
            return True
        if k.is_device_exclusive(orig_pte):
            k.remove_device_exclusive_entry(vma, va, orig_pte)
            return True
        if k.is_device_private(orig_pte):
            return k.fault_device_private(vma, va, orig_pte)
        return False

    def fault_device_private(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """The branch of do_swap_page() for device-private entries: the page is locked and held while
        the driver migrates it, and who finds it locked waits (mm/memory.c)."""
        page = orig_pte.page
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] != orig_pte:
            spin_unlock(vma.mm.ptl)
            return True
        if not k.folio_trylock(k.page_folio(page)):
            k.softleaf_entry_wait_on_locked(page, vma.mm)
            return True
        k.get_page(page)
        spin_unlock(vma.mm.ptl)
        done = k.migrate_to_ram(vma, va, page)
        k.folio_unlock(k.page_folio(page))
        k.folio_put(k.page_folio(page))
        return done

    def migrate_to_ram(k, vma: Vma, va: int, page: Page) -> bool:
        """The driver's callback: pgmap->ops->migrate_to_ram(); false for SIGBUS."""
        return False

    def migration_entry_wait(k, mm: Mm, va: int) -> None:
        """Wait for a migration, if one is still under way (mm/migrate.c)."""
        spin_lock(mm.ptl)
        entry = mm.pte[va]
        if k.is_migration(entry):
            k.softleaf_entry_wait_on_locked(entry.page, mm)
        else:
            spin_unlock(mm.ptl)

    def softleaf_entry_wait_on_locked(k, page: Page, mm: Mm) -> None:
        """Queue up, drop the page-table lock, and sleep without a reference; whoever drops the last one
        has to take that lock first (mm/filemap.c)."""
        folio = k.page_folio(page)
        frame = folio.frame
        with atomic("PG_waiters is set and PG_locked tested under the lock of the wait queue"):
            waits = folio.locked.held
            if waits:
                frame.lock_waiters.sleepers = frame.lock_waiters.sleepers | (1 << current()._index)
        spin_unlock(mm.ptl)
        if waits:
            schedule(frame.lock_waiters, lambda: False)

    def remove_device_exclusive_entry(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """The CPU takes a page back from a device.  Without a reference the folio may be another by
        now, which is then only locked and unlocked (mm/memory.c)."""
        folio = k.page_folio(orig_pte.page)
        if not k.folio_try_get(folio, 1):
            return
        k.folio_lock(folio)
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, va, 1)
        spin_lock(vma.mm.ptl)
        if vma.mm.pte[va] == orig_pte:
            k.restore_exclusive_pte(vma, va, orig_pte)
        spin_unlock(vma.mm.ptl)
        k.folio_unlock(folio)
        k.folio_put(folio)
        k.mmu_notifier_invalidate_range_end(vma.mm)

    def restore_exclusive_pte(k, vma: Vma, va: int, orig_pte: Pte) -> None:
        """Writable if it still may be: can_change_pte_writable() (mm/memory.c)."""
        exclusive = orig_pte.page.anon_exclusive
        writable = k.may_write(vma) and exclusive
        vma.mm.pte[va] = Pte(present=True, write=writable, dirty=writable, page=orig_pte.page)

    # --- fork --------------------------------------------------------------------------------------

    def copy_nonpresent_pte(k, dst: Vma, src: Vma, va: int, orig_pte: Pte) -> int:
        """Copy an entry for a child, under both page-table locks.  An exclusive one is made present
        (mm/memory.c)."""
        if k.is_device_exclusive(orig_pte):
            return Copied.RESTORED if k.try_restore_exclusive_pte(src, va, orig_pte) else Copied.BUSY
        if k.is_device_private(orig_pte):
            folio = k.page_folio(orig_pte.page)
            k.folio_get(folio)
            k.folio_dup_anon_rmap(folio, orig_pte.page)
        if orig_pte.write:
            src.mm.pte[va] = replace(orig_pte, write=False)
        k.set_child_pte(dst, src, va, replace(orig_pte, write=False))
        return Copied.DONE

    def set_child_pte(k, dst: Vma, src: Vma, va: int, pte: Pte) -> None:
        """set_pte_at() for a child (include/linux/pgtable.h)."""
        with atomic("one store; a child finds what its parent had"):
            dst.mm.pte[va] = pte
            dst.mm.written[va] = src.mm.written[va]

    def try_restore_exclusive_pte(k, vma: Vma, va: int, orig_pte: Pte) -> bool:
        """False where somebody has the folio locked (mm/memory.c)."""
        folio = k.page_folio(orig_pte.page)
        if not k.folio_trylock(folio):
            return False
        k.restore_exclusive_pte(vma, va, orig_pte)
        k.folio_unlock(folio)
        return True

    def folio_dup_anon_rmap(k, folio: Page, page: Page) -> None:
        """One mapping more, of which none is exclusive: folio_try_dup_anon_rmap_pte() of a page that
        nobody can have pinned (include/linux/rmap.h)."""
        page.anon_exclusive = False
        k.folio_add_file_rmap(folio)

    # --- zap ---------------------------------------------------------------------------------------

    def zap_nonpresent_pte(k, vma: Vma, va: int, entry: Pte) -> None:
        """What referred to a page puts it at once, but for the entry of a migration, which holds
        nothing; cleared last (mm/memory.c, zap_nonpresent_ptes)."""
        if k.is_device_private(entry) or k.is_device_exclusive(entry):
            folio = k.page_folio(entry.page)
            k.folio_remove_rmap(folio)
            k.folio_put(folio)
        k.clear_nonpresent_pte(vma, va)

    def clear_nonpresent_pte(k, vma: Vma, va: int) -> None:
        """pte_clear_not_present_full() (include/linux/pgtable.h)."""
        with atomic("one store; from now on a program finds zeros"):
            vma.mm.pte[va] = NONE
            vma.mm.written[va] = 0
