"""The catalogue before SPIN, rumur and TLC: do they find the same states and the same verdicts?

    python benchmarks/judges.py [SCENARIO ...] [--judge spin] [--max-states N] [--jobs N]

Every scenario under every design with an expectation, and every case of the suites, is
exported and asked of each judge, and checked here.  Exit code 2 where anything differs, 3
where a judge came to no end.  What was answered is kept in the user's cache directory, so
that a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from zonedev.catalogue import load
from zonedev.explore.matrix import pairs
from zonedev.export.compare import Comparison, judge_all
from zonedev.export.judges import JUDGES, Answer, Limits
from zonedev.report.text import plural

LINE = "{:<24} {:<16} {:<14} {!s:>7}  {}"


def cache_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "zonedev" / "judges"


def mark(row: Comparison, name: str) -> str:
    """How a judge's answer compares with ours."""
    if row.error:
        return "?"
    if row.theirs[name].stopped:
        return "open"
    return "DIFFERS" if any(d.startswith(f"{name}:") for d in row.differs) else "="


def line(row: Comparison, judges: Sequence[str]) -> str:
    ours = row.ours or Answer()
    found = "holds" if ours.broken is None else ours.broken
    if row.progress:
        found = "(" + row.progress.replace("terminates", "end") + ")"
    size = ours.states if ours.states is not None else f"at {ours.level}"
    marks = " ".join(f"{mark(row, j):<{len(j)}}" for j in judges)
    return LINE.format(short(row.scenario, 24), short(row.design, 16), short(found, 14), size, marks).rstrip()


def short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"


def totals(rows: Sequence[Comparison], judges: Sequence[str]) -> list[str]:
    """What each judge agreed to, and how long it took."""
    lines = []
    for name in judges:
        answers = [r.theirs[name] for r in rows if name in r.theirs]
        same = [r.theirs[name] for r in rows if name in r.theirs and mark(r, name) == "="]
        wholes = [a for a in same if a.states is not None]
        searches = plural(len(wholes), "whole search", "whole searches")
        states = sum(a.states or 0 for a in wholes)
        broken = plural(len(same) - len(wholes), "violation", "violations")
        seconds = sum(a.build + a.seconds for a in answers)
        lines.append(
            f"{name}: {len(same)} of {len(answers)} agree; {searches} of {states} states,\n"
            f"    {broken}; {seconds:.0f} s of work"
        )
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="The catalogue before SPIN, rumur and TLC.")
    parser.add_argument("scenario", metavar="SCENARIO", nargs="*", help="only these")
    parser.add_argument("--judge", choices=tuple(JUDGES), action="append", help="only this one")
    parser.add_argument("--max-states", type=int, default=1_000_000, help="leave larger checks out")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="for each program that is run")
    parser.add_argument("--jobs", type=int, help="processes (default: one a core)")
    parser.add_argument("--fresh", action="store_true", help="ask again what was answered before")
    args = parser.parse_args()
    judges = []
    for name in args.judge or JUDGES:
        missing = JUDGES[name].missing()
        if missing:
            print(f"SKIP {name}: {missing}")
        else:
            judges.append(name)
    if not judges:
        return 0
    known = load()
    suites = [c.name() for suite in known.suites.values() for c in suite if not c.unmodelled]
    cells = [
        (c.scenario, c.design, c.golden)
        for c in pairs(known, args.scenario or [*known.scenarios, *suites], False)
        if (c.golden or {}).get("states", 0) < args.max_states
    ]
    begun, count = time.perf_counter(), Counter[str]()

    def report(row: Comparison) -> None:
        count["done"] += 1
        for text in [row.error] if row.error else row.differs:
            print(f"\n{row.scenario}, {row.design}: {text}", file=sys.stderr)
        seconds = time.perf_counter() - begun
        print(
            f"\rjudges: {count['done']} of {len(cells)}, {seconds:.0f} s ",
            end="",
            file=sys.stderr,
            flush=True,
        )

    limits = Limits(args.max_seconds, 4 << 30, args.max_states)
    cache = None if args.fresh else cache_directory()
    rows = judge_all(load, cells, judges, limits, cache, args.jobs, report)
    print(file=sys.stderr)
    print(LINE.format("scenario", "design", "verdict", "states", " ".join(judges)))
    for row in rows:
        print(line(row, judges))
    print()
    for row in rows:
        for text in [row.error] if row.error else row.differs:
            print(f"{row.scenario}, {row.design}: {text}")
        for name, answer in row.theirs.items():
            if answer.stopped:
                print(f"{row.scenario}, {row.design}: {name} came to no end: {answer.stopped}")
    print("\n".join(totals(rows, judges)))
    if any(r.differs or r.error for r in rows):
        return 2
    return 3 if any(r.open for r in rows) else 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        print("\ninterrupted: the next run goes on from here", file=sys.stderr)
        raise SystemExit(3) from None
