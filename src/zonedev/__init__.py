"""An executable specification and checker of the life cycles of Linux ZONE_DEVICE pages.

import zonedev as z

z.designs(), z.scenarios(), z.rules()             # what there is
z.check("evict-vs-pin", "linux-6.1")              # every interleaving; the shortest that breaks a rule
z.run("evict-vs-pin", "linux-6.1", seed=3)        # one schedule
z.matrix(["evict-vs-pin"])                        # design by design, against what is expected
z.diff("linux-6.12", "linux-6.15")                # functions and verdicts that differ
z.Machine("linux-7.2")                            # the specification, call by call
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zonedev.answers import Diff, Listing, Matrix, Timeline, Trace, Verdict
    from zonedev.api import check, design, designs, diff, matrix, rules, run, scenario, scenarios
    from zonedev.explore.trace import Change, TraceStep
    from zonedev.lang.errors import RuleBroken, ZonedevError
    from zonedev.machine import Machine
    from zonedev.scenarios.base import Scenario, Scope, holds, violated

__version__ = "0.1.0"
__all__ = [
    "Change",
    "Diff",
    "Listing",
    "Machine",
    "Matrix",
    "RuleBroken",
    "Scenario",
    "Scope",
    "Timeline",
    "Trace",
    "TraceStep",
    "Verdict",
    "ZonedevError",
    "__version__",
    "check",
    "design",
    "designs",
    "diff",
    "holds",
    "matrix",
    "rules",
    "run",
    "scenario",
    "scenarios",
    "violated",
]

#: Where each name is from: loaded when it is used, so that the command line starts without.
HOMES = {
    "zonedev.answers": ("Diff", "Listing", "Matrix", "Timeline", "Trace", "Verdict"),
    "zonedev.api": ("check", "design", "diff", "matrix", "run", "scenario"),
    "zonedev.explore.trace": ("Change", "TraceStep"),
    "zonedev.lang.errors": ("RuleBroken", "ZonedevError"),
    "zonedev.machine": ("Machine",),
    "zonedev.scenarios.base": ("Scenario", "Scope", "holds", "violated"),
}
#: Packages that are called for a list: see `zonedev.listed`.
LISTED = ("designs", "rules", "scenarios")


if not TYPE_CHECKING:  # a type checker would take any name for one that is here

    def __getattr__(name: str) -> Any:
        if name in LISTED:
            return import_module(f"zonedev.{name}")
        home = next((home for home, names in HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'zonedev' has no attribute {name!r}")
        return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return __all__
