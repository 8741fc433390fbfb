"""Files and devices on DAX, call by call: that each does what it is for."""

from __future__ import annotations

from zonedev.scenarios import dax_tests_files as files
from zonedev.scenarios import dax_tests_maps as maps
from zonedev.scenarios import dax_tests_private as private
from zonedev.scenarios.dax_suite import DaxTest, pmd, pud

EITHER = (
    files.PwriteRead,
    files.MapWrite,
    files.WriteAfterRead,
    files.NoSpace,
    files.TruncateShorter,
    files.TruncateGives,
    files.PunchMiddle,
    files.PunchUnmapped,
    files.Shared,
    files.SharedTruncated,
    files.SharedLeft,
    files.UnlinkMapped,
    files.Umount,
    files.DropCaches,
    maps.Fsync,
    maps.Synchronous,
    maps.Fork,
    maps.ForkTruncate,
    maps.Poison,
    maps.PoisonDevice,
    maps.UnlinkExit,
    maps.UnmapExit,
    maps.DiskGone,
    maps.FsyncHole,
    maps.DirectIo,
    maps.DeviceDax,
    maps.DeviceGone,
)
DEVICES = (maps.PoisonDevice, maps.DeviceDax)
SMALL = (
    maps.FastOnly,
    private.FsyncPrivate,
    private.PrivateCopy,
    private.PrivateUnread,
    private.PrivateReadCopied,
    private.PrivatePunched,
    private.PrivateUnbound,
)

DAX_TESTS: tuple[type[DaxTest], ...] = (
    *(each for case in EITHER for each in (case, pmd(case))),
    *(pud(case) for case in DEVICES),
    *SMALL,
)
