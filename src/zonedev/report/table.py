"""The tables of `matrix`, `diff` and `cost`, and the lists of `designs`, `scenarios` and `rules`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence

from zonedev.explore.check import HOLDS, UNDETERMINED
from zonedev.explore.matrix import Cell
from zonedev.report.notes import of_matrix
from zonedev.report.text import WIDTH, note, plural, wrapped
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario

#: The word by which a rule is known in a narrow column; the full names follow the table.
SHORT = {
    "page-lifetime": "life",
    "refcount-exact": "refs",
    "mapping-exact": "owner",
    "block-reuse": "reuse",
    "data-integrity": "data",
    "fsync-complete": "fsync",
    "unbind-drained": "drain",
    "no-deadlock": "dead",
    "no-lost-wakeup": "wake",
    "removal-terminates": "remov",
    "truncate-terminates": "trunc",
    "fault-terminates": "fault",
    "mirror-coherent": "mirror",
    "exclusive-access": "exclusiv",
    "one-live-copy": "one-copy",
    "lock-balance": "lock",
    "nothing-left": "left",
    "tlb-flushed": "tlb",
    "kernel-asserts": "warn",
    "suite-asserts": "suite",
}


def matrix(cells: Sequence[Cell], designs: Sequence[str]) -> str:
    """Scenarios down, designs across, then what the words mean and what differs."""
    columns = [d for d in designs if any(c.design == d for c in cells)]
    lines: list[str] = []
    for some in packed(cells, columns):
        lines += [*block(cells, some), ""]
    others = [c for c in cells if c.design not in columns]
    if others:
        lines += [f"{c.scenario}, {c.design}: {symbol(c)}" for c in others]
        lines.append("")
    *meaning, total = legend(cells)
    lines += [*meaning, *map(note, of_matrix(cells)), total]
    return "\n".join(line.rstrip() for line in lines)


def packed(cells: Sequence[Cell], columns: Sequence[str]) -> Iterator[list[str]]:
    """The columns in pieces that fit beside the names of the scenarios."""
    room = WIDTH - max((len(c.scenario) for c in cells), default=0)
    some: list[str] = []
    for column in columns:
        if some and sum(column_width(cells, c) for c in [*some, column]) > room:
            yield some
            some = []
        some.append(column)
    if some:
        yield some


def column_width(cells: Sequence[Cell], design: str) -> int:
    return 1 + max(len(heading(design)), *(len(symbol(c)) for c in cells if c.design == design))


def heading(design: str) -> str:
    return design.removeprefix("linux-")


def block(cells: Sequence[Cell], columns: Sequence[str]) -> Iterator[str]:
    """A table of some designs, with the scenarios that were checked under any of them."""
    known = {(c.scenario, c.design): c for c in cells}
    first = max(len(c.scenario) for c in cells)
    widths = {d: column_width(cells, d) for d in columns}
    yield " " * first + "".join(f" {heading(d):<{widths[d] - 1}}" for d in columns)
    for name in dict.fromkeys(c.scenario for c in cells if c.design in columns):
        parts = (f" {symbol(known.get((name, d))):<{widths[d] - 1}}" for d in columns)
        yield f"{name:{first}}{''.join(parts)}"


def symbol(cell: Cell | None) -> str:
    """What a cell shows: one word, marked where it is not as it should be."""
    if cell is None:
        return "-"
    if cell.error is not None:
        return "error!"
    if cell.found is None:
        return "..."
    found = cell.found
    word = "?" if found.verdict == UNDETERMINED else "ok"
    if found.rule is not None:
        word = SHORT.get(found.rule, found.rule)
    return word[:8] + "!" if cell.differs else word[:8]


def legend(cells: Sequence[Cell]) -> Iterator[str]:
    shown = [symbol(c).rstrip("!") for c in cells]
    meaning = {"ok": "holds in every interleaving", "?": "undetermined: a limit was hit"}
    meaning["..."] = "not checked: interrupted"
    for word, text in meaning.items():
        if word in shown:
            yield f"{word:<9} {text}"
    for rule in sorted({c.found.rule for c in cells if c.found is not None and c.found.rule}):
        yield f"{SHORT.get(rule, rule)[:8]:<9} violated: {rule}"
    unexpected = [c for c in cells if c.unexpected]
    if unexpected:
        yield f"{'!':<9} not as expected:"
    for cell in unexpected:
        yield wrapped(f"  {cell.scenario}, {cell.design}: {cell.error or '; '.join(cell.differs)}", "      ")
    done = sum(c.found is not None or c.error is not None for c in cells)
    total = f"{plural(done, 'check', 'checks')}" if done == len(cells) else f"{done} of {len(cells)} checks"
    yield f"{total}, {f'{len(unexpected)} not' if unexpected else 'all'} as expected"


def listing(entries: Mapping[str, str]) -> str:
    """Names and what they mean, in two columns."""
    width = max((len(n) for n in entries), default=0)
    lines = []
    for name, text in entries.items():
        lines.append(wrapped(f"{name:<{width}}  {text}", " " * (width + 2)) if text else name)
    return "\n".join(lines)


def about_design(design: type) -> str:
    return str(getattr(design, "title", "") or (inspect.getdoc(design) or "").split("\n")[0])


def about_scenario(scenario: type[Scenario]) -> str:
    """What it is about, and its scopes."""
    sizes = ", ".join(
        f"{k}={'|'.join(v.choices) if v.choices else f'{v.lo}..{v.hi}'}" for k, v in scenario.scope.items()
    )
    return scenario.title() + (f" [{sizes}]" if sizes else "")


def about_rule(rule: Rule) -> str:
    return f"{rule.text} ({rule.kind})"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table: the first column to the left, the others to the right, in pieces of 80 columns."""
    widths = [max(len(r[i]) for r in [header, *rows]) for i in range(len(header))]
    blocks = []
    at = 1
    while at < len(header):
        end, used = at, widths[0]
        while end < len(header) and (end == at or used + widths[end] + 2 <= WIDTH):
            used += widths[end] + 2
            end += 1
        picked = range(at, end)
        blocks.append(
            "\n".join(
                (f"{r[0]:<{widths[0]}}" + "".join(f"  {r[i]:>{widths[i]}}" for i in picked)).rstrip()
                for r in [header, *rows]
            )
        )
        at = end
    return "\n\n".join(blocks)


def verdict_word(verdict: str, rule: str | None) -> str:
    return "holds" if verdict == HOLDS else f"{verdict}: {rule}" if rule else verdict
