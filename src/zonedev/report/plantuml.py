"""A counterexample as a PlantUML sequence diagram (https://plantuml.com/sequence-diagram)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from zonedev.explore.check import Verdict
from zonedev.report.sequence import Diagram, Message, diagram

RED = "#FFCDCD"
HEADS = {"task": "participant", "device": "boundary", "actor": "control"}


def render(verdict: Verdict) -> str:
    """The diagram."""
    return "\n".join(["@startuml", *lines(diagram(verdict)), "@enduml"])


def lines(found: Diagram) -> Iterator[str]:
    """What stands between the first line and the last."""
    ids = found.ids()
    yield "hide footbox"
    yield f"title {escaped(found.title)}"
    for lane in found.lanes:
        yield f'{HEADS[lane.kind]} "{escaped(lane.task)}" as {ids[lane.task]}'
    across = f"note over {', '.join(found.ends())}"
    if found.left_out:
        yield f"{across}: ({found.left_out} messages before)"
    yield from said(found.messages, ids)
    if found.loop:
        yield "loop for ever"
        yield from said(found.loop, ids)
        yield "end"
    yield f"{across} {RED}: {escaped(found.end)}"


def said(messages: Iterable[Message], ids: dict[str, str]) -> Iterator[str]:
    """Each message, and the note beside it."""
    for message in messages:
        me = ids[message.task]
        if not message.number:
            yield f"{me} -> {me}: {escaped(message.text)}"
            continue
        yield f"{me} --> {me}: {message.number}  {escaped(message.text)}"
        if message.beside:
            yield f"note right of {me}: " + r"\n".join(map(escaped, message.beside))


def escaped(text: str) -> str:
    r"""`text` without what PlantUML takes for markup: **, //, --, <b>, and \n."""
    marked = re.sub(r"\*\*|__|//|--|\"\"|\[\[|<", lambda found: f"~{found[0]}", text)
    return marked.replace("\\", "\\\\").replace('"', "''")
