"""fsync-complete: what is written through a mapping of a file is found by the next fsync()."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import file_indices
from zonedev.kernel.pgtable import Pte
from zonedev.lang.runtime import ensure
from zonedev.lang.system import Monitor
from zonedev.rules.base import Rule


def written_back(k: Any, inode: Inode) -> None:
    """fsync() looks at nothing but the tags: "There cannot be new dirty data in the pfn after the flush
    has completed as the pfn mappings are writeprotected" (fs/dax.c, dax_writeback_one)."""
    for vma in inode.mapping.vmas:
        for index in file_indices(inode, "i_pages", 0):
            if index < vma.nr and vma.size == "pte":
                tagged(inode, index, vma.mm.pte[vma.start + index])
            elif index < vma.nr:
                tagged(inode, index, vma.mm.pmd[vma.start + index])
            if index < vma.nr and vma.size == "pte":
                in_tlbs(inode, index, vma)


def in_tlbs(inode: Inode, index: int, vma: Any) -> None:
    """A store through a TLB entry that is dirty looks at no page table (mm/memory.c, zap_pte_range:
    "force_flush")."""
    for task in vma.mm.tasks:
        if vma.start + index < len(task.tlb) and task.tlb[vma.start + index].dirty:
            tagged(inode, index, task.tlb[vma.start + index])


def tagged(inode: Inode, index: int, entry: Pte) -> None:
    """Who can write to a page of the file dirties an entry that is tagged."""
    writes = entry.present and entry.write and entry.page is inode.i_pages[index].page
    ensure(
        "fsync-complete",
        not writes or inode.i_pages[index].dirty,
        "{} can be written to through a mapping, but the entry of {} at {} is not dirty",
        entry.page,
        inode,
        index,
    )


def at_rest(k: Any) -> None:
    """The same of every file."""
    for inode in k.inodes():
        written_back(k, inode)


FSYNC_COMPLETE = Rule(
    "fsync-complete",
    "safety",
    "What can be written through a mapping of a file is tagged dirty, so that fsync() finds it.",
    (Monitor("fsync-complete", at_rest), Monitor("fsync-complete", written_back, after="fsync")),
)
