"""Verdicts as JSON, and back: the form of a trace file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zonedev.explore.check import Verdict
from zonedev.explore.trace import Change, TraceStep

SCHEMA_VERSION = 1


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """One verdict; the keys are a contract (DESIGN.md, "Command line")."""
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": verdict.scenario,
        "design": verdict.design,
        "scope": verdict.scope,
        "verdict": verdict.verdict,
        "rule": verdict.rule,
        "objects": verdict.objects,
        "states": verdict.states,
        "transitions": verdict.transitions,
        "depth": verdict.depth,
        "engine": verdict.engine,
        "workers": verdict.workers,
        "seconds": round(verdict.seconds, 3),
        "stopped": verdict.stopped,
        "covered": verdict.covered,
        "loop": verdict.loop,
        "trace": [step_object(s) for s in verdict.trace],
        **({} if verdict.observed is None else {"observed": verdict.observed}),
    }


def step_object(step: TraceStep) -> dict[str, Any]:
    return {
        "n": step.n,
        "task": step.task,
        "function": step.function,
        "source": step.source,
        "text": step.text,
        "changes": [change_object(c) for c in step.changes],
        "call": step.call,
        "calls": list(step.calls),
        "choice": step.choice,
    }


def change_object(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = {"where": change.where, "old": change.old, "new": change.new}
    if change.quiet:
        found["quiet"] = True
    return found


def render(verdicts: Sequence[Verdict]) -> str:
    """One verdict as an object, several as a list."""
    objects = [verdict_object(v) for v in verdicts]
    return dump(objects[0] if len(objects) == 1 else objects)


def dump(value: Any) -> str:
    """Any result as text, the same from run to run."""
    return json.dumps(value, indent=1, ensure_ascii=True)
