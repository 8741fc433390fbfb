"""A mend for what `zonedev check truncate-vs-refault --design linux-7.2` shows.

The wait looks again whenever it was woken, as the scan did: at the references beside those of
mappings.  Whoever puts such a reference has to wake it, also where the count does not fall to 0.
"""

from __future__ import annotations

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.page import MemoryType, Page
from zonedev.lang.primitives import atomic_read, atomic_sub_return, wake_up


class WaitAsScanned(Linux72):
    """fs/dax: wait until a page is used by mappings only."""

    def folio_put_refs(k, folio: Page, refs: int) -> None:
        """Every put of a file's page wakes (include/linux/mm.h)."""
        if k.of_allocator(folio):
            k.put_anon_folio(folio, refs)
            return
        pgmap = folio.pgmap
        kind = pgmap.type
        left = atomic_sub_return(folio._refcount, refs)
        if left == 0:
            k.free_zone_device_folio(folio)
        elif kind == MemoryType.FS_DAX:
            wake_up(folio.frame.waiters)

    def dax_page_is_idle(k, page: Page) -> bool:
        """The test of dax_busy_page(): two reads, of which the first may be late (fs/dax.c)."""
        refs = atomic_read(page._refcount)
        maps = atomic_read(page._mapcount)
        return refs == maps
