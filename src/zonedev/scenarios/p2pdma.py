"""PCI peer-to-peer memory: its counts, and the end of its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zonedev.kernel import FOLL_PCI_P2PDMA, FOLL_WRITE
from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import UNBIND_RULES

#: Those in which processes can map the memory, and those with allocations by the kernel.
P2PMEM_RELEASES = ("linux-6.12", "linux-6.15", "linux-7.2")
P2PDMA_RELEASES = ("linux-6.1", *P2PMEM_RELEASES)
PEER = FOLL_WRITE | FOLL_PCI_P2PDMA
RULES = (*UNBIND_RULES, "unbind-drained", "kernel-asserts")
POINTS = ("idle", "mapped", "pinned", "unmapped", "freed", "of the kernel")


def counts(*values: int) -> Mapping[str, int]:
    return dict(zip(POINTS, values, strict=True))


class P2pdmaRefcounts(Scenario):
    """The page of a BAR is idle, mapped by a process, pinned for O_DIRECT, unmapped, and free again; the
    kernel allocates it then."""

    source = "Alistair Popple, mm/mm_init: move p2pdma page refcount initialisation to p2pdma, 2025"
    observes = True
    rules = RULES
    expected = {
        "linux-6.12": holds(
            "an idle page has a reference, which mmap() hands out", counts(1, 1, 1025, 1024, 1, 1)
        ),
        **dict.fromkeys(
            P2PMEM_RELEASES[1:],
            holds("none when idle, nor when the kernel has the page", counts(0, 1, 1025, 1024, 0, 0)),
        ),
    }

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        m.page = m.pdev.pages[0]
        m.va = m.task("A").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        t.observe("idle", m.page)
        t.mmap_fixed(m.va)
        t.touch(m.va)
        t.observe("mapped", m.page)
        page = t.pin_user_pages_fast(m.va, PEER)
        t.observe("pinned", m.page)
        t.munmap(m.va)
        t.observe("unmapped", m.page)
        if page is not None:
            t.unpin_user_page(page)
        t.observe("freed", m.page)
        memory = t.pci_alloc_p2pmem(m.pdev)
        t.observe("of the kernel", m.page)
        if memory is not None:
            t.pci_free_p2pmem(m.pdev, memory)


class P2pdmaUnbindVsPin(Scenario):
    """DMA between two devices is under way in the memory of one of them when its driver is unbound.

    The process keeps its mapping, which is taken from it; the pin of its O_DIRECT is what unbind waits
    for.
    """

    source = "Logan Gunthorpe, PCI/P2PDMA: Allow userspace VMA allocations through sysfs, 2022-10-21"
    rules = RULES
    progress = alone = "removal-terminates"
    expected = {
        "linux-6.12": violated("page-lifetime", "as p2pdma-free-writes-late"),
        **dict.fromkeys(P2PMEM_RELEASES[1:], holds("the pin keeps the pagemap")),
    }

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        a = m.task("A")
        m.va = a.reserve(m.pdev)
        a.mmap_fixed(m.va)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, PEER)
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)

    def task_driver(t: Any, m: Any) -> None:
        t.unbind_p2pdma(m.pdev)


class P2pdmaFreeWritesLate(P2pdmaUnbindVsPin):
    """A process unmaps peer-to-peer memory while its device goes.

    Up to v6.14 the core makes the count of a page 1 again after the driver has put it back to the pool,
    and has dropped what kept the struct page.
    """

    source = "mm/memremap.c: free_zone_device_folio(), v6.2 to v6.14"
    expected = {
        "linux-6.12": violated("page-lifetime", "the count of a page is written that unbind has removed"),
        **dict.fromkeys(P2PMEM_RELEASES[1:], holds("the driver's callback comes last")),
    }

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)


class P2pdmaFreeVsMmap(Scenario):
    """A process unmaps peer-to-peer memory, and another one maps what comes free.

    Up to v6.14 the page is in the pool, for a moment, before its count is that of an idle page: then
    mmap() fails with -EINVAL, and up to v6.19 it keeps the pagemap where it fails.
    """

    source = "Hou Tao, PCI/P2PDMA: Release per-CPU pgmap ref when vm_insert_page() fails, 2025-12-20"
    rules = RULES
    expected = {
        "linux-6.12": violated(
            "refcount-exact", "a failed mmap() leaves its reference to the pagemap behind"
        ),
        **dict.fromkeys(P2PMEM_RELEASES[1:], holds("a page that is in the pool can be mapped")),
    }

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        a = m.task("A")
        m.va = a.reserve(m.pdev)
        a.mmap_fixed(m.va)
        m.vb = m.task("B").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va)
        t.munmap(m.va)

    def task_B(t: Any, m: Any) -> None:
        if t.mmap_fixed(m.vb):
            t.touch(m.vb)
            t.munmap(m.vb)


class P2pdmaMmapWarns(Scenario):
    """A process maps peer-to-peer memory, and nobody else does anything."""

    source = "Hou Tao, PCI/P2PDMA: Fix p2pmem_alloc_mmap() warning condition, 2025-12-20"
    rules = ("kernel-asserts",)
    expected = {
        "linux-6.12": holds("it asks nothing of the count"),
        "linux-6.15": violated(
            "kernel-asserts", "with CONFIG_DEBUG_VM: the condition is the wrong way round"
        ),
        "linux-7.2": holds("the condition is the right way round"),
    }

    def setup(m: Any) -> None:
        m.k.CONFIG_DEBUG_VM = True
        m.pdev = m.k.p2pdma_device(1)
        m.va = m.task("A").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)


class P2pdmaUnbindVsMmap(Scenario):
    """A process maps peer-to-peer memory, and keeps it, while the device goes.

    mmap() fills the page table before the file's address_space knows the VMA, and kernfs waits for the
    first only: what the removal of the file does not find is waited for by unbind.
    """

    source = "mm/vma.c: __mmap_new_vma(); fs/kernfs/file.c: kernfs_drain_open_files()"
    rules = RULES
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(
        P2PMEM_RELEASES, violated("removal-terminates", "a mapping is left that nobody takes away")
    )

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        m.va = m.task("A").reserve(m.pdev)

    def task_A(t: Any, m: Any) -> None:
        t.mmap_fixed(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.unbind_p2pdma(m.pdev)


class P2pdmaUnbindVsExit(P2pdmaUnbindVsMmap):
    """As p2pdma-unbind-vs-mmap, and the process unmaps in the end: unbind waits for that."""

    expected = {
        "linux-6.12": violated("page-lifetime", "as p2pdma-free-writes-late"),
        **dict.fromkeys(P2PMEM_RELEASES[1:], holds("the driver's callback comes last")),
    }

    def task_A(t: Any, m: Any) -> None:
        if t.mmap_fixed(m.va):
            t.munmap(m.va)


class P2pdmaUnbindVsAlloc(Scenario):
    """Another driver allocates peer-to-peer memory, and frees it, while the device goes.

    devres frees the pagemap, whose reference pci_alloc_p2pmem() tries to take, before the pool goes
    through which it finds it.
    """

    source = "drivers/pci/p2pdma.c: pci_p2pdma_release(): flush and disable pci_alloc_p2p_mem()"
    rules = RULES
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(
        P2PDMA_RELEASES, violated("page-lifetime", "percpu_ref_tryget_live() of a ref that was freed")
    )

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(1)
        m.task("other")

    def task_other(t: Any, m: Any) -> None:
        memory = t.pci_alloc_p2pmem(m.pdev)
        if memory is not None:
            t.dma_write(memory)
            t.pci_free_p2pmem(m.pdev, memory)

    def task_driver(t: Any, m: Any) -> None:
        t.unbind_p2pdma(m.pdev)


class P2pdmaUnbindVsUser(P2pdmaUnbindVsAlloc):
    """As p2pdma-unbind-vs-alloc, with memory that was allocated before: unbind waits for it."""

    expected = dict.fromkeys(P2PDMA_RELEASES, holds("what is allocated keeps the pagemap"))

    def setup(m: Any) -> None:
        m.pdev = m.k.p2pdma_device(2)
        m.memory = m.task("other").pci_alloc_p2pmem(m.pdev, 2)

    def task_other(t: Any, m: Any) -> None:
        t.dma_write(m.pdev.pages[1])
        t.pci_free_p2pmem(m.pdev, m.memory, 2)
