"""Kernel primitives, written in the language itself.

Each is a few atomic steps on an embedded structure.  Memory is sequentially
consistent and a read-modify-write is one step; see docs/language.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.lang.records import Field, Kind, Record, array, count, flag, ref, task_mask
from zonedev.lang.runtime import atomic, current, ensure, primitive, tasks, when


class Cpu(Record):
    """What every task has as the CPU that runs it: kernel classes add to it."""

    rcu_nesting = count(0, 3, below="lock-balance", quiet=True)
    preempt_count = count(0, 3, below="lock-balance", quiet=True)
    irqs_off = flag(quiet=True)
    gp_waits = task_mask(quiet=True)  # the readers that its grace period waits for


# --- atomic_t (include/linux/atomic/atomic-instrumented.h) -----------------------------------


class Atomic(Record):
    """atomic_t: a bounded counter that is only changed by read-modify-write instructions."""

    value: int = count(0, 1)


def atomic_t(lo: int, hi: int, *, initial: int = 0, below: str | None = None, quiet: bool = False) -> Any:
    """An atomic counter in lo..hi; falling under lo breaks the rule `below`."""
    value = Field(Kind("int", lo, hi), initial, below=below, quiet=quiet)
    return Field(None, embed=type("Atomic", (Atomic,), {"value": value}))


@primitive
def atomic_read(a: Atomic) -> int:
    return a.value


@primitive
def atomic_set(a: Atomic, value: int) -> None:
    a.value = value


@primitive
def atomic_add(a: Atomic, n: int) -> None:
    with atomic("lock add"):
        a.value = a.value + n


@primitive
def atomic_sub(a: Atomic, n: int) -> None:
    with atomic("lock sub"):
        a.value = a.value - n


@primitive
def atomic_inc(a: Atomic) -> None:
    with atomic("lock inc"):
        a.value = a.value + 1


@primitive
def atomic_dec(a: Atomic) -> None:
    with atomic("lock dec"):
        a.value = a.value - 1


@primitive
def atomic_dec_return(a: Atomic) -> int:
    with atomic("lock xadd"):
        a.value = a.value - 1
        return a.value


@primitive
def atomic_sub_return(a: Atomic, n: int) -> int:
    with atomic("lock xadd"):
        a.value = a.value - n
        return a.value


@primitive
def atomic_sub_and_test(a: Atomic, n: int) -> bool:
    with atomic("lock sub, and the zero flag that it sets"):
        a.value = a.value - n
        return a.value == 0


@primitive
def atomic_dec_and_test(a: Atomic) -> bool:
    with atomic("lock dec, and the zero flag that it sets"):
        a.value = a.value - 1
        return a.value == 0


@primitive
def atomic_cmpxchg(a: Atomic, old: int, new: int) -> int:
    """Store `new` where the value is `old`; returns the value that was found."""
    with atomic("lock cmpxchg"):
        found = a.value
        if found == old:
            a.value = new
        return found


@primitive
def atomic_add_unless_zero(a: Atomic, n: int) -> bool:
    """atomic_add_unless(a, n, 0): the compare-and-exchange that succeeds."""
    with atomic("a cmpxchg loop, of which only the last round has an effect"):
        if a.value == 0:
            return False
        a.value = a.value + n
        return True


@primitive
def atomic_inc_not_zero(a: Atomic) -> bool:
    with atomic("a cmpxchg loop, of which only the last round has an effect"):
        if a.value == 0:
            return False
        a.value = a.value + 1
        return True


# --- locks (kernel/locking) ------------------------------------------------------------------
# What lockdep says of a single lock is checked here: "bad unlock balance detected" breaks
# `lock-balance`, and "sleeping function called from invalid context" breaks `kernel-asserts`.


@primitive
def might_sleep() -> None:
    """Not with a spinlock held, in RCU's read-side sections, or with interrupts off
    (kernel/sched/core.c, __might_resched).

    The kernel asks when it begins to wait for a lock, and this when the wait is over, so that waiting is no
    step of its own: who never gets the lock is told as a deadlock.
    """
    ensure(
        "kernel-asserts",
        reads_nothing(current()),
        "BUG: sleeping function called from invalid context: {} holds a spinlock or reads under RCU",
        current(),
    )


class Lock(Record):
    """struct mutex with lock(), spinlock_t with spin_lock(), which disables preemption."""

    held = flag(quiet=True)


@primitive
def balanced(l: Record, held: bool) -> None:
    """What is unlocked is held (kernel/locking/lockdep.c, print_unlock_imbalance_bug)."""
    ensure("lock-balance", held, "bad unlock balance: {} unlocks {}, which nobody holds", current(), l)


@primitive
def lock(l: Lock) -> None:
    with atomic("the cmpxchg that acquires the lock; until then the task waits"):
        when(lambda: not l.held)
        might_sleep()
        l.held = True


@primitive
def trylock(l: Lock) -> bool:
    with atomic("one cmpxchg"):
        if l.held:
            return False
        l.held = True
        return True


@primitive
def unlock(l: Lock) -> None:
    with atomic("one store; lockdep looks right before it"):
        balanced(l, l.held)
        l.held = False


@primitive
def spin_lock(l: Lock) -> None:
    with atomic("the cmpxchg that acquires the lock, preemption being off; until then the task spins"):
        when(lambda: not l.held)
        l.held = True
        current().preempt_count = current().preempt_count + 1


@primitive
def spin_unlock(l: Lock) -> None:
    with atomic("one store; that preemption is on again right after it gives nothing away"):
        balanced(l, l.held)
        l.held = False
        current().preempt_count = current().preempt_count - 1
        if reads_nothing(current()):
            quiescent(current())


class RwSem(Record):
    """struct rw_semaphore (kernel/locking/rwsem.c); readers do not queue behind a waiting writer."""

    readers = count(0, 7, below="lock-balance", quiet=True)
    writer = flag(quiet=True)


@primitive
def down_read(s: RwSem) -> None:
    with atomic("the atomic add that succeeds; until then the task waits"):
        when(lambda: not s.writer)
        might_sleep()
        s.readers = s.readers + 1


@primitive
def up_read(s: RwSem) -> None:
    with atomic("one atomic subtraction"):
        s.readers = s.readers - 1


@primitive
def down_write(s: RwSem) -> None:
    with atomic("the cmpxchg that succeeds; until then the task waits"):
        when(lambda: not s.writer and s.readers == 0)
        might_sleep()
        s.writer = True


@primitive
def downgrade_write(s: RwSem) -> None:
    with atomic("one atomic addition turns the writer into a reader"):
        balanced(s, s.writer)
        s.writer = False
        s.readers = s.readers + 1


@primitive
def up_write(s: RwSem) -> None:
    with atomic("one atomic subtraction; lockdep looks right before it"):
        balanced(s, s.writer)
        s.writer = False


# --- waiting (kernel/sched/completion.c, kernel/sched/wait.c) ----------------------------------


class Completion(Record):
    """struct completion; complete() and the waiter's test are both under its own lock."""

    done = flag()


