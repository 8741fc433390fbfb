"""zonedev beside SPIN, rumur and TLC: time to verdict on the same models.

    python benchmarks/peers.py [--case NAME] [--tool NAME] [--large] [--max-seconds S] [--json FILE]

`seconds` is wall-clock time from the start of the tool to its verdict, and `build` the part
of it that is no search: for zonedev the start of Python, the lowering, the compilation, and
what was searched before it moved on to compiled code; for SPIN and rumur the translation to C
and the compiler.  What zonedev export takes to write the models is not counted.  zonedev runs
as it does by default, with an empty cache, and `again` with what it kept.  SPIN gets the
idiomatic form, and rumur and TLC the only one; all are given their options for speed, and SPIN
a table of the right size.  What SPIN and rumur write is also compiled with -O0, which is the faster
way where the search is short.  Memory is the largest resident size.

A row is void where the verdict is another, or where a whole search has other states than
stand beside the case; partial-order reduction and bitstate hashing may have fewer.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from zonedev.designs import DESIGNS
from zonedev.explore.check import select, set_up
from zonedev.explore.result import Limits as OwnLimits
from zonedev.explore.runner import Runner
from zonedev.export import exported
from zonedev.export.judges import EXACT, JUDGES, Answer, Limits, NoAnswer, rumur, spin, tlc
from zonedev.export.run import run
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules import RULES
from zonedev.scenarios import SCENARIOS
from zonedev.scenarios.base import full_scope

LINE = "{:<16} {:>10} {:>9} {:>9} {:>9} {:>7}  {}"


@dataclass(frozen=True)
class Case:
    """A check, with the states that a whole search has to find, and whether a rule breaks."""

    name: str
    scenario: str
    design: str
    states: int
    violated: bool = False
    scope: dict[str, str | int] = field(default_factory=dict)
    large: bool = False

    def lowered(self) -> TransitionSystem:
        """The transition system, with the scenario's rules."""
        cls = SCENARIOS[self.scenario]
        selection = select(cls, RULES)
        system = set_up(cls, DESIGNS[self.design], full_scope(cls, self.scope), selection.monitors)
        return lower(system, selection.names)

    @property
    def title(self) -> str:
        sizes = "".join(f" {k}={v}" for k, v in self.scope.items())
        verdict = "violated" if self.violated else "holds"
        return f"{self.name}: {self.scenario}, {self.design}{sizes}: {verdict}, {self.states} states"


PINNERS = "devdax-pinners-vs-unbind"
CASES = {
    c.name: c
    for c in (
        Case("small", "devdax-unbind-vs-pin", "linux-5.10", 3_768),
        Case("violated", PINNERS, "linux-7.2", 394_897, True, {"processes": 3}),
        Case("files", "files-at-work", "linux-7.2", 844_526, False, {"pages": 3}),
        Case("violated-1m", PINNERS, "linux-6.12", 1_016_063, True, {"processes": 3}),
        Case("pinners", PINNERS, "linux-5.10", 2_089_551, False, {"processes": 3}),
        Case("pinners-14m", PINNERS, "linux-4.5", 14_144_265, False, {"processes": 4}, large=True),
        Case("pinners-21m", PINNERS, "linux-5.10", 21_441_953, False, {"processes": 4}, large=True),
    )
}


@dataclass
class Row:
    """What a tool did: its answer, and whether it may have found fewer states."""

    answer: Answer
    lossy: str = ""


# --- zonedev -----------------------------------------------------------------------------------------


def own(case: Case, workers: int, place: Path, limits: Limits) -> Row:
    """`zonedev check`, as a user runs it; a second run finds what the first has kept."""
    cache = place.parent / f"cache-{workers}"
    scope = [x for k, v in case.scope.items() for x in ("--scope", f"{k}={v}")]
    command = [sys.executable, "-m", "zonedev", "check", case.scenario, "--design", case.design, *scope]
    command += ["--workers", str(workers), "--format", "json"]
    ran = run(["env", f"XDG_CACHE_HOME={cache}", *command], place, limits.seconds)
    if ran.late or ran.code not in (0, 2):
        return Row(Answer(stopped="out of time" if ran.late else ran.text.strip()))
    found = json.loads(ran.text[ran.text.index("{") :])
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        search = min(pool.submit(searched, case, workers).result(), ran.seconds)
    answer = Answer(
        found["states"], None, found["rule"], None, None, ran.seconds - search, search, ran.memory
    )
    return Row(answer, ", ".join(found.get("reductions", ())))


def searched(case: Case, workers: int) -> float:
    """How many seconds the search itself takes, at the end."""
    selection = select(SCENARIOS[case.scenario], RULES)
    return Runner(case.lowered(), selection.question, OwnLimits(), None, workers).run("auto").seconds


# --- the others --------------------------------------------------------------------------------------


#: What the C compiler is told, by the form of the search.  It takes longer over -O2 than most searches do.
FORMS = {
    "plain": ("-O0", "-DNOREDUCE"),
    "exact": ("-O2", "-DNOREDUCE"),
    "reduced": ("-O2",),
    "bitstate": ("-O2", "-DBITSTATE"),
}


def spin_row(case: Case, form: str, place: Path, limits: Limits) -> Row:
    """SPIN: exact, with partial-order reduction, or with that and bitstate hashing."""
    text = written(case, "promela", "processes")
    bits = max(27, case.states.bit_length() + 7)  # 128 bits or more for a state
    arguments = [f"-w{bits}"] if form == "bitstate" else []
    lossy = "" if "-DNOREDUCE" in FORMS[form] else form
    answer = spin(text, True, place, limits, () if lossy else EXACT, FORMS[form], arguments)
    return Row(answer, lossy)


