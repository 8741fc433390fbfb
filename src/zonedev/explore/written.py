"""Trace files as they were written: counterexamples printed with --format json, not run yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zonedev.explore.verdict import VIOLATED
from zonedev.lang.errors import ZonedevError

SCHEMA_VERSION = 1


def counterexamples(file: Path) -> list[dict[str, Any]]:
    """The counterexamples in `file` as they stand there; ZonedevError for what is not as it should be."""
    whole = parsed(file)
    objects = [o for each in (whole if isinstance(whole, list) else [whole]) for o in each_violation(each)]
    violated = [o for o in objects if is_counterexample(f"{file}", o)]
    if not violated:
        raise ZonedevError(f"{file}: no counterexample in it: its verdicts are not {VIOLATED}")
    return violated


def parsed(file: Path) -> Any:
    """What a JSON file holds."""
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ZonedevError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ZonedevError(
            f"{file}: not a text file: give the output of zonedev check --format json"
        ) from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text[error.pos :].strip() or error.msg.startswith("Unterminated"):
            raise ZonedevError(
                f"{file}:{error.lineno}: the file is cut off: write it again with zonedev check --format json"
            ) from None
        raise ZonedevError(f"{file}:{error.lineno}: not JSON: {error.msg}") from None


def each_violation(value: Any) -> list[Any]:
    """A verdict, or where it has all violations, one for each of them."""
    violations = value.get("violations") if isinstance(value, dict) else None
    if not violations or not isinstance(violations, list) or not all(isinstance(v, dict) for v in violations):
        return [value]
    return [{**value, **violation} for violation in violations]


def is_counterexample(file: str, value: Any) -> bool:
    """Whether a verdict is one that a rule broke; it is held against what a trace must have."""
    if not isinstance(value, dict):
        raise ZonedevError(f"{file}: not a verdict: give the output of zonedev check --format json")
    version = value.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ZonedevError(f"{file}: schema_version is {version!r}, this zonedev reads {SCHEMA_VERSION}")
    wanted: Mapping[str, type | tuple[type, ...]] = {
        "scenario": str,
        "design": str,
        "scope": dict,
        "verdict": str,
        "depth": int,
        "trace": list,
    }
    for key, kind in wanted.items():
        if not isinstance(value.get(key), kind):
            raise ZonedevError(f"{file}: {key} is missing or not as zonedev writes it")
    if value["verdict"] != VIOLATED:
        return False
    steps = value["trace"]
    for n, step in enumerate(steps, 1):
        if not isinstance(step, dict) or not isinstance(step.get("task"), str) or step.get("n") != n:
            raise ZonedevError(f"{file}: step {n} of the trace is missing or not as zonedev writes it")
    if len(steps) != value["depth"]:
        raise ZonedevError(f"{file}: the trace is cut off: it has {len(steps)} steps of {value['depth']}")
    loop = value.get("loop")
    if loop is not None and (not isinstance(loop, int) or not 1 <= loop <= len(steps)):
        raise ZonedevError(f"{file}: loop is {loop!r}, not the number of a step")
    return True
