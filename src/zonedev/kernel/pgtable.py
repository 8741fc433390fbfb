"""Page tables, TLBs and mmu_gather (arch/x86/mm/tlb.c, mm/mmu_gather.c).

A device or file maps at one level, by its alignment.  Page-table pages exist from mmap() on
and are not freed, so that a walk starts at the level of the entries.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from zonedev.kernel.mmu_notifier import MmuNotifier, Subscriptions
from zonedev.kernel.page import DevPagemap, Page
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import (
    Cpu,
    Lock,
    RwSem,
    atomic_dec,
    atomic_inc,
    atomic_read,
    atomic_t,
)
from zonedev.lang.records import (
    BIT,
    Packed,
    Record,
    array,
    const,
    count,
    embed,
    flag,
    number,
    packed,
    pointer,
    private,
    ref,
)
from zonedev.lang.runtime import at_setup, atomic, choose, current, when

#: What an entry that is not present can be, and refer to a page (enum softleaf_type).
MIGRATION, DEVICE_PRIVATE, DEVICE_EXCLUSIVE = 1, 2, 3
LEAVES = ("none", "migration", "private", "exclusive")


class Pte(Packed):
    """A page-table entry of any level: present, or a softleaf_t (include/linux/leafops.h)."""

    present: Any = BIT
    leaf: Any = number(0, 3)
    write: Any = BIT  # of a softleaf_t: a writable entry
    dirty: Any = BIT
    special: Any = BIT  # not for GUP-fast
    protnone: Any = BIT  # present but to the CPU: PROT_NONE
    devmap: Any = BIT  # the bit that v6.17 removed
    page: Any = pointer(Page)

    def show(self) -> str:
        if not self.present:
            what = "table" if self.special else LEAVES[self.leaf]
            return f"{what} {self.page!r}{' write' if self.write else ''}" if self.leaf else what
        marks = ("dirty", "special", "protnone", "devmap")
        flags = ["write" if self.write else "read", *(m for m in marks if getattr(self, m))]
        return f"{self.page!r} {','.join(flags)}"


NONE = Pte()


class HmmPfn(Packed):
    """What hmm_range_fault() says of a page: HMM_PFN_VALID is that there is one
    (include/linux/hmm.h)."""

    write: Any = BIT
    error: Any = BIT
    huge: Any = BIT  # of a huge entry: the order is that of a PMD
    page: Any = pointer(Page)


@at_setup
def indices(record: Record, field: str, start: int, nr: int, step: int) -> Sequence[int]:
    """The indices start, start + step, ... of an array that a loop has to look at: all `nr`
    of them, or in a machine by hand those that hold something."""
    if record._system.sparse:
        inside = range(start, start + nr, step)
        return [i for i in record._values[field].touched() if i in inside]
    return range(start, start + nr, step)


class Mm(Record):
    """struct mm_struct (include/linux/mm_types.h).  The VA is a page number."""

    short = "mm"
    mmap_lock: Any = embed(RwSem)
    pte: Any = array(packed(Pte))
    pmd: Any = array(packed(Pte))
    pud: Any = array(packed(Pte))
    ptl: Any = embed(Lock)  # one for all levels
    tlb_flush_pending: Any = atomic_t(0, 7, quiet=True)
    tasks: Any = const(())  # mm_cpumask: each task is a CPU of its own
    vma_at: Any = const()  # a VmaTree
    starts: Any = const(())  # where the VMAs begin
    written: Any = array(count(0, 3), quiet=True)  # what was stored last at each VA: what a load must find
    subscriptions: Any = embed(Subscriptions)
    notifiers: Any = const(())  # its struct mmu_interval_notifiers


class VmaTree:
    """The VMAs of an mm by address, whether they are linked or not; VMAs lie side by side."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._vmas: list[Vma] = []

    def add(self, vma: Vma) -> None:
        """Put a VMA behind the last."""
        self._starts.append(vma.start)
        self._vmas.append(vma)

    def __len__(self) -> int:
        return self._vmas[-1].start + self._vmas[-1].nr if self._vmas else 0

    def __getitem__(self, va: int) -> Vma:
        if not 0 <= va < len(self):
            raise SpecError(f"VA {va}: nothing was ever mapped there")
        return self._vmas[bisect_right(self._starts, va) - 1]


