"""block-reuse and mapping-exact: a block belongs to its file as long as somebody reaches it."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import file_indices
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import indices
from zonedev.lang.runtime import current, ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule
from zonedev.rules.counts import entries_in


def freed(k: Any, inode: Inode, index: int, page: Page) -> None:
    """No pin, page-table entry or TLB reaches a block that has just become free."""
    for head in k.device_blocks(inode.dax):
        if page is head and head.frame.owner == 0:
            for each in k.block_pages(inode.dax, head):
                unreached(k, inode, each)


def unreached(k: Any, inode: Inode, page: Page) -> None:
    """Nobody reaches `page`, a block of `inode` until now."""
    for task in k.system.tasks:
        ensure(
            "block-reuse",
            task.pins[page._index] + task.gets[page._index] == 0,
            "the block of {} in {} is freed, but {} still holds a pin of it",
            page,
            inode,
            task,
        )
        ensure(
            "block-reuse",
            not any(task.tlb[va].page is page for va in indices(task, "tlb", 0, len(task.tlb), 1)),
            "the block of {} in {} is freed, but the TLB of {} still maps it",
            page,
            inode,
            task,
        )
    for mm in k.system.instances("Mm"):
        ensure(
            "block-reuse",
            entries_in(mm, page) == 0,
            "the block of {} in {} is freed, but {} still maps it",
            page,
            inode,
            mm,
        )


def taken(k: Any, va: int, result: Page | None) -> None:
    """What was pinned at `va` is a block of the file that is mapped there."""
    vma = current().mm.vma_at[va]
    if k.vma_is_fsdax(vma) and result is not None:
        ensure(
            "block-reuse",
            result.frame.owner == vma.number,
            "{} was pinned at VA {}, but is no block of {} any more",
            result,
            va,
            vma.vm_file,
        )


BLOCK_REUSE = Rule(
    "block-reuse",
    "safety",
    "No block of a file is freed or reused while a mapping, a TLB entry or a pin reaches it.",
    (
        Monitor("block-reuse", freed, after="ext4_free_blocks"),
        *(
            Monitor("block-reuse", taken, after=name)
            for name in ("pin_user_pages", "pin_user_pages_fast", "get_user_pages_fast")
        ),
    ),
)


def owned(k: Any) -> None:
    """At rest a folio names its file, or counts the files that share it."""
    for inode in k.inodes():
        for index in file_indices(inode, "i_pages", 0):
            entry = inode.i_pages[index]
            if entry.page is not None and k.entry_names_file(entry):
                named(k, inode, index, entry.page.head)


def named(k: Any, inode: Inode, index: int, folio: Page) -> None:
    """The folio of an entry of `inode` knows it."""
    files = sharers(k, index, folio)
    ensure(
        "mapping-exact",
        files == 1 and folio.index == index
        if folio.mapping is inode.mapping
        else folio.index == files and (folio.mapping is None or folio.mapping is k.dax_shared),
        "{} has an entry for {}, whose mapping is {} and whose index or share {}; files that have it: {}",
        inode,
        folio,
        folio.mapping,
        folio.index,
        files,
    )


def sharers(k: Any, index: int, folio: Page) -> int:
    """The files that have an entry for a folio: at equal indices, being copies of each other."""
    return sum(int(index < other.nr and other.i_pages[index].page is folio) for other in k.inodes())


MAPPING_EXACT = Rule(
    "mapping-exact",
    "safety",
    "At rest the folio of a file's entry names the file, or counts the files that share it.",
    (Monitor("mapping-exact", owned),),
)
