"""Designs with one bug each: every rule has one that it catches."""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.linux_7_2 import Linux72
from zonedev.designs.text_1 import Linux412WaitFirst
from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.page import DevPagemap, Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.lang.primitives import wait_for_completion


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
        return pte.page  # type: ignore[no-any-return]


class NoRecheck61(Linux61):
    """The same before v6.15."""

    def gup_fast_devmap_pte(k, mm: Mm, va: int, pte: Any, flags: int) -> Page | None:
        """No second look."""
        if not k.try_grab_folio_fast(pte.page, flags):
            return None
        return pte.page  # type: ignore[no-any-return]


class NoUnmap(Linux72):
    """The driver leaves its mappings in place when it is unbound."""

    def kill_dev_dax(k, dax: DaxDevice) -> None:
        """No unmap_mapping_range()."""
        k.kill_dax(dax)


class WaitFirst(Linux412WaitFirst):
    """Waits for references that are dropped after the wait only."""


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


class KillsTwice(Linux72):
    """The pagemap is killed twice."""

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """percpu_ref_kill() before percpu_ref_kill()."""
        k.percpu_ref_kill(pgmap.ref)
        super().memunmap_pages(pgmap)


#: rule: design, scenario, the other rules that may break at the same depth (none: it alone).
SEEDS: dict[str, tuple[type[Linux72], str, str]] = {
    "page-lifetime": (NoWait, "devdax-gup-walk-vs-unbind", "linux-7.2"),
    "refcount-exact": (ZapForgetsPut, "devdax-fork-exit", "linux-7.2"),
    "data-integrity": (NoRecheck, "devdax-gup-fast-vs-munmap", "linux-7.2"),
    "unbind-drained": (NoUnmap, "devdax-fault-vs-unbind", "linux-7.2"),
    "no-deadlock": (WaitFirst, "devdax-unbind-vs-mapping", "linux-4.12"),
    "no-lost-wakeup": (NoWake, "free-reads-pagemap", "linux-7.2"),
    "fault-terminates": (FaultsForEver, "devdax-fault-vs-unbind", "linux-7.2"),
    "removal-terminates": (NeverRemoved, "devdax-unbind-vs-mapping", "linux-7.2"),
    "kernel-asserts": (KillsTwice, "devdax-unbind-vs-mapping", "linux-7.2"),
}
