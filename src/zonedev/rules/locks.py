"""lock-balance, and what the kernel asserts of locks: lockdep's part of the rules.

That what is unlocked is held, and that nobody sleeps where he must not, is looked at in the
primitives themselves (lang/primitives.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import file_indices
from zonedev.kernel.p2pdma import PciDev
from zonedev.kernel.percpu_ref import PercpuRef
from zonedev.kernel.pgtable import Vma
from zonedev.lang.primitives import Lock, RwSem, Srcu
from zonedev.lang.records import Record
from zonedev.lang.runtime import at_setup, current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule

R = TypeVar("R", bound=Record)


@at_setup
def every(k: Any, cls: type[R]) -> Sequence[R]:
    """All structures of a class that are embedded in records."""
    return [part for records in k.system.records.values() for r in records for part in parts(r, cls)]


def parts(record: Record, cls: type[R]) -> Iterator[R]:
    for name, field in record._fields.items():
        if field.embed is not None:
            inner = record._values[name]
            if isinstance(inner, cls):
                yield inner
            yield from parts(inner, cls)


def given_back(k: Any) -> None:
    """WARNING: lock held when returning to user space! (kernel/locking/lockdep.c)"""
    for lock in every(k, Lock):
        ensure("lock-balance", not lock.held, "lock held when returning to user space: {}", lock)
    for sem in every(k, RwSem):
        held = sem.writer or sem.readers != 0
        ensure("lock-balance", not held, "lock held when returning to user space: {}", sem)
    for srcu in every(k, Srcu):
        ensure("lock-balance", srcu.readers == 0, "lock held when returning to user space: {}", srcu)
    for task in k.system.tasks:
        nested = task.rcu_nesting + task.preempt_count != 0 or task.irqs_off
        ensure("lock-balance", not nested, "{} returns to user space from a read-side section", task)


def entries_unlocked(k: Any) -> None:
    """The lock of an entry of a file, which lockdep does not know: who takes it next hangs."""
    for inode in k.inodes():
        for index in file_indices(inode, "i_pages", 0):
            locked = inode.i_pages[index].locked
            ensure("lock-balance", not locked, "nobody unlocks the entry of {} at {}", inode, index)


LOCK_BALANCE = Rule(
    "lock-balance",
    "safety",
    "What is unlocked is held, and at rest nothing is locked (lockdep).",
    (Monitor("lock-balance", given_back), Monitor("lock-balance", entries_unlocked)),
)


# --- lockdep_assert_held() and the like: held when a function returns, and so before -----------------


def mmap_assert_locked(k: Any, mm: Any) -> None:
    """include/linux/mmap_lock.h"""
    held = mm.mmap_lock.writer or mm.mmap_lock.readers > 0
    ensure("kernel-asserts", held, "mmap_assert_locked({}): nobody holds its mmap_lock", mm)


def mmap_of_vma(k: Any, vma: Vma) -> None:
    mmap_assert_locked(k, vma.mm)


def inode_is_locked(k: Any, inode: Inode) -> None:
    """WARN_ON(!inode_is_locked(inode)), unless nobody else can reach it (fs/ext4/inode.c, fs/attr.c)"""
    held = inode.i_rwsem.held or inode.freeing
    ensure("kernel-asserts", held, "WARN_ON: the i_rwsem of {} is not held", inode)


def invalidate_locked(k: Any, inode: Inode) -> None:
    """WARN_ON_ONCE(!rwsem_is_locked(&inode->i_mapping->invalidate_lock)) (fs/ext4/inode.c)"""
    held = inode.invalidate_lock.writer or inode.invalidate_lock.readers > 0
    ensure("kernel-asserts", held, "WARN_ON: the invalidate_lock of {} is not held", inode)


def switch_locked(k: Any, ref: PercpuRef) -> None:
    """lockdep_assert_held(&percpu_ref_switch_lock) (lib/percpu-refcount.c)"""
    ensure("kernel-asserts", ref.switch_lock.held, "WARN_ON: percpu_ref_switch_lock is not held")


def rcu_read_lock_held(k: Any) -> None:
    """WARN_ON_ONCE(!rcu_read_lock_held()) (include/linux/percpu-refcount.h), and of rcu_dereference()
    "suspicious rcu_dereference_check() usage!" (include/linux/rcupdate.h)"""
    ensure("kernel-asserts", current().rcu_nesting > 0, "WARN_ON: {} reads without RCU", current())


def xa_readable(k: Any, inode: Inode) -> None:
    """xa_entry(): "suspicious rcu_dereference_check() usage!" (include/linux/xarray.h)"""
    held = inode.xa_lock.held or current().rcu_nesting > 0
    ensure("kernel-asserts", held, "suspicious RCU usage: the xa_lock of {} is not held", inode)


def xa_locked(k: Any, inode: Inode) -> None:
    """xa_entry_locked(): the same of who changes something (include/linux/xarray.h)"""
    ensure("kernel-asserts", inode.xa_lock.held, "suspicious RCU usage: the xa_lock of {} is not held", inode)


def dax_srcu_held(k: Any) -> None:
    """lockdep_assert_held(&dax_srcu) (drivers/dax/super.c, dax_alive)"""
    held = k.dax.srcu.readers >> current()._index & 1 == 1
    ensure("kernel-asserts", held, "WARN_ON: {} asks for DAXDEV_ALIVE outside of dax_srcu", current())


def vma_write_locked(k: Any, vma: Vma) -> None:
    """vma_assert_write_locked(), of which mmap_assert_write_locked() is a part (include/linux/mmap_lock.h)"""
    ensure("kernel-asserts", vma.mm.mmap_lock.writer, "WARN_ON: the mmap_lock of {} is not held", vma.mm)


def mmap_is_locked(k: Any, vma: Vma) -> None:
    """BUG_ON(mmap_read_trylock(vma->vm_mm)) (mm/memory.c, vm_insert_page)"""
    ensure("kernel-asserts", vma.mm.mmap_lock.writer, "BUG_ON: the mmap_lock of {} is not held", vma.mm)


def nothing_mmapped(k: Any, pdev: PciDev) -> None:
    """WARN_ON_ONCE(on->nr_mmapped) (fs/kernfs/file.c, kernfs_drain_open_files)"""
    ensure("kernel-asserts", not pdev.mmapped, "WARN_ON: p2pmem/allocate of {} is still mapped", pdev)


def orphan_is_locked(k: Any, inode: Inode) -> None:
    """WARN_ON_ONCE(!(inode->i_state & (I_NEW | I_FREEING)) && !inode_is_locked(inode))
    (fs/ext4/orphan.c, ext4_orphan_add)"""
    inode_is_locked(k, inode)


#: What asserts, and what it does assert.
ASSERTED: dict[str, Callable[..., None]] = {
    "get_user_pages_locked": mmap_of_vma,
    "hmm_range_fault": mmap_assert_locked,
    "make_device_exclusive": mmap_of_vma,
    "migrate_vma_collect": mmap_of_vma,
    "ext4_setattr": inode_is_locked,
    "ext4_truncate": inode_is_locked,
    "ext4_punch_hole": inode_is_locked,
    "ext4_break_layouts": invalidate_locked,
    "percpu_ref_switch_to_atomic": switch_locked,
    "percpu_ref_tryget_live_rcu": rcu_read_lock_held,
    "rcu_dereference_p2pdma": rcu_read_lock_held,
    "xas_load": xa_readable,
    "xas_store": xa_locked,
    "dax_alive": dax_srcu_held,
    "vma_mark_attached": vma_write_locked,
    "vma_mark_detached": vma_write_locked,
    "vm_insert_page": mmap_is_locked,
    "ext4_unlink": orphan_is_locked,
    "pci_p2pdma_unmap_mappings": nothing_mmapped,
}
LOCKS_HELD = tuple(Monitor("kernel-asserts", check, after=name) for name, check in ASSERTED.items())