@primitive
def complete(c: Completion) -> None:
    c.done = True


@primitive
def wait_for_completion(c: Completion) -> None:
    with atomic("the test of done and going to sleep are under x->wait.lock, as is complete()"):
        when(lambda: c.done)
        might_sleep()


class WaitQueue(Record):
    """wait_queue_head_t: the tasks that sleep, as a mask."""

    sleepers = task_mask(quiet=True)


@primitive
def wait_event(q: WaitQueue, condition: Callable[[], bool]) -> None:
    """prepare_to_wait, test, schedule, again: a wake-up between test and sleep is not lost."""
    while True:
        with atomic("prepare_to_wait() queues the task under the queue's lock"):
            might_sleep()
            q.sleepers = q.sleepers | (1 << current()._index)
        if condition():
            break
        with atomic("schedule() returns once somebody has taken the task off the queue"):
            when(lambda: (q.sleepers >> current()._index) & 1 == 0, lost=condition)
    with atomic("finish_wait() takes the task off the queue under the queue's lock"):
        q.sleepers = q.sleepers & ~(1 << current()._index)


@primitive
def wake_up(q: WaitQueue) -> None:
    q.sleepers = 0


# The parts of wait_event(), for code that does something before it sleeps.


@primitive
def prepare_to_wait(q: WaitQueue) -> None:
    with atomic("prepare_to_wait() queues the task under the queue's lock"):
        q.sleepers = q.sleepers | (1 << current()._index)


@primitive
def schedule(q: WaitQueue, awaited: Callable[[], bool]) -> None:
    """Sleep until taken off the queue; who sleeps although `awaited` is so has lost its wake-up."""
    with atomic("schedule() returns once somebody has taken the task off the queue"):
        when(lambda: (q.sleepers >> current()._index) & 1 == 0, lost=awaited)
        might_sleep()


@primitive
def finish_wait(q: WaitQueue) -> None:
    with atomic("finish_wait() takes the task off the queue under the queue's lock"):
        q.sleepers = q.sleepers & ~(1 << current()._index)


class ExclusiveQueue(Record):
    """wait_queue_head_t with exclusive waiters, of which a wake-up takes the first; `sleepers`
    are those that are not exclusive.  Who is woken is off the queue (autoremove_wake_function)."""

    sleepers = task_mask(quiet=True)
    first = array(ref(Cpu), quiet=True)


