"""Text 4 with what it stands on: "fs/dax: Fix ZONE_DEVICE page reference counts", patch by patch.

Alistair Popple posted the 20 patches, v9, on 2025-02-28; v6.15 has them.  Each class below is the
patch that its docstring names, on top of those before it; the last is v6.15 itself.  That what was
merged is what was posted is known of fs/dax.c as of 19/20, and taken to be so of the rest.
"""

from __future__ import annotations

from typing import Any

from zonedev.designs.linux_6_12 import Linux612
from zonedev.designs.linux_6_15 import Linux615
from zonedev.designs.series import SERIES_SCENARIOS, Patch, Series
from zonedev.kernel.dax import Dax
from zonedev.kernel.dax_layout import DaxLayout
from zonedev.kernel.ext4 import Ext4
from zonedev.kernel.fault import Fault
from zonedev.kernel.gup import Gup
from zonedev.kernel.inode import Inode
from zonedev.kernel.memremap import Memremap
from zonedev.kernel.page import MemoryType, Page, PageOps
from zonedev.kernel.pgtable import Mm, Pte, Vma
from zonedev.kernel.zap import Zap
from zonedev.lang.primitives import WARN_ON, atomic_sub_return, wake_up
from zonedev.lang.runtime import at_setup


class DaxRefcount02(Linux612):
    """02/20 fs/dax: Return unmapped busy pages from dax_layout_busy_page_range()."""

    #: mapping_mapped() is not asked any more (fs/dax.c).
    dax_layout_busy_page = DaxLayout.dax_layout_busy_page


class DaxRefcount03(DaxRefcount02):
    """03/20 fs/dax: Don't skip locked entries when scanning entries."""

    #: Waits, and then skips the entry all the same (fs/dax.c).
    wait_entry_unlocked_exclusive = Linux615.wait_entry_unlocked_exclusive


class DaxRefcount04(DaxRefcount03):
    """04/20 fs/dax: Refactor wait for dax idle page.

    ext4, XFS and fuse wait on the page from here on, no longer on its _refcount
    (include/linux/dax.h, dax_wait_page_idle).  A signal would end the wait; there is none here.
    """

    def put_devmap_managed_page_refs(k, folio: Page, refs: int) -> None:
        """Still wakes those who wait on &folio->_refcount, another address: nobody does any more
        (mm/memremap.c), until 19/20."""
        if atomic_sub_return(folio._refcount, refs) == 1:
            wake_up(folio.frame.refcount_waiters)


class DaxRefcount06(DaxRefcount04):
    """06/20 fs/dax: Always remove DAX page-cache entries when breaking layouts.

    Eviction breaks no layout until 07/20: it warns of every entry that is left.
    """

    #: Deletes the entries once no page is busy (fs/dax.c).
    dax_break_layout = DaxLayout.dax_break_layout
    #: Warns of an entry that it finds, and deletes it (mm/truncate.c).
    truncate_inode_pages_range = DaxLayout.truncate_inode_pages_range


class DaxRefcount07(DaxRefcount06):
    """07/20 fs/dax: Ensure all pages are idle prior to filesystem unmount."""

    #: Begins with dax_break_layout_final() (fs/ext4/inode.c, fs/xfs/xfs_super.c).
    ext4_evict_inode = Ext4.ext4_evict_inode


class DaxRefcount08(DaxRefcount07):
    """08/20 fs/dax: Remove PAGE_MAPPING_DAX_SHARED mapping flag."""

    def dax_associate_page(k, inode: Inode, index: int, page: Page, shared: bool) -> None:
        """The first file to map a shared page is its mapping, the second turns that into a count
        (fs/dax.c, dax_associate_entry)."""
        if shared:
            known = page.mapping is not None
            if not known:
                known = page.index != 0
            if known:
                k.dax_folio_share_get(page)
                return
        WARN_ON(page.mapping is not None, "dax_associate_entry() of a page that has a mapping")
        page.mapping = inode.mapping
        page.index = index

    def dax_disassociate_page(k, inode: Inode, page: Page, trunc: bool) -> None:
        """fs/dax.c, dax_disassociate_entry"""
        if trunc:
            k.warn_if_used(page)
        if k.dax_folio_is_shared(page):
            share = page.index
            page.index = share - 1
            if share > 1:
                return
        else:
            mapping = page.mapping
            WARN_ON(
                mapping is not None and mapping is not inode.mapping,
                "dax_disassociate_entry() of a page of another file",
            )
        page.mapping = None
        page.index = 0


