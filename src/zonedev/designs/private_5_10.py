"""v5.2 to v5.17, the half of device-private memory: pages that idle at 1, and waiters that hold them."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_5_19 import Linux519
from zonedev.kernel.hmm import Walk
from zonedev.kernel.mmu_notifier import Event
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.lang.primitives import atomic_inc, atomic_read, schedule, spin_lock, spin_unlock
from zonedev.lang.runtime import atomic, current


class Private510(Linux519):
    """Device memory as in v5.10.  A page whose lock is taken is given up at once by
    migrate_vma_collect(), where v5.10 tries once more in migrate_vma_prepare()."""

    #: The reference of an idle page stays when it is given out, until 27674ef6c73f (v5.18).
    IN_USE_COUNT = 1

    def zone_device_page_init(k, page: Page, pgmap: DevPagemap, order: int = 0) -> None:
        """get_page() by the driver, from 1 to 2 (lib/test_hmm.c, dmirror_devmem_alloc_page)."""
        atomic_inc(page._refcount)
        k.folio_lock(page)

    def devmap_managed(k) -> bool:
        """Also while there is private memory (mm/memremap.c, devmap_managed_enable_get)."""
        return k.fs_dax_exists or k.private_exists

    # --- migration ---------------------------------------------------------------------------------

    def migrate_vma_check_page(k, page: Page, fault_page: Page | None) -> bool:
        """Private pages are not looked at, since who waits for a migration holds them (mm/migrate.c),
        until ffa65753c431 "mm/migrate.c: rework migration_entry_wait() to not take a pageref"
        (v5.17)."""
        return k.is_device_private_page(page) or super().migrate_vma_check_page(page, fault_page)

    def folio_migrate_mapping(k, newpage: Page, page: Page, fault_page: Page | None) -> bool:
        """A private page has one reference more (mm/migrate.c, expected_page_refs)."""
        folio = k.page_folio(page)
        newfolio = k.page_folio(newpage)
        if atomic_read(folio._refcount) != 1 + int(k.is_device_private_page(folio)):
            return False
        with atomic("words of a page that nobody can reach but through the one that is locked"):
            newfolio.index = folio.index
            newfolio.anon_vma = folio.anon_vma
        return True

    def migration_entry_wait(k, mm: Mm, va: int) -> None:
        """Takes a reference, which goes when the task is queued: put_and_wait_on_page_locked()
        (mm/migrate.c, mm/filemap.c), until ffa65753c431 (v5.17)."""
        spin_lock(mm.ptl)
        entry = mm.pte[va]
        if not k.is_migration(entry) or not k.folio_try_get(entry.page, 1):
            spin_unlock(mm.ptl)
            return
        spin_unlock(mm.ptl)
        page = entry.page
        frame = page.frame
        with atomic("PG_waiters is set and PG_locked tested under the lock of the wait queue"):
            waits = page.locked.held
            if waits:
                frame.lock_waiters.sleepers = frame.lock_waiters.sleepers | (1 << current()._index)
        k.folio_put(page)
        if waits:
            schedule(frame.lock_waiters, lambda: False)

    def migrate_insert_start(k, vma: Vma, owner: Any, first: int, nr: int) -> None:
        """CLEAR, so that no driver can tell it from others (mm/migrate.c); from when on it is MIGRATE,
        between v5.11 and v5.17, is not established."""
        k.mmu_notifier_invalidate_range_start(vma.mm, Event.CLEAR, None, first, nr)

    def hmm_others_private_page(k) -> int:
        """-EFAULT (mm/hmm.c), until 8a295dbbaf72 "mm/hmm: fault non-owner device private entries"
        (v5.19)."""
        current().gup_error = True
        return Walk.AGAIN

    # --- copy on write, without PG_anon_exclusive (v5.19) ------------------------------------------

    PG_ANON_EXCLUSIVE = False

    def wp_can_reuse_anon_folio(k, folio: Page) -> bool:
        """The count alone (mm/memory.c, do_wp_page)."""
        if atomic_read(folio._refcount) > 1 or not k.folio_trylock(folio):
            return False
        alone = atomic_read(folio._mapcount) == 1
        if alone:
            alone = atomic_read(folio._refcount) == 1
        k.folio_unlock(folio)
        return alone

    def folio_try_share_anon_rmap(k, folio: Page, page: Page) -> bool:
        """Whatever is pinned is unmapped as well (mm/migrate.c)."""
        return True

    def folio_try_dup_anon_rmap(k, folio: Page, page: Page) -> bool:
        """A page that may be pinned is copied (mm/memory.c, copy_present_page)."""
        if k.folio_maybe_dma_pinned(folio):
            return False
        k.folio_add_file_rmap(folio)
        return True
