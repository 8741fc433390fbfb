"""Designs with one bug each: every rule has one that it catches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from device_seeds import (
    ExclusiveTellsNobody,
    FaultKeepsMirror,
    FaultLooksNotAgain,
    FinalizeForgetsPut,
    ForgetsSequence,
    ForkLeavesWritable,
    MigratesWithoutFlush,
    NewPagesAreShared,
    PutForgetsPagemap,
)
from file_seeds import (
    CopyForgetsToShare,
    DeleteIgnoresLock,
    DeleteWakesOne,
    DeleteWithoutXaLock,
    EvictionWaitsForNobody,
    FaultsUnderRcu,
    FaultWithoutInvalidateLock,
    FileFaultForgetsPut,
    FileFaultTakesNone,
    ForgottenLate,
    FreesFirst,
    FsyncLeavesWritable,
    NamesWrongIndex,
    NeverForgotten,
    NeverNamed,
    NeverUnmaps,
    PutForgetsWake,
    SpinsForMappings,
    TruncateKeepsLock,
    TruncatesFromWithin,
    TruncatesUnlocked,
    TruncateUnlocksTwice,
    WaitsForMappings,
    WaitsForNobody,
)
from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.linux_7_2 import Linux72
from zonedev.designs.text_1 import Linux412WaitFirst
from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.lang.primitives import spin_lock, spin_unlock, wait_for_completion


class NoWait(Linux72):
    """memunmap_pages() does not wait for the pagemap's references and its grace period."""

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """No wait_for_completion()."""
        k.percpu_ref_kill(pgmap.ref)
        k.percpu_ref_put_many(pgmap.ref, k.pfn_len(pgmap))
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)


class ZapForgetsPut(Linux72):
    """zap clears the entry and its rmap, and keeps its reference for ever."""

    def tlb_remove_page(k, va: int, page: Page) -> None:
        """Nothing is collected."""


class ZapPutsTwice(Linux72):
    """The mapping's reference is dropped before the flush as well as after it."""

    def tlb_remove_page(k, va: int, page: Page) -> None:
        """Puts at once, and collects."""
        k.folio_put(page)
        super().tlb_remove_page(va, page)


class NoRecheck(Linux72):
    """GUP-fast does not look at the entry again after it has taken the page."""

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """No second look."""
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags) or pte.special:
            return None
        if not k.try_grab_folio_fast(pte.page, flags):
            return None
        return pte.page


class NoRecheck61(Linux61):
    """The same before v6.15."""

    def gup_fast_devmap_pte(k, mm: Mm, va: int, pte: Any, flags: int) -> Page | None:
        """No second look."""
        if not k.try_grab_folio_fast(pte.page, flags):
            return None
        return pte.page


class NoUnmap(Linux72):
    """The driver leaves its mappings in place when it is unbound."""

    def kill_dev_dax(k, dax: DaxDevice) -> None:
        """No unmap_mapping_range()."""
        k.kill_dax(dax)


class NoWake(Linux72):
    """The last put of an fsdax page wakes nobody."""

    def free_zone_device_folio(k, folio: Page) -> None:
        """No wake_up_var()."""
        if folio.pgmap is None:
            return


class FaultsForEver(Linux72):
    """A fault on a dead device is retried instead of ending in SIGBUS."""

    def dev_dax_fault_size(k, vma: Vma, va: int, write: bool) -> bool:
        """Success where it should be SIGBUS."""
        super().dev_dax_fault_size(vma, va, write)
        return True


class NeverRemoved(Linux72):
    """Unbind looks for the completion again and again, and nobody completes it."""

    def devm_memremap_pages_release(k, pgmap: DevPagemap) -> None:
        """Spins on a flag that only a killed pagemap would set."""
        while not pgmap.ref.done.done:
            pass
        wait_for_completion(pgmap.ref.done)


class IdleAtZero(Linux72):
    """Device-dax pages idle at 0, but a fault still takes its reference beside one that is held."""

    def initial_count(self, kind: MemoryType) -> int:
        """0 for every type."""
        return 0

    def vmf_insert_page_mkwrite(k, vma: Vma, va: int, page: Page, write: bool) -> bool:
        """No validate_page_before_insert()."""
        spin_lock(vma.mm.ptl)
        k.insert_page_into_pte_locked(vma, vma.mm.pte, va, page, write)
        spin_unlock(vma.mm.ptl)
        return True

    def free_zone_device_folio(k, folio: Page) -> None:
        """The count stays 0."""


class NoFlush(Linux72):
    """Unmapping at unbind clears the entries and leaves the TLBs as they are."""

    def tlb_flush_mmu_tlbonly(k, mm: Mm) -> None:
        """No flush."""


class SnapshotTakesAllForItsOwn(Linux72):
    """A snapshot does not tell whose memory a page is in."""

    def is_of_device(k, mirror: Any, page: Page) -> bool:
        """Every device's."""
        return True


class GatherForgetsFlush(Linux72):
    """munmap() puts the pages that it has collected without a flush."""

    def tlb_flush_mmu_tlbonly(k, mm: Mm) -> None:
        """Nothing is flushed."""


class ForgetsPagemap(Linux72):
    """devres does not free the pagemap."""

    def free_pagemap(k, pgmap: DevPagemap) -> None:
        """No kfree()."""


