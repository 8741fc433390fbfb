"""Records as a user looks at them: what they hold, and what refers to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zonedev.lang.records import Array, Packed, Record
from zonedev.lang.system import System, show


class View:
    """What a record holds at the moment, and which locations refer to it."""

    def __init__(self, record: Record, held_by: list[str]) -> None:
        self.name = repr(record)
        self.values = dict(fields_of(record))
        self.held_by = held_by

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(f"{self.name} has no {name}") from None

    def __repr__(self) -> str:
        values = ", ".join(f"{n}={show(v)}" for n, v in self.values.items())
        return f"<{self.name}: {values}; held by {', '.join(self.held_by) or 'nobody'}>"


def fields_of(record: Record) -> Iterator[tuple[str, Any]]:
    """The fields of a record by name; counters and other one-field structures by their value."""
    for field in record._fields.values():
        value = record._values[field.name]
        if field.embed is not None:
            inner = dict(fields_of(value))
            if set(inner) == {"value"}:
                yield field.name, inner["value"]
            else:
                yield from ((f"{field.name}.{n}", v) for n, v in inner.items())
        elif not isinstance(value, Array):
            yield field.name, value


def locations_of(record: Record) -> Iterator[tuple[str, Any]]:
    """The shared locations of a record that do not hold their default, with their labels."""
    for field in record._fields.values():
        value = record._values[field.name]
        if field.embed is not None:
            yield from locations_of(value)
        elif isinstance(value, Array):
            label = record._label(field.name)
            yield from ((f"{label}[{i}]", value.peek(i)) for i in value.touched())
        elif field.kind is not None:
            yield record._label(field.name), value


def refers(value: Any, wanted: Record) -> bool:
    """Whether a value is a pointer to `wanted` or a packed word that has one."""
    if isinstance(value, Packed):
        return any(getattr(value, n) is wanted for n in value._members)
    return value is wanted


def holders(system: System, wanted: Record) -> list[str]:
    """The locations whose value is, or contains, a pointer to `wanted`."""
    return [
        label
        for records in system.records.values()
        for record in records
        for label, value in locations_of(record)
        if refers(value, wanted)
    ]
