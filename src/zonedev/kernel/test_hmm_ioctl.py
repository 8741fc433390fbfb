"""The ioctls of /dev/hmm_dmirror, as the kernel's own tests make them (lib/test_hmm.c).

They return 0 or an error, copy data between a buffer of the program and what the device maps, and count.
Of how often -EBUSY is tried again (for a second) nothing is modelled; nor are wrong arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EBUSY, EFAULT, EINVAL, ENOENT, ENOMEM, EPERM
from typing import Any, NamedTuple

from zonedev.kernel.hmm import Hmm
from zonedev.kernel.migrate_device import SELECT_SYSTEM
from zonedev.kernel.mremap import Mremap
from zonedev.kernel.page import Page
from zonedev.kernel.pgtable import Mm, Vma
from zonedev.kernel.test_hmm import NO_ENTRY, Dmirror
from zonedev.lang.primitives import down_read, lock, unlock, up_read
from zonedev.lang.records import Record, array, count
from zonedev.lang.runtime import at_setup, atomic, current

#: What a snapshot says of a page (lib/test_hmm_uapi.h, HMM_DMIRROR_PROT_).
PROT_NONE, PROT_READ, PROT_WRITE, PROT_PMD, PROT_ZERO, PROT_ERROR = 0x00, 0x01, 0x02, 0x04, 0x10, 0xFF
PRIVATE_LOCAL, PRIVATE_REMOTE, COHERENT_LOCAL, COHERENT_REMOTE = 0x20, 0x30, 0x40, 0x50


class Piece(NamedTuple):
    """Some pages of one VMA."""

    vma: Vma
    first: int
    nr: int


class Command(Record):
    """struct hmm_dmirror_cmd and the buffer that it points to, by page (lib/test_hmm_uapi.h).

    A program sees in `ptr` what was copied to it, and in `perm` what a snapshot told.
    """

    short = "cmd"
    ptr: Any = array(count(0, 3))
    perm: Any = array(count(0, 255))
    bounce: Any = array(count(0, 3), quiet=True)  # struct dmirror_bounce
    cpages = count(0, 7)
    faults = count(0, 3)


class TestHmmIoctl(Mremap):
    """lib/test_hmm.c as of v7.2, between the program and what is in test_hmm.py and test_hmm_devmem.py."""

    __test__ = False  # no class of tests

    def command(self, nr: int) -> Command:
        """A buffer for `nr` pages, at set-up."""
        cmd = self.system.new(Command)
        for name in ("ptr", "perm", "bounce"):
            cmd._values[name].grow(nr)
        return cmd

    @at_setup
    def pieces(self, mm: Mm, first: int, nr: int) -> Sequence[Piece]:
        """A range, VMA by VMA."""
        found = []
        va = first
        while va < first + nr:
            vma = mm.vma_at[va]
            end = min(first + nr, vma.start + vma.nr)
            found.append(Piece(vma, va, end - va))
            va = end
        return found

    # --- read and write ----------------------------------------------------------------------------

    def dmirror_read(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_READ: what is not mapped is faulted on, and then the range is read again.  What was
        read before is looked up again as well here (lib/test_hmm.c)."""
        faults = 0
        while not k.dmirror_bounce_read(mirror, cmd, first, nr):
            result = k.dmirror_fault(mirror, first, nr, False)
            if result != 0:
                return result
            faults = min(faults + 1, 3)
        k.copy_to_user(cmd, nr)
        k.put_cmd(cmd, nr, faults)
        return 0

    def dmirror_write(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_WRITE (lib/test_hmm.c)."""
        faults = 0
        k.copy_from_user(cmd, nr)
        while not k.dmirror_do_write(mirror, cmd, first, nr):
            result = k.dmirror_fault(mirror, first, nr, True)
            if result != 0:
                return result
            faults = min(faults + 1, 3)
        k.put_cmd(cmd, nr, faults)
        return 0

    def dmirror_fault(k, mirror: Dmirror, first: int, nr: int, write: bool) -> int:
        """lib/test_hmm.c"""
        result = k.dmirror_range_fault(mirror, first, nr, write)
        if result == Hmm.OK:
            return 0
        return -EPERM if result == Hmm.EPERM else -EFAULT

    def dmirror_bounce_read(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> bool:
        """dmirror_do_read(), with what it reads; false for -ENOENT (lib/test_hmm.c)."""
        found = True
        lock(mirror.mutex)
        for i in range(nr):
            if found:
                page = k.device_load(mirror, first + i)
                found = page is not None
                if page is not None:
                    data = page.frame.data
                    cmd.bounce[i] = data
        unlock(mirror.mutex)
        return found

    def dmirror_do_write(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> bool:
        """False for -ENOENT; what comes before is written then (lib/test_hmm.c)."""
        found = True
        lock(mirror.mutex)
        for i in range(nr):
            if found:
                data = cmd.bounce[i]
                found = k.device_store(mirror, first + i, data) is not None
        unlock(mirror.mutex)
        return found

    def copy_from_user(k, cmd: Command, nr: int) -> None:
        """include/linux/uaccess.h"""
        with atomic("nobody else looks at the program's buffer"):
            for i in range(nr):
                cmd.bounce[i] = cmd.ptr[i]

    def copy_to_user(k, cmd: Command, nr: int) -> None:
        """include/linux/uaccess.h"""
        with atomic("nobody else looks at the program's buffer"):
            for i in range(nr):
                cmd.ptr[i] = cmd.bounce[i]

    def put_cmd(k, cmd: Command, cpages: int, faults: int) -> None:
        """What an ioctl that succeeds tells (lib/test_hmm.c, dmirror_fops_unlocked_ioctl)."""
        with atomic("nobody else looks at the program's buffer"):
            cmd.cpages = cpages
            cmd.faults = faults

    # --- migration ---------------------------------------------------------------------------------

    def dmirror_to_device(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_MIGRATE_TO_DEV: VMA by VMA; then the whole range is read as the device maps it,
        whatever migrated (lib/test_hmm.c, dmirror_migrate_to_device)."""
        mm = mirror.mm
        result = 0
        down_read(mm.mmap_lock)
        for piece in k.pieces(mm, first, nr):
            if result == 0:
                if k.vma_may_read(piece.vma):
                    k.dmirror_migrate_piece(mirror, piece.vma, piece.first, piece.nr)
                else:
                    result = -EINVAL
        up_read(mm.mmap_lock)
        if result != 0:
            return result
        return k.dmirror_verify(mirror, cmd, first, nr)

    def dmirror_migrate_piece(k, mirror: Dmirror, vma: Vma, first: int, nr: int) -> None:
        """The loop's body in dmirror_migrate_to_device() (lib/test_hmm.c)."""
        k.migrate_vma_setup(vma, first, nr, SELECT_SYSTEM, mirror.mdevice, None)
        k.dmirror_migrate_alloc_and_copy(mirror, first, nr)
        k.migrate_vma_pages(vma, first, nr, mirror.mdevice, None)
        k.dmirror_migrate_finalize_and_map(mirror, first, nr)
        k.migrate_vma_finalize(first, nr, None)

    def dmirror_verify(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """Return the migrated data (lib/test_hmm.c, the end of dmirror_migrate_to_device)."""
        if not k.dmirror_bounce_read(mirror, cmd, first, nr):
            return -ENOENT
        k.copy_to_user(cmd, nr)
        k.put_cmd(cmd, nr, 0)
        return 0

    def dmirror_to_system(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_MIGRATE_TO_SYS: how many pages came is counted (lib/test_hmm.c,
        dmirror_migrate_to_system)."""
        mm = mirror.mm
        moved = 0
        result = 0
        down_read(mm.mmap_lock)
        for piece in k.pieces(mm, first, nr):
            if result == 0:
                if k.vma_may_read(piece.vma):
                    some = k.dmirror_piece_to_system(mirror, piece.vma, piece.first, piece.nr)
                    result = min(some, 0)
                    moved = min(moved + max(some, 0), nr)
                else:
                    result = -EINVAL
        up_read(mm.mmap_lock)
        if result == 0:
            k.put_cmd(cmd, moved, 0)
        return result

    def dmirror_piece_to_system(k, mirror: Dmirror, vma: Vma, first: int, nr: int) -> int:
        """The loop's body in dmirror_migrate_to_system(): how many came, or -ENOMEM (lib/test_hmm.c,
        dmirror_successful_migrated_pages)."""
        moved = 0
        k.migrate_vma_setup(vma, first, nr, k.dmirror_select_device(mirror), mirror.mdevice, None)
        done = k.dmirror_devmem_fault_alloc_and_copy(vma, first, nr, mirror)
        if done:
            k.migrate_vma_pages(vma, first, nr, mirror.mdevice, None)
            for va in range(first, first + nr):
                if current().src[va] is not None and current().migrates[va]:
                    moved = min(moved + 1, nr)
        k.migrate_vma_finalize(first, nr, None)
        return moved if done else -ENOMEM

    def dmirror_release(k, mirror: Dmirror) -> int:
        """HMM_DMIRROR_RELEASE (lib/test_hmm.c)."""
        k.dmirror_device_remove_chunks(mirror.mdevice)
        return 0

    def dmirror_close(k, mirror: Dmirror) -> int:
        """close(): dmirror_fops_release() evicts what anybody has on the device.  The notifier goes first,
        of which there is no more left here than that it finds nothing (lib/test_hmm.c)."""
        if mirror.mdevice.pgmap is not None and not mirror.mdevice.remove:
            k.dmirror_device_evict_chunk(mirror.mdevice)
        for va in range(len(mirror.pt)):
            mirror.pt[va] = NO_ENTRY
        return 0

    # --- exclusive access --------------------------------------------------------------------------

    def dmirror_take(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_EXCLUSIVE; that v7.2 knows more errors than -EBUSY is not modelled (lib/test_hmm.c,
        dmirror_exclusive)."""
        if not k.dmirror_exclusive(mirror, first, nr):
            return -EBUSY
        return k.dmirror_verify(mirror, cmd, first, nr)

    def dmirror_check_atomic(k, mirror: Dmirror, first: int, nr: int) -> int:
        """HMM_DMIRROR_CHECK_EXCLUSIVE, which takes no lock (lib/test_hmm.c)."""
        for va in range(first, first + nr):
            entry = mirror.pt[va]
            if entry.atomic:
                return -EPERM
        return 0

    # --- snapshots ---------------------------------------------------------------------------------

    def dmirror_snapshot(k, mirror: Dmirror, cmd: Command, first: int, nr: int) -> int:
        """HMM_DMIRROR_SNAPSHOT: what is mapped, without a fault.  The kernel takes a notifier of its own for
        that (lib/test_hmm.c, dmirror_range_snapshot)."""
        mm = mirror.mm
        while True:
            k.mmu_interval_read_begin(mirror.notifier)
            down_read(mm.mmap_lock)
            result = k.hmm_range_fault(mirror.notifier, mm, first, nr, False, False, mirror.mdevice)
            up_read(mm.mmap_lock)
            if result == Hmm.OK:
                lock(mirror.mutex)
                if not k.mmu_interval_read_retry(mirror.notifier):
                    break
                unlock(mirror.mutex)
        for i in range(nr):
            cmd.perm[i] = k.dmirror_mkentry(mirror, first + i)
        unlock(mirror.mutex)
        k.put_cmd(cmd, nr, 0)
        return 0

    def dmirror_mkentry(k, mirror: Dmirror, va: int) -> int:
        """lib/test_hmm.c"""
        pfn = current().hmm_pfns[va]
        if pfn.error:
            return PROT_ERROR
        if pfn.page is None:
            return PROT_NONE
        level = PROT_PMD if pfn.huge else 0
        return k.dmirror_page_kind(mirror, pfn.page) | (PROT_WRITE if pfn.write else PROT_READ) | level

    def dmirror_page_kind(k, mirror: Dmirror, page: Page) -> int:
        """Whose memory it is (lib/test_hmm.c, dmirror_mkentry)."""
        if k.is_zero_page(page):
            return PROT_ZERO
        if k.is_device_private_page(page):
            return PRIVATE_LOCAL if k.is_of_device(mirror, page) else PRIVATE_REMOTE
        if k.is_device_coherent_page(page):
            return COHERENT_LOCAL if k.is_of_device(mirror, page) else COHERENT_REMOTE
        return PROT_NONE

    def is_of_device(k, mirror: Dmirror, page: Page) -> bool:
        """dmirror_page_to_device() == dmirror->mdevice (lib/test_hmm.c)."""
        return page.pgmap is mirror.mdevice.pgmap

    # --- flags -------------------------------------------------------------------------------------

    #: Whether a test sets flags.
    flags_exist = False

    def may_fail_alloc(self) -> None:
        """Say at set-up that a test sets flags."""
        self.flags_exist = True

    def dmirror_fail_alloc(k, mirror: Dmirror) -> int:
        """HMM_DMIRROR_FLAGS with HMM_DMIRROR_FLAG_FAIL_ALLOC (lib/test_hmm.c)."""
        mirror.fail_alloc = True
        return 0

    def alloc_fails(k, mirror: Dmirror) -> bool:
        """The next allocation for a mirror fails (lib/test_hmm.c)."""
        if not k.flags_exist or not mirror.fail_alloc:
            return False
        mirror.fail_alloc = False
        return True

    def dmirror_alloc(k, mirror: Dmirror, large: bool = False) -> Page | None:
        """dmirror_devmem_alloc_page() (lib/test_hmm.c)."""
        return None if k.alloc_fails(mirror) else super().dmirror_alloc(mirror, large)

    def dmirror_alloc_page(k, vma: Vma, mirror: Dmirror) -> Page | None:
        """In dmirror_devmem_fault_alloc_and_copy() (lib/test_hmm.c)."""
        return None if k.alloc_fails(mirror) else super().dmirror_alloc_page(vma, mirror)

    def dmirror_alloc_huge_folio(k, vma: Vma, mirror: Dmirror) -> Page | None:
        """In dmirror_devmem_fault_alloc_and_copy() (lib/test_hmm.c)."""
        return None if k.alloc_fails(mirror) else super().dmirror_alloc_huge_folio(vma, mirror)