@dataclass(frozen=True)
class Seed:
    """A bug, where it shows, and whether its rule alone catches it."""

    design: type[Linux72]
    scenario: str
    alone: bool = True
    base: str = "holds"  # what the scenario says without the bug


SEEDS: dict[str, Seed] = {
    "page-lifetime": Seed(NoWait, "devdax-gup-walk-vs-unbind"),
    "refcount-exact": Seed(ZapForgetsPut, "devdax-fork-exit"),
    "mapping-exact": Seed(NeverNamed, "three-states"),
    "block-reuse": Seed(FreesFirst, "reflink-share-locked"),
    "data-integrity": Seed(NoRecheck, "devdax-gup-fast-vs-munmap"),
    "fsync-complete": Seed(FsyncLeavesWritable, "fsync-vs-writer"),
    "mirror-coherent": Seed(ForgetsSequence, "notifier-retry", alone=False),
    "exclusive-access": Seed(ExclusiveTellsNobody, "exclusive-vs-second-device"),
    "one-live-copy": Seed(FaultKeepsMirror, "migrate-vs-cpu-fault"),
    "unbind-drained": Seed(NoFlush, "devdax-gup-walk-vs-unbind", alone=False),
    "no-deadlock": Seed(Linux412WaitFirst, "devdax-unbind-vs-mapping", alone=False),
    "no-lost-wakeup": Seed(NoWake, "free-reads-pagemap", alone=False, base="page-lifetime"),
    "fault-terminates": Seed(FaultsForEver, "devdax-fault-vs-unbind"),
    "truncate-terminates": Seed(SpinsForMappings, "truncate-vs-fault"),
    "removal-terminates": Seed(NeverRemoved, "devdax-unbind-vs-mapping"),
    "lock-balance": Seed(TruncateKeepsLock, "truncate-vs-fault"),
    "nothing-left": Seed(ForgetsPagemap, "devdax-unbind-vs-mapping"),
    "tlb-flushed": Seed(GatherForgetsFlush, "devdax-refcounts"),
    "kernel-asserts": Seed(IdleAtZero, "devdax-unbind-vs-mapping"),
    "suite-asserts": Seed(SnapshotTakesAllForItsOwn, "hmm-snapshot-coherent"),
}
#: More bugs, each with the rule that has to catch it.
MORE: list[tuple[str, Seed]] = [
    ("kernel-asserts", Seed(NewPagesAreShared, "cow-reuse")),
    ("kernel-asserts", Seed(ZapPutsTwice, "devdax-fork-exit")),
    ("data-integrity", Seed(NoRecheck61, "devdax-gup-fast-vs-munmap")),
    ("unbind-drained", Seed(NoUnmap, "devdax-fault-vs-unbind")),
    ("refcount-exact", Seed(FileFaultForgetsPut, "fsdax-refcounts")),
    ("kernel-asserts", Seed(FileFaultTakesNone, "fsdax-refcounts-pmd")),
    ("lock-balance", Seed(TruncateUnlocksTwice, "truncate-vs-fault")),
    ("kernel-asserts", Seed(TruncatesUnlocked, "truncate-vs-fault")),
    ("kernel-asserts", Seed(FaultsUnderRcu, "three-states")),
    ("mapping-exact", Seed(NamesWrongIndex, "three-states")),
    ("kernel-asserts", Seed(NeverForgotten, "refault-after-zap")),
    ("kernel-asserts", Seed(ForgottenLate, "memory-failure-vs-truncate")),
    ("kernel-asserts", Seed(DeleteIgnoresLock, "memory-failure-vs-truncate")),
    ("mapping-exact", Seed(DeleteIgnoresLock, "truncate-vs-locked-entry")),
    ("mapping-exact", Seed(DeleteWithoutXaLock, "truncate-vs-locked-entry")),
    ("block-reuse", Seed(FreesFirst, "truncate-vs-fault")),
    ("block-reuse", Seed(NoFlush, "truncate-vs-fault")),
    ("block-reuse", Seed(WaitsForNobody, "truncate-vs-pin")),
    ("block-reuse", Seed(EvictionWaitsForNobody, "evict-vs-pin")),
    ("kernel-asserts", Seed(FaultWithoutInvalidateLock, "truncate-vs-fault")),
    ("kernel-asserts", Seed(CopyForgetsToShare, "reflink-share-locked")),
    ("truncate-terminates", Seed(WaitsForMappings, "truncate-vs-fault")),
    ("truncate-terminates", Seed(NeverUnmaps, "truncate-vs-pin")),
    ("no-lost-wakeup", Seed(NoWake, "truncate-vs-pin")),
    ("no-lost-wakeup", Seed(DeleteWakesOne, "entry-lock-waiters")),
    ("no-lost-wakeup", Seed(PutForgetsWake, "entry-lock-waiters")),
    ("no-deadlock", Seed(TruncatesFromWithin, "truncate-vs-pin")),
    ("data-integrity", Seed(MigratesWithoutFlush, "migrate-vs-touch")),
    ("kernel-asserts", Seed(FaultLooksNotAgain, "migrate-vs-cpu-fault")),
    ("refcount-exact", Seed(FinalizeForgetsPut, "migrate-vs-touch")),
    ("kernel-asserts", Seed(ForkLeavesWritable, "fork-of-private")),
    ("removal-terminates", Seed(PutForgetsPagemap, "private-unbind-exit")),
]
