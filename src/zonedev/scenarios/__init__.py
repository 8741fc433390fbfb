"""The catalogue: a scenario is a class of one of these modules that sets up a situation."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

from zonedev.listed import listed
from zonedev.scenarios.base import Scenario

#: In the order in which their scenarios are listed: devices, files, then memory of devices.
MODULES = (
    "devdax_refcounts",
    "devdax_unbind_vs_pin",
    "devdax_unbind_vs_mapping",
    "devdax_fault_vs_unbind",
    "threads_fault",
    "devdax_gup_fast_vs_munmap",
    "devdax_gup_fast_vs_unbind",
    "devdax_gup_walk_vs_unbind",
    "devdax_mmap_vs_unbind",
    "devdax_pinners_vs_unbind",
    "devdax_unbind_vs_munmap",
    "devdax_fork_exit",
    "fsdax_refcounts",
    "pmem_unbind_order",
    "gup_fast_underflow",
    "free_reads_pagemap",
    "three_states",
    "truncate_vs_pin",
    "evict_vs_pin",
    "punch_vs_pin",
    "truncate_vs_fault",
    "memory_failure_vs_truncate",
    "reflink_share",
    "entry_lock_waiters",
    "private_mapping",
    "fsdax_unbind",
    "fsync_vs_writer",
    "calls_beside_calls",
    "beside_files",
    "files_at_work",
    "copy_on_write",
    "private_memory",
    "moved_pages",
    "beside_migration",
    "beside_exclusive",
    "anonymous_pages",
    "private_unbind",
    "device_mirror",
    "exclusive",
    "huge_pages",
    "p2pdma",
    "beside_unbind",
    "coherent",
)


def scenarios_in(module: ModuleType) -> Iterator[type[Scenario]]:
    """Its scenarios, in their order; a class without a set-up is what some of them have in common."""
    for thing in vars(module).values():
        own = isinstance(thing, type) and thing.__module__ == module.__name__
        if own and issubclass(thing, Scenario) and thing.setup is not Scenario.setup:
            yield thing


SCENARIOS: dict[str, type[Scenario]] = {
    s.name(): s for name in MODULES for s in scenarios_in(import_module(f"{__name__}.{name}"))
}

listed(__name__)
