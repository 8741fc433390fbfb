"""The mutants of linux-6.15 that nothing in the catalogue kills, by the reason: survivors.txt.

zonedev mutate --design linux-6.15 --format json > campaign.json
PYTHONPATH=src python tests/survivors.py campaign.json    # writes the list
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")
LEFT = ("survived", "open")

#: Why a mutant survives, and which: a pattern of its line, "function | kind | text".  The first that fits.
#: The last five say what is changed and no more: nobody has gone through these one by one.
REASONS: dict[str, tuple[str, str]] = {
    "retry": (
        "Who does not wait, or gives up at another time, tries again: no rule is about how long that takes.",
        r"softleaf_entry_wait_on_locked \| (drop|never)|migration_entry_wait \| never"
        r"|(wait_for_entry|wait_entry_unlocked|wait_page_idle) \| drop \| (prepare_to_wait|schedule)"
        r"|(do_swap_page|hmm_vma_handle_pte) \| (drop|never) \| .*(migration|AGAIN)"
        r"|(hmm_range_fault|hmm_vma_walk_pte|mmu_interval_check_retry) \| \w+ \| .*(EBUSY|retry|reads)",
    ),
    "declined": (
        "GUP-fast that declines a page leaves it to the slow way, which decides the same.",
        r"try_grab_folio_fast \| (always|ignore)|gup_fast_\w+ \| always \| (mm\.|not k\.)",
    ),
    "percpu": (
        "A reference is counted in the atomic part instead of the per-CPU one: the sum is the same.",
        r"percpu_ref_\w+ \| never \| not ptr.atomic",
    ),
    "flush": (
        "A flush more than is needed.",
        r"(tlb_finish_mmu|tlb_flush_mmu_tlbonly|zap_pte_range|migrate_vma_insert_page"
        r"|migrate_vma_collect_pmd) \| always \| .*(flush|nested|gather_range|unmapped)"
        r"|set_migration_entry \| (always|ignore) \| (pte\.present|exclusive or not batch)",
    ),
    "copy": (
        "A page is copied that could have been kept, which costs a page and no more.",
        r"(wp_can_reuse_anon_folio|do_wp_page) \| (never|skip) \| .*(alone|reuse|_refcount)",
    ),
    "broken": (
        "dax_break_layout() has unmapped and deleted everything before, and faults are kept off since then; "
        "of private copies another call takes care.",
        r"(truncate_pagecache|ext4_punch_hole) \|"
        r"|ext4_setattr \| swap \| (inode.i_size|k.truncate_pagecache)"
        r"|ext4_evict_inode \| drop \| k.truncate_inode_pages_range",
    ),
    "warned": (
        "Comes only after the warning that truncate has found an entry, which the scenario leaves out.",
        r"(dax_delete_mapping_entry|dax_invalidate_entry|wake_after_delete) \|",
    ),
    "zeroed": (
        "The page allocator has zeroed the page already.",
        r"clears_zero_page \| drop \| k.copy_user_page",
    ),
    "nested": (
        "Two locks that are taken, or given back, one after the other, and by nobody in the other order.",
        r"(copy_pte_range|copy_pinned_page) \| swap \| spin_lock\(dst"
        r"|copy_pinned_page \| swap \| spin_unlock\(src|nouveau_atomic_range_fault \| swap \| unlock",
    ),
    "lock": (
        "A lock is taken later, or given back earlier: nobody in the catalogue comes just then.",
        r"\w+ \| swap \| (k\.)?\w*(lock|down_|up_|downgrade_|rcu_|irq_)\w*\(",
    ),
    "order": ("Two steps change places: nobody in the catalogue looks between them.", r"\w+ \| swap"),
    "atomic": (
        "An atomic step is taken apart: nobody in the catalogue comes between.",
        r"\w+ \| (split|weaken)",
    ),
    "step": (
        "What the step does is not seen by any rule, assertion, count or answer.",
        r"\w+ \| drop \| (?!return|break|continue)",
    ),
    "condition": ("A condition has but one outcome here, or the other way ends alike.", ""),
}

#: A mutant by what does not move when others come before it: function, kind and source.
Key = tuple[str, str, str]


def reason(mutant: Key) -> str:
    """Which of the reasons it is."""
    line = " | ".join(mutant)
    return next(name for name, (_, pattern) in REASONS.items() if re.match(pattern, line))


def key(mutant: Mapping[str, str]) -> Key:
    """Of a mutant of a campaign's JSON."""
    return mutant["function"], mutant["kind"], " ".join(mutant["text"].split())


def rendered(mutants: Iterable[Mapping[str, str]]) -> str:
    """The list: each reason with its mutants, one a line."""
    left = {key(m) for m in mutants if m["state"] in LEFT}
    lines: list[str] = []
    for name, (text, _) in REASONS.items():
        mine = sorted(k for k in left if reason(k) == name)
        if mine:
            lines += ["", f"# {name}: {text}", *(" | ".join(k) for k in mine)]
    return "\n".join(lines[1:]) + "\n"


def listed() -> set[Key]:
    """The mutants of the list."""
    found = set()
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            function, kind, text = line.split(" | ", 2)
            found.add((function, kind, text))
    return found


if __name__ == "__main__":
    campaign = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    FILE.write_text(rendered(campaign["mutants"]), encoding="utf-8")
    for name, number in Counter(reason(k) for k in listed()).most_common():
        print(f"{number:4} {name}")
