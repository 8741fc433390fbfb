"""The kernel's own acceptance suite of device memory, tools/testing/selftests/mm/hmm-tests.c: 29 cases in
v6.12, 38 in v7.2, in its order."""

from __future__ import annotations

from collections.abc import Mapping

from zonedev.lang.system import Specification
from zonedev.scenarios import hmm_tests_fork as fork
from zonedev.scenarios import hmm_tests_huge as huge
from zonedev.scenarios import hmm_tests_memory as memory
from zonedev.scenarios import hmm_tests_migrate as migrate
from zonedev.scenarios.hmm_suite import BOTH, HmmTest

VARIANTS = ("private", "coherent")
NO_HUGE_ZERO = "there is no huge zero page"


class MigrateAnonHugeZero(HmmTest):
    """The huge zero page migrates."""

    expected = huge.NEW
    unmodelled = NO_HUGE_ZERO


class MigrateAnonHugeZeroErr(HmmTest):
    """The huge zero page migrates to a device that has no huge page."""

    expected = huge.NEW
    unmodelled = NO_HUGE_ZERO


class MigrateAnonHugeErrCoherent(HmmTest):
    """A huge page migrates to a device that has none, and back to a system that has none."""

    case = "migrate_anon_huge_err"
    scope = migrate.MigrateCoherent.scope
    uses_memory = True
    expected = huge.NEW
    unmodelled = "test_hmm has no huge pages of coherent memory"


HMM_TESTS: tuple[type[HmmTest], ...] = (
    memory.OpenClose,
    memory.AnonRead,
    memory.AnonReadProt,
    memory.AnonWrite,
    memory.AnonWriteProt,
    fork.AnonWriteChild,
    huge.AnonWriteChildHuge,
    fork.AnonWriteChildMigrate,
    huge.AnonWriteChildMigrateHuge,
    fork.AnonWriteChildMigrateCoherent,
    fork.AnonWriteChildShared,
    huge.AnonWriteHuge,
    huge.AnonWriteHugetlbfs,
    memory.FileRead,
    memory.FileWrite,
    migrate.Migrate,
    migrate.MigrateCoherent,
    migrate.MigrateFilePrivate,
    migrate.MigrateFilePrivateCoherent,
    migrate.MigrateFault,
    migrate.MigrateFaultCoherent,
    migrate.MigrateRelease,
    migrate.MigrateReleaseCoherent,
    migrate.MigrateShared,
    migrate.MigrateSharedCoherent,
    migrate.MigrateMixed,
    migrate.MigrateMixedCoherent,
    migrate.MigrateMultiple,
    migrate.MigrateMultipleCoherent,
    memory.AnonReadMultiple,
    memory.AnonTeardown,
    memory.Mixedmap,
    migrate.Snapshot,
    migrate.SnapshotCoherent,
    huge.Compound,
    migrate.DoubleMap,
    migrate.DoubleMapCoherent,
    fork.Exclusive,
    fork.ExclusiveMprotect,
    fork.ExclusiveCow,
    migrate.GupTest,
    migrate.GupTestCoherent,
    fork.CowInDevice,
    fork.CowInDeviceCoherent,
    huge.MigrateAnonHugeEmpty,
    huge.MigrateAnonHugeEmptyCoherent,
    MigrateAnonHugeZero,
    huge.MigrateAnonHugeFree,
    huge.MigrateAnonHugeFreeCoherent,
    huge.MigrateAnonHugeFault,
    huge.MigrateAnonHugeFaultCoherent,
    huge.MigratePartialUnmapFault,
    huge.MigratePartialUnmapFaultSecond,
    huge.MigratePartialUnmapFaultSmall,
    huge.MigratePartialUnmapFaultCoherent,
    huge.MigratePartialUnmapFaultSecondCoherent,
    huge.MigrateRemapFault,
    huge.MigrateRemapFaultBefore,
    huge.MigrateRemapFaultSmall,
    huge.MigrateRemapFaultCoherent,
    huge.MigrateRemapFaultBeforeCoherent,
    huge.MigrateAnonHugeErr,
    huge.MigrateAnonHugeErrBack,
    MigrateAnonHugeErrCoherent,
    MigrateAnonHugeZeroErr,
    huge.BenchmarkThpMigration,
    huge.BenchmarkThpMigrationSmall,
    huge.BenchmarkThpMigrationCoherent,
)


def answers(design_name: str) -> Mapping[str, str]:
    """What becomes of each case under a design, by a name such as "anon_read (private)": pass, fail, or "not
    modelled: " and why; each round is checked."""
    from zonedev import catalogue
    from zonedev.explore.check import HOLDS, VIOLATED, check

    known = catalogue.load()
    design = known.design(design_name)
    kernel = kernel_of(design, known.designs)
    found: dict[str, str] = {}
    for case in HMM_TESTS:
        if kernel not in case.expected:
            continue
        if case.unmodelled:
            answer = f"not modelled: {case.unmodelled}"
        else:
            verdict = check(case, design, known=known.rules, design_name=design_name).verdict
            answer = {HOLDS: "pass", VIOLATED: "fail"}.get(verdict, verdict)
        for variant in VARIANTS if case.variant() == "either" else (case.variant(),):
            name = f"{case.test()} ({variant})"
            if found.get(name, "pass") == "pass":
                found[name] = answer
    return found


def kernel_of(design: type[Specification], designs: Mapping[str, type[Specification]]) -> str:
    """Whose cases a design is asked: those of the nearest of the kernels that have the suite."""
    return next((name for name in BOTH if issubclass(design, designs[name])), BOTH[-1])
