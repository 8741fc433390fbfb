"""A patch against v7.2 that makes unbind wait for pins again.

zonedev check devdax-unbind-vs-pin --design examples/final_put.py:FinalPut
zonedev diff linux-7.2 examples/final_put.py:FinalPut
"""

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.lang.primitives import WARN_ON, wait_for_completion, wake_up


class FinalPut(Linux72):
    """Every device-dax folio keeps its pagemap until its last put, as before 27674ef6c73f.

    memunmap_pages() drops the folios' first references and waits; mappings, pins and
    mmu_gathers hold the rest.
    """

    name = "final-put"
    title = "v7.2, with the last put of a folio holding the pagemap"

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """Kill, put every folio, wait, remove (mm/memremap.c)."""
        k.percpu_ref_kill(pgmap.ref)
        for page in pgmap.pages:
            if page.head is page:
                k.folio_put(page)
        wait_for_completion(pgmap.ref.done)
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)

    def free_zone_device_folio(k, folio: Page) -> None:
        """A GENERIC folio gives its pagemap reference back (mm/memremap.c)."""
        pgmap = folio.pgmap
        if WARN_ON(pgmap is None, "a folio without pagemap is freed"):
            return
        kind = pgmap.type
        if kind == MemoryType.GENERIC:
            k.percpu_ref_put(pgmap.ref)
        elif kind == MemoryType.FS_DAX:
            wake_up(folio.frame.waiters)
