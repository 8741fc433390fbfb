"""Verdicts as JSON, and back: the form of a trace file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from zonedev.explore.check import Verdict, Violation
from zonedev.explore.trace import Change, TraceStep
from zonedev.report.notes import vacuity_object

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
        "depth": len(verdict.trace) if verdict.violations else verdict.depth,
        "engine": verdict.engine,
        "workers": verdict.workers,
        "seconds": round(verdict.seconds, 3),
        "stopped": verdict.stopped,
        "covered": verdict.covered,
        "loop": verdict.loop,
        "trace": [step_object(s) for s in verdict.trace],
        **({"reductions": list(verdict.reductions)} if verdict.reductions else {}),
        **({} if verdict.observed is None else {"observed": verdict.observed}),
        **({"vacuity": vacuity_object(verdict.vacuity)} if verdict.vacuity else {}),
        **({} if verdict.violations is None else {"violations": list(map(of_all, verdict.violations))}),
    }


def of_all(violation: Violation) -> dict[str, Any]:
    """One of all violations."""
    return {
        "rule": violation.rule,
        "objects": violation.objects,
        "calls": list(violation.calls),
        "functions": list(violation.functions),
        "count": violation.count,
        "counted": violation.counted,
        "depth": len(violation.trace),
        "loop": violation.loop,
        "trace": [step_object(s) for s in violation.trace],
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
