"""Text 3: "Fix the DAX-gup mistake", v3 of 2022-10-14, patch by patch.

Dan Williams posted the 25 patches against v6.1-rc; they were never merged.  Each class below is the
patch that its docstring names, on top of those before it, so that every state of the series can be
checked.  Patches without a class change nothing here (see SERIES at the end).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zonedev.designs.linux_6_1 import Linux61
from zonedev.designs.series import SERIES_SCENARIOS, Patch, Series
from zonedev.kernel.device_dax import DaxDevice
from zonedev.kernel.gup import FOLL_LONGTERM, Gup
from zonedev.kernel.inode import Inode
from zonedev.kernel.mapping import DaxEntry, VmFile
from zonedev.kernel.page import DevPagemap, MemoryType, Page
from zonedev.kernel.percpu_ref import PercpuRef
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.lang.primitives import (
    WARN_ON,
    atomic_inc,
    atomic_inc_not_zero,
    atomic_read,
    atomic_sub_and_test,
    rcu_read_lock,
    rcu_read_unlock,
    srcu_read_lock,
    srcu_read_unlock,
    wait_for_completion,
    wake_up,
)
from zonedev.lang.records import replace
from zonedev.lang.runtime import at_setup


class DaxGup03(Linux61):
    """03/25 fsdax: Include unmapped inodes for page-idle detection."""

    def dax_layout_busy_page(k, inode: Inode) -> Page | None:
        """mapping_mapped() is not asked any more (fs/dax.c)."""
        return k.dax_layout_busy_page_range(inode)


class DaxGup04(DaxGup03):
    """04/25 fsdax: Introduce dax_zap_mappings()."""

    def dax_busy_page(k, inode: Inode, index: int, entry: DaxEntry) -> Page | None:
        """The scan marks what it has looked at (fs/dax.c)."""
        if entry.page is None:
            return None
        return k.dax_zap_pages(inode, index, entry)

    def dax_zap_pages(k, inode: Inode, index: int, entry: DaxEntry) -> Page | None:
        """The first page that is not idle; the entry is marked when all were looked at (fs/dax.c)."""
        busy: Page | None = None
        for folio in k.folios(inode):
            if k.is_folio_of(inode, entry, folio) and busy is None and not k.dax_page_is_idle(folio):
                busy = folio
        if not entry.zap:
            inode.i_pages[index] = replace(entry, zap=True)
        return busy

    @at_setup
    def folios(self, file: VmFile) -> Sequence[Page]:
        """What dax_for_each_folio() can meet in the entries of a file (fs/dax.c)."""
        heads = self.device_blocks(file.dax)
        return [p for head in heads for p in self.block_pages(file.dax, head) if p.head is p]

    def is_folio_of(k, file: VmFile, entry: DaxEntry, folio: Page) -> bool:
        """Whether an entry maps a folio."""
        return entry.page is k.block_head(file, folio)

    @at_setup
    def block_head(self, file: VmFile, folio: Page) -> Page:
        """The page that an entry for the block of `folio` names."""
        page: Page = file.dax.pages[folio.number - folio.number % file.per_folio]
        return page


class DaxGup05(DaxGup04):
    """05/25 fsdax: Wait for pinned pages during truncate_inode_pages_final()."""

    def dax_delete_mapping_entry(k, inode: Inode, index: int) -> None:
        """An inode that is evicted waits, entry by entry and without a lock (fs/dax.c)."""
        if inode.freeing:
            k.dax_break_layouts(inode, index, 2 * inode.per_folio)
        k.dax_invalidate_entry(inode, index)

    def dax_break_layouts(k, file: Any, index: int, nr: int) -> None:
        """Zap `nr` pages from `index` on and wait until nobody uses them: the entry and, the end
        of the range being inclusive, the next (fs/dax.c, dax_break_layout() until 21/25)."""
        while True:
            page = k.dax_layout_busy_page_range(file, index, nr)
            if page is None:
                break
            k.wait_page_idle_uninterruptible(page)


class DaxGup06(DaxGup05):
    """06/25 fsdax: Validate DAX layouts broken before truncate."""

    def dax_disassociate_entry(k, inode: Inode, index: int, entry: DaxEntry, trunc: bool) -> None:
        """fs/dax.c"""
        WARN_ON(
            trunc and entry.page is not None and not entry.zap,
            "dax_disassociate_entry() of an entry that was not zapped",
        )
        super().dax_disassociate_entry(inode, index, entry, trunc)

    def warn_if_used(k, page: Page) -> None:
        """fs/dax.c"""
        WARN_ON(not k.dax_page_is_idle(page), "dax_disassociate_entry() of a page in use")


class DaxGup07(DaxGup06):
    """07/25 fsdax: Hold dax lock over mapping insertion."""

    def dax_fault_iter(
        k, vma: Vma, at: int, entry: DaxEntry, page: Page, write: bool, shared: bool, sync: bool
    ) -> bool:
        """The SRCU section covers the entry as well; not the PTE (fs/dax.c)."""
        srcu_read_lock(k.dax.srcu)
        alive: bool = vma.vm_file.dax.alive
        if alive:
            new = DaxEntry(page=page, dirty=write and not sync)
            k.dax_insert_entry(vma.vm_file, at - vma.start, entry, new, False)
        srcu_read_unlock(k.dax.srcu)
        return alive and (sync or k.dax_insert_mapping(vma, at, page, write))


class DaxGup10(DaxGup07):
    """10/25 fsdax: Introduce pgmap_request_folios()."""

    ENTRY_HOLDS_REF = True

    def dax_associate_entry(k, inode: Any, index: int, entry: DaxEntry, shared: bool) -> None:
        """Each folio of the entry is requested and given its mapping, but for copies
        (fs/dax.c).  That a request fails is not followed: it takes a pagemap that dies while
        SRCU is held, and warns."""
        for folio in k.folios(inode):
            if k.is_folio_of(inode, entry, folio):
                if shared:
                    k.dax_page_share_get(folio)
                else:
                    WARN_ON(folio.mapping is not None, "dax_associate_entry() of a folio with a mapping")
                    k.pgmap_request_folios(folio)
                    folio.mapping = inode.mapping
                    folio.index = index + k.offset_in_block(inode, folio)

    @at_setup
    def offset_in_block(self, file: VmFile, folio: Page) -> int:
        """How far behind the index of its entry a folio lies."""
        return folio.number % file.per_folio

    def pgmap_request_folios(k, folio: Page) -> None:
        """The first reference to a page takes one of its pagemap: added, and then looked at
        (mm/memremap.c)."""
        pgmap = folio.pgmap
        ptr = pgmap.ref.percpu_count_ptr
        WARN_ON(ptr.dead, "pgmap_request_folios() of a dying pagemap")
        atomic_inc(folio._refcount)
        if atomic_read(folio._refcount) == 1:
            k.percpu_ref_tryget(pgmap.ref)

    def percpu_ref_tryget(k, ref: PercpuRef) -> bool:
        """Take a reference unless there are none (include/linux/percpu-refcount.h)."""
        rcu_read_lock()
        taken = True
        ptr = ref.percpu_count_ptr
        if not ptr.atomic and not ptr.dead:
            atomic_inc(ref.percpu_count)
        else:
            taken = atomic_inc_not_zero(ref.count)
        rcu_read_unlock()
        return taken

    def pgmap_release_folios(k, folio: Page) -> None:
        """The reference of an entry; that of the pagemap goes with the last (mm/memremap.c)."""
        k.folio_put(folio)
        if atomic_read(folio._refcount) == 0:
            pgmap = folio.pgmap
            k.put_dev_pagemap(pgmap)

    def dax_zap_pages(k, inode: Any, index: int, entry: DaxEntry) -> Page | None:
        """Page by page: release, then look whether it is idle (fs/dax.c)."""
        busy: Page | None = None
        for folio in k.folios(inode):
            if k.is_folio_of(inode, entry, folio):
                if not entry.zap:
                    k.pgmap_release_folios(folio)
                if busy is None and not k.dax_page_is_idle(folio):
                    busy = folio
        if not entry.zap:
            inode.i_pages[index] = replace(entry, zap=True)
        return busy

    @at_setup
    def entered_files(self) -> Sequence[VmFile]:
        """The files whose entries hold references."""
        return list(self.inodes())

    def entry_has(k, file: VmFile, entry: DaxEntry, page: Page) -> bool:
        """Whether an entry holds a reference to a folio."""
        return page.head is page and not entry.zap and k.is_folio_of(file, entry, page)

    def entry_names_file(k, entry: DaxEntry) -> bool:
        """A page that was zapped may have lost its mapping, when it was freed: see 23/25."""
        return not entry.zap


class DaxGup21(DaxGup10):
    """21/25 devdax: Use dax_insert_entry() + dax_delete_mapping_entry().

    An entry is stored at the index of the fault here; the patch forgets the order of huge ones.
    """

    def dev_dax_pte_fault(k, vma: Vma, va: int, write: bool) -> bool:
        """The entry is unlocked again before the PTE is set (drivers/dax/device.c)."""
        page = vma.vm_file.pages[va - vma.start]
        k.dev_dax_enter(vma.vm_file, va - vma.start, page)
        return k.vmf_insert_page_mkwrite(vma, va, page, write)

    def dev_dax_pmd_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above (drivers/dax/device.c)."""
        folio = vma.vm_file.pages[start - vma.start]
        k.dev_dax_enter(vma.vm_file, start - vma.start, folio)
        return k.vmf_insert_folio_pmd(vma, start, folio, write)

    def dev_dax_pud_fault(k, vma: Vma, start: int, write: bool) -> bool:
        """As above (drivers/dax/device.c)."""
        folio = vma.vm_file.pages[start - vma.start]
        k.dev_dax_enter(vma.vm_file, start - vma.start, folio)
        return k.vmf_insert_folio_pud(vma, start, folio, write)

    def dev_dax_enter(k, dax: Any, index: int, page: Page) -> None:
        """dax_grab_mapping_entry(), dax_insert_entry(), dax_unlock_entry() (drivers/dax/device.c)."""
        entry = k.grab_mapping_entry(dax, index)
        k.dax_insert_entry(dax, index, entry, DaxEntry(page=page), False)
        k.dax_unlock_entry(dax, index)

    def kill_dev_dax(k, dax: Any) -> None:
        """No fault may begin; then wait until nobody uses the device's pages, and forget them
        (drivers/dax/bus.c)."""
        k.kill_dax(dax)
        k.dax_break_layouts(dax, 0, dax.nr)
        k.truncate_inode_pages_range(dax, 0)

    def dax_delete_mapping_entry(k, inode: Any, index: int) -> None:
        """A device's inode is not evicted (fs/dax.c)."""
        if inode.fsdax:
            super().dax_delete_mapping_entry(inode, index)
        else:
            k.dax_invalidate_entry(inode, index)

    @at_setup
    def entered_files(self) -> Sequence[VmFile]:
        """Devices as well."""
        return [*self.inodes(), *(d for d in self.system.instances(DaxDevice) if isinstance(d, VmFile))]


