"""The life of a page as a picture: stages in fixed places, so that designs can be laid side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape

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

WIDE, HIGH = 176, 40  # of a box
APART_X, APART_Y = 270, 108
LINE = 11
#: Operations that are named on an arrow; the others are in its tooltip and in the table.
NAMED = 2
#: Values of a count that are told of a stage.
COUNTS = 5

#: Column and row of the stages that most designs have; one who is waited for stands three rows lower.
PLACES: dict[Stage, tuple[int, int]] = {
    (REMOVED,): (0, 1),
    (FREE,): (1, 1),
    (IDLE,): (2, 1),
    (MAPPED,): (3, 0),
    (MIGRATING,): (3, 1),
    (PINNED,): (3, 2),
    (MAPPED, PINNED): (4, 1),
    (MAPPED, MIGRATING): (4, 0),
    (EXCLUSIVE,): (4, 2),
    (REMOVED, PINNED): (0, 2),
    (REMOVED, MAPPED): (0, 0),
    (FREE, PINNED): (1, 2),
    (FREE, MAPPED): (1, 0),
}
LOWER = 3


def places(stages: Iterable[Stage]) -> dict[Stage, tuple[int, int]]:
    """Column and row of each stage; the rows that nobody uses are closed up."""
    found: dict[Stage, tuple[int, int]] = {}
    for stage in sorted(stages, key=lambda s: (len(s), s)):
        awake = tuple(s for s in stage if s != WAITED) or (IDLE,)
        place = PLACES.get(awake)
        if place is not None and WAITED in stage:
            place = place[0], place[1] + LOWER
        while place is None or place in found.values():
            place = (5, 0) if place is None else (place[0], place[1] + 1)
        found[stage] = place
    columns = {c: n for n, c in enumerate(sorted({c for c, _ in found.values()}))}
    rows = {r: n for n, r in enumerate(sorted({r for _, r in found.values()}))}
    return {stage: (columns[c], rows[r]) for stage, (c, r) in found.items()}


def picture(life: Life) -> str:
    """An SVG element, without style: the page's style sheet colours it."""
    at = {s: (20 + c * APART_X, 34 + r * APART_Y) for s, (c, r) in places(life.counts).items()}
    width = max(x for x, _ in at.values()) + WIDE + 30
    height = max(y for _, y in at.values()) + HIGH + 34
    name = f"{life.design}, {life.kind}"
    marker = f"tip-{life.design}-{life.kind}".replace(" ", "-").replace(".", "-")
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="The stages of a page and the operations between them: {escape(name)}">',
        f'<defs><marker id="{marker}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    for (a, b), names in life.arrows.items():
        parts += arrow(at[a], at[b], names, marker, wrong(life.kind, b))
    for stage, place in at.items():
        parts += box(stage, place, life)
    return "\n".join([*parts, "</svg>"])


def box(stage: Stage, place: tuple[int, int], life: Life) -> Iterator[str]:
    x, y = place
    kind = " ".join(["wrong"] * wrong(life.kind, stage) + ["begin"] * (stage in life.begins)) or "plain"
    yield f'<g class="stage {kind}"><rect x="{x}" y="{y}" width="{WIDE}" height="{HIGH}" rx="6"/>'
    yield f'<text x="{x + WIDE // 2}" y="{y + 16}" class="name">{escape(" + ".join(stage))}</text>'
    counts = sorted(life.counts[stage])
    told = ", ".join(map(str, counts[:COUNTS])) + (" …" if len(counts) > COUNTS else "")
    yield f'<text x="{x + WIDE // 2}" y="{y + 31}" class="count">count {told}</text></g>'


def arrow(
    a: tuple[int, int], b: tuple[int, int], names: Counter[str], marker: str, bad: bool
) -> Iterator[str]:
    """A curve from box to box that bends to its right, so that there and back are apart."""
    (x1, y1), (x2, y2) = middle(a), middle(b)
    length = math.hypot(x2 - x1, y2 - y1)
    bend = 0.12 * length + 10
    across, along = ((y2 - y1) / length, (x2 - x1) / length)
    cx, cy = (x1 + x2) / 2 - across * bend, (y1 + y2) / 2 + along * bend
    x1, y1 = edge(x1, y1, cx, cy)
    x2, y2 = edge(x2, y2, cx, cy)
    every = [name for name, _ in names.most_common()]
    text = [*every[:NAMED], *["…"] * (len(every) > NAMED)]
    tx, ty = 0.25 * x1 + 0.5 * cx + 0.25 * x2, 0.25 * y1 + 0.5 * cy + 0.25 * y2
    yield f'<g class="arrow{" wrong" if bad else ""}"><title>{escape(", ".join(every))}</title>'
    yield f'<path d="M{x1:.0f} {y1:.0f}Q{cx:.0f} {cy:.0f} {x2:.0f} {y2:.0f}" marker-end="url(#{marker})"/>'
    first = ty + 3 - LINE * (len(text) - 1) / 2
    # Down and up are side by side: there is room for words only on the outer sides.
    side = "" if abs(x2 - x1) > WIDE / 4 else f' class="{"right" if cx > (x1 + x2) / 2 else "left"}"'
    for number, each in enumerate(text):
        yield f'<text x="{tx:.0f}" y="{first + LINE * number:.0f}"{side}>{escape(each)}</text>'
    yield "</g>"


def middle(place: tuple[int, int]) -> tuple[float, float]:
    return place[0] + WIDE / 2, place[1] + HIGH / 2


def edge(x: float, y: float, to_x: float, to_y: float) -> tuple[float, float]:
    """Where the way from the middle of a box to a point leaves the box."""
    dx, dy = to_x - x, to_y - y
    scale = min(
        (WIDE / 2 + 3) / abs(dx) if dx else math.inf,
        (HIGH / 2 + 3) / abs(dy) if dy else math.inf,
    )
    return x + dx * scale, y + dy * scale
