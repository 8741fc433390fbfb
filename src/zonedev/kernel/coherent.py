"""Long-term pins of coherent memory, which is moved to the system first (mm/gup.c, mm/migrate_device.c).

A device must always be able to get such memory back, and a pin that may last for ever would keep it.
"""

from __future__ import annotations

from zonedev.kernel.gup import FOLL_LONGTERM, FOLL_PIN
from zonedev.kernel.nouveau import Nouveau
from zonedev.kernel.page import Page
from zonedev.lang.primitives import WARN_ON, down_read, up_read
from zonedev.lang.runtime import current


class Coherent(Nouveau):
    """The loop of __gup_longterm_locked() as of v7.2.  Of what else cannot be pinned for long, memory in
    ZONE_MOVABLE, there is none."""

    # --- mm/gup.c ------------------------------------------------------------------------------

    def gup_longterm_locked(k, va: int, flags: int) -> Page | None:
        """For a caller that has mmap_lock, and keeps it (mm/gup.c, __gup_longterm_locked)."""
        if not (k.coherent_exists and flags & FOLL_LONGTERM):
            return super().gup_longterm_locked(va, flags)
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        page = k.get_user_pages_locked(vma, va, flags)
        while page is not None and not k.folio_is_longterm_pinnable(k.page_folio(page)):
            moved = k.migrate_longterm_unpinnable_folios(page)
            page = k.get_user_pages_locked(vma, va, flags) if moved else None
        up_read(mm.mmap_lock)
        return page

    def gup_fast_fallback(k, va: int, flags: int) -> Page | None:
        """A caller without mmap_lock: it is taken for the walk (mm/gup.c)."""
        if not (k.coherent_exists and flags & FOLL_LONGTERM):
            return super().gup_fast_fallback(va, flags)
        page = k.gup_fast(va, flags)
        if page is not None:
            return page
        return k.gup_longterm_unlocked(va, flags)

    def gup_longterm_unlocked(k, va: int, flags: int) -> Page | None:
        """__gup_longterm_locked() for a caller without mmap_lock: __get_user_pages_locked() takes and
        drops it, and what follows runs without (mm/gup.c)."""
        page = super().gup_longterm_locked(va, flags)
        while page is not None and not k.folio_is_longterm_pinnable(k.page_folio(page)):
            moved = k.migrate_longterm_unpinnable_folios(page)
            page = super().gup_longterm_locked(va, flags) if moved else None
        return page

    def migrate_longterm_unpinnable_folios(k, page: Page) -> bool:
        """The pin becomes a plain reference, which goes with the migration; then the caller looks again,
        but for -EBUSY: false (mm/gup.c)."""
        folio = k.page_folio(page)
        k.folio_get(folio)
        k.gup_put_folio(folio, FOLL_PIN)
        return k.migrate_device_coherent_folio(folio)

    def must_be_pinnable(k, page: Page) -> None:
        """What was pinned for long may stay so: what the loop is for."""
        pinnable = k.folio_is_longterm_pinnable(k.page_folio(page))
        WARN_ON(not pinnable, "a long-term pin of memory that has to move")

    # --- mm/migrate_device.c -------------------------------------------------------------------

    def migrate_device_coherent_folio(k, folio: Page) -> bool:
        """Drops the caller's reference; false where the folio is held by others, or there is no memory.
        It is copied when it is known to move (mm/migrate_device.c)."""
        k.folio_lock(folio)
        current().src[0] = folio
        current().dst[0] = None
        current().migrates[0] = True
        k.migrate_device_unmap(range(1), None)
        if not current().migrates[0]:
            return False
        newpage = k.alloc_system_page()
        if newpage is not None:
            k.folio_lock(newpage)
            current().dst[0] = newpage
        k._migrate_device_pages(range(1), None, None, None)
        moved: bool = current().migrates[0]
        if newpage is not None and moved:
            k.copy_user_page(newpage, folio)
        k.migrate_device_finalize(range(1), None)
        return moved
