"""What a test program of the kernel's selftests says (TAP), out of the console of a guest.

The program writes into the kernel's log, so that its lines are whole, and stand in order with what the
kernel itself reports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from zonedev.lab.console import STAMP, Report, reports

PASS, FAIL, SKIP, TIMEOUT, OOPS, NOT_RUN = "pass", "fail", "skip", "timeout", "oops", "not run"
#: The kinds of reports after which a kernel is not to be trusted.
FATAL = ("BUG", "oops", "panic")

RUN = re.compile(r"#  RUN +(?P<name>\S+) \.\.\.$")
DONE = re.compile(r"(?P<bad>not )?ok \d+ (?P<name>\S+)(?: # (?P<how>SKIP|XFAIL|XPASS)\b ?(?P<why>.*))?$")
ASSERTION = re.compile(r"# (?:\S*/)?(?P<where>[\w.-]+\.c:\d+):\w+:(?P<what>.+)$")
END = re.compile(r"# \S+: (?P<what>Test .+|unable .+|Failed .+)$")
TIMED_OUT = "Test terminated by timeout"


@dataclass
class CaseResult:
    """What became of a test.

    `name` has three parts: fixture, variant, test.  `text` says why it did not pass; `warned` is what
    the kernel reported while it ran.
    """

    name: str
    outcome: str = NOT_RUN
    text: str = ""
    warned: list[str] = field(default_factory=list)

    @property
    def variant(self) -> str:
        """Such as private or coherent."""
        return self.name.split(".")[1].rpartition("_")[2]

    @property
    def case(self) -> str:
        """What scenarios call it: "migrate (private)"."""
        return f"{self.name.rpartition('.')[2]} ({self.variant})"

    @property
    def title(self) -> str:
        """The same with the fixture: "hmm.migrate (private)"."""
        return f"{self.name.partition('.')[0]}.{self.case}"


def listed(text: str) -> list[str]:
    """The names of all tests, out of what a program prints for -l.

    Three columns: a fixture, its variants, and its tests, each of which runs with every variant.
    """
    fixtures: dict[str, tuple[list[str], list[str]]] = {}
    fixture = ""
    for line in text.splitlines():
        if line.startswith(("#", "-")):
            continue
        fixture = line[:20].strip() or fixture
        variants, tests = fixtures.setdefault(fixture, ([], []))
        variants += line[21:46].split()
        tests += line[46:].split()
    return [f"{f}.{v}.{t}" for f, (variants, tests) in fixtures.items() for v in variants for t in tests]


def parse(console: Iterable[str]) -> list[CaseResult]:
    """The tests that were begun, as far as they came."""
    return [result_of(name, lines) for name, lines in pieces(console)]


def pieces(console: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Each test that was begun, with its lines: the last one is its result, if it came to one."""
    name = ""
    lines: list[str] = []
    for line in (STAMP.sub("", raw.rstrip("\r\n"), count=1) for raw in console):
        begun, done = RUN.match(line), DONE.match(line)
        if name and begun:
            yield name, lines
        if begun:
            name, lines = begun["name"], []
        elif name:
            lines.append(line)
            if done and done["name"] == name:
                yield name, lines
                name = ""
    if name:
        yield name, lines


def result_of(name: str, lines: Sequence[str]) -> CaseResult:
    """A test's result out of its lines."""
    seen = reports(lines, ended=True)
    found = CaseResult(name, warned=[words(report) for report in seen])
    done = DONE.match(lines[-1]) if lines else None
    if any(report.kind in FATAL for report in seen):
        found.outcome, found.text = OOPS, words(next(r for r in seen if r.kind in FATAL))
    elif done is None:
        found.outcome, found.text = TIMEOUT, "it had not ended"
    elif done["bad"]:
        ends = [m["what"] for line in lines if (m := END.match(line))]
        failed = [f"{m['where']}: {m['what']}" for line in lines if (m := ASSERTION.match(line))]
        found.outcome = TIMEOUT if TIMED_OUT in ends else FAIL
        found.text = [*failed, *ends, "no reason is given"][0]
    elif done["how"]:
        found.outcome, found.text = SKIP if done["how"] == "SKIP" else PASS, done["why"].strip()
    else:
        found.outcome = PASS
    return found


def words(report: Report) -> str:
    """A report of the kernel in a few words."""
    return f"{report.kind} in {report.function}" if report.function else f"{report.kind}: {report.what}"