@primitive
def prepare_to_wait_exclusive(q: ExclusiveQueue) -> None:
    with atomic("prepare_to_wait_exclusive() queues the task, as the last, under the queue's lock"):
        placed = False
        for at in range(len(q.first)):
            if not placed and q.first[at] is None:
                q.first[at] = current()
                placed = True


@primitive
def schedule_exclusive(q: ExclusiveQueue, awaited: Callable[[], bool]) -> None:
    """As schedule(), after prepare_to_wait_exclusive()."""
    with atomic("schedule() returns once somebody has taken the task off the queue"):
        when(lambda: all(q.first[at] is not current() for at in range(len(q.first))), lost=awaited)
        might_sleep()


@primitive
def wake_up_next(q: ExclusiveQueue) -> None:
    """wake_up(): the first exclusive waiter, and all others."""
    with atomic("__wake_up() is under the queue's lock"):
        q.sleepers = 0
        for at in range(len(q.first)):
            if at + 1 < len(q.first):
                q.first[at] = q.first[at + 1]
            else:
                q.first[at] = None


@primitive
def wake_up_all(q: ExclusiveQueue) -> None:
    with atomic("__wake_up() is under the queue's lock"):
        q.sleepers = 0
        for at in range(len(q.first)):
            q.first[at] = None


# --- RCU (kernel/rcu/tree.c) -------------------------------------------------------------------
# A section with interrupts or preemption off is a reader too: since v4.20 for every grace
# period, and before that for call_rcu_sched(), which is what the callers here used then.
# The kernel is preemptible: elsewhere a grace period may end between any two steps.


@primitive
def reads_nothing(me: Cpu) -> bool:
    """Whether `me` is outside every read-side section."""
    return me.rcu_nesting == 0 and me.preempt_count == 0 and not me.irqs_off


@primitive
def quiescent(me: Cpu) -> None:
    """`me` has left its read-side section: no grace period waits for it any longer."""
    for task in tasks():
        task.gp_waits = task.gp_waits & ~(1 << me._index)


@primitive
def rcu_read_lock() -> None:
    with atomic("one increment of the task's own counter"):
        current().rcu_nesting = current().rcu_nesting + 1


@primitive
def rcu_read_unlock() -> None:
    with atomic("the CPU's quiescent state is when the counter falls to zero"):
        current().rcu_nesting = current().rcu_nesting - 1
        if reads_nothing(current()):
            quiescent(current())


@primitive
def local_irq_disable() -> None:
    current().irqs_off = True


@primitive
def local_irq_enable() -> None:
    with atomic("the CPU's quiescent state is when interrupts are on again"):
        current().irqs_off = False
        if reads_nothing(current()):
            quiescent(current())


@primitive
def synchronize_rcu() -> None:
    """Wait for every reader that is in its section now."""
    with atomic("a grace period starts: it waits for the readers of this moment"):
        might_sleep()
        for task in tasks():
            if not reads_nothing(task):
                current().gp_waits = current().gp_waits | (1 << task._index)
    with atomic("it ends when each of them has left its section"):
        when(lambda: current().gp_waits == 0)


class Srcu(Record):
    """struct srcu_struct: as above, for sleeping readers of one domain (kernel/rcu/srcutree.c)."""

    readers = count(0, 63, quiet=True)
    waits_for = count(0, 63, quiet=True)


@primitive
def srcu_read_lock(s: Srcu) -> None:
    with atomic("one increment of a per-CPU counter"):
        s.readers = s.readers | (1 << current()._index)


@primitive
def srcu_read_unlock(s: Srcu) -> None:
    with atomic("one increment of a per-CPU counter"):
        balanced(s, s.readers >> current()._index & 1 == 1)
        s.readers = s.readers & ~(1 << current()._index)
        s.waits_for = s.waits_for & ~(1 << current()._index)


@primitive
def synchronize_srcu(s: Srcu) -> None:
    with atomic("a grace period starts: it waits for the readers of this moment"):
        when(lambda: s.waits_for == 0)
        might_sleep()
        s.waits_for = s.readers
    with atomic("it ends when each of them has left its section"):
        when(lambda: s.waits_for == 0)


# --- assertions (include/asm-generic/bug.h, include/linux/mmdebug.h) -----------------------------


@primitive
def WARN_ON(condition: bool, text: str) -> bool:  # noqa: N802
    """Breaks `kernel-asserts` where the kernel would warn; returns the condition."""
    ensure("kernel-asserts", not condition, "WARN_ON: " + text)
    return condition


@primitive
def BUG_ON(condition: bool, text: str) -> None:  # noqa: N802
    """Breaks `kernel-asserts` where the kernel (with CONFIG_DEBUG_VM) would stop."""
    ensure("kernel-asserts", not condition, "BUG_ON: " + text)
