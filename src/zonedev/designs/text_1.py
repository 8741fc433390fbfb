"""Orders and mixtures that text 1 argues about, as designs of their own."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_4_5 import Linux45
from zonedev.designs.linux_4_12 import Linux412
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Mm
from zonedev.kernel.pmem import PmemDevice
from zonedev.lang.primitives import atomic_inc_not_zero, wait_for_completion
from zonedev.lang.runtime import free


class Linux412WaitFirst(Linux412):
    """v4.12's references with v4.11's order: wait for the completion, then put the pages.

    What 71389703839e moves the wait for: "any waits for the percpu_ref to drop to zero
    occur *after* devm_memremap_page_release()" (text 1).
    """

    name = "linux-4.12-wait-first"
    release = False
    title = "text 1 without its reordering"

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """dax_pmem_percpu_kill() still waits (drivers/dax/pmem.c of v4.11)."""
        k.percpu_ref_kill(pgmap.ref)
        wait_for_completion(pgmap.ref.done)
        k.release_pages(pgmap)
        k.percpu_ref_exit(pgmap.ref)

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """pmem_release_queue() still runs first (drivers/nvdimm/pmem.c of v4.11)."""
        k.pmem_release_disk(pmem)
        k.blk_freeze_queue_start(pmem)
        k.blk_cleanup_queue(pmem)
        k.release_pages(pmem.pgmap)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)


class Linux412Fixed(Linux412):
    """v4.12 with 50f44ee7248a: kill, put all, wait, remove.

    50f44ee7248a "mm/devm_memremap_pages: fix final page put race" (Dan Williams, v5.2).
    """

    name = "linux-4.12-fixed"
    release = False
    title = "text 1 with 50f44ee7248a: kill, put all, wait, remove"

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """The wait has moved into devm_memremap_pages_release(), between the puts and the
        removal (kernel/memremap.c)."""
        k.percpu_ref_kill(pgmap.ref)
        k.release_after_wait(pgmap)

    def release_after_wait(k, pgmap: DevPagemap) -> None:
        """pgmap->kill() has run; put, pgmap->cleanup(), remove (kernel/memremap.c)."""
        for page in pgmap.pages:
            k.folio_put_refs(page, 1)
        wait_for_completion(pgmap.ref.done)
        k.percpu_ref_exit(pgmap.ref)
        k.pageunmap_range(pgmap)

    def free_pagemap(k, pgmap: DevPagemap) -> None:
        """Both are the driver's data (drivers/dax/pmem.c, drivers/nvdimm/pmem.c)."""
        free(pgmap)
        free(pgmap.ref)

    def unbind_pmem(k, pmem: PmemDevice) -> None:
        """pmem's cleanup is blk_cleanup_queue() (drivers/nvdimm/pmem.c)."""
        k.pmem_release_disk(pmem)
        k.blk_freeze_queue_start(pmem)
        k.release_after_wait(pmem.pgmap)
        k.release_mem_region(pmem)
        k.free_pagemap(pmem.pgmap)


class GenericGup:
    """GUP-fast of all architectures (mm/gup.c at 2947ba054a4d and in v4.13).

    PTEs only: the huge devmap entries still use get_page().  A failure after the lookup
    leaks the pagemap's reference, until "mm: optimize dev_pagemap reference counting
    around get_dev_pagemap" (v4.16).
    """

    def gup_fast_pte_range(k: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """page_cache_get_speculative() takes the page without the pagemap, which put_page()
        may put; and the PTE is looked at again."""
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags):
            return None
        anon: bool = pte.page.anon
        pgmap = None if anon else k.get_dev_pagemap(pte.page.array)
        if pgmap is None and not anon:
            return None
        if not atomic_inc_not_zero(pte.page._refcount):
            return None
        if mm.pte[va] != pte:
            k.folio_put_refs(pte.page, 1)
            return None
        k.put_dev_pagemap(pgmap)
        return pte.page


class Linux411GenericGup(GenericGup, Linux45):
    """v4.11's references with generic GUP-fast: the crash that text 1 fixes.

    2947ba054a4d "x86/mm/gup: Switch GUP to the generic get_user_page_fast()
    implementation", in the tip tree only, reverted by 6dd29b3df975.
    """

    name = "linux-4.11-generic-gup"
    release = False
    title = "v4.11 with generic GUP-fast"


class Linux413(GenericGup, Linux412):
    """v4.13: v4.12 with generic GUP-fast, which text 1 makes possible.

    e585513b76f7 "x86/mm/gup: Switch GUP to the generic get_user_page_fast()
    implementation".
    """

    name = "linux-4.13"
    title = "v4.12 with generic GUP-fast"
