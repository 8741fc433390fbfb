"""Exclusive access of a device to a page: text 5."""

from __future__ import annotations

from typing import Any

from zonedev.kernel import FOLL_WRITE
from zonedev.scenarios.base import Scenario, Scope, holds, violated
from zonedev.scenarios.parts import EXCLUSIVE_RELEASES, EXCLUSIVE_RULES, huge_page, mirrored_page

V1 = "device-exclusive-2025-v1"
#: That two who want one page take it from each other for ever is a scenario of its own.
SAFETY = tuple(r for r in EXCLUSIVE_RULES if r not in ("fault-terminates", "removal-terminates"))
OPERATIONS = {"operations": Scope(1, 1, 1000, "operations of each task")}
COUNTED = {
    "faults of the CPU": "do_user_addr_fault",
    "faults of the device": "nouveau_atomic_range_fault",
    "invalidations": "invalidate",
}
TEXT_5 = "Simona Vetter and Alistair Popple on make_device_exclusive(), 2025-01-30"


class ExclusiveVsSecondDevice(Scenario):
    """One device has a page mapped, and another one takes it for itself.

    Text 5: does "exclusive" leave out other devices too?
    """

    source = TEXT_5
    rules = SAFETY
    progress = "fault-terminates"
    expected = {
        "linux-6.1": holds("a notifier call for every address space that maps the page"),
        "linux-6.12": holds("as linux-6.1"),
        V1: violated("exclusive-access", "nobody tells the other device"),
        "linux-6.15": holds("a notifier call for the one entry"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0, atomics=True))
        m.task("gpu1").gpu_read(m.other, m.va)

    def task_gpu0(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)

    def task_gpu1(t: Any, m: Any) -> None:
        t.gpu_read(m.other, m.va)


class ExclusiveVsCpu(Scenario):
    """The CPU writes to a page that a device has for itself, or is about to take."""

    source = "mm/memory.c: remove_device_exclusive_entry()"
    rules = SAFETY
    progress = "fault-terminates"
    expected = dict.fromkeys((*EXCLUSIVE_RELEASES, V1), holds("the device loses it first"))

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, True, 3)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)


class ExclusiveVsDontneed(Scenario):
    """A page is thrown away while a device takes it for itself; what the device gets is what is there."""

    source = "mm/rmap.c: make_device_exclusive(), folio_walk_start()"
    rules = SAFETY
    progress = "fault-terminates"
    expected = dict.fromkeys(("linux-6.15", "linux-7.2"), holds("who finds another page looks again"))

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        t.madvise_dontneed(m.va)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)


class ExclusiveVsFork(Scenario):
    """A process forks while a device takes one of its pages for itself; fork() may fail."""

    source = "mm/memory.c: try_restore_exclusive_pte()"
    rules = SAFETY
    progress = "fault-terminates"
    expected = dict.fromkeys((*EXCLUSIVE_RELEASES, V1), holds("fork() makes the entry present, or fails"))

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2, atomics=True)
        m.task("A").may_fork("B")
        m.child = m.task("B").task

    def task_A(t: Any, m: Any) -> None:
        t.fork(m.child)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)


class ExclusiveForkFails(ExclusiveVsFork):
    """fork() fails although nothing is wrong: it finds the page of an exclusive entry locked.

    It has mmap_lock for writing, and the driver keeps the page locked for longer than that.
    """

    source = (
        "drivers/gpu/drm/nouveau/nouveau_svm.c: nouveau_atomic_range_fault(); mm/memory.c: copy_pmd_range()"
    )
    rules = ("kernel-asserts",)
    expected = dict.fromkeys((*EXCLUSIVE_RELEASES, V1), violated("kernel-asserts", "-ENOMEM"))

    def task_A(t: Any, m: Any) -> None:
        t.must_fork(m.child)


class ExclusiveVsGup(Scenario):
    """A page is pinned for DMA while a device takes it for itself; what was pinned before stays so."""

    source = "David Hildenbrand and Simona Vetter, 2025-01-24: exclusive of the CPU's page tables"
    rules = SAFETY
    progress = "fault-terminates"
    expected = dict.fromkeys((*EXCLUSIVE_RELEASES, V1), holds("GUP takes it back as any fault does"))

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        page = t.pin_user_pages_fast(m.va, FOLL_WRITE)
        if page is not None:
            t.unpin_user_page(page)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)