class DaxRefcount15(DaxRefcount08):
    """15/20 mm/huge_memory: Add vmf_insert_folio_pud()."""

    def zap_huge_pud(k, vma: Vma, start: int) -> None:
        """Drops a reference and a mapping of every DAX page, but device-dax, the only one with
        PUDs, takes none before 20/20 (mm/huge_memory.c)."""
        Zap.zap_huge(k, vma.mm.pud, vma, start)


class DaxRefcount19(DaxRefcount15):
    """19/20 fs/dax: Properly refcount fs dax pages.

    Files are counted as in v6.15, and their entries are no devmap; device-dax is as before.
    """

    COMPOUND_FSDAX = True

    @at_setup
    def mapping_holds_ref(self, page: Page) -> bool:
        """What maps a page of a file does: so the rule refcount-exact reckons."""
        return bool(page.pgmap.type == MemoryType.FS_DAX)

    #: 0 for files (mm/mm_init.c).
    initial_count = Memremap.initial_count
    #: put_devmap_managed_folio_refs() is gone (include/linux/mm.h, mm/memremap.c).
    folio_put_refs = PageOps.folio_put_refs

    def free_zone_device_folio(k, folio: Page) -> None:
        """Wakes those who wait on the page; device-dax still has no ops, which warns, and its
        count stays 0 (mm/memremap.c)."""
        pgmap = folio.pgmap
        kind = pgmap.type
        if WARN_ON(kind == MemoryType.GENERIC, "free_zone_device_folio() of a device-dax page"):
            return
        wake_up(folio.frame.waiters)

    # --- map and zap -------------------------------------------------------------------------------

    def vmf_insert_page_mkwrite(k, vma: Vma, va: int, page: Page, write: bool) -> bool:
        """For files; device-dax calls vmf_insert_mixed() (fs/dax.c, drivers/dax/device.c)."""
        if k.vma_is_fsdax(vma):
            return Fault.vmf_insert_page_mkwrite(k, vma, va, page, write)
        return super().vmf_insert_page_mkwrite(vma, va, page, write)

    def insert_page_into_pte_locked(k, vma: Vma, table: Any, at: int, page: Page, write: bool) -> None:
        """Of a file also vmf_insert_folio_pmd(); else insert_pfn(), insert_pfn_pmd() and
        insert_pfn_pud() (mm/memory.c, mm/huge_memory.c)."""
        if k.vma_is_fsdax(vma):
            Fault.insert_page_into_pte_locked(k, vma, table, at, page, write)
        else:
            super().insert_page_into_pte_locked(vma, table, at, page, write)

    def mk_entry(k, vma: Vma, page: Page, write: bool) -> Pte:
        """The pfns of pmem have no PFN_DEV and no PFN_MAP (drivers/nvdimm/pmem.c)."""
        if k.vma_is_fsdax(vma):
            return Linux615.mk_entry(k, vma, page, write)
        return super().mk_entry(vma, page, write)

    def zap_pte_range(k, vma: Vma, first: int, nr: int) -> None:
        """vm_normal_page() is NULL for devmap only (mm/memory.c)."""
        if k.vma_is_fsdax(vma):
            Zap.zap_pte_range(k, vma, first, nr)
        else:
            super().zap_pte_range(vma, first, nr)

    #: NULL for devmap only, which files' entries are no more (mm/memory.c).
    vm_normal_page = Fault.vm_normal_page

    #: As 15/20 for PMDs: also of device-dax, which takes no reference before 20/20 (mm/huge_memory.c).
    zap_huge = Zap.zap_huge

    # --- files -------------------------------------------------------------------------------------

    #: All of fs/dax.c.  That dax_disassociate_entry() looks at no flag, and so takes empty and zero
    #: entries for pfn 0, is not followed.
    dax_associate_entry = Dax.dax_associate_entry
    dax_disassociate_entry = Dax.dax_disassociate_entry
    dax_insert_mapping = Dax.dax_insert_mapping
    dax_busy_page = DaxLayout.dax_busy_page

    # --- GUP ---------------------------------------------------------------------------------------

    def gup_fast_pte_range(k, mm: Mm, va: int, flags: int) -> Page | None:
        """No pagemap is looked up for an entry that is no devmap (mm/gup.c)."""
        if k.vma_is_fsdax(mm.vma_at[va]):
            return Gup.gup_fast_pte_range(k, mm, va, flags)
        return super().gup_fast_pte_range(mm, va, flags)

    def gup_fast_pmd_leaf(k, mm: Mm, va: int, flags: int) -> Page | None:
        """A special entry, as files have it, is left to GUP-slow (mm/gup.c)."""
        if k.vma_is_fsdax(mm.vma_at[va]):
            return Gup.gup_fast_pmd_leaf(k, mm, va, flags)
        return super().gup_fast_pmd_leaf(mm, va, flags)

    def follow_page_pte(k, table: Any, mm: Mm, at: int, va: int, flags: int) -> Page | None:
        """follow_page_pte() and follow_huge_pmd() for files, follow_devmap_pmd() and
        follow_devmap_pud() for device-dax (mm/gup.c, mm/huge_memory.c)."""
        if k.vma_is_fsdax(mm.vma_at[va]):
            return Gup.follow_page_pte(k, table, mm, at, va, flags)
        return super().follow_page_pte(table, mm, at, va, flags)


