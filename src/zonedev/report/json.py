"""Verdicts as JSON, and back: the form of a trace file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zonedev.explore.check import Verdict, Violation
from zonedev.explore.trace import Change, TraceStep
from zonedev.explore.written import SCHEMA_VERSION as SCHEMA_VERSION
from zonedev.explore.written import counterexamples
from zonedev.lang.errors import ZonedevError
from zonedev.report.notes import vacuity_object


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


def read(file: Path) -> list[Verdict]:
    """The counterexamples in a trace file, each as a verdict of its own, without running them.

    ZonedevError, in one line, for what is not as it should be.
    """
    return [counterexample_from(f"{file}", value) for value in counterexamples(file)]


def counterexample_from(file: str, value: Mapping[str, Any]) -> Verdict:
    """A violated verdict from its object."""
    steps = [step_from(f"{file}: step {n} of the trace", s) for n, s in enumerate(value["trace"], 1)]
    return Verdict(
        value["scenario"],
        value["design"],
        value["scope"],
        value["verdict"],
        rule=str(value.get("rule")),
        objects=str(value.get("objects")),
        states=_number(value, "states"),
        transitions=_number(value, "transitions"),
        depth=value["depth"],
        engine=str(value.get("engine", "")),
        loop=value.get("loop"),
        trace=steps,
        reductions=tuple(map(str, value.get("reductions", ()))),
    )


def _number(value: Mapping[str, Any], key: str) -> int:
    found = value.get(key)
    return found if isinstance(found, int) else 0


#: What a step has, and a change.
_STEP = {"n": int, "task": str, "function": str, "source": str, "text": str, "changes": list, "call": str}
_CHANGE = {"where": str, "old": str, "new": str}


def step_from(place: str, value: Any) -> TraceStep:
    """A step from its object, which stands at `place`; ZonedevError for what is not as it should be."""
    _hold(place, value, _STEP)
    calls = value.get("calls")
    if not isinstance(calls, list) or not all(isinstance(c, str) for c in calls):
        raise ZonedevError(f"{place}: calls is missing or not as zonedev writes it")
    for number, change in enumerate(value["changes"], 1):
        _hold(f"{place}, change {number}", change, _CHANGE)
    changes = (Change(c["where"], c["old"], c["new"], bool(c.get("quiet"))) for c in value["changes"])
    return TraceStep(
        value["n"],
        value["task"],
        value["function"],
        tuple(calls),
        value["source"],
        value["text"],
        tuple(changes),
        value["call"],
        _number(value, "choice"),
    )


def _hold(place: str, value: Any, wanted: Mapping[str, type]) -> None:
    """ZonedevError for an object that is none, or without one of the keys that it must have."""
    if not isinstance(value, dict):
        raise ZonedevError(f"{place}: not as zonedev writes it")
    for key, kind in wanted.items():
        if not isinstance(value.get(key), kind):
            raise ZonedevError(f"{place}: {key} is missing or not as zonedev writes it")
