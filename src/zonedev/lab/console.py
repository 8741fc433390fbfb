"""What a kernel reports on its console: warnings, bugs, oopses and panics, out of plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

STAMP = re.compile(r"^\s*(?:<\d>)?\[ *\d+\.\d{6}\](?:\[ *[TC]\d+\])? ?")
CUT = "------------[ cut here ]------------"
END = "---[ end "
SYMBOL = r"[A-Za-z_.][\w.]*"
RIP = re.compile(rf"^RIP: 0010:({SYMBOL}|0x[0-9a-f]+)")
FRAME = re.compile(rf"^ +(\? )?({SYMBOL})\+0x[0-9a-f]+/0x[0-9a-f]+")
#: Frames in which a report is written: not where it happened.
WRITING = re.compile(r"dump_stack.*|show_.*|dump_page|bad_page.*|print_.*|sched_show_task|panic|.*_lockup.*")


def plain(symbol: str) -> str:
    """A function's own name, without what the compiler appended: .cold, .part.0, .isra.0."""
    return symbol.split(".")[0] or symbol


@dataclass(frozen=True)
class Head:
    """How a kind of report begins.  The pattern's groups say what, and may name `fn`, `at`, `src`, `pid`.

    `end`: what ends it: a mark of its own, its call trace, or the head itself.
    """

    kind: str
    pattern: re.Pattern[str]
    end: str


HEADS = tuple(
    Head(kind, re.compile(pattern), end)
    for kind, end, pattern in (
        ("WARNING", "mark", rf"WARNING: CPU: \d+ PID: (?P<pid>\d+) at (?P<src>\S+) (?P<fn>{SYMBOL})\+0x"),
        ("WARNING", "mark", rf"WARNING: (?P<src>\S+:\d+) at (?P<fn>{SYMBOL})\+0x(?:.* CPU#.*/(?P<pid>\d+))?"),
        ("BUG", "mark", r"(?P<what>kernel BUG) at (?P<src>\S+:\d+)"),
        ("oops", "mark", r"BUG: (?P<what>unable to handle page fault) for address: (?P<at>[0-9a-f]+)"),
        ("oops", "mark", r"BUG: (?P<what>kernel NULL pointer dereference), address: (?P<at>[0-9a-f]+)"),
        ("oops", "mark", r"(?:Oops: )?(?P<what>general protection fault)(?:.* address 0x(?P<at>[0-9a-f]+))?"),
        ("oops", "mark", r"(?:Oops: )?(?P<what>stack segment|divide error|double fault|int3): "),
        ("BUG", "head", r"BUG: (?P<what>Bad rss-counter state|non-zero pgtables_bytes)"),
        ("BUG", "trace", r"(?:watchdog: )?BUG: (?P<what>.+)"),
        ("hung", "trace", r"INFO: (?P<what>task .+ blocked for more than \d+ seconds)"),
        ("stall", "trace", r"rcu: INFO: (?P<what>.*stall.*)"),
        ("panic", "mark", r"Kernel panic - not syncing: (?P<what>.+)"),
    )
)


@dataclass
class Report:
    """Something that a kernel reported.

    `kind` is WARNING, BUG, oops, panic, hung (a task) or stall (RCU); `what` the kernel's own words;
    `source` its file:line, where it says one; `function` where it happened; `address` what was touched;
    `pid` the thread that a warning came from.
    `call_trace` has the functions of the stack, innermost first, without those that the kernel doubts.
    `complete` is false while the rest may still come.
    """

    kind: str
    what: str
    source: str | None = None
    function: str | None = None
    address: int | None = None
    pid: int | None = None
    call_trace: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    complete: bool = False

    def __str__(self) -> str:
        where = f" at 0x{self.address:x}" if self.address is not None else ""
        return f"{self.kind}: {self.what}{where}" + (f" in {self.function}" if self.function else "")


def reports(text: str | Iterable[str], ended: bool = False) -> list[Report]:
    """All the reports in the text of a console, in the order in which they began.

    `ended`: nothing more will come.
    """
    reader = _Reader()
    for line in text.splitlines() if isinstance(text, str) else text:
        reader.take(STAMP.sub("", line.rstrip("\r\n"), count=1))
    if ended:
        reader.close()
    return reader.found


class _Reader:
    """Goes through the lines of a console once."""

    def __init__(self) -> None:
        self.found: list[Report] = []
        self.open: Report | None = None
        self.end = ""  # what ends the open one
        self.tracing = False
        self.cut: list[str] | None = None  # the lines since "cut here": a warning's words precede its head

    def take(self, line: str) -> None:
        head = next(((h, m) for h in HEADS if (m := h.pattern.match(line))), None)
        if head is not None:
            self.begin(*head, line)
        elif line.startswith(CUT):
            self.close()
            self.cut = []
        elif self.open is not None:
            self.go_on(self.open, line)
        elif self.cut is not None:
            self.cut.append(line)

    def begin(self, head: Head, match: re.Match[str], line: str) -> None:
        self.close()
        said = dict.fromkeys(("what", "src", "fn", "at", "pid")) | match.groupdict()
        words = [w for w in self.cut or [] if w]
        report = Report(
            kind=head.kind,
            what=" ".join(words) or said["what"] or said["src"] or "",
            source=said["src"],
            function=plain(said["fn"]) if said["fn"] else None,
            address=int(said["at"], 16) if said["at"] else None,
            pid=int(said["pid"]) if said["pid"] else None,
            lines=[*words, line],
            complete=head.end == "head",
        )
        self.cut, self.tracing, self.end = None, False, head.end
        self.found.append(report)
        self.open = None if report.complete else report

    def go_on(self, report: Report, line: str) -> None:
        frame = FRAME.match(line)
        if self.end == "trace" and report.call_trace and not line.startswith(" "):
            self.close()
            return
        report.lines.append(line)
        if line.startswith(END):
            self.close()
        elif line.strip() == "Call Trace:":
            self.tracing = not report.call_trace  # the first one: what was interrupted may follow
        elif self.tracing and frame and not frame[1]:
            function = plain(frame[2])
            if report.call_trace or not WRITING.fullmatch(function):
                report.call_trace.append(function)
                report.function = report.function or function
        elif report.function is None and (rip := RIP.match(line)):
            report.function = plain(rip[1])

    def close(self) -> None:
        if self.open is not None:
            self.open.complete = True
        self.open, self.tracing = None, False