def rumur_row(case: Case, form: tuple[str, int], place: Path, limits: Limits) -> Row:
    """rumur: what the C compiler is told, and the number of threads."""
    return Row(rumur(written(case, "murphi"), True, place, limits, *form))


def tlc_row(case: Case, workers: int, place: Path, limits: Limits) -> Row:
    return Row(tlc(written(case, "tla"), True, place, limits, workers))


def written(case: Case, language: str, style: str = "loop") -> str:
    question = select(SCENARIOS[case.scenario], RULES).question
    return exported(case.lowered(), question, language, case.title, style)


Tool = Callable[[Case, Path, Limits], Row]


def bound(tool: Callable[..., Row], form: object, case: Case, place: Path, limits: Limits) -> Row:
    return tool(case, form, place, limits)


TOOLS: dict[str, Tool] = {
    "zonedev 1": partial(bound, own, 1),
    "zonedev 1, again": partial(bound, own, 1),
    "zonedev 2": partial(bound, own, 2),
    "zonedev 2, again": partial(bound, own, 2),
    "spin -O0": partial(bound, spin_row, "plain"),
    "spin -O2": partial(bound, spin_row, "exact"),
    "spin reduced": partial(bound, spin_row, "reduced"),
    "spin bitstate": partial(bound, spin_row, "bitstate"),
    "rumur -O0": partial(bound, rumur_row, ("-O0", 1)),
    "rumur -O3": partial(bound, rumur_row, ("-O3", 1)),
    "rumur -O3, 2": partial(bound, rumur_row, ("-O3", 2)),
    "tlc 1": partial(bound, tlc_row, 1),
    "tlc 2": partial(bound, tlc_row, 2),
}


def missing(tool: str) -> str | None:
    judge = JUDGES.get(tool.split()[0])
    return judge.missing() if judge else None


# --- the table -----------------------------------------------------------------------------------------


def wrong(case: Case, row: Row) -> str:
    """Why a row is void; empty where it is not."""
    answer = row.answer
    if (answer.broken is not None) != case.violated:
        return f"VOID: it finds {answer.broken or 'nothing'} broken"
    if case.violated or answer.states is None or answer.states == case.states:
        return ""
    if row.lossy and answer.states < case.states:
        return ""
    return f"VOID: there are {case.states} states"


def line(case: Case, tool: str, row: Row, limits: Limits) -> tuple[str, bool]:
    """A line of the table, and whether it is void."""
    answer = row.answer
    if answer.stopped:
        late = "out of time" in answer.stopped
        total = f"> {limits.seconds:.0f}" if late else "-"
        return LINE.format(tool, "-", total, "-", "-", "-", "" if late else answer.stopped), False
    total, states = answer.build + answer.seconds, answer.states
    rate = f"{states / total / 1e6:.3f}" if states else "-"
    size = f"{answer.memory / states:.0f}" if states else "-"
    void = wrong(case, row)
    return LINE.format(
        tool, states or "-", f"{total:.2f}", f"{answer.build:.2f}", rate, size, void or row.lossy
    ), bool(void)


def row_object(tool: str, row: Row, remark: str) -> dict[str, object]:
    """A row for --json; `remark` is what stands behind the numbers in the table."""
    answer = row.answer
    late = answer.stopped and "out of time" in answer.stopped
    return {
        "tool": tool,
        "states": answer.states,
        "seconds": None if answer.stopped else round(answer.build + answer.seconds, 2),
        "build": None if answer.stopped else round(answer.build, 2),
        "remark": "out of time" if late else answer.stopped or remark,
    }


def rows(case: Case, tools: list[str], limits: Limits) -> Iterator[tuple[str, Row]]:
    """Each tool in turn, alone on the machine."""
    with tempfile.TemporaryDirectory(prefix="zonedev-") as whole:
        for tool in tools:
            place = Path(whole) / tool.replace(" ", "-").replace(",", "")
            place.mkdir()
            try:
                yield tool, TOOLS[tool](case, place, limits)
            except NoAnswer as reason:
                yield tool, Row(Answer(stopped=str(reason)))


def main() -> int:
    parser = argparse.ArgumentParser(description="zonedev beside SPIN, rumur and TLC.")
    parser.add_argument("--case", choices=tuple(CASES), action="append", help="only this one")
    parser.add_argument("--tool", choices=tuple(TOOLS), action="append", help="only this one")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the rows there as well")
    parser.add_argument("--large", action="store_true", help="also tens of millions of states")
    parser.add_argument("--max-seconds", type=float, default=600.0, help="for each program that is run")
    parser.add_argument("--max-memory", type=int, default=16, help="for each program, in GiB")
    args = parser.parse_args()
    tools = []
    for tool in args.tool or TOOLS:
        lacking = missing(tool)
        if lacking:
            print(f"SKIP {tool}: {lacking}")
        else:
            tools.append(tool)
    void = False
    measured = []
    for case in CASES.values():
        if case.name not in args.case if args.case else case.large and not args.large:
            continue
        limits = Limits(args.max_seconds, args.max_memory << 30, max(1_000_000, 2 * case.states))
        print(
            f"{case.title}\n" + LINE.format("", "states", "seconds", "build", "M st/s", "B/st", "").rstrip()
        )
        found = []
        for tool, row in rows(case, tools, limits):
            text, bad = line(case, tool, row, limits)
            found.append(row_object(tool, row, wrong(case, row) or row.lossy))
            void = void or bad
            print(text.rstrip(), flush=True)
        print()
        measured.append({"title": case.title, "rows": found})
    if args.json:
        args.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    return 2 if void else 0


if __name__ == "__main__":
    raise SystemExit(main())
