"""unbind-drained: when unbind returns, nothing refers to the device's pages."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import indices
from zonedev.kernel.test_hmm import DmirrorDevice
from zonedev.lang.runtime import ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule
from zonedev.rules.counts import entries_in


def drained(k: Any, dax: DaxDevice) -> None:
    """No entry, TLB, mmu_gather, pin or reference is left."""
    for page in dax.pages:
        for task in k.system.tasks:
            held(task, page)
        for mm in k.system.instances("Mm"):
            unmapped(mm, page)


def held(task: Any, page: Page) -> None:
    """Neither pinned nor referenced by `task`, nor on its stack, nor in its TLB."""
    ensure(
        "unbind-drained",
        task.pins[page._index] + task.gets[page._index] == 0,
        "unbind returned, but {} still holds a pin of {}",
        task,
        page,
    )
    ensure(
        "unbind-drained",
        not any(task.gather[va] is page for va in indices(task, "gather", 0, len(task.gather), 1)),
        "unbind returned, but {} is in the mmu_gather of {}",
        page,
        task,
    )
    ensure(
        "unbind-drained",
        not any(task.tlb[va].page is page for va in indices(task, "tlb", 0, len(task.tlb), 1)),
        "unbind returned, but the TLB of {} still maps {}",
        task,
        page,
    )


def unmapped(mm: Any, page: Page) -> None:
    """No page-table entry of `mm` maps it."""
    ensure(
        "unbind-drained",
        entries_in(mm, page) == 0,
        "unbind returned, but {} still maps {}",
        mm,
        page,
    )


def device_drained(k: Any, device: DmirrorDevice) -> None:
    """The same of a device with private memory."""
    for page in device.pages:
        for task in k.system.tasks:
            held(task, page)
        for mm in k.system.instances("Mm"):
            unmapped(mm, page)


def peer_drained(k: Any, pdev: PciDev) -> None:
    """The same of a device with peer-to-peer memory."""
    for page in pdev.pages:
        for task in k.system.tasks:
            held(task, page)
        for mm in k.system.instances("Mm"):
            unmapped(mm, page)


UNBIND_DRAINED = Rule(
    "unbind-drained",
    "safety",
    "When unbind returns nothing refers to the device's pages any more.",
    (
        Monitor("unbind-drained", drained, after="unbind"),
        Monitor("unbind-drained", device_drained, after="remove_device_pagemap"),
        Monitor("unbind-drained", peer_drained, after="unbind_p2pdma"),
    ),
)
