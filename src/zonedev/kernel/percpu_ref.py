"""percpu_ref: a counter that is per-CPU until it is killed (lib/percpu-refcount.c).

The order of steps is that of v7.2; v5.10 to v6.12 have the same.
"""

from __future__ import annotations

from zonedev.lang.primitives import (
    WARN_ON,
    Completion,
    Lock,
    atomic_add,
    atomic_add_unless_zero,
    atomic_inc,
    atomic_inc_not_zero,
    atomic_read,
    atomic_sub,
    atomic_sub_and_test,
    atomic_t,
    complete,
    rcu_read_lock,
    rcu_read_unlock,
    spin_lock,
    spin_unlock,
    synchronize_rcu,
)
from zonedev.lang.records import BIT, Packed, Record, embed, flag, packed
from zonedev.lang.runtime import at_setup, atomic, when
from zonedev.lang.system import Specification

#: PERCPU_COUNT_BIAS, scaled down: more than all references of any scope together.
BIAS = 32
#: The same where nothing is bounded, as in a machine by hand.
LARGE_BIAS = 1 << 60


class PercpuPtr(Packed):
    """percpu_count_ptr: the two flags in the low bits of the pointer."""

    atomic = BIT
    dead = BIT

    def show(self) -> str:
        return "dead" if self.dead else "atomic" if self.atomic else "percpu"


class PercpuRef(Record):
    """struct percpu_ref.  `done` is what its release function completes.

    It is an object of its own here, for in some designs it outlives the pagemap that
    uses it; where it is a member of the pagemap both are freed together.
    """

    short = "ref"
    freed_breaks = "page-lifetime"
    percpu_count_ptr = packed(PercpuPtr)
    #: The sum of the per-CPU counters.  They are only read after a grace period, when
    #: nobody changes them any more, so that one counter cannot be told from several.
    percpu_count = atomic_t(-8, 23)
    count = atomic_t(0, 2 * BIAS - 1, initial=BIAS + 1, below="refcount-exact")
    rcu_queued = flag(quiet=True)
    switch_lock = embed(Lock)
    done = embed(Completion)


class PercpuRefOps(Specification):
    """lib/percpu-refcount.c, include/linux/percpu-refcount.h."""

    @at_setup
    def percpu_count_bias(self) -> int:
        """PERCPU_COUNT_BIAS."""
        return LARGE_BIAS if self.system.sparse else BIAS

    def percpu_ref_get_many(k, ref: PercpuRef, nr: int) -> None:
        """Take `nr` references; never fails (include/linux/percpu-refcount.h)."""
        rcu_read_lock()
        ptr = ref.percpu_count_ptr
        if not ptr.atomic and not ptr.dead:
            atomic_add(ref.percpu_count, nr)
        else:
            atomic_add(ref.count, nr)
        rcu_read_unlock()

    def percpu_ref_get(k, ref: PercpuRef) -> None:
        """Take a reference (include/linux/percpu-refcount.h)."""
        k.percpu_ref_get_many(ref, 1)

    def percpu_ref_put_many(k, ref: PercpuRef, nr: int) -> None:
        """Drop `nr` references; the last one in atomic mode calls the release function
        (include/linux/percpu-refcount.h)."""
        rcu_read_lock()
        ptr = ref.percpu_count_ptr
        if not ptr.atomic and not ptr.dead:
            atomic_sub(ref.percpu_count, nr)
        elif atomic_sub_and_test(ref.count, nr):
            complete(ref.done)
        rcu_read_unlock()

    def percpu_ref_put(k, ref: PercpuRef) -> None:
        """Drop a reference (include/linux/percpu-refcount.h)."""
        k.percpu_ref_put_many(ref, 1)

    def percpu_ref_tryget_many(k, ref: PercpuRef, nr: int) -> bool:
        """Take `nr` references unless there are none left; one that was killed still gives them
        (include/linux/percpu-refcount.h)."""
        rcu_read_lock()
        taken = True
        ptr = ref.percpu_count_ptr
        if not ptr.atomic and not ptr.dead:
            atomic_add(ref.percpu_count, nr)
        else:
            taken = atomic_add_unless_zero(ref.count, nr)
        rcu_read_unlock()
        return taken

    def percpu_ref_tryget_live(k, ref: PercpuRef) -> bool:
        """Take a reference unless the ref was killed (include/linux/percpu-refcount.h)."""
        rcu_read_lock()
        taken = k.percpu_ref_tryget_live_rcu(ref)
        rcu_read_unlock()
        return taken

    def percpu_ref_tryget_live_rcu(k, ref: PercpuRef) -> bool:
        """The same for callers in a read-side section.  Whether the ref is dead is a
        second read of the pointer (include/linux/percpu-refcount.h)."""
        ptr = ref.percpu_count_ptr
        if not ptr.atomic and not ptr.dead:
            atomic_inc(ref.percpu_count)
            return True
        again = ref.percpu_count_ptr
        if again.dead:
            return False
        return atomic_inc_not_zero(ref.count)

    def percpu_ref_kill(k, ref: PercpuRef) -> None:
        """percpu_ref_kill_and_confirm(ref, NULL): forbid new references, and drop the
        initial one once the per-CPU counters have been summed up (lib/percpu-refcount.c)."""
        spin_lock(ref.switch_lock)
        ptr = ref.percpu_count_ptr
        WARN_ON(ptr.dead, "percpu_ref_kill() called more than once")
        ref.percpu_count_ptr = PercpuPtr(atomic=ptr.atomic, dead=True)
        k.percpu_ref_switch_to_atomic(ref)
        k.percpu_ref_put(ref)
        spin_unlock(ref.switch_lock)

    def percpu_ref_switch_to_atomic(k, ref: PercpuRef) -> None:
        """__percpu_ref_switch_to_atomic (lib/percpu-refcount.c)."""
        ptr = ref.percpu_count_ptr
        if ptr.atomic:
            return
        ref.percpu_count_ptr = PercpuPtr(atomic=True, dead=ptr.dead)
        k.percpu_ref_get(ref)
        ref.rcu_queued = True

    def percpu_ref_switch_to_atomic_rcu(k, ref: PercpuRef) -> None:
        """The RCU callback of the switch, with the grace period before it
        (lib/percpu-refcount.c)."""
        with atomic("call_rcu_hurry() queues the callback; the RCU core takes it from there"):
            when(lambda: ref.rcu_queued)
        synchronize_rcu()
        count = atomic_read(ref.percpu_count)
        atomic_add(ref.count, count - k.percpu_count_bias())
        left = atomic_read(ref.count)
        WARN_ON(left <= 0, "percpu ref <= 0 after switching to atomic")
        k.percpu_ref_put(ref)

    def percpu_ref_exit(k, ref: PercpuRef) -> None:
        """Free the counters; later lookups find a dead ref (lib/percpu-refcount.c)."""
        ref.percpu_count_ptr = PercpuPtr(atomic=True, dead=True)
