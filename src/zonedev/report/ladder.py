"""The tables of docs/conformance.md: verdicts by scenario and kernel, and the ladders of counts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from zonedev.lab.compare import AGREES, Conformance, Row, crashed
from zonedev.lang.errors import ZonedevError

BEGIN, END = "<!-- conformance -->", "<!-- end -->"


def write(path: Path, found: Sequence[Conformance], today: datetime.date) -> None:
    """Put the tables between the marks in a file; ZonedevError where it has none."""
    before, after = around(path)
    path.write_text(f"{before}{BEGIN}\n{tables(found, today)}\n{END}{after}", encoding="utf-8")


def around(path: Path) -> tuple[str, str]:
    """What stands before the tables and after them; ZonedevError where a file has no place for them."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ZonedevError(f"{path}: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ZonedevError(f"{path}: no place for the tables: write {BEGIN} and {END} on lines of their own")
    return before, after


def tables(found: Sequence[Conformance], today: datetime.date) -> str:
    """All tables, as Markdown: devices first, then files, which have a file system."""
    kernels = list(dict.fromkeys((c.kernel, c.version, c.design) for c in found))
    accels = ", ".join(sorted({c.accel.upper() for c in found if c.accel})) or "not run"
    parts = [f"Run on {today.isoformat()} under QEMU ({accels}).", "", *kernel_table(kernels)]
    names = list(dict.fromkeys(name for name, _, _ in kernels))
    for runs in ([c for c in found if not c.fs], [c for c in found if c.fs]):
        if runs:
            parts += ["", *verdict_table(runs, names)]
    for scenario in dict.fromkeys(c.scenario for c in found if any(observes(r) for r in c.rows)):
        parts += ["", f"### {scenario}", ""]
        parts += ladder([c for c in found if c.scenario == scenario])
    return "\n".join(parts)


def kernel_table(kernels: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    yield from table_head("kernel", "Debian package", "beside design")
    for name, version, design in kernels:
        yield f"| {name} | {version} | {design} |"


def verdict_table(found: Sequence[Conformance], kernels: Sequence[str]) -> Iterator[str]:
    """A line for each scenario and order; of files for each file system too, unless all say the same."""
    systems = any(c.fs for c in found)
    yield from table_head("scenario", "order", *(["on"] if systems else []), *kernels)
    for scenario, order in dict.fromkeys((c.scenario, c.order) for c in found):
        lines: dict[str, list[str]] = {}  # the file systems, by what is said of them
        for fs in dict.fromkeys(c.fs for c in found if (c.scenario, c.order) == (scenario, order)):
            mine = {c.kernel: c for c in found if (c.scenario, c.order, c.fs) == (scenario, order, fs)}
            cells = " | ".join(cell(mine[k]) if k in mine else "-" for k in kernels)
            lines.setdefault(cells, []).append(fs)
        for cells, on in lines.items():
            where = f"{', '.join(on)} | " if systems else ""
            yield f"| {scenario} | {order or 'as the tasks wait for each other'} | {where}{cells} |"


def cell(found: Conformance) -> str:
    """The verdict, and what happened: a warning, and an end or a wait."""
    if found.verdict != AGREES:
        return f"**{found.verdict}**" + (f": {found.why}" if found.why else "").replace("|", "\\|")
    lines = [r.machine for r in found.rows if r.machine is not None]
    said = [line.said for line in lines if line.said]
    ends = [line.said.split()[0] for line in lines if line.said and crashed(line)]
    waits = [word for word in ("waits for good", "waits") if word in said]
    events = ["warning"] * any(line.warned for line in lines) + (ends[:1] or waits[:1])
    return f"agrees: {', '.join(events)}" if events else "agrees"


def observes(row: Row) -> bool:
    return row.line.kind == "observe"


def ladder(found: Sequence[Conformance]) -> Iterator[str]:
    """The counts at each marked point, by kernel; where file systems differ, by these too."""
    points = list(dict.fromkeys(r.line.task for c in found for r in c.rows if observes(r)))
    columns: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for c in found:
        cells = (next((count(r) for r in c.rows if observes(r) and r.line.task == p), "-") for p in points)
        columns.setdefault((c.kernel, tuple(cells)), []).append(c.fs)
    kernels = [kernel for kernel, _ in columns]
    heads = [k if kernels.count(k) == 1 else f"{k} on {', '.join(fs)}" for (k, _), fs in columns.items()]
    yield from table_head("point", *heads)
    for number, point in enumerate(points):
        yield f"| {point} | {' | '.join(cells[number] for _, cells in columns)} |"


def count(row: Row) -> str:
    """The count that both saw, or each of them."""
    sides = [short(line.said) if line else "-" for line in (row.model, row.machine)]
    return sides[0] if row.verdict == AGREES else f"**model {sides[0]}, machine {sides[1]}**"


def short(said: str | None) -> str:
    """``_refcount 1026, _mapcount 1`` as ``1026 (mapped 1)``."""
    if said is None:
        return "not seen"
    numbers = dict(re.findall(r"_(\w+) (-?\d+)", said))
    more = [f"{w} {numbers[n]}" for n, w in (("mapcount", "mapped"), ("pincount", "pinned")) if n in numbers]
    return f"{numbers.get('refcount', said)}" + (f" ({', '.join(more)})" if more else "")


def table_head(*names: str) -> Iterator[str]:
    yield f"| {' | '.join(names)} |"
    yield "|" + "---|" * len(names)
