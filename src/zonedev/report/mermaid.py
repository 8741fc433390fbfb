"""A counterexample as a Mermaid sequence diagram (https://mermaid.js.org/syntax/sequenceDiagram.html)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zonedev.explore.check import Verdict
from zonedev.report.sequence import Diagram, Message, diagram

RED = "rgb(255, 205, 205)"
#: How a lane begins and what its head says.
HEADS = {
    "task": "participant {0} as {1}",
    "device": "participant {0} as {1} (device)",
    "actor": "participant {0} as ({1})",
}


def render(verdict: Verdict) -> str:
    """The diagram, which GitHub and GitLab draw where it stands in a block of the language mermaid."""
    found = diagram(verdict)
    return "\n".join(["sequenceDiagram", *(f"    {line}" for line in lines(found))])


def lines(found: Diagram) -> Iterator[str]:
    """What stands under the diagram's first line."""
    ids = found.ids()
    yield f"title {escaped(found.title)}"
    for lane in found.lanes:
        yield HEADS[lane.kind].format(ids[lane.task], escaped(lane.task))
    across = f"Note over {','.join(found.ends())}: "
    if found.left_out:
        yield f"{across}({found.left_out} messages before)"
    yield from said(found.messages, ids)
    if found.loop:
        yield "loop for ever"
        yield from (f"    {line}" for line in said(found.loop, ids))
        yield "end"
    yield f"rect {RED}"
    yield f"    {across}{escaped(found.end)}"
    yield "end"


def said(messages: Iterable[Message], ids: dict[str, str]) -> Iterator[str]:
    """Each message, and the note beside it."""
    for message in messages:
        me = ids[message.task]
        if not message.number:
            yield f"{me}->>{me}: {escaped(message.text)}"
            continue
        yield f"{me}-->>{me}: {message.number}  {escaped(message.text)}"
        if message.beside:
            yield f"Note right of {me}: {'<br/>'.join(map(escaped, message.beside))}"


def escaped(text: str) -> str:
    """`text` with what ends a statement or is markup written by number."""
    return "".join(f"#{ord(c)};" if c in "#;<&" else c for c in text)
