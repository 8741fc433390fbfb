"""The mutants of linux-6.15 that nothing in the catalogue kills, by the reason: survivors.txt.

zonedev mutate --design linux-6.15 --format json > campaign.json
PYTHONPATH=src python tests/survivors.py campaign.json    # writes the list
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")
LEFT = ("survived", "open")
LOCKS = re.compile(r"(?:k\.)?\w*(lock|down_|up_|downgrade_|rcu_|irq_)\w*\(")

#: Why a mutant survives, by what is changed: the first that fits.
REASONS = {
    "lock": "A lock is taken later, or given back earlier: nobody in the catalogue comes just then.",
    "order": "Two steps change places: nobody in the catalogue looks between them.",
    "atomic": "An atomic step is taken apart: nobody in the catalogue comes between.",
    "condition": "A condition has but one outcome here, or the other way ends alike.",
    "step": "What the step does is not seen by any rule, assertion, count or answer.",
}

#: A mutant by what does not move when others come before it: function, kind and source.
Key = tuple[str, str, str]


def reason(mutant: Mapping[str, str]) -> str:
    """Which of the reasons it is for a mutant of a campaign's JSON."""
    if mutant["kind"] == "swap":
        return "lock" if LOCKS.match(mutant["text"]) else "order"
    if mutant["kind"] in ("split", "weaken"):
        return "atomic"
    if mutant["kind"] == "drop" and not mutant["text"].startswith(("return", "break", "continue")):
        return "step"
    return "condition"


def key(mutant: Mapping[str, str]) -> Key:
    return mutant["function"], mutant["kind"], " ".join(mutant["text"].split())


def rendered(mutants: Iterable[Mapping[str, str]]) -> str:
    """The list: each reason with its mutants, one a line."""
    left = [m for m in mutants if m["state"] in LEFT]
    lines: list[str] = []
    for name, text in REASONS.items():
        mine = sorted({key(m) for m in left if reason(m) == name})
        lines += ["", f"# {name}: {text}", *(" | ".join(k) for k in mine)]
    return "\n".join(lines[1:]) + "\n"


def listed() -> set[Key]:
    """The mutants of the list."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    found = set()
    for line in lines:
        if line and not line.startswith("#"):
            function, kind, text = line.split(" | ", 2)
            found.add((function, kind, text))
    return found


if __name__ == "__main__":
    campaign = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    FILE.write_text(rendered(campaign["mutants"]), encoding="utf-8")
