"""A patch against v7.2 that makes unbind wait for pins again.

zonedev check devdax-unbind-vs-pin --design examples/final_put.py:FinalPut
zonedev diff linux-7.2 examples/final_put.py:FinalPut
"""

from zonedev.designs.linux_7_2 import Linux72
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.lang.primitives import wait_for_completion


class FinalPut(Linux72):
    """Every device-dax folio keeps its pagemap until its last put, as before 27674ef6c73f.

    memunmap_pages() drops the folios' first references and waits; mappings, pins and
    mmu_gathers hold the rest.
    """

    name = "final-put"
    title = "v7.2, with the last put of a folio holding the pagemap"

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """Kill, put every GENERIC folio, wait, remove (mm/memremap.c)."""
        k.percpu_ref_kill(pgmap.ref)
        if pgmap.type == MemoryType.GENERIC:
            for page in pgmap.pages:
                if page.head is page:
                    k.folio_put(page)
        elif k.pagemap_range_refs(pgmap):
            k.percpu_ref_put_many(pgmap.ref, k.pfn_len(pgmap))
        wait_for_completion(pgmap.ref.done)
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)

    def free_zone_device_folio(k, folio: Page) -> None:
        """A GENERIC folio gives its pagemap reference back (mm/memremap.c)."""
        pgmap = folio.pgmap
        if pgmap is not None and pgmap.type == MemoryType.GENERIC:
            k.percpu_ref_put(pgmap.ref)
        else:
            super().free_zone_device_folio(folio)
