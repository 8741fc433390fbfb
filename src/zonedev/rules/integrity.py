"""data-integrity: a write lands where it was meant to."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule


def dma(k: Any, page: Page, owner: int) -> None:
    """The memory still belongs to whom the pin was taken for."""
    ensure(
        "data-integrity",
        page.frame.owner == owner,
        "DMA through the pin of {} writes to memory that is {} now",
        page,
        owner_name(page.frame.owner),
    )


def store(k: Any, va: int, result: Page | None) -> None:
    """A store through the TLB reaches memory of the device or file that is mapped there, or the
    copy that a private mapping has of it."""
    if result is not None:
        ensure(
            "data-integrity",
            result.anon == current().mm.vma_at[va].private,
            "a store to VA {} of a private mapping writes to {} of the file",
            va,
            result,
        )
        ensure(
            "data-integrity",
            result.frame.owner == current().mm.vma_at[va].vm_file.number,
            "a store to VA {} writes to {}, which is {} now",
            va,
            result.frame,
            owner_name(result.frame.owner),
        )


def owner_name(owner: int) -> str:
    """Who a frame belongs to, in words."""
    return "nobody's" if owner == 0 else "its owner's" if owner == 1 else "another's"


DATA_INTEGRITY = Rule(
    "data-integrity",
    "safety",
    "A write lands in the file or address that it was meant for.",
    (
        Monitor("data-integrity", dma, after="dma_write"),
        Monitor("data-integrity", store, after="store"),
    ),
)
