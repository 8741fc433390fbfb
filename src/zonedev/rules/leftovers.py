"""nothing-left and tlb-flushed: what calls leave behind when they have ended.

Each check names what the kernel itself says, or promises in its documentation.
"""

from __future__ import annotations

from typing import Any

from zonedev.kernel.inode import Inode, PmemDevice
from zonedev.kernel.mapping import file_indices
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import indices
from zonedev.lang.primitives import ExclusiveQueue, WaitQueue
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule
from zonedev.rules.counts import entry_at
from zonedev.rules.locks import every

# --- when all tasks have ended -------------------------------------------------------------------


def queues_empty(k: Any) -> None:
    """A waiter's entry of a wait queue is on its stack, which is gone: "list_add corruption"
    (lib/list_debug.c; kernel/sched/wait.c, finish_wait)."""
    for queue in every(k, WaitQueue):
        ensure("nothing-left", queue.sleepers == 0, "a task that has gone is still queued on {}", queue)
    for waiters in k.system.instances(ExclusiveQueue):
        queued = any(waiters.first[at] is not None for at in range(len(waiters.first)))
        ensure("nothing-left", not queued, "a task that has gone is still queued on {}", waiters)


def invalidations_ended(k: Any) -> None:
    """invalidate_range_start() and invalidate_range_end() must be paired
    (include/linux/mmu_notifier.h): who reads or unregisters later waits for ever."""
    for mm in k.system.instances("Mm"):
        over = mm.subscriptions.active_invalidate_ranges == 0 and not mm.subscriptions.odd
        ensure("nothing-left", over, "an invalidation of {} never ends", mm)


def vmas_unlinked(k: Any) -> None:
    """A VMA that was removed is freed (mm/vma.c, remove_vma): no reverse mapping may find it; one
    that is there has to be found, or truncate and migration miss it."""
    for vma in k.system.instances("Vma"):
        found = vma.in_anon_vma if vma.anonymous else vma.in_i_mmap
        ensure("nothing-left", vma.linked == found, "{}: its mm and its reverse mapping disagree", vma)


def nothing_mapped(k: Any) -> None:
    """BUG: Bad rss-counter state (kernel/fork.c, check_mm): when the mm goes, nobody zaps what is mapped
    where no VMA is."""
    for vma in k.system.instances("Vma"):
        for va in indices(vma.mm, "pte", vma.start, vma.nr, 1):
            clear = vma.linked or uncounted(k, vma.mm.pte[va].page)
            ensure("nothing-left", clear, "BUG: bad rss-counter state: {} is not linked", vma)
        for va in indices(vma.mm, "pmd", vma.start, vma.nr, 1):
            clear = vma.linked or uncounted(k, vma.mm.pmd[va].page)
            ensure("nothing-left", clear, "BUG: bad rss-counter state: {} is not linked", vma)


def anon_vmas_counted(k: Any) -> None:
    """VM_WARN_ON(anon_vma->num_active_vmas) (mm/rmap.c, unlink_anon_vmas): it goes only when nobody
    has it any more; and then it has to go: "kmemleak: unreferenced object" (mm/kmemleak.c)."""
    for anon_vma in k.system.instances("AnonVma"):
        users = sum(int(vma.in_anon_vma) for vma in anon_vma.vmas)
        right = anon_vma.linked == users + anon_vma.kept if anon_vma.live else users == 0
        ensure("nothing-left", right, "{} counts other VMAs than it has", anon_vma)


def dead_inodes_gone(k: Any) -> None:
    """Who drops the last reference of an inode without links evicts it (fs/inode.c, iput_final)."""
    for inode in k.inodes():
        used = inode.i_nlink > 0 or inode.i_count.value > 0
        ensure("nothing-left", used or inode.freeing, "{} has no link and no user, but is there", inode)


def gathers_finished(k: Any) -> None:
    """tlb_finish_mmu() is "called at the end of the shootdown operation to free up any resources that were
    required" (mm/mmu_gather.c)."""
    for mm in k.system.instances("Mm"):
        over = mm.tlb_flush_pending.value == 0
        ensure("nothing-left", over, "a shootdown of {} is never finished", mm)


def freed_pages_clean(k: Any) -> None:
    """What was anonymous must not look so to the next user (mm/memremap.c,
    free_zone_device_folio)."""
    for page in k.system.instances("Page"):
        head = page if page.compound_head is None else page.compound_head
        if page.memory > MemoryType.FS_DAX and page.live and head._refcount.value == 0:
            ensure("nothing-left", page.anon_vma is None, "{} is free, but has a mapping", page)
            ensure("nothing-left", not page.anon_exclusive, "{} is free, but exclusive", page)


# --- when a call has ended -----------------------------------------------------------------------


def pagemap_freed(k: Any, pgmap: Any) -> None:
    """kmemleak: unreferenced object (mm/kmemleak.c)"""
    ensure("nothing-left", not pgmap.live, "{} is never freed", pgmap)


def chunk_freed(k: Any, device: Any) -> None:
    """As above, of the memory of a device."""
    pagemap_freed(k, device.pgmap)


def region_released(k: Any, dax: Any) -> None:
    """The next driver's probe says: could not reserve region (drivers/dax/device.c)."""
    pagemap_freed(k, dax.pgmap)
    for page in dax.pages:
        ensure("nothing-left", page.frame.owner == 0, "the memory of {} is still reserved", dax)


