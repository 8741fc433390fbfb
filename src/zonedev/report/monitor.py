"""The life of a page as an automaton for the kernel's own runtime verification (tools/verification/rvgen).

A monitor sees events and not operations.  An event is what it changes, such as `map` or `unpin`, so
that the automaton is deterministic; which of the design's functions raise it, the head of the file
says.  Stages in which a page must not be are left out: an event that leads there is a violation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from zonedev.report.life import (
    EXCLUSIVE,
    FREE,
    IDLE,
    MAPPED,
    MIGRATING,
    PINNED,
    REMOVED,
    WAITED,
    Life,
    Stage,
    wrong,
)

#: What is said of a condition that comes, and of one that goes.
COMES = {MAPPED: "map", MIGRATING: "migrate", EXCLUSIVE: "lend", PINNED: "pin", WAITED: "wait"}
GOES = {MAPPED: "unmap", MIGRATING: "migrated", EXCLUSIVE: "take_back", PINNED: "unpin", WAITED: "wake"}
OWNERS = {(FREE, IDLE): "alloc", (IDLE, FREE): "free", (IDLE, REMOVED): "remove", (FREE, REMOVED): "remove"}


def owner(stage: Stage) -> str:
    """Whose the page is: removed, free, or idle for somebody's."""
    return stage[0] if stage[0] in (REMOVED, FREE) else IDLE


def event(a: Stage, b: Stage) -> str:
    """What changes from one stage to another."""
    words = [GOES[c] for c in GOES if c in a and c not in b]
    words += [COMES[c] for c in COMES if c in b and c not in a]
    if owner(a) != owner(b):
        words.append(OWNERS.get((owner(a), owner(b)), f"{owner(b)}_again"))
    return "_".join(words)


def name(stage: Stage) -> str:
    """A stage as an identifier of C."""
    return "_".join(stage).replace(" ", "_")


def monitor(life: Life) -> str:
    """The automaton in the form of dot that rvgen reads: it goes by lines."""
    stages = [s for s in life.counts if not wrong(life.kind, s)]
    initial = (FREE,) if (FREE,) in stages else (IDLE,)
    order = [initial, *sorted((s for s in stages if s != initial), key=name)]
    arrows = {(a, b): names for (a, b), names in life.arrows.items() if a in stages and b in stages}
    lines = ["digraph state_automaton {", "\tcenter = true;"]
    lines += [f'\t{{node [shape = circle] "{name(s)}"}};' for s in order[1:]]
    lines.append(f'\t{{node [shape = plaintext, style=invis, label=""] "__init_{name(initial)}"}};')
    lines.append(f'\t{{node [shape = doublecircle] "{name(initial)}"}};')
    lines.append(f'\t"__init_{name(initial)}" -> "{name(initial)}";')
    for stage in order:
        lines.append(f'\t"{name(stage)}" [label = "{name(stage)}"];')
        lines += [
            f'\t"{name(a)}" -> "{name(b)}" [ label = "{event(a, b)}" ];' for a, b in arrows if a == stage
        ]
    lines += ["\t{ rank = min ;", f'\t\t"__init_{name(initial)}";', f'\t\t"{name(initial)}";', "\t}"]
    lines += [f"\t// {line}" for line in raised(life, arrows)]
    return "\n".join([*lines, "}"])


def raised(life: Life, arrows: Iterable[tuple[Stage, Stage]]) -> Iterator[str]:
    """Which operations of the design raise each event."""
    yield f"A page of {life.kind} in {life.design}.  Events, and the operations that raise them:"
    by_event: dict[str, dict[str, None]] = {}
    for a, b in arrows:
        by_event.setdefault(event(a, b), {}).update(dict.fromkeys(life.arrows[a, b]))
    for each, operations in sorted(by_event.items()):
        yield f"{each}: {', '.join(operations)}"
