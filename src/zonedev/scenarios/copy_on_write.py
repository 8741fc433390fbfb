"""Anonymous memory of the system that fork() shares, beside threads that use it."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.parts import END_RULES, Event

RULES = (
    "data-integrity",
    "page-lifetime",
    "refcount-exact",
    "suite-asserts",
    "kernel-asserts",
    "no-deadlock",
    "no-lost-wakeup",
    "fault-terminates",
    *END_RULES,
)


def forked(m: Any, pages: int = 3) -> None:
    """A page of A's, which a child B has as well; C is a thread of A."""
    m.k.anonymous_memory(pages)
    a = m.task("A")
    m.va = a.mmap_anonymous(1)
    a.may_fork("B")
    m.child = m.task("B").task
    a.touch(m.va, True, 1)


class ForkVsWriter(Scenario):
    """A thread writes to a page when fork() has returned; the child reads what was there before."""

    source = "mm/memory.c: copy_present_ptes(); kernel/fork.c: dup_mmap(), flush_tlb_mm()"
    rules = RULES
    progress = "fault-terminates"
    expected = {
        "linux-6.15": holds("the entries are read-only, and flushed, before fork() returns"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        forked(m)
        m.task("C").clone_vm("A")
        m.task("C").touch(m.va, True, 1)
        m.forked = m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.happens(m.forked)
        t.touch(m.va, True, 3)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.assert_eq("data", t.read_value(m.va), 1)

    def task_C(t: Any, m: Any) -> None:
        t.wait_for(m.forked)
        t.touch(m.va, True, 3)


class ForkFails(Scenario):
    """fork() of a process with a pinned page fails where there is no page for the copy: no child runs."""

    source = "fork(2): ENOMEM; mm/memory.c: copy_present_page(), folio_prealloc()"
    rules = RULES
    progress = "fault-terminates"
    expected = {"linux-6.15": holds("the child runs when all is copied"), "linux-7.2": holds("as linux-6.15")}

    def setup(m: Any) -> None:
        m.k.anonymous_memory(1)
        m.va = m.task("A").mmap_anonymous(1)
        m.task("A").may_fork("child")
        m.child = m.task("child").task

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages(m.va)
        t.assert_eq("fork", int(t.fork(m.child)), 0)
        t.assert_eq("started", int(m.child.started), 0)
        t.unpin_user_page(page)
        t.touch(m.va)

    def task_child(t: Any, m: Any) -> None:
        """Nobody runs."""


class ForkVsPinned(Scenario):
    """The same of a page that is pinned, which stays the parent's; DMA goes on."""

    source = "Peter Xu, mm: Do early cow for pinned pages during fork() for ptes, 2020 (70e806e4e645)"
    rules = RULES
    progress = "fault-terminates"
    expected = {"linux-6.15": holds("the child gets a copy at once"), "linux-7.2": holds("as linux-6.15")}

    def setup(m: Any) -> None:
        forked(m)
        m.page = m.task("A").pin_user_pages(m.va)

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)
        t.dma_store(m.va, m.page, 2)
        t.unpin_user_page(m.page)
        t.assert_eq("data", t.read_value(m.va), 2)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.assert_eq("data", t.read_value(m.va), 1)
        t.touch(m.va, True, 3)


class CowReuse(Scenario):
    """A page that only the child had beside it is the parent's alone again; what DMA writes is read."""

    source = "tools/testing/selftests/mm/cow.c: test_cow_in_parent(), test_ro_pin()"
    rules = RULES
    progress = "fault-terminates"
    expected = {
        "linux-6.15": holds("a write before the pin copies the page, or makes it exclusive"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        m.k.anonymous_memory(3)
        m.va = m.task("A").mmap_anonymous(1)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 1)
        t.fork(m.child)
        page = t.pin_user_pages(m.va)
        if page is not None:
            t.dma_store(m.va, page, 2)
            t.assert_eq("data", t.read_value(m.va), 2)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.ret_from_fork()
        t.assert_eq("data", t.read_value(m.va), 1)
        t.munmap(m.va)


def page_of_threads(m: Any, pages: int) -> None:
    """Two threads, each with a TLB entry of a page that both have written to; `pages` there are."""
    m.k.anonymous_memory(pages)
    m.va = m.task("A").mmap_anonymous(1)
    m.task("B").clone_vm("A")
    m.task("A").touch(m.va, True, 1)
    m.task("B").touch(m.va, True, 1)


class DontneedVsDontneed(Scenario):
    """Two threads throw a page away; each reads zeros when its call has returned."""

    source = "Minchan Kim, mm: fix MADV_[FREE|DONTNEED] TLB flush miss problem, 2017 (99baac21e458)"
    rules = RULES
    progress = "fault-terminates"
    expected = {
        "linux-6.15": holds("who is not alone flushes, whatever it has found"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        page_of_threads(m, 2)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)
        t.assert_eq("data", t.read_value(m.va), 0)

    def task_B(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)
        t.assert_eq("data", t.read_value(m.va), 0)


class MunmapVsTouch(Scenario):
    """A thread writes to a page that a munmap takes away."""

    source = "mm/vma.c: do_vmi_align_munmap()"
    rules = RULES
    progress = "fault-terminates"
    expected = {
        "linux-6.15": holds("mmap_lock orders faults; the pages are freed after the flush"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        page_of_threads(m, 3)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.touch(m.va, True, 2)