class DaxGup23(DaxGup21):
    """23/25 mm/memremap_pages: Initialize all ZONE_DEVICE pages to start at refcount 0."""

    PGMAP_REF_PER_USED_PAGE = True

    def initial_count(self, kind: MemoryType) -> int:
        """mm/page_alloc.c"""
        return 0

    def free_zone_device_folio(k, folio: Page) -> None:
        """Wakes first, and then clears the mapping and puts the pagemap (mm/memremap.c)."""
        wake_up(folio.frame.waiters)
        folio.mapping = None
        pgmap = folio.pgmap
        k.put_dev_pagemap(pgmap)

    def pgmap_release_folios(k, folio: Page) -> None:
        """folio_put(), which knows no put_devmap_managed_page_refs() (mm/memremap.c)."""
        if atomic_sub_and_test(folio._refcount, 1):
            k.free_zone_device_folio(folio)


class DaxGup24(DaxGup23):
    """24/25 mm/meremap_pages: Delete put_devmap_managed_page_refs()."""

    def devmap_managed(k) -> bool:
        """There is no such key any more (include/linux/mm.h)."""
        return False

    def memremap_get(self, pgmap: DevPagemap) -> None:
        """Unused pages hold no pagemap (mm/memremap.c)."""

    @at_setup
    def pgmap_refs(self, pgmap: DevPagemap) -> int:
        """None beside the initial one."""
        return 0

    def memunmap_pages(k, pgmap: DevPagemap) -> None:
        """Waits for entries and pins (mm/memremap.c)."""
        k.percpu_ref_kill(pgmap.ref)
        wait_for_completion(pgmap.ref.done)
        k.pageunmap_range(pgmap)
        k.percpu_ref_exit(pgmap.ref)


