"""What the commands do: each takes the parsed options, prints its result, and returns the exit code."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from zonedev.commands.context import Context

#: The module of each command, and its function there.  A command loads nothing of the others.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "designs": ("lists", "designs"),
    "scenarios": ("lists", "scenarios"),
    "rules": ("lists", "rules"),
    "check": ("checking", "run_check"),
    "matrix": ("checking", "matrix"),
    "series": ("series", "series"),
    "run": ("running", "run_schedule"),
    "replay": ("running", "replay"),
    "show": ("showing", "show_trace"),
    "schema": ("showing", "schema"),
    "diff": ("comparing", "diff"),
    "cost": ("comparing", "cost"),
    "report": ("reporting", "report"),
    "life": ("living", "life"),
    "export": ("exporting", "export"),
    "explain": ("mutating", "explain"),
    "mutate": ("mutating", "mutate"),
    "conform": ("conform", "conform"),
    "lab": ("lab", "lab"),
    "manual": ("manual", "manual"),
    "completion": ("manual", "completion"),
}


def run(name: str, context: Context) -> int:
    """Run a command; its exit code."""
    module, function = COMMANDS[name]
    return int(getattr(import_module(f"zonedev.commands.{module}"), function)(context))


__all__ = ["COMMANDS", "Context", "run"]
