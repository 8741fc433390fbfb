"""What drivers and programs still ask of a device that goes: small stories beside unbind."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds
from zonedev.scenarios.p2pdma import P2PDMA_RELEASES, P2PMEM_RELEASES, PEER, RULES
from zonedev.scenarios.parts import Event

BOTH = ("linux-6.15", "linux-7.2")


class BesideUnbind(Scenario):
    """What these scenarios have in common."""

    rules = (*RULES, "suite-asserts")
    progress = alone = "removal-terminates"


class P2pdmaUnbindVsTooMuch(BesideUnbind):
    """Another driver asks for more peer-to-peer memory than there is, while the device goes."""

    source = "drivers/pci/p2pdma.c: pci_p2pdma_release(): flush and disable pci_alloc_p2p_mem()"
    rules = RULES
    expected = dict.fromkeys(P2PDMA_RELEASES, holds("who has found the pool is in an RCU section"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)

    def task_other(t: Any, m: Any) -> None:
        t.pci_alloc_p2pmem(m.pdev, 2)

    def task_driver(t: Any, m: Any) -> None:
        t.unbind_p2pdma(m.pdev)


class P2pdmaUnbindVsMore(BesideUnbind):
    """A driver that has peer-to-peer memory asks for more, while the device goes, and frees it all."""

    source = "drivers/pci/p2pdma.c: pci_alloc_p2pmem(); lib/genalloc.c: gen_pool_destroy()"
    rules = RULES
    expected = dict.fromkeys(
        P2PDMA_RELEASES, holds("what it has keeps the pagemap; what it gets is given back")
    )

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(2)
        m.memory = m.task("other").pci_alloc_p2pmem(m.pdev)

    def task_other(t: Any, m: Any) -> None:
        more = t.pci_alloc_p2pmem(m.pdev)
        if more is not None:
            t.dma_write(more)
            t.pci_free_p2pmem(m.pdev, more)
        t.pci_free_p2pmem(m.pdev, m.memory)

    def task_driver(t: Any, m: Any) -> None:
        t.unbind_p2pdma(m.pdev)


class P2pdmaUnbindMapped(BesideUnbind):
    """A program has mapped peer-to-peer memory when the device goes: the mapping is taken from it."""

    source = "fs/kernfs/file.c: kernfs_drain_open_files(), kernfs_vma_fault()"
    expected = dict.fromkeys(BOTH, holds("kernfs knows that it is mapped"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        m.va = m.task("A").reserve(m.pdev)
        m.mapped, m.gone = m.new(Event), m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)
        t.happens(m.mapped)
        t.touch(m.va)
        t.wait_for(m.gone)
        t.assert_eq("signal", int(t.touch(m.va) is None), 1)

    def task_driver(t: Any, m: Any) -> None:
        t.wait_for(m.mapped)
        t.unbind_p2pdma(m.pdev)
        t.happens(m.gone)


class P2pdmaTwoPrograms(BesideUnbind):
    """Two programs map peer-to-peer memory: each has a page of its own, and both come back."""

    source = "lib/genalloc.c: gen_pool_alloc_algo_owner(): the pool is modified by cmpxchg, without a lock"
    expected = dict.fromkeys(BOTH, holds("a page is given out once"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(2, 1)
        m.va = m.task("A").reserve(m.pdev)
        m.other = m.task("B").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)
        t.touch(m.va, True, 1)
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.mmap_fixed(m.other)
        t.munmap(m.other)


class P2pdmaPins(BesideUnbind):
    """Peer-to-peer memory is pinned by who asks for it by name, and by nobody else; memory of another
    device, or of the system, is pinned by anyone."""

    source = "Logan Gunthorpe, mm: introduce FOLL_PCI_P2PDMA to gate getting PCI P2PDMA pages, 2022 (v6.2)"
    expected = dict.fromkeys(P2PMEM_RELEASES, holds("both walks look at whose memory it is"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        m.va = m.task("A").reserve(m.pdev)
        m.dax = m.k.device_dax()
        m.dax_va = m.task("A").mmap(m.dax)
        m.k.anonymous_memory(1)
        m.anonymous = m.task("A").mmap_anonymous(1)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)
        t.assert_eq("pinned", int(t.pin_user_pages_fast(m.va) is not None), 0)
        page = t.pin_user_pages_fast(m.va, PEER)
        t.assert_eq("pinned", int(page is not None), 1)
        if page is not None:
            t.unpin_user_page(page)
        t.munmap(m.va)
        t.assert_eq("mapped again", int(t.mmap_fixed(m.va)), 1)
        t.munmap(m.va)
        page = t.pin_user_pages(m.dax_va)
        t.assert_eq("pinned", int(page is not None), 1)
        if page is not None:
            t.unpin_user_page(page)
        t.touch(m.anonymous)
        for va in (m.dax_va, m.anonymous):
            page = t.get_user_pages_fast_only(va)
            t.assert_eq("taken", int(page is not None), 1)
            if page is not None:
                t.put_page(page)


class P2pdmaRemap(BesideUnbind):
    """A thread maps what another one is about to unmap, as soon as it is gone; a third one reads it.

    The memory that is mapped there now is another page.
    """

    source = "mm/vma.c: vms_complete_munmap_vmas(): flushes before mmap_lock is dropped"
    expected = dict.fromkeys(BOTH, holds("no TLB has the old page when mmap() begins"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(2, 1)
        a, c = m.task("A"), m.task("C")
        m.va = a.reserve(m.pdev)
        m.task("B").clone_vm("A")
        c.clone_vm("A")
        a.mmap_fixed(m.va)
        c.touch(m.va, False)
        m.fresh, m.over = m.new(Event), m.new(Event)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        if t.touch(m.va, False) is None:
            t.mmap_fixed(m.va)
            t.touch(m.va, True, 3)
            t.happens(m.fresh)
        t.happens(m.over)

    def task_C(t: Any, m: Any) -> None:
        t.wait_for(m.over)
        if m.fresh.happened.done:
            t.assert_eq("data", t.read_value(m.va), 3)


class MemoryFailureVsUnbind(BesideUnbind):
    """A page of a device breaks while the device goes: who handles it finds the pagemap, or none."""

    source = "mm/memory-failure.c: memory_failure(), get_dev_pagemap()"
    rules = RULES
    expected = dict.fromkeys(BOTH, holds("the pagemap is held, and looked up under RCU"))

    def setup(m: Any) -> None:
        m.dax = m.k.device_dax()
        m.va = m.task("A").mmap(m.dax)
        m.task("A").touch(m.va)

    def task_B(t: Any, m: Any) -> None:
        t.memory_failure(m.dax.pages[0])

    def task_driver(t: Any, m: Any) -> None:
        t.unbind(m.dax)
