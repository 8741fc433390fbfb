"""What the kernel asserts of anonymous pages: the part of kernel-asserts about who has a page for itself."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.gup import FOLL_WRITE
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Pte, Vma
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


def shared_by_fork(k: Any, pte: Pte, result: bool) -> None:
    """VM_WARN_ON_FOLIO(PageAnonExclusive(page)) (mm/memory.c, copy_present_ptes)"""
    if k.PG_ANON_EXCLUSIVE and result and not k.is_zero_page(pte.page):
        ensure(RULE, not pte.page.anon_exclusive, "WARN_ON: fork() shares {}, which is exclusive", pte.page)


def pinned_is_exclusive(k: Any, va: int, flags: int, result: Page | None) -> None:
    """VM_WARN_ON_ONCE_PAGE((flags & FOLL_PIN) && PageAnon(page) && !PageAnonExclusive(page)): of a pin for
    writing, for no other unshares here (mm/gup.c, follow_page_pte)"""
    anonymous = k.PG_ANON_EXCLUSIVE and current().mm.vma_at[va].anonymous
    if anonymous and flags & FOLL_WRITE and result is not None:
        ensure(RULE, result.anon_exclusive, "WARN_ON: {} is pinned, but not exclusive", result)


ANON_ASSERTS = (
    Monitor(RULE, rmap_is_anon, after="folio_add_anon_rmap"),
    Monitor(RULE, rmap_is_right, after="remove_migration_pte"),
    Monitor(RULE, shared_by_fork, after="copy_present_pte"),
    Monitor(RULE, pinned_is_exclusive, after="pin_user_pages"),
    Monitor(RULE, pinned_is_exclusive, after="pin_user_pages_fast"),
)
