"""The catalogue."""

from __future__ import annotations

from zonedev.scenarios.base import Scenario
from zonedev.scenarios.calls_beside_calls import (
    ForkVsMunmap,
    MemoryFailureVsFault,
    PinVsPinPmd,
    PunchVsTruncate,
    PwriteVsPwrite,
    UnlinkVsMunmap,
)
from zonedev.scenarios.coherent import (
    CoherentLongtermPin,
    CoherentLongtermPinLocked,
    CoherentLongtermPinVsEvict,
    CoherentLongtermPinVsMigration,
    CoherentLongtermPinVsMunmap,
    CoherentLongtermPinVsReference,
    CoherentLongtermPinVsTouch,
    CoherentRefcounts,
    CoherentRoundtrip,
    CoherentUnbindKept,
    CoherentUnbindVsLongtermPin,
    CoherentUnbindVsPin,
)
from zonedev.scenarios.copy_on_write import (
    CowReuse,
    DontneedVsDontneed,
    ForkVsPinned,
    ForkVsWriter,
    MunmapVsTouch,
)
from zonedev.scenarios.devdax_fault_vs_unbind import (
    DevdaxFaultVsUnbind,
    DevdaxFaultVsUnbindPmd,
    DevdaxFaultVsUnbindPud,
)
from zonedev.scenarios.devdax_fork_exit import DevdaxForkExit
from zonedev.scenarios.devdax_gup_fast_vs_munmap import DevdaxGupFastVsMunmap
from zonedev.scenarios.devdax_gup_fast_vs_unbind import DevdaxGupFastVsUnbind, DevdaxGupFastVsUnbindPmd
from zonedev.scenarios.devdax_gup_walk_vs_unbind import DevdaxGupWalkVsUnbind
from zonedev.scenarios.devdax_mmap_vs_unbind import DevdaxMmapVsUnbind
from zonedev.scenarios.devdax_pinners_vs_unbind import DevdaxPinnersVsUnbind
from zonedev.scenarios.devdax_refcounts import DevdaxRefcounts, DevdaxRefcountsPmd
from zonedev.scenarios.devdax_unbind_vs_mapping import DevdaxUnbindVsMapping
from zonedev.scenarios.devdax_unbind_vs_munmap import DevdaxUnbindVsMunmap
from zonedev.scenarios.devdax_unbind_vs_pin import DevdaxUnbindVsPin
from zonedev.scenarios.device_mirror import NotifierRetry, NotifierRetryUnchecked
from zonedev.scenarios.entry_lock_waiters import EntryLockWaiters
from zonedev.scenarios.evict_vs_pin import EvictCachedVsPin, EvictVsOwnPin, EvictVsPin
from zonedev.scenarios.exclusive import (
    ExclusiveAtomics,
    ExclusiveAtomicsSamePage,
    ExclusiveForkFails,
    ExclusiveRetryHuge,
    ExclusiveRetrySelf,
    ExclusiveSwapout,
    ExclusiveVsCpu,
    ExclusiveVsDontneed,
    ExclusiveVsFork,
    ExclusiveVsGup,
    ExclusiveVsSecondDevice,
)
from zonedev.scenarios.files_at_work import FilesAtWork
from zonedev.scenarios.free_reads_pagemap import FreeReadsPagemap
from zonedev.scenarios.fsdax_refcounts import FsdaxRefcounts, FsdaxRefcountsPmd
from zonedev.scenarios.fsdax_unbind import (
    FsdaxFaultVsUnbind,
    FsdaxUnbindClosed,
    FsdaxUnbindMounted,
    FsdaxUnbindVsPin,
)
from zonedev.scenarios.fsync_vs_writer import (
    FsyncVsSyncWriter,
    FsyncVsWriter,
    FsyncVsZap,
    HoleReadVsWrite,
    PrivateVsPrivate,
)
from zonedev.scenarios.gup_fast_underflow import GupFastUnderflow
from zonedev.scenarios.huge_pages import (
    EvictMixedOrders,
    ThpFaultRange,
    ThpNouveauUnbind,
    ThpPrivateFault,
    ThpPrivateFork,
    ThpPrivateMigrate,
    ThpPrivateSplit,
    ThpPrivateUnbind,
)
from zonedev.scenarios.memory_failure_vs_truncate import MemoryFailureVsTruncate
from zonedev.scenarios.moved_pages import MoveVsFork, MoveVsPin
from zonedev.scenarios.p2pdma import (
    P2pdmaFreeVsMmap,
    P2pdmaFreeWritesLate,
    P2pdmaMmapWarns,
    P2pdmaRefcounts,
    P2pdmaUnbindVsAlloc,
    P2pdmaUnbindVsExit,
    P2pdmaUnbindVsMmap,
    P2pdmaUnbindVsPin,
    P2pdmaUnbindVsUser,
)
from zonedev.scenarios.pmem_unbind_order import PmemUnbindOrder
from zonedev.scenarios.private_mapping import PrivateMappingRefcounts, PrivateVsTruncate
from zonedev.scenarios.private_memory import (
    ForkOfPrivate,
    ForkThenDeviceWrite,
    MigrateEmptyVsTouch,
    MigrateRoundtrip,
    MigrateVsCpuFault,
    MigrateVsDeviceWrite,
    MigrateVsFork,
    MigrateVsGup,
    MigrateVsMunmap,
    MigrateVsTouch,
    MigrateVsZap,
    PrivateRefcounts,
)
from zonedev.scenarios.private_unbind import (
    EvictVsMunmap,
    HmmWalkVsUnbind,
    PrivateAllocAfterKill,
    PrivateUnbindExit,
    PrivateUnbindMapped,
    PrivateUnbindOnce,
    PrivateUnbindUnevicted,
    PrivateUnbindVsFault,
    PrivateUnbindVsMigrate,
)
from zonedev.scenarios.punch_vs_pin import (
    GupPmdRecheck,
    PunchBesidePin,
    PunchVsGupFast,
    PunchVsGupFastWaits,
    PunchVsPin,
    PunchWarnsOfGupFast,
)
from zonedev.scenarios.reflink_share import (
    ReflinkRefcounts,
    ReflinkShare,
    ReflinkShareLocked,
    TruncateVsSharer,
)
from zonedev.scenarios.threads_fault import ThreadsFault, ThreadsFaultPmd, ThreadsFaultPud
from zonedev.scenarios.three_states import ThreeStates
from zonedev.scenarios.truncate_vs_fault import (
    FreeWakesBeforeClear,
    RefaultAfterZap,
    TruncateStaleTlb,
    TruncateVsFault,
    TruncateVsSyncFault,
)
from zonedev.scenarios.truncate_vs_pin import (
    TruncateVsLockedEntry,
    TruncateVsPin,
    TruncateVsPinUnmapped,
    TruncateVsRefault,
    TruncateWarns,
)

