"""mirror-coherent, exclusive-access, one-live-copy: pages that a device maps as well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import MIGRATION, Pte, indices
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule
from zonedev.rules.counts import entry_at, in_use


def locked(k: Any, page: Page) -> bool:
    """Whether the folio of a page is locked."""
    if k.thp_exists and page.compound_head is not None:
        return bool(page.compound_head.locked.held)
    return bool(page.locked.held)


def coherent(k: Any, mirror: Any, va: int, result: Page | None) -> None:
    """What a device reaches is what the CPU's page table has there; or a page that is locked, for a
    driver leaves that to its own migrations.  What they lose breaks data-integrity."""
    if result is not None:
        ensure(
            "mirror-coherent",
            entry_at(mirror.mm, va).page is result or locked(k, result),
            "{} reaches {} at VA {}, where {} has {}",
            mirror.mdevice,
            result,
            va,
            mirror.mm,
            entry_at(mirror.mm, va),
        )


def writable(k: Any, mirror: Any, va: int, result: Page | None) -> None:
    """What a device writes to is writable there."""
    if result is not None:
        ensure(
            "mirror-coherent",
            entry_at(mirror.mm, va).write or locked(k, result),
            "{} writes to {} at VA {}, where {} has {}",
            mirror.mdevice,
            result,
            va,
            mirror.mm,
            entry_at(mirror.mm, va),
        )


MIRROR_COHERENT = Rule(
    "mirror-coherent",
    "safety",
    "No entry of a device's page table outlives the invalidation of what it copied.",
    (
        Monitor("mirror-coherent", coherent, after="device_load"),
        Monitor("mirror-coherent", coherent, after="device_store"),
        Monitor("mirror-coherent", coherent, after="device_atomic"),
        Monitor("mirror-coherent", writable, after="device_store"),
    ),
)


def cpu(k: Any, result: Page | None) -> None:
    """The CPU reaches no page that is a device's alone."""
    if k.exclusive_exists and result is not None:
        for mirror in k.mirrors():
            alone(mirror, result, current())


def device(k: Any, mirror: Any, result: Page | None) -> None:
    """Nor does another device."""
    if k.exclusive_exists and result is not None:
        for other in k.mirrors():
            if other is not mirror:
                alone(other, result, mirror.mdevice)


def mapped(mirror: Any) -> Sequence[int]:
    """The addresses at which a device may map something."""
    return indices(mirror, "pt", 0, len(mirror.pt), 1)


def alone(mirror: Any, page: Page, who: Any) -> None:
    """`mirror` has no exclusive access to what `who` has just reached."""
    ensure(
        "exclusive-access",
        not any(mirror.pt[va].atomic and mirror.pt[va].page is page for va in mapped(mirror)),
        "{} reaches {}, to which {} has exclusive access",
        who,
        page,
        mirror.mdevice,
    )


EXCLUSIVE_ACCESS = Rule(
    "exclusive-access",
    "safety",
    "While a device has exclusive access to a page nobody else can reach it.",
    (
        Monitor("exclusive-access", cpu, after="load"),
        Monitor("exclusive-access", cpu, after="store"),
        Monitor("exclusive-access", device, after="device_load"),
        Monitor("exclusive-access", device, after="device_store"),
        Monitor("exclusive-access", device, after="device_atomic"),
    ),
)


def no_migration(mm: Any, va: int, entry: Pte) -> None:
    """What is at an address is no entry of a migration."""
    ensure(
        "one-live-copy",
        entry.leaf != MIGRATION,
        "{} is left with the entry of a migration of {} at VA {}",
        mm,
        entry.page,
        va,
    )


def one_copy(k: Any) -> None:
    """At rest a device maps what the CPU's page table has, and no migration is left half done."""
    for mm in k.system.instances("Mm"):
        for va in indices(mm, "pte", 0, len(mm.pte), 1):
            no_migration(mm, va, mm.pte[va])
        for va in indices(mm, "pmd", 0, len(mm.pmd), 1):
            no_migration(mm, va, mm.pmd[va])
    for mirror in k.mirrors():
        for va in mapped(mirror):
            ensure(
                "one-live-copy",
                mirror.pt[va].page is None or mirror.pt[va].page is entry_at(mirror.mm, va).page,
                "{} maps {} at VA {}, where {} has {}",
                mirror.mdevice,
                mirror.pt[va].page,
                va,
                mirror.mm,
                entry_at(mirror.mm, va),
            )


def idle_pages(k: Any) -> None:
    """At rest a page of a device is free, or somebody's."""
    for device in k.devices():
        for page in device.pages:
            ensure(
                "one-live-copy",
                not page.live or page.free or device.remove or in_use(k, page),
                "{} is neither free nor in use",
                page,
            )


ONE_LIVE_COPY = Rule(
    "one-live-copy",
    "safety",
    "A migration leaves exactly one copy that can be reached.",
    (Monitor("one-live-copy", one_copy), Monitor("one-live-copy", idle_pages)),
)


def given_out(k: Any, page: Page, result: Any) -> None:
    """What a driver is asked to bring back is a page that it has given out."""
    ensure(
        "page-lifetime",
        not page.free,
        "migrate_to_ram() is called for {}, which was freed",
        page,
    )


IN_USE = Monitor("page-lifetime", given_out, after="dmirror_of")