def pmem_released(k: Any, pmem: PmemDevice) -> None:
    """As above (drivers/nvdimm/pmem.c)."""
    region_released(k, pmem)


def peer_freed(k: Any, pdev: PciDev) -> None:
    """kmemleak, of the pool as well."""
    pagemap_freed(k, pdev.pgmap)
    ensure("nothing-left", not pdev.pool.live, "{} is never freed", pdev.pool)
    ensure("nothing-left", pdev.p2pdma is None, "{} still has its pool", pdev)
    for p2pdma in k.system.instances("PciP2pdma"):
        ensure("nothing-left", p2pdma.pool is not pdev.pool or not p2pdma.live, "{} is never freed", p2pdma)


def evicted(k: Any, inode: Inode) -> None:
    """clear_inode(): BUG_ON(inode->i_data.nrpages), BUG_ON(!(inode->i_state & I_FREEING)) (fs/inode.c);
    "held lock freed!" (kernel/locking/lockdep.c); and blocks without a file are what fsck finds."""
    ensure("nothing-left", inode.freeing, "{} is evicted without I_FREEING", inode)
    ensure("nothing-left", not inode.i_rwsem.held, "held lock freed: the i_rwsem of {}", inode)
    for index in file_indices(inode, "i_pages", 0):
        ensure("nothing-left", not inode.i_pages[index].there, "{} is gone, but not its pages", inode)
    for index in file_indices(inode, "extents", 0):
        lost = inode.i_nlink == 0 and inode.extents[index] is not None
        ensure("nothing-left", not lost, "{} is gone, but not its blocks", inode)


def unmounted(k: Any, pmem: PmemDevice, result: bool) -> None:
    """VFS: Busy inodes after unmount (fs/super.c, generic_shutdown_super)"""
    for inode in pmem.inodes:
        ensure("nothing-left", not result or inode.freeing, "VFS: busy inodes after unmount: {}", inode)


def unmapped_at_exit(k: Any) -> None:
    """BUG: Bad rss-counter state (kernel/fork.c, check_mm)"""
    mm = current().mm
    for va in indices(mm, "pte", 0, len(mm.pte), 1):
        ensure("nothing-left", uncounted(k, mm.pte[va].page), "BUG: bad rss-counter state: {}", mm)
    for va in indices(mm, "pmd", 0, len(mm.pmd), 1):
        ensure("nothing-left", uncounted(k, mm.pmd[va].page), "BUG: bad rss-counter state: {}", mm)


def uncounted(k: Any, page: Page | None) -> bool:
    """Whether an entry for this counts nothing."""
    return page is None or k.is_zero_page(page)


NOTHING_LEFT = Rule(
    "nothing-left",
    "safety",
    "What has ended leaves nothing behind: no waiter, no invalidation, no memory, no mapping.",
    (
        *(
            Monitor("nothing-left", check)
            for check in (
                queues_empty,
                invalidations_ended,
                vmas_unlinked,
                nothing_mapped,
                anon_vmas_counted,
                dead_inodes_gone,
                gathers_finished,
                freed_pages_clean,
            )
        ),
        Monitor("nothing-left", region_released, after="unbind"),
        Monitor("nothing-left", pmem_released, after="unbind_pmem"),
        Monitor("nothing-left", peer_freed, after="unbind_p2pdma"),
        Monitor("nothing-left", pagemap_freed, after="free_pagemap"),
        Monitor("nothing-left", chunk_freed, after="remove_device_pagemap"),
        Monitor("nothing-left", evicted, after="evict"),
        Monitor("nothing-left", unmounted, after="umount"),
        Monitor("nothing-left", unmapped_at_exit, after="exit"),
    ),
)


# --- TLBs ----------------------------------------------------------------------------------------


def tlbs_flushed(k: Any) -> None:
    """After a flush there are no entries in the TLB for what has changed
    (Documentation/core-api/cachetlb.rst): at rest a CPU can do nothing that page tables do not allow."""
    for task in k.system.tasks:
        for va in indices(task, "tlb", 0, min(len(task.tlb), len(task.mm.vma_at)), 1):
            allowed(k, task, va)


def allowed(k: Any, task: Any, va: int) -> None:
    """An entry of a TLB is one of the page table, which may allow more."""
    entry = task.tlb[va]
    if entry.present:
        ensure(
            "tlb-flushed",
            found_in(task.mm, va, entry),
            "the TLB of {} has {} at VA {}, but its page table has not",
            task,
            entry,
            va,
        )


def found_in(mm: Any, va: int, entry: Any) -> bool:
    """Whether the page table has what a TLB has; of a huge entry, one that maps the page's folio."""
    vma = mm.vma_at[va]
    start = vma.start + (va - vma.start) // vma.per_folio * vma.per_folio
    if vma.size == "pmd":
        there = mm.pmd[start]
    elif vma.size == "pud":
        there = mm.pud[start]
    else:
        there = entry_at(mm, va)
    same = there.page is entry.page or (start < va and there.page is not None)
    return there.present and same and (there.write or not entry.write)


TLB_FLUSHED = Rule(
    "tlb-flushed",
    "safety",
    "At rest no TLB allows what the page tables do not.",
    (Monitor("tlb-flushed", tlbs_flushed),),
)