SCENARIOS: dict[str, type[Scenario]] = {
    s.name(): s
    for s in (
        DevdaxRefcounts,
        DevdaxRefcountsPmd,
        DevdaxUnbindVsPin,
        DevdaxUnbindVsMapping,
        DevdaxFaultVsUnbind,
        DevdaxFaultVsUnbindPmd,
        DevdaxFaultVsUnbindPud,
        ThreadsFault,
        ThreadsFaultPmd,
        ThreadsFaultPud,
        DevdaxGupFastVsMunmap,
        DevdaxGupFastVsUnbind,
        DevdaxGupFastVsUnbindPmd,
        DevdaxGupWalkVsUnbind,
        DevdaxMmapVsUnbind,
        DevdaxPinnersVsUnbind,
        DevdaxUnbindVsMunmap,
        DevdaxForkExit,
        FsdaxRefcounts,
        FsdaxRefcountsPmd,
        PmemUnbindOrder,
        GupFastUnderflow,
        FreeReadsPagemap,
        ThreeStates,
        TruncateVsPin,
        TruncateVsPinUnmapped,
        TruncateWarns,
        TruncateVsRefault,
        TruncateVsLockedEntry,
        EvictVsPin,
        EvictVsOwnPin,
        EvictCachedVsPin,
        PunchVsPin,
        PunchBesidePin,
        PunchVsGupFast,
        PunchWarnsOfGupFast,
        PunchVsGupFastWaits,
        GupPmdRecheck,
        TruncateVsFault,
        TruncateVsSyncFault,
        TruncateStaleTlb,
        RefaultAfterZap,
        FreeWakesBeforeClear,
        MemoryFailureVsTruncate,
        ReflinkShare,
        ReflinkShareLocked,
        ReflinkRefcounts,
        TruncateVsSharer,
        EntryLockWaiters,
        PrivateMappingRefcounts,
        PrivateVsTruncate,
        FsdaxUnbindVsPin,
        FsdaxUnbindMounted,
        FsdaxUnbindClosed,
        FsdaxFaultVsUnbind,
        FsyncVsWriter,
        FsyncVsSyncWriter,
        FsyncVsZap,
        HoleReadVsWrite,
        PrivateVsPrivate,
        PwriteVsPwrite,
        PunchVsTruncate,
        UnlinkVsMunmap,
        ForkVsMunmap,
        PinVsPinPmd,
        MemoryFailureVsFault,
        FilesAtWork,
        CowReuse,
        ForkVsWriter,
        ForkVsPinned,
        DontneedVsDontneed,
        MunmapVsTouch,
        PrivateRefcounts,
        MigrateRoundtrip,
        MigrateVsCpuFault,
        MigrateVsTouch,
        MigrateEmptyVsTouch,
        MoveVsFork,
        MoveVsPin,
        MigrateVsFork,
        ForkOfPrivate,
        ForkThenDeviceWrite,
        MigrateVsMunmap,
        MigrateVsZap,
        MigrateVsGup,
        MigrateVsDeviceWrite,
        PrivateUnbindMapped,
        PrivateUnbindOnce,
        PrivateUnbindVsMigrate,
        PrivateUnbindVsFault,
        PrivateUnbindUnevicted,
        PrivateUnbindExit,
        PrivateAllocAfterKill,
        EvictVsMunmap,
        HmmWalkVsUnbind,
        NotifierRetry,
        NotifierRetryUnchecked,
        ExclusiveVsSecondDevice,
        ExclusiveVsCpu,
        ExclusiveVsDontneed,
        ExclusiveVsFork,
        ExclusiveForkFails,
        ExclusiveVsGup,
        ExclusiveSwapout,
        ExclusiveAtomics,
        ExclusiveAtomicsSamePage,
        ExclusiveRetrySelf,
        ExclusiveRetryHuge,
        ThpPrivateMigrate,
        ThpPrivateFault,
        ThpPrivateSplit,
        ThpPrivateFork,
        ThpFaultRange,
        ThpPrivateUnbind,
        ThpNouveauUnbind,
        EvictMixedOrders,
        P2pdmaRefcounts,
        P2pdmaUnbindVsPin,
        P2pdmaFreeWritesLate,
        P2pdmaFreeVsMmap,
        P2pdmaMmapWarns,
        P2pdmaUnbindVsMmap,
        P2pdmaUnbindVsExit,
        P2pdmaUnbindVsAlloc,
        P2pdmaUnbindVsUser,
        CoherentRefcounts,
        CoherentRoundtrip,
        CoherentLongtermPin,
        CoherentLongtermPinVsReference,
        CoherentLongtermPinVsTouch,
        CoherentLongtermPinVsMigration,
        CoherentLongtermPinVsEvict,
        CoherentLongtermPinVsMunmap,
        CoherentLongtermPinLocked,
        CoherentUnbindVsPin,
        CoherentUnbindVsLongtermPin,
        CoherentUnbindKept,
    )
}
