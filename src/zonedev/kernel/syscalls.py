"""What tasks can do: system calls, CPU accesses, DMA, and the driver's operations."""

from __future__ import annotations

from typing import Any

from zonedev.kernel.gup import FOLL_GET, FOLL_LONGTERM, FOLL_PCI_P2PDMA, FOLL_PIN, FOLL_WRITE
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import VmFile, file_indices
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.pgtable import NONE, Mm, Pte, Task, Vma, VmaTree
from zonedev.kernel.rmap import AnonVma
from zonedev.kernel.test_hmm_ioctl import TestHmmIoctl
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import (
    WARN_ON,
    Cpu,
    atomic_read,
    complete,
    down_read,
    up_read,
    wait_for_completion,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import atomic, current, ensure, note

__all__ = ["FOLL_GET", "FOLL_LONGTERM", "FOLL_PCI_P2PDMA", "FOLL_PIN", "FOLL_WRITE", "Kernel"]


class Kernel(TestHmmIoctl):
    """The system-call layer as of v7.2: what a scenario's `t` offers."""

    #: The name on the command line, and what sets the design apart in a few words.
    name = ""
    title = ""
    #: Whether a kernel with these rules was released; others are made for an argument.
    release = True

    #: What the page allocator has for anonymous memory.
    free_pages: tuple[Page, ...] = ()

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

    def mmap(self, file: VmFile, sync: bool = False, private: bool = False) -> int:
        """Map a device or file, writable, at set-up; `sync` with MAP_SYNC, `private` a file with
        MAP_PRIVATE instead of shared.  Returns the VA (mm/mmap.c)."""
        return self.reserve(file, sync, private, linked=True)

    def reserve(self, file: VmFile, sync: bool = False, private: bool = False, linked: bool = False) -> int:
        """Choose the VA at which a task's mmap_fixed() will map a device or file, at set-up."""
        mm = current().mm
        start = len(mm.vma_at)
        if private and not (file.fsdax and file.size == "pte"):
            raise SpecError("private=True: give a file that maps with pages of 4K, size='pte'")
        if private and sync:
            raise SpecError("sync=True, private=True: MAP_SYNC is for shared mappings")
        vma = self.new_vma(mm, file, start, linked, sync)
        vma.private = private
        if private and not self.system.sparse:
            vma.copies = tuple(self.new_anon_page() for _ in range(vma.nr))
        return start

    def mmap_anonymous(self, pages: int = 1, thp: bool = False) -> int:
        """Map anonymous memory, private and writable, at set-up; `thp`: two pages that can be a huge
        one.  Returns the VA (mm/mmap.c)."""
        mm = current().mm
        start = len(mm.vma_at)
        if thp and pages != 2:
            raise SpecError(f"thp=True, pages={pages}: a huge page has 2 pages here")
        vma = self.new_anonymous_vma(mm, start, pages, self.system.new(AnonVma), thp)
        vma._values["linked"] = vma._values["in_anon_vma"] = True
        vma.anon_vma._values["linked"] = 1
        return start

    def new_anonymous_vma(self, mm: Mm, start: int, nr: int, anon_vma: AnonVma, thp: bool) -> Vma:
        vma = self.system.new(Vma, mm=mm, start=start, nr=nr, anonymous=True, anon_vma=anon_vma, thp=thp)
        self.thp_exists = self.thp_exists or thp
        anon_vma.vmas = (*anon_vma.vmas, vma)
        mm.vma_at.add(vma)
        mm.starts = (*mm.starts, start)
        self.new_zero_page()
        if not self.system.sparse:
            vma.copies = self.free_pages
        self.grow()
        return vma

    def anonymous_memory(self, pages: int) -> None:
        """Give the page allocator `pages` pages for anonymous memory, at set-up, before it is mapped;
        each two of them lie together."""
        new = [self.new_anon_page() for _ in range(pages)]
        for page, second in zip(new[::2], new[1::2], strict=False):
            page.second = second
        self.free_pages = (*self.free_pages, *new)

    def new_vma(self, mm: Mm, file: VmFile, start: int, linked: bool, sync: bool = False) -> Vma:
        nr = file.nr or len(file.pages)
        vma = self.system.new(
            Vma,
            mm=mm,
            start=start,
            nr=nr,
            vm_file=file,
            size=file.size,
            per_folio=file.per_folio,
            number=file.number,
            sync=sync,
        )
        vma._values["linked"] = vma._values["in_i_mmap"] = linked
        mm.vma_at.add(vma)
        mm.starts = (*mm.starts, start)
        file.mapping.vmas = (*file.mapping.vmas, vma)
        if linked and isinstance(file, Inode):
            self.open(file)
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
            if vma.anonymous:
                self.new_anonymous_vma(task.mm, start, vma.nr, vma.anon_vma, vma.thp)
                continue
            if vma.private:
                raise SpecError(
                    f"may_fork(): VA {start} is mapped private, and fork() copies no such mapping"
                )
            self.new_vma(task.mm, vma.vm_file, start, False, vma.sync)
        task._values["started"] = False

    def grow(self) -> None:
        """Give every task and mm room for all VAs, and every task for all pages."""
        records = self.system.records
        vas = max((len(mm.vma_at) for mm in records.get("Mm", [])), default=0)  # type: ignore[attr-defined]
        for mm in records.get("Mm", []):
            for table in ("pte", "pmd", "pud", "written"):
                mm._values[table].grow(vas)
        for task in self.system.tasks:
            for name in ("tlb", "gather", "delayed_rmap", "fput_later", "hmm_pfns"):
                task._values[name].grow(vas)
            for name in ("src", "dst", "migrates", "writes", "compounds"):
                task._values[name].grow(max(vas, self.most_device_pages()))
            for name in ("pins", "gets"):
                task._values[name].grow(len(records.get("Page", [])))
        for mirror in records.get("Dmirror", []):
            mirror._values["pt"].grow(vas)
        for queue in records.get("EntryWaiters", []):
            queue._values["first"].grow(len(self.system.tasks))

    def most_device_pages(self) -> int:
        """The size of the largest device that migrates pages."""
        maps = [p for p in self.system.instances(DevPagemap) if isinstance(p, DevPagemap)]
        return max((len(p.pages) for p in maps if p.owner is not None), default=0)

    def named_holders(self, page: Page) -> list[str]:
        """Who holds pins and references of a page, in words: for displays."""
        found = []
        for task in self.system.tasks:
            for name, what in (("pins", "pin"), ("gets", "reference")):
                nr = task._values[name].peek(page._index)
                found += [f"{nr} {what}{'s' if nr > 1 else ''} of {task!r}"] if nr else []
        return found

    # --- the CPU ---------------------------------------------------------------------------------

    def touch(k, va: int, write: bool = True, value: int = 0) -> Page | None:
        """Load from or store to `va`, faulting as often as it takes; None for SIGBUS or
        SIGSEGV.  What is stored is `value`, or else whose memory is mapped there."""
        while True:
            page = k.store(va, value) if write else k.load(va)
            if page is not None:
                return page
            if not k.do_user_addr_fault(va, write):
                return None

    def load(k, va: int) -> Page | None:
        """One load instruction, or None for a page fault."""
        with atomic("one instruction: it uses the TLB entry, or the one that the page walk makes"):
            entry = k.translate(va, False)
            return entry.page if entry.present else None

    def store(k, va: int, value: int = 0) -> Page | None:
        """One store instruction, or None for a page fault."""
        with atomic("one instruction: it uses the TLB entry, or the one that the page walk makes"):
            entry = k.translate(va, True)
            if not entry.present:
                return None
            entry.page.frame.data = value or current().mm.vma_at[va].number
            if current().mm.vma_at[va].anonymous:
                current().mm.written[va] = value or current().mm.vma_at[va].number
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
        """The walk of the hardware at the level at which the VMA's file maps."""
        mm = current().mm
        vma = mm.vma_at[va]
        if vma.thp:
            return k.walk_huge(mm, vma, va, write)
        if vma.size == "pte":
            return k.walk_entry(mm.pte, va, vma, va, write)
        table = mm.pmd if vma.size == "pmd" else mm.pud
        return k.walk_entry(table, k.huge_start(vma, va), vma, va, write)

    def walk_huge(k, mm: Mm, vma: Vma, va: int, write: bool) -> Pte:
        """The huge entry, or the PTE where the PMD points to a page table."""
        pmd = mm.pmd[vma.start]
        if pmd.page is None:
            return k.walk_entry(mm.pte, va, vma, va, write)
        if not pmd.present or (write and not pmd.write) or (k.permissions_exist and pmd.protnone):
            return NONE
        if write and not pmd.dirty:
            pmd = replace(pmd, dirty=True)
            mm.pmd[vma.start] = pmd
        return pmd if va == vma.start else replace(pmd, page=pmd.page.second)

    def walk_entry(k, table: Any, at: int, vma: Vma, va: int, write: bool) -> Pte:
        """The entry at `at`, which maps `va`; a store makes it dirty."""
        entry = table[at]
        if not entry.present or (write and not entry.write) or (k.permissions_exist and entry.protnone):
            return NONE
        if write and not entry.dirty:
            entry = replace(entry, dirty=True)
            table[at] = entry
        return replace(entry, page=k.subpage(vma, va, entry))

    def do_user_addr_fault(k, va: int, write: bool) -> bool:
        """A page fault; false for a signal (arch/x86/mm/fault.c).  mmap_lock stands for
        the VMA's lock as well: both exclude munmap()."""
        mm = current().mm
        vma = mm.vma_at[va]
        down_read(mm.mmap_lock)
        if not k.may_access(vma, write):
            up_read(mm.mmap_lock)
            return False
        done = k.handle_mm_fault(vma, va, write)
        up_read(mm.mmap_lock)
        return done

    def may_access(k, vma: Vma, write: bool) -> bool:
        """Whether there is a VMA, and it allows the access (arch/x86/mm/fault.c, access_error)."""
        if not vma.linked:
            return False
        return k.may_write(vma) if write else k.may_read(vma)

    # --- DMA ---------------------------------------------------------------------------------------

    def dma_write(k, page: Page, owner: int = 1) -> None:
        """A device writes to a page that was pinned for `owner`'s data."""
        page.frame.data = owner

    def dma_store(k, va: int, page: Page, value: int = 3) -> None:
        """A device writes to what was pinned at a VA of anonymous memory, which is that memory as long
        as it is mapped."""
        with atomic("one transaction of a device that asks nobody"):
            page.frame.data = value
            current().mm.written[va] = value

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
        return k.held(k.gup_fast_fallback(va, flags | FOLL_GET))

    def get_user_pages_fast_only(k, va: int, flags: int = FOLL_WRITE) -> Page | None:
        """Take a plain reference without locks, or none (mm/gup.c)."""
        return k.held(k.gup_fast(va, flags | FOLL_GET))

    def get_user_pages(k, va: int, flags: int = FOLL_WRITE) -> Page | None:
        """Take a plain reference, with the locks (mm/gup.c)."""
        return k.held(k.gup_longterm_locked(va, flags | FOLL_GET))

    def held(k, page: Page | None) -> Page | None:
        """Note the reference as the caller's."""
        if page is not None:
            current().gets[page._index] = current().gets[page._index] + 1
        return page

    def pinned(k, page: Page | None) -> Page | None:
        """Note the pin as the caller's."""
        if page is not None:
            current().pins[page._index] = current().pins[page._index] + 1
        return page

    # --- scenarios --------------------------------------------------------------------------------

    def happens(k, event: Any) -> None:
        """Let those know who wait for `event`, outside the kernel."""
        complete(event.happened)

    def wait_for(k, event: Any) -> None:
        """Wait until `event` has happened, outside the kernel."""
        wait_for_completion(event.happened)

    def must_fork(k, child: Task) -> None:
        """fork() where the program ends if that fails."""
        WARN_ON(not k.fork(child), "fork() fails")

    def read_value(k, va: int) -> int:
        """What a test reads at an address; a signal ends it."""
        page = k.touch(va, False)
        ensure("suite-asserts", page is not None, "a load from VA {} ends in a signal", va)
        return 0 if page is None else page.frame.data

    def assert_eq(k, what: str, found: int, wanted: int) -> None:
        """ASSERT_EQ() of a test (tools/testing/selftests/kselftest_harness.h)."""
        ensure("suite-asserts", found == wanted, "{} is {}, not {}", what, found, wanted)

    def blocks_of(k, inode: Inode) -> int:
        """What stat() says of a file: st_blocks, in pages."""
        with atomic("nobody else looks at what a test asks"):
            return sum(int(inode.extents[at] is not None) for at in file_indices(inode, "extents", 0))

    def mappings_of(k, page: Page) -> int:
        """What /proc/kpagecount says of a page."""
        return atomic_read(k.page_folio(page)._mapcount)

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
