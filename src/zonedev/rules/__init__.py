"""The rules: what must hold, or must stay reachable."""

from __future__ import annotations

from zonedev.listed import listed
from zonedev.rules.anonymous import ANON_ASSERTS
from zonedev.rules.base import Rule
from zonedev.rules.blocks import BLOCK_REUSE, MAPPING_EXACT
from zonedev.rules.counts import REFCOUNT_EXACT
from zonedev.rules.devices import EXCLUSIVE_ACCESS, IN_USE, MIRROR_COHERENT, ONE_LIVE_COPY
from zonedev.rules.integrity import DATA_INTEGRITY
from zonedev.rules.leftovers import NOTHING_LEFT, TLB_FLUSHED
from zonedev.rules.locks import LOCK_BALANCE, LOCKS_HELD
from zonedev.rules.suites import SUITE_ASSERTS
from zonedev.rules.unbind import UNBIND_DRAINED
from zonedev.rules.writeback import FSYNC_COMPLETE

PAGE_LIFETIME = Rule(
    "page-lifetime",
    "safety",
    "Nothing reaches a page, its struct page or its pagemap after it was freed or removed.",
    (IN_USE,),
)
NO_DEADLOCK = Rule("no-deadlock", "safety", "No tasks wait for each other for ever.")
NO_LOST_WAKEUP = Rule(
    "no-lost-wakeup", "safety", "No task sleeps for ever although what it waits for has come."
)
KERNEL_ASSERTS = Rule(
    "kernel-asserts",
    "safety",
    "No WARN_ON, BUG_ON or VM_BUG_ON of the specified code fires, and no NULL pointer is followed.",
    (*LOCKS_HELD, *ANON_ASSERTS),
)
REMOVAL_TERMINATES = Rule(
    "removal-terminates", "progress", "Unbind can always still finish, and does, if pins and accesses end."
)
TRUNCATE_TERMINATES = Rule(
    "truncate-terminates",
    "progress",
    "Truncate, hole punch and eviction can always still finish, and do, if pins end.",
)
FAULT_TERMINATES = Rule("fault-terminates", "progress", "A page fault can always still finish, and does.")

RULES: dict[str, Rule] = {
    r.name: r
    for r in (
        PAGE_LIFETIME,
        REFCOUNT_EXACT,
        MAPPING_EXACT,
        BLOCK_REUSE,
        DATA_INTEGRITY,
        FSYNC_COMPLETE,
        MIRROR_COHERENT,
        EXCLUSIVE_ACCESS,
        ONE_LIVE_COPY,
        UNBIND_DRAINED,
        NO_DEADLOCK,
        NO_LOST_WAKEUP,
        REMOVAL_TERMINATES,
        TRUNCATE_TERMINATES,
        FAULT_TERMINATES,
        LOCK_BALANCE,
        NOTHING_LEFT,
        TLB_FLUSHED,
        KERNEL_ASSERTS,
        SUITE_ASSERTS,
    )
}

listed(__name__)