class DaxGupFix2022(DaxGup24):
    """25/25 mm/gup: Drop DAX pgmap accounting: the series as a whole."""

    name = "dax-gup-fix-2022"
    release = False
    title = "text 3 as posted: entries hold a reference to their pages"

    get_user_pages_locked = Gup.get_user_pages_locked
    follow_page_pte = Gup.follow_page_pte

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """No pagemap is looked up (mm/gup.c, gup_pte_range)."""
        pte = mm.pte[va]
        if not k.pte_access_permitted(pte, flags) or flags & FOLL_LONGTERM:
            return None
        return k.gup_fast_devmap_pte(mm, va, pte, flags)

    def gup_device_huge(k, table: Any, mm: Mm, va: int, flags: int) -> Page | None:
        """What the second look finds has no effect: nothing is undone, *nr stays advanced, and the
        caller returns a page that is not mapped any more (mm/gup.c, __gup_device_huge_pmd)."""
        vma = mm.vma_at[va]
        at = k.huge_start(vma, va)
        entry = table[at]
        if not k.pte_access_permitted(entry, flags) or flags & FOLL_LONGTERM:
            return None
        page = k.subpage(vma, va, entry)
        return page if k.try_grab_folio(page, flags) else None


NOTHING = ""
DAX_GUP_FIX_2022 = Series(
    name="dax-gup-fix-2022",
    title="Fix the DAX-gup mistake",
    source="Dan Williams, v3, 2022-10-14; never merged",
    base=Linux61,
    file=__file__,
    scenarios=SERIES_SCENARIOS,
    patches=(
        Patch("01", "fsdax: Wait on @page not @page->_refcount", NOTHING),
        Patch("02", "fsdax: Use dax_page_idle() to document DAX busy page checking", NOTHING),
        Patch(
            "03",
            "fsdax: Include unmapped inodes for page-idle detection",
            "truncate and punch look for pins of files that nobody has mapped",
            DaxGup03,
        ),
        Patch(
            "04",
            "fsdax: Introduce dax_zap_mappings()",
            "the scan marks every entry that it has looked at; nothing else reads the mark yet",
            DaxGup04,
        ),
        Patch(
            "05",
            "fsdax: Wait for pinned pages during truncate_inode_pages_final()",
            "eviction waits for pins",
            DaxGup05,
        ),
        Patch(
            "06",
            "fsdax: Validate DAX layouts broken before truncate",
            "warns of entries that are deleted without having been marked",
            DaxGup06,
        ),
        Patch(
            "07",
            "fsdax: Hold dax lock over mapping insertion",
            "SRCU covers the insertion of the entry, not that of the PTE",
            DaxGup07,
        ),
        Patch("08", "fsdax: Update dax_insert_entry() calling convention to return an error", NOTHING),
        Patch("09", "fsdax: Rework for_each_mapped_pfn() to dax_for_each_folio()", NOTHING),
        Patch(
            "10",
            "fsdax: Introduce pgmap_request_folios()",
            "an entry holds a reference to each of its pages, until it is zapped",
            DaxGup10,
        ),
        Patch("11", "fsdax: Rework dax_insert_entry() calling convention", NOTHING),
        Patch("12", "fsdax: Cleanup dax_associate_entry()", NOTHING),
        Patch("13", "devdax: Minor warning fixups", NOTHING),
        Patch("14", "devdax: Fix sparse lock imbalance warning", NOTHING),
        Patch("15", "libnvdimm/pmem: Support pmem block devices without dax", NOTHING),
        Patch("16", "devdax: Move address_space helpers to the DAX core", NOTHING),
        Patch("17", "devdax: Sparse fixes for xarray locking", NOTHING),
        Patch("18", "devdax: Sparse fixes for vmfault_t / dax-entry conversions", NOTHING),
        Patch("19", "devdax: Sparse fixes for vm_fault_t in tracepoints", NOTHING),
        Patch("20", "devdax: add PUD support to the DAX mapping infrastructure", NOTHING),
        Patch(
            "21",
            "devdax: Use dax_insert_entry() + dax_delete_mapping_entry()",
            "device-dax has entries with references; unbind zaps them and waits",
            DaxGup21,
        ),
        Patch(
            "22",
            "mm/memremap_pages: Replace zone_device_page_init() with pgmap_request_folios()",
            NOTHING,
        ),
        Patch(
            "23",
            "mm/memremap_pages: Initialize all ZONE_DEVICE pages to start at refcount 0",
            "idle at 0; the last put wakes, clears the mapping and puts the pagemap",
            DaxGup23,
        ),
        Patch(
            "24",
            "mm/meremap_pages: Delete put_devmap_managed_page_refs()",
            "file pages are freed at 0 too; unused pages hold no pagemap, unbind waits for the others",
            DaxGup24,
        ),
        Patch(
            "25",
            "mm/gup: Drop DAX pgmap accounting",
            "GUP looks up no pagemap; GUP-fast of huge pages keeps what it should undo",
            DaxGupFix2022,
        ),
    ),
)
