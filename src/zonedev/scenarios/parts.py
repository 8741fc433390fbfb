"""What several scenarios share."""

from __future__ import annotations

from typing import Any

from zonedev.lang.primitives import Completion, Lock
from zonedev.lang.records import Record, embed
from zonedev.scenarios.base import Scope

#: The designs that had a release and are one for DAX, oldest first.
RELEASES = (
    "linux-4.5",
    "linux-4.12",
    "linux-4.13",
    "linux-5.10",
    "linux-6.1",
    "linux-6.12",
    "linux-6.15",
    "linux-7.2",
)

#: Those that have device-private memory, and exclusive access, as it is specified here.
PRIVATE_RELEASES = ("linux-5.10", "linux-5.19", "linux-6.1", "linux-6.12", "linux-6.15", "linux-7.2")
EXCLUSIVE_RELEASES = ("linux-6.1", "linux-6.12", "linux-6.15", "linux-7.2")

SIZE = Scope("pte", meaning="the level at which the device maps", choices=("pte", "pmd", "pud"))
PAGES = Scope(1, 1, 3, "pages of the device")
PMD = Scope("pmd", meaning=SIZE.meaning, choices=SIZE.choices)
PUD = Scope("pud", meaning=SIZE.meaning, choices=SIZE.choices)
FILE_SIZE = Scope("pte", meaning="the level at which the file maps", choices=("pte", "pmd"))
FILE_PMD = Scope("pmd", meaning=FILE_SIZE.meaning, choices=FILE_SIZE.choices)
FILE_PAGES = Scope(1, 1, 3, "pages of the file")
#: What holds wherever calls come to their end.
END_RULES: tuple[str, ...] = ("lock-balance", "nothing-left", "tlb-flushed")
#: The rules of stories about pins and blocks.  That v4.17 to v6.14 warn where a page in use is
#: taken from its file, and go on, is a scenario of its own.
BLOCK_RULES: tuple[str, ...] = (
    "block-reuse",
    "data-integrity",
    "page-lifetime",
    "refcount-exact",
    "mapping-exact",
    "no-deadlock",
    "no-lost-wakeup",
    "truncate-terminates",
    *END_RULES,
)
#: The same of unbind.
UNBIND_RULES: tuple[str, ...] = (
    "page-lifetime",
    "block-reuse",
    "data-integrity",
    "refcount-exact",
    "no-deadlock",
    "no-lost-wakeup",
    "removal-terminates",
    *END_RULES,
)
#: The rules of stories about memory that devices reach.
PRIVATE_RULES: tuple[str, ...] = (
    "page-lifetime",
    "mirror-coherent",
    "data-integrity",
    "one-live-copy",
    "refcount-exact",
    "no-deadlock",
    "no-lost-wakeup",
    "fault-terminates",
    "kernel-asserts",
    *END_RULES,
)
#: The same where a device goes.
UNBIND_PRIVATE_RULES: tuple[str, ...] = (
    "page-lifetime",
    "data-integrity",
    "refcount-exact",
    "no-deadlock",
    "no-lost-wakeup",
    "removal-terminates",
    *END_RULES,
)
MIRROR_RULES: tuple[str, ...] = ("exclusive-access", *PRIVATE_RULES)
EXCLUSIVE_RULES: tuple[str, ...] = (*MIRROR_RULES, "removal-terminates")
TLB = Scope(
    "design",
    meaning="how remote TLBs are flushed: by an IPI, which CPUs with interrupts off hold up, or without",
    choices=("design", "ipi", "broadcast"),
)


class Event(Record):
    """Something that one task does and another waits for, outside the kernel."""

    short = "event"
    happened: Any = embed(Completion)


class Mutex(Record):
    """A lock of nobody's, to try what an order would mend."""

    short = "mutex"
    lock: Any = embed(Lock)


def two_files(m: Any) -> None:
    """A file with all blocks of a device, and one without, which gets those that are freed."""
    m.pmem = m.k.pmem_device(pages=m.scope["pages"], size=m.scope.get("size", "pte"))
    m.file = m.k.dax_file(m.pmem)
    m.other = m.k.dax_file(m.pmem, blocks=0)


def choose_tlb(m: Any) -> None:
    """Give the machine the kind of TLB flush that the scope asks for."""
    if m.scope["tlb"] != "design":
        m.k.TLB_FLUSH_BY_IPI = m.scope["tlb"] == "ipi"


def private_page(m: Any, pages: int = 2, coherent: bool = False, migrated: bool = False) -> None:
    """A page of anonymous memory, in use by A, and a device with one page of memory, private or
    `coherent`, that mirrors A; the page allocator has `pages` of them.  `migrated`: the page is in
    the memory of the device."""
    m.k.anonymous_memory(pages)
    m.gpu = m.k.dmirror_device(1, coherent)
    a = m.task("A")
    m.va = a.mmap_anonymous(1)
    m.mirror = a.dmirror_open(m.gpu)
    a.touch(m.va)
    if migrated:
        a.dmirror_migrate_to_device(m.mirror, m.va)


def mirrored_page(m: Any, pages: int = 1, size: int = 1, touched: bool = True, atomics: bool = False) -> None:
    """`size` pages of anonymous memory, in use by A if they are `touched`, and a device without memory
    that mirrors A; `atomics`: it takes exclusive access."""
    m.k.anonymous_memory(pages)
    m.gpu = m.k.dmirror_device(0, atomics=atomics)
    a = m.task("A")
    m.va = a.mmap_anonymous(size)
    m.mirror = a.dmirror_open(m.gpu)
    if touched:
        for va in range(m.va, m.va + size):
            a.touch(va)


def huge_page(m: Any, pages: int = 4, vram: int = 2, migrated: bool = False, atomics: bool = False) -> None:
    """A huge page of anonymous memory, in use by A, and a device with `vram` pages of memory that
    mirrors A; `migrated`: the page is in that memory; `atomics`: the device takes exclusive access."""
    m.k.anonymous_memory(pages)
    m.gpu = m.k.dmirror_device(vram, atomics=atomics)
    a = m.task("A")
    m.va = a.mmap_anonymous(2, thp=True)
    m.mirror = a.dmirror_open(m.gpu)
    a.touch(m.va)
    if migrated:
        a.dmirror_migrate_to_device(m.mirror, m.va, 2)