class ExclusiveSwapout(Scenario):
    """Memory is taken offline, and a page in it is a device's alone.

    The same rmap walk is that of reclaim.  Up to v6.14 the entry has a reference and is no mapping.
    """

    source = "David Hildenbrand, mm: fixes for device-exclusive entries (hmm), v2 00/17, 2025-02-10"
    rules = EXCLUSIVE_RULES
    progress = alone = "removal-terminates"
    expected = {
        "linux-6.1": violated("removal-terminates", "offlining tries for ever"),
        "linux-6.12": violated("removal-terminates", "as linux-6.1"),
        V1: violated("removal-terminates", "as linux-6.1"),
        "linux-6.15": holds("the entry is a mapping, which the walk finds"),
        "linux-7.2": holds("as linux-6.15"),
    }

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2, atomics=True)
        m.page = m.k.free_pages[0]
        m.task("gpu").gpu_atomic(m.mirror, m.va)

    def task_kernel(t: Any, m: Any) -> None:
        while not t.migrate_pages(m.page):
            pass


class ExclusiveAtomics(Scenario):
    """The CPU and a device count in pages that lie side by side in a huge page.

    Text 5's last argument.  The kernel takes one entry of 4K; if it kept a huge one, counters that have
    nothing to do with each other would be taken away for each other.
    """

    source = "Simona Vetter on make_device_exclusive(), 2025-01-30: not supporting thp entries is a feature"
    rules = EXCLUSIVE_RULES
    progress = "fault-terminates"
    scope = OPERATIONS
    counted = COUNTED
    expected = {
        **dict.fromkeys((*EXCLUSIVE_RELEASES, V1), holds("each has an entry of its own")),
        "device-exclusive-huge": violated("fault-terminates", "each takes all of it from the other"),
    }

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)
        m.task("gpu").dmirror_exclusive(m.mirror, m.va)
        m.task("A").touch(m.va)
        m.task("A").touch(m.va + 1)

    def task_A(t: Any, m: Any) -> None:
        for _ in range(m.scope["operations"]):
            t.touch(m.va + 1, True, 3)

    def task_gpu(t: Any, m: Any) -> None:
        for _ in range(m.scope["operations"]):
            t.gpu_atomic(m.mirror, m.va)


class ExclusiveAtomicsSamePage(Scenario):
    """The CPU and a device count in one page: what exclusive access is not for.

    Each takes the page before the other one has done its operation.
    """

    source = TEXT_5
    rules = EXCLUSIVE_RULES
    progress = "fault-terminates"
    scope = OPERATIONS
    counted = COUNTED
    expected = dict.fromkeys(
        (*EXCLUSIVE_RELEASES, V1), violated("fault-terminates", "nobody is promised to come first")
    )

    def setup(m: Any) -> None:
        mirrored_page(m, atomics=True)

    def task_A(t: Any, m: Any) -> None:
        for _ in range(m.scope["operations"]):
            t.touch(m.va, True, 3)

    def task_gpu(t: Any, m: Any) -> None:
        for _ in range(m.scope["operations"]):
            t.gpu_atomic(m.mirror, m.va)


class ExclusiveRetrySelf(Scenario):
    """A device takes a page for itself that nobody has touched; nobody else does anything.

    The driver's first try meets a fault of its own, which invalidates the range; so it tries again, and
    now its entry is there, which the next try takes back with another invalidation.
    """

    source = "drivers/gpu/drm/nouveau/nouveau_svm.c: nouveau_atomic_range_fault()"
    rules = EXCLUSIVE_RULES
    progress = "fault-terminates"
    expected = dict.fromkeys(
        (*EXCLUSIVE_RELEASES, V1), violated("fault-terminates", "the driver disturbs itself")
    )

    def setup(m: Any) -> None:
        mirrored_page(m, pages=2, touched=False, atomics=True)
        m.task("A").touch(m.va, False)

    def task_gpu(t: Any, m: Any) -> None:
        t.gpu_atomic(m.mirror, m.va)


class ExclusiveRetryHuge(ExclusiveRetrySelf):
    """As exclusive-retry-self, with a page that is in use, in a huge page that is split for it."""

    def setup(m: Any) -> None:
        huge_page(m, pages=2, vram=0, atomics=True)
