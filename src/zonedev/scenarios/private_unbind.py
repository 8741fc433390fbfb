"""The end of a device while processes have pages in its memory."""

from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario, holds, violated
from zonedev.scenarios.parts import PRIVATE_RELEASES, UNBIND_PRIVATE_RULES, private_page

EVICTING = PRIVATE_RELEASES[2:]


class PrivateUnbindMapped(Scenario):
    """A driver goes while a process has a page in its device's memory; it evicts until none is left.

    A prefetch brings the page back at the same time, by best effort: each of the two can find it held
    or locked by the other.
    """

    source = "Alistair Popple, nouveau/dmem: Evict device private memory during release, 2022-09-28"
    rules = UNBIND_PRIVATE_RULES
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(EVICTING, holds("whoever had the page gives it back"))

    def setup(m: Any) -> None:
        private_page(m, pages=3, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_system(m.mirror, m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.evict_until_empty(m.gpu)
        t.remove_device_pagemap(m.gpu)


class PrivateUnbindOnce(PrivateUnbindMapped):
    """As private-unbind-mapped, where the driver evicts once, and does not look again.

    migrate_device_range() passes over a page that somebody has locked, and says nothing; the
    reference that it takes to look keeps that one from migrating it too.
    """

    source = "drivers/gpu/drm/nouveau/nouveau_dmem.c: nouveau_dmem_fini(); lib/test_hmm.c"
    expected = dict.fromkeys(
        EVICTING, violated("removal-terminates", "the page that was missed is waited for")
    )

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)


class PrivateUnbindVsMigrate(PrivateUnbindMapped):
    """As private-unbind-once, while a page is migrated to the device.

    It was taken off the free list before the driver stopped that, and holds the pagemap only when
    zone_device_page_init() has come to it.
    """

    source = "lib/test_hmm.c: dmirror_device_remove_chunks(), dmirror_devmem_alloc_page()"
    expected = dict.fromkeys(EVICTING, violated("page-lifetime", "its struct page has gone by then"))

    def setup(m: Any) -> None:
        private_page(m, pages=3)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)


class PrivateUnbindVsFault(PrivateUnbindMapped):
    """As private-unbind-mapped, and what brings the page back is a CPU fault, which never gives up."""

    expected = dict.fromkeys(
        EVICTING, violated("removal-terminates", "each spoils the other's attempt, for ever if unlucky")
    )

    def task_A(t: Any, m: Any) -> None:
        t.touch(m.va, False)


class PrivateUnbindUnevicted(PrivateUnbindMapped):
    """As private-unbind-mapped, where the driver evicts nothing; the process keeps its mapping."""

    rules = (*UNBIND_PRIVATE_RULES, "unbind-drained")
    expected = {
        "linux-5.10": violated("removal-terminates", "memunmap_pages() waits for the page"),
        "linux-5.19": violated("unbind-drained", "memunmap_pages() waits for no private page"),
        **dict.fromkeys(EVICTING, violated("removal-terminates", "as linux-5.10")),
    }

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.remove_device_pagemap(m.gpu)


class PrivateUnbindExit(PrivateUnbindMapped):
    """As private-unbind-unevicted, but the process unmaps its page: unbind waits for that."""

    source = "mm/memremap.c: memunmap_pages()"
    expected = {
        "linux-5.10": violated("page-lifetime", "the type of the pagemap is read after the count fell"),
        "linux-5.19": violated("page-lifetime", "memunmap_pages() waits for no private page"),
        **dict.fromkeys(EVICTING, holds("unbind waits for the munmap")),
    }

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.remove_device_pagemap(m.gpu)


class PrivateAllocAfterKill(Scenario):
    """A driver hands out a page of its device's memory while memunmap_pages() is under way.

    Nothing but the driver keeps it from that.  The kernel warns, from v6.1 to v6.18 as soon as the
    pagemap was killed, since then only when nobody has a reference any more.
    """

    source = "mm/memremap.c: zone_device_page_init()"
    rules = (*UNBIND_PRIVATE_RULES, "kernel-asserts")
    progress = alone = "removal-terminates"
    expected = {
        "linux-5.10": violated("page-lifetime", "the struct pages have gone"),
        "linux-5.19": violated("page-lifetime", "as linux-5.10"),
        "linux-6.1": violated("kernel-asserts", "the pagemap was killed"),
        "linux-6.12": violated("kernel-asserts", "as linux-6.1"),
        "linux-6.15": violated("kernel-asserts", "as linux-6.1"),
        "linux-7.2": violated("page-lifetime", "as linux-5.10: percpu_ref_tryget() of a ref that was killed"),
    }

    def setup(m: Any) -> None:
        private_page(m)

    def task_A(t: Any, m: Any) -> None:
        t.dmirror_migrate_to_device(m.mirror, m.va)
        t.munmap(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.remove_device_pagemap(m.gpu)


class EvictVsMunmap(Scenario):
    """A driver evicts a page, by its number, while the process unmaps it.

    Neither mmap_lock nor a reference keeps the anon_vma, where only the entry of a migration is left.
    """

    source = "mm/rmap.c: rmap_walk_anon_lock(): users without mmap_lock are required to take a reference"
    rules = UNBIND_PRIVATE_RULES
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(EVICTING, violated("page-lifetime", "the anon_vma was freed"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)

    def task_A(t: Any, m: Any) -> None:
        t.munmap(m.va)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_evict_chunk(m.gpu)


class HmmWalkVsUnbind(Scenario):
    """A second device looks up a page that is in the memory of the first, whose driver goes.

    hmm_range_fault() reads the entry without a lock, and then the pagemap of its page.
    """

    source = "mm/hmm.c: hmm_vma_handle_pte(); mm/memremap.c: synchronize_rcu() after __remove_pages()"
    rules = UNBIND_PRIVATE_RULES
    progress = alone = "removal-terminates"
    expected = dict.fromkeys(EVICTING, violated("page-lifetime", "the struct page has gone"))

    def setup(m: Any) -> None:
        private_page(m, migrated=True)
        m.other = m.task("A").dmirror_open(m.k.dmirror_device(0))

    def task_gpu1(t: Any, m: Any) -> None:
        t.dmirror_range_fault(m.other, m.va, 1, False)

    def task_driver(t: Any, m: Any) -> None:
        t.dmirror_device_remove_chunks(m.gpu)
