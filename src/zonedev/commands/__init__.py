"""What the commands do: each takes the parsed options, prints its result, and returns the exit code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from zonedev.commands.checking import matrix, run_check
from zonedev.commands.comparing import cost, diff
from zonedev.commands.conform import conform
from zonedev.commands.context import Context
from zonedev.commands.exporting import export
from zonedev.commands.lab import lab
from zonedev.commands.lists import designs, rules, scenarios
from zonedev.commands.running import replay, run_schedule
from zonedev.commands.series import series

COMMANDS: Mapping[str, Callable[[Context], int]] = {
    "designs": designs,
    "scenarios": scenarios,
    "rules": rules,
    "check": run_check,
    "matrix": matrix,
    "series": series,
    "run": run_schedule,
    "replay": replay,
    "diff": diff,
    "cost": cost,
    "export": export,
    "conform": conform,
    "lab": lab,
}

__all__ = ["COMMANDS", "Context"]
