"""data-integrity: a write lands where it was meant to."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.page import Page
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule
from zonedev.rules.counts import entry_at


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
            current().mm.vma_at[va].anonymous or result.anon == current().mm.vma_at[va].private,
            "a store to VA {} of a private mapping writes to {} of the file",
            va,
            result,
        )
        ensure(
            "data-integrity",
            result.frame.owner == current().mm.vma_at[va].number,
            "a store to VA {} writes to {}, which is {} now",
            va,
            result.frame,
            owner_name(result.frame.owner),
        )


def load(k: Any, va: int, result: Page | None) -> None:
    """A load from anonymous memory finds what was stored last, by whom ever."""
    if current().mm.vma_at[va].anonymous and result is not None:
        found(va, result, current().mm)


def device_access(k: Any, mirror: Any, va: int, result: Page | None) -> None:
    """So does the load of a device; its stores go where the next load will look."""
    if result is not None:
        found(va, result, mirror.mm)


def found(va: int, page: Page, mm: Any) -> None:
    """What is in `page` is what was stored last at `va`."""
    ensure(
        "data-integrity",
        page.frame.data == mm.written[va],
        "a load from VA {} finds {} in {}, but {} was stored there last",
        va,
        page.frame.data,
        page,
        mm.written[va],
    )


def kept(k: Any) -> None:
    """At rest every page of anonymous memory has what was stored last."""
    for mm in k.system.instances("Mm"):
        for start in mm.starts:
            if mm.vma_at[start].anonymous:
                for va in range(start, start + mm.vma_at[start].nr):
                    left(mm, va, entry_at(mm, va).page)


def left(mm: Any, va: int, page: Page | None) -> None:
    """What is left at `va` is what was stored last; nothing there is a 0."""
    ensure(
        "data-integrity",
        page is None or page.frame.data == mm.written[va],
        "{} is left at VA {} with {}, but {} was stored there last",
        page,
        va,
        0 if page is None else page.frame.data,
        mm.written[va],
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
        Monitor("data-integrity", load, after="load"),
        Monitor("data-integrity", device_access, after="device_load"),
        Monitor("data-integrity", device_access, after="device_store"),
        Monitor("data-integrity", kept),
    ),
)
