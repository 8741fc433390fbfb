"""What other commands have found, as pages of the report: real kernels, other checkers, mutants.

Each is a file that the command has written; it is read here, and what is not as it should be is an
error that names the file.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zonedev.lang.errors import ZonedevError

#: The states of mutants that count: all those that some scenario has other states with.
COUNTED = ("killed", "survived", "open")

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Kernels:
    """The runs of `zonedev conform`: scenarios and orders down, kernels across."""

    runs: Sequence[Object]

    @property
    def kernels(self) -> list[str]:
        return list(dict.fromkeys(r["kernel"] for r in self.runs))

    @property
    def rows(self) -> list[tuple[str, str, list[tuple[str, list[Object]]]]]:
        """Scenario, order, and the runs of each kernel, which are several where file systems are."""
        found = []
        for scenario, order in dict.fromkeys((r["scenario"], r["order"]) for r in self.runs):
            mine = [r for r in self.runs if (r["scenario"], r["order"]) == (scenario, order)]
            found.append(
                (scenario, order or "", [(k, [r for r in mine if r["kernel"] == k]) for k in self.kernels])
            )
        return found

    @property
    def verdicts(self) -> str:
        """How many runs ended how."""
        return ", ".join(f"{n} {verdict}" for verdict, n in Counter(r["verdict"] for r in self.runs).items())


@dataclass(frozen=True)
class Mutants:
    """A campaign of `zonedev mutate`."""

    whole: Object

    @property
    def share(self) -> float:
        """Of the mutants that count, the part that is killed, in percent."""
        return 100 * self.whole["killed"] / self.whole["counted"] if self.whole["counted"] else 100.0

    @property
    def rules(self) -> list[tuple[str, int]]:
        """What kills them, by how many it does."""
        killed = (m["rule"] or m["verdict"] for m in self.whole["mutants"] if m["state"] == "killed")
        return Counter(killed).most_common()

    @property
    def functions(self) -> list[tuple[str, int, list[Object]]]:
        """Functions with mutants that survive: how many count, and which are left."""
        by_name: dict[str, list[Object]] = {}
        for mutant in self.whole["mutants"]:
            if mutant["state"] in COUNTED:
                by_name.setdefault(mutant["function"], []).append(mutant)
        left = {name: [m for m in some if m["state"] != "killed"] for name, some in by_name.items()}
        found = [(name, len(by_name[name]), some) for name, some in left.items() if some]
        return sorted(found, key=lambda f: (-len(f[2]), f[0]))


@dataclass(frozen=True)
class Peers:
    """What benchmarks/peers.py measured: by check, the rows of all tools."""

    cases: Sequence[Object]


@dataclass(frozen=True)
class Beside:
    """What there is of them."""

    kernels: Kernels | None = None
    mutants: Mutants | None = None
    peers: Peers | None = None


def kernels(name: str) -> Kernels:
    """The runs in a file that zonedev conform --format json has written."""
    runs = objects(name, "zonedev conform --format json", ("scenario", "order", "kernel", "verdict", "lines"))
    return Kernels(runs)


def mutants(name: str) -> Mutants:
    """The campaign in a file that zonedev mutate --format json has written."""
    (whole,) = objects(name, "zonedev mutate --format json", ("design", "counted", "killed", "mutants"))
    return Mutants(whole)


def peers(name: str) -> Peers:
    """The measurements in a file that benchmarks/peers.py --json has written."""
    return Peers(objects(name, "benchmarks/peers.py --json", ("title", "rows")))


def objects(name: str, writer: str, keys: Iterable[str]) -> list[Object]:
    """What a file has, one or several; ZonedevError where it is not what `writer` writes."""
    file = Path(name)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ZonedevError(f"{file}: {error.strerror}") from None
    except (ValueError, UnicodeDecodeError):
        raise ZonedevError(f"{file}: not JSON: give what {writer} has written") from None
    found = value if isinstance(value, list) else [value]
    if not found or not all(isinstance(o, dict) and set(keys) <= o.keys() for o in found):
        raise ZonedevError(f"{file}: not what it should be: give what {writer} has written")
    return found
