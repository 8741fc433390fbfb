"""Unbind of a pmem device that has, or had, a file system."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import UNBIND_RULES, Event


class FsdaxUnbindVsPin(Scenario):
    """I/O still runs into a page of a file system that was unmounted, and its device is unbound."""

    source = "Dan Williams, Fix the DAX-gup mistake, 2022-10-14; 0e2f80afcfa6, 2025"
    rules = UNBIND_RULES
    alone = "removal-terminates"
    orders = ("io io B B io",)
    expected = {
        "linux-4.5": holds("the pin holds the queue, which is waited for first"),
        "linux-4.12": violated("page-lifetime", "waits after the removal"),
        "linux-4.13": violated("page-lifetime", "as linux-4.12"),
        "linux-5.10": violated("page-lifetime", "put_devmap_managed_page() reads the pagemap after its put"),
        "linux-6.1": violated("page-lifetime", "neither umount nor unbind waits for the pin"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "umount waits, but the last put reads the pagemap after it"),
        "linux-7.2": violated("page-lifetime", "as linux-6.15"),
        "dax-gup-fix-2022": holds("a page in use holds the pagemap"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device()
        m.file = m.k.dax_file(m.pmem)
        m.va = m.task("io").mmap(m.file)
        m.unmapped = m.new(Event)

    def task_io(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        t.munmap(m.va)
        t.happens(m.unmapped)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.wait_for(m.unmapped)
        t.umount(m.pmem)
        t.unbind_pmem(m.pmem)


class FsdaxUnbindMounted(Scenario):
    """The device is unbound while the file system is mounted, and a task uses one of its files."""

    source = "Jason Gunthorpe, Dan Williams on 07/25 fsdax: Hold dax lock over mapping insertion, 2022"
    rules = UNBIND_RULES
    alone = "removal-terminates"
    orders = ("A B A",)
    expected = {
        "linux-4.5": violated("page-lifetime", "nothing unmaps the file"),
        "linux-4.12": violated("page-lifetime", "as linux-4.5"),
        "linux-5.10": violated("page-lifetime", "as linux-4.5"),
        "linux-6.1": violated("page-lifetime", "as linux-4.5"),
        "linux-6.12": violated("page-lifetime", "as linux-4.5"),
        "linux-6.15": violated("page-lifetime", "as linux-4.5"),
        "linux-7.2": violated("page-lifetime", "as linux-4.5"),
        "dax-gup-fix-2022": violated("removal-terminates", "the entry holds the pagemap, and nobody zaps it"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device()
        m.file = m.k.dax_file(m.pmem)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_B(t: Any, m: Any) -> None:
        t.unbind_pmem(m.pmem)


class FsdaxUnbindClosed(FsdaxUnbindVsPin):
    """The same, but the file is closed: only the I/O is left."""

    source = "block/genhd.c, fs/super.c: del_gendisk() evicts the inodes that nobody has open"
    orders = ("io io B io",)
    expected = {
        "linux-4.5": holds("the pin holds the queue, which is waited for first"),
        "linux-5.10": violated("page-lifetime", "put_devmap_managed_page() reads the pagemap after its put"),
        "linux-6.1": violated("page-lifetime", "eviction does not wait"),
        "linux-6.12": violated("page-lifetime", "as linux-6.1"),
        "linux-6.15": violated("page-lifetime", "eviction waits, but the last put goes on after it"),
        "linux-7.2": violated("page-lifetime", "as linux-6.15"),
        "dax-gup-fix-2022": holds("a page in use holds the pagemap"),
    }

    def task_B(t: Any, m: Any) -> None:
        t.wait_for(m.unmapped)
        t.unbind_pmem(m.pmem)


class FsdaxFaultVsUnbind(Scenario):
    """A fault has found the device alive, and maps its page while the device is unbound."""

    source = "found by reading fs/dax.c: SRCU is left before the PTE is set"
    rules = UNBIND_RULES
    alone = "removal-terminates"
    orders = ("A B A",)
    expected = {
        "linux-5.10": violated("page-lifetime", "a PTE of removed memory: the fault is not waited for"),
        "linux-6.1": violated("page-lifetime", "as linux-5.10"),
        "linux-6.12": violated("page-lifetime", "as linux-5.10"),
        "linux-6.15": violated("page-lifetime", "as linux-5.10"),
        "linux-7.2": violated("page-lifetime", "as linux-5.10"),
        "dax-gup-fix-2022": violated("removal-terminates", "the entry of the fault holds the pagemap"),
    }

    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device()
        m.file = m.k.dax_file(m.pmem)
        m.va = m.task("A").mmap(m.file)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.unbind_pmem(m.pmem)
