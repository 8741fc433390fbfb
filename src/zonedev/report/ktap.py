"""Verdicts in the kernel's test format (Documentation/dev-tools/ktap.rst)."""

from __future__ import annotations

from collections.abc import Sequence

from zonedev.explore.check import HOLDS, UNDETERMINED, Verdict
from zonedev.report import text


def render(verdicts: Sequence[Verdict]) -> str:
    """One result a verdict; what is undetermined is skipped, never ok."""
    lines = ["KTAP version 1", f"1..{len(verdicts)}"]
    for n, verdict in enumerate(verdicts, 1):
        name = f"{verdict.scenario}.{verdict.design}".replace(" ", "_").replace("#", "_")
        lines += [f"# {line}" for line in text.render(verdict).splitlines()]
        if verdict.verdict == UNDETERMINED:
            lines.append(f"not ok {n} {name} # SKIP undetermined: {verdict.stopped}")
        else:
            lines.append(f"{'ok' if verdict.verdict == HOLDS else 'not ok'} {n} {name}")
    return "\n".join(lines)
