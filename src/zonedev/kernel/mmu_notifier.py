"""MMU notifiers: secondary page tables that follow an address space (mm/mmu_notifier.c).

Sequence numbers only grow, and only whether two of them are equal is ever looked at.  So instead of
numbers the state has who remembers the present one: of a subscription (`reads`), and of the mm
(`waits`).  Subscriptions are there from set-up on; that one comes or goes during an invalidation
(deferred_list) is not modelled, nor are callbacks that must not block.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from zonedev.kernel.memremap import Memremap
from zonedev.lang.primitives import WaitQueue, wait_event, wake_up
from zonedev.lang.records import Record, const, count, embed, flag, task_mask
from zonedev.lang.runtime import at_setup, atomic, current


class Event(IntEnum):
    """enum mmu_notifier_event (include/linux/mmu_notifier.h), as far as somebody tells them apart."""

    CLEAR = 0
    UNMAP = 1
    PROTECTION = 2
    MIGRATE = 3
    EXCLUSIVE = 4
    RELEASE = 5


class Subscriptions(Record):
    """struct mmu_notifier_subscriptions, one of each mm."""

    short = "subscriptions"
    active_invalidate_ranges = count(0, 7, quiet=True)
    odd = flag(quiet=True)  # invalidate_seq is odd: an interval is being invalidated
    waits = task_mask(quiet=True)  # who remembers a number that is the present invalidate_seq
    wq: Any = embed(WaitQueue)


class MmuIntervalNotifier(Record):
    """struct mmu_interval_notifier, of a driver's mirror of an mm."""

    short = "notifier"
    mm: Any = const()
    driver: Any = const()  # what container_of() finds
    now = flag(quiet=True)  # invalidate_seq is that of the mm: it was set in an invalidation under way
    reads = task_mask(quiet=True)  # who remembers a number that is the present invalidate_seq


class MmuNotifier(Memremap):
    """mm/mmu_notifier.c as of v7.2."""

    # --- invalidation ------------------------------------------------------------------------------

    def mmu_notifier_invalidate_range_start(k, mm: Any, event: int, owner: Any, first: int, nr: int) -> None:
        """Let every mirror of the range drop what it has, before the page table changes
        (mm/mmu_notifier.c, mn_itree_invalidate)."""
        if len(mm.notifiers) > 0:
            k.mn_itree_inv_start_range(mm)
            for sub in mm.notifiers:
                k.invalidate(sub, event, owner, first, nr)

    def mn_itree_inv_start_range(k, mm: Any) -> None:
        """mm/mmu_notifier.c"""
        with atomic("under subscriptions->lock; invalidate_seq is written once"):
            subs = mm.subscriptions
            subs.active_invalidate_ranges = subs.active_invalidate_ranges + 1
            if not subs.odd:
                subs.odd = True
                subs.waits = 0

    def mmu_notifier_invalidate_range_end(k, mm: Any) -> None:
        """The page table has changed: who waits may read it again (mm/mmu_notifier.c,
        mn_itree_inv_end)."""
        if len(mm.notifiers) > 0 and k.mn_itree_inv_end(mm):
            wake_up(mm.subscriptions.wq)

    def mn_itree_inv_end(k, mm: Any) -> bool:
        """The last invalidation makes the number even, which that of no subscription is
        (mm/mmu_notifier.c)."""
        with atomic("under subscriptions->lock; invalidate_seq is written once"):
            subs = mm.subscriptions
            subs.active_invalidate_ranges = subs.active_invalidate_ranges - 1
            last = subs.active_invalidate_ranges == 0 and subs.odd
            if last:
                subs.odd = False
                subs.waits = 0
                for sub in mm.notifiers:
                    sub.now = False
        return last

    def invalidate(k, sub: MmuIntervalNotifier, event: int, owner: Any, first: int, nr: int) -> None:
        """The driver's callback: interval_sub->ops->invalidate()."""

    def mmu_interval_set_seq(k, sub: MmuIntervalNotifier) -> None:
        """Called by the callback under the driver's lock (include/linux/mmu_notifier.h)."""
        with atomic("one store of a number that the callback was given"):
            if not sub.now:
                sub.now = True
                sub.reads = 0

    def mmu_notifier_release(k, mm: Any) -> None:
        """The address space goes, and every mirror of it (mm/mmu_notifier.c, mn_itree_release)."""
        if len(mm.notifiers) > 0:
            k.mmu_notifier_invalidate_range_start(mm, Event.RELEASE, None, 0, k.whole(mm))
            k.mmu_notifier_invalidate_range_end(mm)

    @at_setup
    def whole(self, mm: Any) -> int:
        """The pages of an address space."""
        return len(mm.vma_at)

    # --- collision and retry -----------------------------------------------------------------------

    def mmu_interval_read_begin(k, sub: MmuIntervalNotifier) -> None:
        """Remember the number of a subscription; if it is being invalidated, wait until that is over
        (mm/mmu_notifier.c)."""
        me = 1 << current()._index
        subs = sub.mm.subscriptions
        with atomic("both numbers are read under subscriptions->lock"):
            sub.reads = sub.reads | me
            invalidating = sub.now
            if invalidating:
                subs.waits = subs.waits | me
        if invalidating:
            wait_event(subs.wq, lambda: subs.waits & (1 << current()._index) == 0)

    def mmu_interval_read_retry(k, sub: MmuIntervalNotifier) -> bool:
        """Whether an invalidation has begun since; under the driver's lock
        (include/linux/mmu_notifier.h)."""
        return sub.reads & (1 << current()._index) == 0

    def mmu_interval_check_retry(k, sub: MmuIntervalNotifier) -> bool:
        """The same without a lock, where false means little (include/linux/mmu_notifier.h)."""
        return sub.reads & (1 << current()._index) == 0
