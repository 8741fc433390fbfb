"""Anonymous memory that is copied, forked, moved and thrown away at the same time."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.mmu_notifier import Event
from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.copy_on_write import RULES as COPY_RULES
from zonedev.scenarios.parts import PRIVATE_RULES, mirrored_page, private_page

BOTH = ("linux-6.15", "linux-7.2")
RULES = ("suite-asserts", *PRIVATE_RULES)


class Anonymous(Scenario):
    """What these scenarios have in common."""

    rules = RULES
    progress = "fault-terminates"


def before_fork(m: Any) -> None:
    """A page of A, which may fork to B, and a device that takes exclusive access."""
    mirrored_page(m, pages=2, atomics=True)
    a = m.task("A")
    a.touch(m.va, True, 1)
    a.may_fork("B")
    m.child = m.task("B").task


class MoveVsZap(Anonymous):
    """A page is moved while one thread waits for that, and another one throws it away."""

    source = "mm/migrate.c: migration_entry_wait(), pte_none() || pte_present()"
    expected = dict.fromkeys(BOTH, holds("who waits looks at the entry again, under the page-table lock"))

    def setup(m: Any) -> None:
        private_page(m)
        m.page = m.k.free_pages[1]
        m.task("A").migrate_pages(m.k.free_pages[0])  # so that no TLB has it
        m.task("B").clone_vm("A")
        m.mm = m.task("A").task.mm

    def task_A(t: Any, m: Any) -> None:
        t.migration_entry_wait(m.mm, m.va)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_C(t: Any, m: Any) -> None:
        t.migrate_pages(m.page)


class ForkPinnedVsMove(Anonymous):
    """A process forks, and one of its pages is moved as soon as it is no longer pinned; the child has it."""

    source = 'mm/memory.c: copy_pte_range(), "drop the locks, allocate, and try again"'
    expected = dict.fromkeys(BOTH, holds("the entry is looked at again, whatever it is by then"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)
        m.page = m.k.free_pages[0]
        a = m.task("A")
        a.touch(m.va, True, 1)
        a.may_fork("B")
        m.child = m.task("B").task
        m.task("io").clone_vm("A")
        m.pinned = m.task("io").pin_user_pages(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.assert_eq("data", t.read_value(m.va), 1)

    def task_io(t: Any, m: Any) -> None:
        t.unpin_user_page(m.pinned)
        t.migrate_pages(m.page)


class ForkOfExclusivePinned(Anonymous):
    """A process forks while a device has a page for itself that is pinned: the child gets a copy."""

    source = 'mm/memory.c: copy_nonpresent_pte(), "copying as for a present pte"'
    expected = dict.fromkeys(BOTH, holds("the entry is made present, and its page copied"))

    def setup(m: Any) -> None:
        before_fork(m)
        m.page = m.task("A").pin_user_pages(m.va)
        m.task("gpu").dmirror_exclusive(m.mirror, m.va)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("fork", int(t.fork(m.child)), 1)
        t.assert_eq("PM_SWAP", int(t.pagemap_swap(m.va)), 0)
        t.unpin_user_page(m.page)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.assert_eq("PM_SWAP", int(t.pagemap_swap(m.va)), 0)
        t.assert_eq("data", t.read_value(m.va), 1)


class ForkOfExclusive(ForkOfExclusivePinned):
    """As fork-of-exclusive-pinned, and the page is not pinned: it is shared."""

    expected = dict.fromkeys(BOTH, holds("neither has the device's entry any more"))

    def setup(m: Any) -> None:
        before_fork(m)
        m.task("gpu").dmirror_exclusive(m.mirror, m.va)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("fork", int(t.fork(m.child)), 1)
        t.assert_eq("PM_SWAP", int(t.pagemap_swap(m.va)), 0)


class ThreadsCopyZeroPage(Anonymous):
    """Two threads write where the zero page is mapped; a third one has it in its TLB, and reads."""

    source = 'mm/memory.c: wp_page_copy(), "Clear the pte entry and flush it first"'
    rules = COPY_RULES
    expected = dict.fromkeys(BOTH, holds("no CPU finds the new page while another one has the old"))

    def setup(m: Any) -> None:
        m.k.anonymous_memory(2)
        m.va = m.task("A").mmap_anonymous(1)
        m.task("B").clone_vm("A")
        m.task("C").clone_vm("A")
        m.task("A").touch(m.va, False)
        m.task("C").touch(m.va, False)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, True, 2)

    def task_C(t: Any, m: Any) -> None:
        t.read_value(m.va)


class ReuseVsZap(Anonymous):
    """A thread writes to a page that only a child had beside it, and another one throws it away."""

    source = "mm/memory.c: do_wp_page(), wp_can_reuse_anon_folio(), wp_page_reuse()"
    rules = COPY_RULES
    expected = dict.fromkeys(BOTH, holds("the entry becomes writable under the page-table lock"))

    def setup(m: Any) -> None:
        m.k.anonymous_memory(2)
        m.va = m.task("A").mmap_anonymous(1)
        m.task("A").may_fork("child")
        m.task("A").touch(m.va, True, 1)
        m.task("A").fork(m.task("child").task)
        m.task("child").munmap(m.va)
        m.task("C").clone_vm("A")

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)

    def task_C(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)


class TwoInvalidations(Anonymous):
    """Two threads throw a page away while a device looks it up; one has already called the notifiers."""

    source = 'mm/mmu_notifier.c: "The locking looks broadly like this", active_invalidate_ranges'
    expected = dict.fromkeys(BOTH, holds("the last invalidation that ends lets who looks up go on"))

    def setup(m: Any) -> None:
        mirrored_page(m)
        b = m.task("B")
        b.clone_vm("A")
        m.mm = b.task.mm
        m.vma = m.mm.vma_at[m.va]
        b.tlb_gather_mmu(m.mm)
        b.mmu_notifier_invalidate_range_start(m.mm, Event.CLEAR, None, m.va, 1)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.unmap_page_range(m.vma, m.va, 1)
        t.mmu_notifier_invalidate_range_end(m.mm)
        t.tlb_finish_mmu(m.mm)

    def task_gpu(t: Any, m: Any) -> None:
        t.dmirror_range_fault(m.mirror, m.va, 1, False)
        t.device_load(m.mirror, m.va)


class MoveVsMunmap(Anonymous):
    """A page is moved while its process unmaps it, and with it the last VMA of its anon_vma."""

    source = 'mm/migrate.c: migrate_folio_unmap(), "This get_anon_vma() delays freeing anon_vma pointer"'
    expected = dict.fromkeys(BOTH, holds("the anon_vma is held, where the page is still mapped"))

    def setup(m: Any) -> None:
        private_page(m)
        m.page = m.k.free_pages[0]

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_C(t: Any, m: Any) -> None:
        t.migrate_pages(m.page)


class ForkWithoutMemory(Anonymous):
    """fork() fails where a page is pinned, and there is none for its copy; the parent keeps what it has."""

    source = "fork(2): ENOMEM; mm/memory.c: copy_pte_range(), folio_prealloc()"
    rules = COPY_RULES
    expected = dict.fromkeys(BOTH, holds("the child does not come to life"))

    def setup(m: Any) -> None:
        m.k.anonymous_memory(1)
        a = m.task("A")
        m.va = a.mmap_anonymous(1)
        a.may_fork("B")
        m.child = m.task("B").task
        a.touch(m.va, True, 1)
        m.page = a.pin_user_pages(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.assert_eq("fork", int(t.fork(m.child)), 0)
        t.touch(m.va, True, 2)
        t.assert_eq("data", t.dma_read(m.page), 2)
        t.unpin_user_page(m.page)
