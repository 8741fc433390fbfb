"""What tasks can do: system calls, CPU accesses, DMA, and the driver's operations."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.gup import FOLL_GET, FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, Gup
from zonedev.kernel.page import MemoryType, Page
from zonedev.kernel.pgtable import NONE, Mm, Pte, Task, Vma, VmaTree
from zonedev.lang.primitives import (
    Cpu,
    atomic_read,
    down_read,
    down_write,
    downgrade_write,
    up_read,
    up_write,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current, note, when

__all__ = ["FOLL_GET", "FOLL_LONGTERM", "FOLL_PIN", "FOLL_WRITE", "Kernel"]


class Kernel(Gup):
    """The system-call layer as of v7.2: what a scenario's `t` offers."""

    #: The name on the command line, and what sets the design apart in a few words.
    name = ""
    title = ""
    #: Whether a kernel with these rules was released; others are made for an argument.
    release = True

    # --- set-up --------------------------------------------------------------------------------

    def task_created(self, task: Cpu) -> None:
        """A task starts with an address space of its own."""
        assert isinstance(task, Task)
        self.join_mm(task, self.system.new(Mm, vma_at=VmaTree()))

    def join_mm(self, task: Task, mm: Mm) -> None:
        task.mm = mm
        mm.tasks = (*mm.tasks, task)
        self.grow()

    def clone_vm(self, other: str) -> None:
        """Make the calling task a thread of `other`: clone(CLONE_VM), at set-up."""
        task = current()
        task.mm.tasks = tuple(t for t in task.mm.tasks if t is not task)
        self.join_mm(task, self.task_named(other).mm)

    def task_named(self, name: str) -> Task:
        task = self.system.task(name).task
        assert isinstance(task, Task)
        return task

    def mmap(self, dax: DaxDevice) -> int:
        """Map a device, shared and writable, at set-up; returns the VA (mm/mmap.c)."""
        return self.reserve(dax, linked=True)

    def reserve(self, dax: DaxDevice, linked: bool = False) -> int:
        """Choose the VA at which a task's mmap_fixed() will map a device, at set-up."""
        mm = current().mm
        start = len(mm.vma_at)
        self.new_vma(mm, dax, start, linked)
        return start

    def new_vma(self, mm: Mm, dax: DaxDevice, start: int, linked: bool) -> Vma:
        vma = self.system.new(Vma, mm=mm, start=start, nr=len(dax.pages), dax=dax)
        vma._values["linked"] = vma._values["in_i_mmap"] = linked
        mm.vma_at.add(vma)
        mm.starts = (*mm.starts, start)
        dax.mapping.vmas = (*dax.mapping.vmas, vma)
        self.grow()
        return vma

    def page_created(self, page: Page) -> None:
        for task in self.system.tasks:
            for name in ("pins", "gets"):
                task._values[name].grow(page._index + 1)

    def may_fork(self, child: str) -> None:
        """Prepare `child` at set-up as the task that a later fork() brings to life."""
        task = self.task_named(child)
        parent = current().mm
        for start in parent.starts:
            vma = parent.vma_at[start]
            self.new_vma(task.mm, vma.dax, start, linked=False)
        task._values["started"] = False

    def grow(self) -> None:
        """Give every task and mm room for all VAs, and every task for all pages."""
        records = self.system.records
        vas = max((len(mm.vma_at) for mm in records.get("Mm", [])), default=0)  # type: ignore[attr-defined]
        for mm in records.get("Mm", []):
            for table in ("pte", "pmd", "pud"):
                mm._values[table].grow(vas)
        for task in self.system.tasks:
            for name in ("tlb", "gather", "delayed_rmap"):
                task._values[name].grow(vas)
            for name in ("pins", "gets"):
                task._values[name].grow(len(records.get("Page", [])))

    def named_holders(self, page: Page) -> list[str]:
        """Who holds pins and references of a page, in words: for displays."""
        found = []
        for task in self.system.tasks:
            for name, what in (("pins", "pin"), ("gets", "reference")):
                nr = task._values[name].peek(page._index)
                found += [f"{nr} {what}{'s' if nr > 1 else ''} of {task!r}"] if nr else []
        return found

    # --- the CPU ---------------------------------------------------------------------------------

    def touch(k, va: int, write: bool = True) -> Page | None:
        """Load from or store to `va`, faulting as often as it takes; None for SIGBUS or
        SIGSEGV."""
        while True:
            page = k.store(va) if write else k.load(va)
            if page is not None:
                return page
            if not k.do_user_addr_fault(va, write):
                return None

    def load(k, va: int) -> Page | None:
        """One load instruction, or None for a page fault."""
        with atomic("one instruction: it uses the TLB entry, or the one that the page walk makes"):
            entry = k.translate(va, False)
            return entry.page if entry.present else None

    def store(k, va: int) -> Page | None:
        """One store instruction, or None for a page fault."""
        with atomic("one instruction: it uses the TLB entry, or the one that the page walk makes"):
            entry = k.translate(va, True)
            if not entry.present:
                return None
            entry.page.frame.data = 1
            return entry.page

    def translate(k, va: int, write: bool) -> Pte:
        """The TLB's entry, or the page walk's, as a 4K entry; NONE for a fault.  A store
        through an entry that is not dirty walks again, to set the bit where it belongs."""
        entry = current().tlb[va]
        if not entry.present or (write and not (entry.write and entry.dirty)):
            entry = k.page_walk(va, write)
            current().tlb[va] = entry
        return entry

    def page_walk(k, va: int, write: bool) -> Pte:
        """The walk of the hardware at the level at which the VMA's device maps."""
        mm = current().mm
        vma = mm.vma_at[va]
        if vma.dax.size == "pte":
            return k.walk_entry(mm.pte, va, vma, va, write)
        table = mm.pmd if vma.dax.size == "pmd" else mm.pud
        return k.walk_entry(table, k.huge_start(vma, va), vma, va, write)

    def walk_entry(k, table: Any, at: int, vma: Vma, va: int, write: bool) -> Pte:
        """The entry at `at`, which maps `va`; a store makes it dirty."""
        entry = table[at]
        if not entry.present or (write and not entry.write):
            return NONE
        if write and not entry.dirty:
            entry = replace(entry, dirty=True)
            table[at] = entry
        return replace(entry, page=k.subpage(vma, va))

    def do_user_addr_fault(k, va: int, write: bool) -> bool:
        """A page fault; false for a signal (arch/x86/mm/fault.c).  mmap_lock stands for
        the VMA's lock as well: both exclude munmap()."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        if not vma.linked:
            up_read(mm.mmap_lock)
            return False
        done = k.handle_mm_fault(vma, va, write)
        up_read(mm.mmap_lock)
        return done

    # --- DMA ---------------------------------------------------------------------------------------

    def dma_write(k, page: Page, owner: int = 1) -> None:
        """A device writes to a page that was pinned for `owner`'s data."""
        page.frame.data = owner

    def dma_read(k, page: Page) -> int:
        """A device reads a pinned page."""
        return page.frame.data

    def pin_user_pages(k, va: int, flags: int = FOLL_WRITE) -> Page | None:
        """Pin for DMA, with the locks (mm/gup.c)."""
        return k.pinned(k.gup_longterm_locked(va, flags | FOLL_PIN))

    def pin_user_pages_fast(k, va: int, flags: int = FOLL_WRITE) -> Page | None:
        """Pin for DMA, without locks where that works (mm/gup.c)."""
        return k.pinned(k.gup_fast_fallback(va, flags | FOLL_PIN))

    def get_user_pages_fast(k, va: int, flags: int = FOLL_WRITE) -> Page | None:
        """Take a plain reference, without locks where that works (mm/gup.c)."""
        page = k.gup_fast_fallback(va, flags | FOLL_GET)
        if page is not None:
            current().gets[page._index] = current().gets[page._index] + 1
        return page

    def pinned(k, page: Page | None) -> Page | None:
        """Note the pin as the caller's."""
        if page is not None:
            current().pins[page._index] = current().pins[page._index] + 1
        return page

    # --- address spaces -----------------------------------------------------------------------------

    def mmap_fixed(k, va: int) -> bool:
        """Map what was reserved at `va`; false for ENXIO.  The VMA is in the tree before its
        mapping knows it, but mmap_lock keeps faults off (mm/vma.c, __mmap_new_vma)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        mapped = k.dax_mmap_prepare(vma)
        if mapped:
            vma.linked = True
            k.vma_link_file(vma)
        up_write(mm.mmap_lock)
        return mapped

    def vma_link_file(k, vma: Vma) -> None:
        """The mapping finds the VMA from here on (mm/vma.c)."""
        down_write(vma.dax.mapping.i_mmap_rwsem)
        vma.in_i_mmap = True
        up_write(vma.dax.mapping.i_mmap_rwsem)

    def munmap(k, va: int) -> None:
        """do_vmi_align_munmap(): detach, downgrade, zap, unlink, flush, put (mm/vma.c)."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_write(mm.mmap_lock)
        vma.linked = False
        downgrade_write(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        k.zap_vma(vma)
        k.unlink_file_vma(vma)
        k.tlb_finish_mmu(mm)
        up_read(mm.mmap_lock)

    def unlink_file_vma(k, vma: Vma) -> None:
        """The mapping no longer finds the VMA; its TLB entries may still be there
        (mm/vma.c, called from free_pgtables() in mm/memory.c)."""
        down_write(vma.dax.mapping.i_mmap_rwsem)
        vma.in_i_mmap = False
        up_write(vma.dax.mapping.i_mmap_rwsem)

    def exit(k) -> None:
        """exit_mmap(): zap all, unlink all, flush and put once (mm/mmap.c).  A pin that
        the task's I/O holds goes on."""
        mm = current().mm
        down_read(mm.mmap_lock)
        k.tlb_gather_mmu(mm)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.zap_vma(mm.vma_at[start])
        up_read(mm.mmap_lock)
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.unlink_file_vma(mm.vma_at[start])
        k.tlb_finish_mmu(mm)
        for start in mm.starts:
            mm.vma_at[start].linked = False
        up_write(mm.mmap_lock)

    def fork(k, child: Task) -> None:
        """dup_mmap(): the child gets the VMAs of the parent.  vma_needs_copy() is false
        for shared DAX mappings: no page table is copied, the child faults
        (kernel/fork.c, mm/memory.c)."""
        mm = current().mm
        down_write(mm.mmap_lock)
        for start in mm.starts:
            if mm.vma_at[start].linked:
                k.dup_vma(child.mm.vma_at[start])
        up_write(mm.mmap_lock)
        child.started = True

    def dup_vma(k, vma: Vma) -> None:
        """The copy becomes known to the mapping (mm/mmap.c, dup_mmap)."""
        k.vma_link_file(vma)
        vma.linked = True

    def ret_from_fork(k) -> None:
        """A child's first instruction: not before fork() has made it (arch/x86/kernel/process.c)."""
        with atomic("a task that does not exist does not run"):
            when(lambda: current().started)

    # --- scenarios --------------------------------------------------------------------------------

    def observe(k, label: str, page: Page) -> int:
        """Note the counts of a page's folio; part of no kernel."""
        folio = k.page_folio(page)
        seen = atomic_read(folio._refcount)
        note(label, seen)
        return seen

    def reuse_if_idle(k, page: Page) -> bool:
        """Give a page that nobody refers to to the next user, as a file system does with
        a block (fs/dax.c, dax_layout_busy_page); the device's user does it here."""
        if atomic_read(k.page_folio(page)._refcount) != k.initial_count(MemoryType.GENERIC):
            return False
        page.frame.owner = 2
        page.frame.data = 2
        return True
