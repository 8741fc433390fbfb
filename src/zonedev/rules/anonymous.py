"""What the kernel asserts of anonymous pages: the part of kernel-asserts about who has a page for itself."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.gup import FOLL_WRITE
from zonedev.kernel.huge_memory import TABLE
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Vma
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor

RULE = "kernel-asserts"


def rmap_is_anon(k: Any, folio: Page, page: Page) -> None:
    """VM_WARN_ON_FOLIO(!folio_test_anon(folio)), and of a small folio VM_WARN_ON_FOLIO(_mapcount > 0 &&
    PageAnonExclusive()) (mm/rmap.c, __folio_add_anon_rmap)"""
    ensure(
        RULE, folio.anon_vma is not None, "WARN_ON: {} gets an anonymous rmap, but is not anonymous", folio
    )
    if k.PG_ANON_EXCLUSIVE:
        shared = page is folio and folio.order == 0 and folio._mapcount.value > 1
        ensure(RULE, not (shared and page.anon_exclusive), "WARN_ON: {} is exclusive, but mapped twice", page)


def rmap_is_right(k: Any, dst: Page, vma: Vma, va: int) -> None:
    """VM_BUG_ON_FOLIO(folio_anon_vma(folio)->root != vma->anon_vma->root), VM_BUG_ON_PAGE(page_pgoff() !=
    linear_page_index()) (mm/rmap.c, __page_check_anon_rmap)"""
    mapped = vma.mm.pte[va].page is dst
    ensure(RULE, not mapped or dst.anon_vma is vma.anon_vma, "BUG_ON: {} is mapped by another anon_vma", dst)


def shared_by_fork(k: Any, page: Page, result: bool) -> None:
    """VM_WARN_ON_FOLIO(PageAnonExclusive(page)) (mm/memory.c, copy_present_ptes)"""
    if k.PG_ANON_EXCLUSIVE and result:
        ensure(RULE, not page.anon_exclusive, "WARN_ON: fork() shares {}, which is exclusive", page)


def pinned_is_exclusive(k: Any, va: int, flags: int, result: Page | None) -> None:
    """VM_WARN_ON_ONCE_PAGE((flags & FOLL_PIN) && PageAnon(page) && !PageAnonExclusive(page)): of a pin for
    writing, for no other unshares here; of a huge entry its head says so (mm/gup.c, follow_page_pte,
    follow_huge_pmd)"""
    vma = current().mm.vma_at[va]
    if k.PG_ANON_EXCLUSIVE and vma.anonymous and flags & FOLL_WRITE and result is not None:
        exclusive = result.anon_exclusive
        if vma.thp and vma.mm.pmd[vma.start] != TABLE and result.compound_head is not None:
            exclusive = result.compound_head.anon_exclusive
        ensure(RULE, exclusive, "WARN_ON: {} is pinned, but not exclusive", result)


def freed_is_clean(k: Any, folio: Page) -> None:
    """BUG: Bad page state: "PAGE_FLAGS_CHECK_AT_FREE flag(s) set", of which PG_locked is one, and "nonzero
    mapcount" (mm/page_alloc.c, free_page_is_bad)"""
    if folio._refcount.value == 0 and folio.frame.owner == 0:
        ensure(RULE, not folio.locked.held, "BUG: Bad page state: {} is freed, but locked", folio)
        ensure(RULE, folio._mapcount.value == 0, "BUG: Bad page state: {} is freed, but mapped", folio)


ANON_ASSERTS = (
    Monitor(RULE, freed_is_clean, after="put_anon_folio"),
    Monitor(RULE, rmap_is_anon, after="folio_add_anon_rmap"),
    Monitor(RULE, rmap_is_right, after="remove_migration_pte"),
    Monitor(RULE, shared_by_fork, after="folio_try_dup_anon_rmap"),
    Monitor(RULE, pinned_is_exclusive, after="pin_user_pages"),
    Monitor(RULE, pinned_is_exclusive, after="pin_user_pages_fast"),
)
