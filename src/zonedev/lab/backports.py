"""What a stable kernel does otherwise than the release whose rules a design has."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.lang.primitives import atomic_sub_and_test
from zonedev.lang.runtime import current
from zonedev.lang.system import Specification


def with_backports(design: Any) -> type[Specification]:
    """A design that has these ways of stable kernels too; who takes them is up to the caller."""

    class Backports(design):  # type: ignore[misc]
        def folio_put_refs_of_bio(k, page: Page) -> None:
            """The end of direct I/O on 6.1.y: __bio_release_pages() puts the folio itself (block/bio.c).

            v6.1 has put_page() there, which looks for fsdax pages (put_devmap_managed_page()) and
            wakes who waits for one to be idle.  folio_put_refs() does neither.  It came with the
            back-port of 1b151e2435fc "block: Remove special-casing of compound pages", 6.1.79 at
            the latest; upstream, where the pages are pinned, bio_release_page() unpins them.
            """
            folio = k.page_folio(page)
            current().gets[page._index] = current().gets[page._index] - 1
            if k.of_allocator(folio):
                k.put_anon_folio(folio, 1)
            elif atomic_sub_and_test(folio._refcount, 1):
                k.free_zone_device_folio(folio)

    return Backports
