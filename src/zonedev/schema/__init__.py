"""JSON schemas (draft 2020-12) of what --format json prints, one for each command that has one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from zonedev.catalogue import unknown

FOLDER = Path(__file__).parent
PARTS = "parts"  # what the schemas have in common


def names() -> list[str]:
    """The schemas that there are."""
    return sorted(file.stem for file in FOLDER.glob("*.json") if file.stem != PARTS)


def titles() -> dict[str, str]:
    """What each describes."""
    return {name: str(_read(name)["title"]) for name in names()}


def load(name: str) -> dict[str, Any]:
    """A schema with all that it refers to; ZonedevError for a name that does not exist."""
    if name not in names():
        raise unknown("schema", name, names())
    schema, parts = _read(name), _read(PARTS)["$defs"]
    needed: dict[str, Any] = {}
    ahead = referred(schema)
    while ahead:
        part = ahead.pop()
        if part not in needed:
            needed[part] = parts[part]
            ahead |= referred(parts[part])
    return {**schema, "$defs": {part: parts[part] for part in parts if part in needed}}


def referred(schema: dict[str, Any]) -> set[str]:
    """The parts that a schema refers to."""
    return set(re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)))


def text(name: str) -> str:
    """A schema as it is printed."""
    return json.dumps(load(name), indent=1)


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found