NOTHING = ""
DAX_REFCOUNT_2025 = Series(
    name="dax-refcount-2025",
    title="fs/dax: Fix ZONE_DEVICE page reference counts",
    source="Alistair Popple, v9, 2025-02-28; merged for v6.15",
    base=Linux612,
    file=__file__,
    scenarios=SERIES_SCENARIOS,
    patches=(
        Patch("01", "fuse: Fix dax truncate/punch_hole fault path", NOTHING),
        Patch(
            "02",
            "fs/dax: Return unmapped busy pages from dax_layout_busy_page_range()",
            "truncate and punch look for pins of files that nobody has mapped",
            DaxRefcount02,
        ),
        Patch(
            "03",
            "fs/dax: Don't skip locked entries when scanning entries",
            "the scan waits for a locked entry, but goes on at the next index",
            DaxRefcount03,
        ),
        Patch(
            "04",
            "fs/dax: Refactor wait for dax idle page",
            "truncate sleeps on the page; the last unpin still wakes who sleeps on its count",
            DaxRefcount04,
        ),
        # The loop moves into fs/dax.c.  What it breaks is the lock of two XFS inodes, which takes
        # "no page" for a busy one and tries for ever, until 06/20: that lock is not specified here.
        Patch("05", "fs/dax: Create a common implementation to break DAX layouts", NOTHING),
        Patch(
            "06",
            "fs/dax: Always remove DAX page-cache entries when breaking layouts",
            "truncate and punch delete all entries once no page is busy; eviction warns of those left",
            DaxRefcount06,
        ),
        Patch(
            "07",
            "fs/dax: Ensure all pages are idle prior to filesystem unmount",
            "eviction waits for pins",
            DaxRefcount07,
        ),
        Patch(
            "08",
            "fs/dax: Remove PAGE_MAPPING_DAX_SHARED mapping flag",
            "the mapping of a shared page is that of its only file, or none and a count",
            DaxRefcount08,
        ),
        Patch("09", "mm/gup: Remove redundant check for PCI P2PDMA page", NOTHING),
        Patch("10", "mm/mm_init: Move p2pdma page refcount initialisation to p2pdma", NOTHING),
        Patch("11", "mm: Allow compound zone device pages", NOTHING),
        Patch(
            "12",
            "mm/memory: Enhance insert_page_into_pte_locked() to create writable mappings",
            NOTHING,
        ),
        Patch("13", "mm/memory: Add vmf_insert_page_mkwrite()", NOTHING),
        Patch("14", "mm/rmap: Add support for PUD sized mappings to rmap", NOTHING),
        Patch(
            "15",
            "mm/huge_memory: Add vmf_insert_folio_pud()",
            "zap of a device-dax PUD drops a reference that nobody has taken",
            DaxRefcount15,
        ),
        Patch("16", "mm/huge_memory: Add vmf_insert_folio_pmd()", NOTHING),
        # The design of v6.12 has this test already, and asks it of no file: devmap is refused before.
        Patch("17", "mm/gup: Don't allow FOLL_LONGTERM pinning of FS DAX pages", NOTHING),
        Patch("18", "dcssblk: Mark DAX broken, remove FS_DAX_LIMITED support", NOTHING),
        Patch(
            "19",
            "fs/dax: Properly refcount fs dax pages",
            "file pages idle at 0, mappings count, the last put wakes; of device-dax PMDs as 15",
            DaxRefcount19,
        ),
        Patch(
            "20",
            "device/dax: Properly refcount device dax pages when mapping",
            "device-dax pages are counted when they are mapped",
            Linux615,
        ),
    ),
)