@at_setup
def flush_orders(me: Task, mm: Mm) -> Sequence[Sequence[Task]]:
    """The orders in which the CPUs of an mm can be reached by a flush that `me` begins."""
    own = [cpu for cpu in mm.tasks if cpu is me]
    others = [cpu for cpu in mm.tasks if cpu is not me]
    return [(*own, *order) for order in permutations(others)]


class Vma(Record):
    """struct vm_area_struct, from creation at set-up to the end (include/linux/mm_types.h)."""

    short = "vma"
    mm: Any = const()
    start: int = const(0)
    nr: int = const(0)
    vm_file: Any = const()  # None: anonymous memory
    size: str = const("pte")  # the level at which it is mapped
    per_folio: int = const(1)  # the pages that one entry maps
    number: int = const(1)  # whose its memory is: Frame.owner
    sync: bool = const(False)  # VM_SYNC: mapped with MAP_SYNC
    private: bool = const(False)  # not VM_SHARED: a file mapped with MAP_PRIVATE
    anonymous: bool = const(False)  # private, and of no file
    thp: bool = const(False)  # with huge pages
    anon_vma: Any = const()
    in_anon_vma: Any = flag(quiet=True)  # in its tree
    copies: Any = const(())  # the pages that the allocator has for it
    linked: Any = flag()  # in the mm's tree
    vm_read: Any = flag(initial=True, quiet=True)  # VM_READ, VM_WRITE
    vm_write: Any = flag(initial=True, quiet=True)
    in_i_mmap: Any = flag()  # in the mapping's tree


class Task(Cpu):
    """A task, on a CPU of its own, with what its kernel stack holds."""

    mm: Any = const()
    tlb: Any = array(packed(Pte))
    started: Any = flag(initial=True, quiet=True)  # false in a child before fork()
    gather: Any = array(private(ref(Page)))  # struct mmu_gather: pages to put, by VA
    delayed_rmap: Any = array(private(flag()))  # ENCODED_PAGE_BIT_DELAY_RMAP of the collected pages
    gather_range: Any = private(flag())  # struct mmu_gather: something has to be flushed
    cow_page: Any = private(ref(Page))  # struct vm_fault: what a write to a private mapping copies to
    keep_cows: Any = private(flag())  # struct zap_details without even_cows
    gup_error: Any = private(flag())  # a grab failed: -ENOMEM
    gup_pgmap: Any = private(ref(DevPagemap))  # struct follow_page_context, of designs that have it
    src: Any = array(private(ref(Page)))  # struct migrate_vma: by VA, or by page of the device
    dst: Any = array(private(ref(Page)))
    migrates: Any = array(private(flag()))  # MIGRATE_PFN_MIGRATE in src
    writes: Any = array(private(flag()))  # MIGRATE_PFN_WRITE in src
    compounds: Any = array(private(flag()))  # MIGRATE_PFN_COMPOUND in src
    splits: Any = private(flag())  # TTU_SPLIT_HUGE_PMD
    hmm_pfns: Any = array(private(packed(HmmPfn)))  # struct hmm_range: by VA
    fput_later: Any = array(private(flag()))  # task_works: the files of VMAs that exit() removed
    pins: Any = array(private(count(0, 3)))  # what the task's driver or I/O has pinned, by page
    gets: Any = array(private(count(0, 3)))  # the same, taken with FOLL_GET


