"""Designs with one bug each: every rule has one that it catches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.linux_7_2 import Linux72
from zonedev.designs.text_1 import Linux412WaitFirst
from zonedev.kernel.dax import DaxEntry, Inode
from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.lang.primitives import atomic_inc, spin_lock, spin_unlock, wait_for_completion
from zonedev.lang.records import replace


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


class FileFaultForgetsPut(Linux72):
    """A fault on a file keeps the reference that it maps the page with."""

    def dax_fault_iter(k, vma: Vma, at: int, entry: DaxEntry, write: bool) -> bool:
        """No folio_put()."""
        entry = k.dax_insert_entry(vma.vm_file, at - vma.start, entry)
        atomic_inc(entry.page._refcount)
        return k.dax_insert_mapping(vma, at, entry.page, write)


class FileFaultTakesNone(Linux72):
    """A fault on a file takes no reference: what it inserts is a page that nobody holds."""

    def dax_fault_iter(k, vma: Vma, at: int, entry: DaxEntry, write: bool) -> bool:
        """No folio_ref_inc(), no folio_put()."""
        entry = k.dax_insert_entry(vma.vm_file, at - vma.start, entry)
        return k.dax_insert_mapping(vma, at, entry.page, write)


class EntryUnlockForgetsWake(Linux72):
    """Nobody is woken who waits for the entry of a file."""

    def dax_unlock_entry(k, inode: Inode, index: int) -> None:
        """No dax_wake_entry()."""
        spin_lock(inode.xa_lock)
        entry = inode.i_pages[index]
        inode.i_pages[index] = replace(entry, locked=False)
        spin_unlock(inode.xa_lock)


class EntryNotWaitedFor(Linux72):
    """A fault on a file does not wait for the one that has the entry locked."""

    def get_next_unlocked_entry(k, inode: Inode, index: int) -> DaxEntry:
        """Returns the entry as it is."""
        return inode.i_pages[index]


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
    "data-integrity": Seed(NoRecheck, "devdax-gup-fast-vs-munmap"),
    "unbind-drained": Seed(NoFlush, "devdax-gup-walk-vs-unbind"),
    "no-deadlock": Seed(Linux412WaitFirst, "devdax-unbind-vs-mapping", alone=False),
    "no-lost-wakeup": Seed(NoWake, "free-reads-pagemap", alone=False, base="page-lifetime"),
    "fault-terminates": Seed(FaultsForEver, "devdax-fault-vs-unbind"),
    "removal-terminates": Seed(NeverRemoved, "devdax-unbind-vs-mapping"),
    "kernel-asserts": Seed(IdleAtZero, "devdax-unbind-vs-mapping"),
}
#: More bugs, each with the rule that has to catch it.
MORE: list[tuple[str, Seed]] = [
    ("kernel-asserts", Seed(ZapPutsTwice, "devdax-fork-exit")),
    ("data-integrity", Seed(NoRecheck61, "devdax-gup-fast-vs-munmap")),
    ("unbind-drained", Seed(NoUnmap, "devdax-fault-vs-unbind")),
    ("refcount-exact", Seed(FileFaultForgetsPut, "fsdax-refcounts")),
    ("kernel-asserts", Seed(FileFaultTakesNone, "fsdax-refcounts-pmd")),
]
