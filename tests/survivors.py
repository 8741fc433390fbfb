"""The mutants of linux-6.15 that nothing in the catalogue kills, with the reason of each: survivors.txt.

The list is in groups: a reason in lines that begin with "# ", and below it the mutants that it is true of,
one a line.  Reasons are written by hand; a campaign only takes away who is killed, and puts who is new
under OPEN:

zonedev mutate --design linux-6.15 --format json > campaign.json
PYTHONPATH=src python tests/survivors.py campaign.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")
LEFT = ("survived", "open")
OPEN = "Nobody has gone through these."

#: A mutant by what does not move when others come before it: function, kind and source.
Key = tuple[str, str, str]


def key(mutant: Mapping[str, str]) -> Key:
    """Of a mutant of a campaign's JSON."""
    return mutant["function"], mutant["kind"], " ".join(mutant["text"].split())


def read(text: str) -> dict[Key, str]:
    """The reason of each mutant of a list."""
    found: dict[Key, str] = {}
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        reason = " ".join(line[2:] for line in lines if line.startswith("# "))
        for line in lines:
            if not line.startswith("# "):
                function, kind, source = line.split(" | ", 2)
                found[function, kind, source] = reason
    return found


def listed() -> dict[Key, str]:
    """The mutants of the list, with the reason of each."""
    return read(FILE.read_text(encoding="utf-8"))


def rendered(mutants: Iterable[Key], reasons: Mapping[Key, str]) -> str:
    """The list of some mutants, in the order of the reasons that there were."""
    groups: dict[str, list[Key]] = {reason: [] for reason in (*reasons.values(), OPEN)}
    for mutant in sorted(set(mutants)):
        groups[reasons.get(mutant, OPEN)].append(mutant)
    blocks = [
        "\n".join([f"# {reason}", *(" | ".join(mutant) for mutant in mine)])
        for reason, mine in groups.items()
        if mine
    ]
    return "\n\n".join(blocks) + "\n"


if __name__ == "__main__":
    campaign = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    left = [key(m) for m in campaign["mutants"] if m["state"] in LEFT]
    FILE.write_text(rendered(left, listed()), encoding="utf-8")
    for reason in dict.fromkeys(listed().values()):
        print(f"{sum(r == reason for r in listed().values()):4} {reason}")