class Pgtable(MmuNotifier):
    """TLB flushes and mmu_gather as of v7.2."""

    task_class = Task

    #: Whether a remote TLB flush is an IPI, which a CPU with interrupts off holds up.  It
    #: is not with INVLPGB (v6.15 on), with KVM, Hyper-V or Xen paravirtual flushes, or on
    #: arm64; the designs of those years assume the weaker machine.
    TLB_FLUSH_BY_IPI = False

    #: Whether a scenario restricts what VMAs allow; if not, all can be read and written.
    permissions_exist = False

    def may_read(k, vma: Vma) -> bool:
        """VM_READ, which changes under mmap_lock only (include/linux/mm.h)."""
        return not k.permissions_exist or vma.vm_read

    def may_write(k, vma: Vma) -> bool:
        """VM_WRITE (include/linux/mm.h)."""
        return not k.permissions_exist or vma.vm_write

    def huge_start(k, vma: Vma, va: int) -> int:
        """Where the huge entry that maps `va` begins."""
        return va - (va - vma.start) % vma.per_folio

    def vma_is_fsdax(k, vma: Vma) -> bool:
        """A file on a DAX file system, not a character device (include/linux/fs.h)."""
        return vma.vm_file is not None and bool(vma.vm_file.fsdax)

    # --- TLB -------------------------------------------------------------------------------------

    def flush_tlb_mm(k, mm: Mm) -> None:
        """flush_tlb_mm_range() of everything: here first, then the other CPUs of the mm in
        whatever order they come to it (arch/x86/mm/tlb.c)."""
        orders = flush_orders(current(), mm)
        if len(orders) == 1 and not k.TLB_FLUSH_BY_IPI:
            with atomic("INVLPGB and TLBSYNC: only one CPU could use its entries meanwhile"):
                for cpu in mm.tasks:
                    k.flush_tlb_local(cpu)
            return
        chosen = choose(len(orders)) if len(orders) > 1 else 0
        for order in range(len(orders)):
            if chosen == order:
                for cpu in orders[order]:
                    k.flush_tlb_func(cpu)

    def flush_tlb_func(k, cpu: Task) -> None:
        """One CPU's part: the handler of the flush IPI, on the CPU that it interrupts, or
        INVLPGB reaching it (arch/x86/mm/tlb.c)."""
        with atomic("a handler runs between two instructions of that CPU, interrupts being on"):
            when(lambda: not (k.TLB_FLUSH_BY_IPI and cpu.irqs_off))
            k.flush_tlb_local(cpu)

    def flush_tlb_local(k, cpu: Task) -> None:
        """No entry is left in the TLB of `cpu` (arch/x86/mm/tlb.c)."""
        for va in indices(cpu, "tlb", 0, len(cpu.tlb), 1):
            cpu.tlb[va] = NONE

    # --- mmu_gather ----------------------------------------------------------------------------

    def tlb_gather_mmu(k, mm: Mm) -> None:
        """Begin to collect (mm/mmu_gather.c)."""
        atomic_inc(mm.tlb_flush_pending)

    def tlb_remove_page(k, va: int, page: Page) -> None:
        """Keep the reference of a cleared entry until the flush (mm/mmu_gather.c)."""
        current().gather[va] = page

    def tlb_flush_mmu(k, mm: Mm) -> None:
        """Flush, then put what was collected (mm/mmu_gather.c)."""
        k.tlb_flush_mmu_tlbonly(mm)
        k.tlb_batch_pages_flush(mm)

    def tlb_flush_mmu_tlbonly(k, mm: Mm) -> None:
        """Flush if an entry was cleared (include/asm-generic/tlb.h)."""
        if current().gather_range:
            k.flush_tlb_mm(mm)
            current().gather_range = False

    def tlb_batch_pages_flush(k, mm: Mm) -> None:
        """Drop the collected references (mm/mmu_gather.c, mm/swap.c folios_put_refs)."""
        for va in indices(current(), "gather", 0, len(mm.pte), 1):
            page = current().gather[va]
            if page is not None:
                current().gather[va] = None
                k.folio_put(page)

    def tlb_finish_mmu(k, mm: Mm) -> None:
        """End the collection; flush everything if another thread collects as well
        (mm/mmu_gather.c)."""
        nested = atomic_read(mm.tlb_flush_pending) > 1
        if nested:
            current().gather_range = True
        k.tlb_flush_mmu(mm)
        atomic_dec(mm.tlb_flush_pending)
