"""A counterexample in other tools' formats, and zonedev show."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import toys
from zonedev import cli
from zonedev.catalogue import load
from zonedev.explore.check import Verdict, check
from zonedev.explore.trace import Change, TraceStep
from zonedev.report import excerpt, itf, mermaid, perfetto, plantuml, text
from zonedev.report.json import read, render, verdict_object
from zonedev.report.sequence import MOST, diagram

KINDS = ("unbind", "evict", "loop", "deadlock")


@cache
def found(kind: str) -> Verdict:
    """Counterexamples: of a softirq too, of a file, of a livelock, of a deadlock."""
    if kind == "loop":
        return check(toys.ToyBackOff, toys.ToyNew, known=toys.RULES)
    if kind == "deadlock":
        return check(toys.ToyLocks, toys.ToyOld, known=toys.RULES)
    known = load()
    scenario, design = {
        "unbind": ("devdax-unbind-vs-pin", "linux-6.15"),
        "evict": ("evict-vs-pin", "linux-6.12"),
    }[kind]
    return check(known.scenario(scenario), known.design(design), design_name=design)


def endless(switches: int) -> Verdict:
    """A counterexample of many turns, each of which changes something."""
    steps = [
        TraceStep(n, "AB"[n % 2], "f", ("g", "f"), "kernel/page.py:1", "f()", (change(n),), f"t.g({n})")
        for n in range(1, switches + 1)
    ]
    return Verdict("s", "d", {}, "violated", "page-lifetime", "x", depth=len(steps), trace=steps)


def change(n: int) -> Change:
    return Change("page0._refcount", str(n), str(n + 1))


def replayed(verdict: Verdict) -> list[dict[str, str]]:
    """The values of all locations that change: before the first step, and after each."""
    values: dict[str, str] = {}
    for made in (c for s in verdict.trace for c in s.changes if c.old != c.new):
        values.setdefault(made.where, made.old)
    states = [dict(values)]
    for step in verdict.trace:
        values.update({c.where: c.new for c in step.changes if c.old != c.new})
        states.append(dict(values))
    return states


# --- sequence diagrams ---------------------------------------------------------------------------

MERMAID = {
    "title": r"title .+",
    "lane": r"participant t\d+ as .+",
    "call": r"(t\d+)->>\1: \S.*",
    "function": r"(t\d+)-->>\1: \d+  \w+",
    "note": r"Note right of t\d+: \S.*",
    "across": r"Note over t\d+(,t\d+)?: \S.*",
    "open": r"loop .+|rect rgb\(\d+, \d+, \d+\)",
    "close": r"end",
}
PLANTUML = {
    "title": r"title .+",
    "lane": r'(participant|boundary|control) "[^"]+" as t\d+',
    "call": r"(t\d+) -> \1: \S.*",
    "function": r"(t\d+) --> \1: \d+  \w+",
    "note": r"note right of t\d+: \S.*",
    "across": r"note over t\d+(, t\d+)?( #\w{6})?: \S.*",
    "open": r"loop .+",
    "close": r"end",
    "layout": r"hide footbox",
}


def parsed(lines: list[str], grammar: dict[str, str]) -> list[tuple[str, str]]:
    """The kind of each line; exactly one fits, blocks are closed, lanes are declared before they speak."""
    kinds = []
    depth, lanes = 0, set()
    for line in map(str.strip, lines):
        fits = [kind for kind, pattern in grammar.items() if re.fullmatch(pattern, line)]
        assert len(fits) == 1, line
        kinds.append((fits[0], line))
        depth += {"open": 1, "close": -1}.get(fits[0], 0)
        assert depth >= 0
        names = set(re.findall(r"\bt\d+\b", line.split(": ")[0]))
        if fits[0] == "lane":
            lanes |= {re.findall(r"\bt\d+\b", line)[-1 if grammar is PLANTUML else 0]}
        elif fits[0] not in ("title", "open"):
            assert names <= lanes, line
    assert depth == 0
    return kinds


def diagrams(verdict: Verdict) -> list[list[tuple[str, str]]]:
    first, *rest = mermaid.render(verdict).splitlines()
    assert first == "sequenceDiagram"
    begin, *body, end = plantuml.render(verdict).splitlines()
    assert (begin, end) == ("@startuml", "@enduml")
    return [parsed(rest, MERMAID), parsed(body, PLANTUML)]


def unescaped(line: str) -> str:
    """A line of either as its reader sees it."""
    return re.sub(r"#(\d+);", lambda m: chr(int(m[1])), line).replace("~", "").replace("<br/>", r"\n")


@pytest.mark.parametrize("kind", KINDS)
def test_a_diagram_tells_what_the_text_tells(kind: str) -> None:
    verdict = found(kind)
    net = {f"{c.where} {c.old} -> {c.new}" for s in verdict.trace for c in s.changes if c.old != c.new}
    for lines in diagrams(verdict):
        kinds = [kind for kind, _ in lines]
        assert kinds.count("call") + kinds.count("function") <= MOST
        assert kinds.count("lane") == len({s.task for s in verdict.trace})
        assert ("loop for ever" in [line for _, line in lines]) == (verdict.loop is not None)
        notes = [unescaped(line).partition(": ")[2] for kind, line in lines if kind == "note"]
        said = {part for note in notes for part in note.split(r"\n")}
        changes = {part for part in said if " -> " in part}
        assert changes and changes <= net
        wanted = {
            f"{c.where} {c.old} -> {c.new}"
            for s in verdict.trace
            for c in s.changes
            if not c.quiet and c.old != c.new
        }
        assert {c.split()[0] for c in wanted} <= {c.split()[0] for c in changes}
        last = [unescaped(line) for kind, line in lines if kind == "across"][-1]
        assert last.endswith(diagram(verdict).end) and str(verdict.rule) in last
        calls = {unescaped(line).partition(": ")[2] for kind, line in lines if kind == "call"}
        assert calls <= {s.call for s in verdict.trace}


def test_the_page_has_the_diagram() -> None:
    page = Path("docs/formats.md").read_text()
    assert f"```mermaid\n{mermaid.render(found('unbind'))}\n```" in page


def test_the_messages_are_in_the_order_of_the_steps() -> None:
    for lines in diagrams(found("unbind")):
        numbers = [int(line.split(": ")[1].split()[0]) for kind, line in lines if kind == "function"]
        assert numbers == sorted(numbers) and numbers[-1] == len(found("unbind").trace)


def test_the_loop_has_its_own_messages() -> None:
    verdict = found("loop")
    told = diagram(verdict)
    assert verdict.loop is not None and told.loop
    assert all(m.number < verdict.loop for m in told.messages)
    assert all(m.number >= verdict.loop for m in told.loop if m.number)


def test_a_long_diagram_keeps_its_end() -> None:
    for lines in diagrams(endless(200)):
        kinds = [kind for kind, _ in lines]
        assert kinds.count("call") + kinds.count("function") == MOST
        assert "messages before" in next(line for kind, line in lines if kind == "across")
        assert [line for kind, line in lines if kind == "function"][-1].split()[-2] == "200"


def test_what_is_markup_is_escaped() -> None:
    odd = Change("page0.a__b", "NULL;", '#1 <b> **x** //y// "z" --')
    step = TraceStep(1, "A", "f", ("g", "f"), "kernel/page.py:1", "f()", (odd,), "t.g(a__b); x")
    verdict = Verdict("s", "d", {}, "violated", "r", "o; p", depth=1, trace=[step])
    ours, theirs = diagrams(verdict)
    assert not any(";" in re.sub(r"#\d+;", "", line) for _, line in ours)
    note = next(line for kind, line in ours if kind == "note")
    assert "<b>" not in note and unescaped(note).endswith(f"{odd.where} {odd.old} -> {odd.new}")
    note = next(line for kind, line in theirs if kind == "note")
    for markup in ("<b>", "**", "//", "__", '"', "--"):
        assert not re.search(rf"(?<!~){re.escape(markup)}", note), markup


def test_without_steps() -> None:
    verdict = Verdict("s", "d", {}, "violated", "no-deadlock", "A waits", trace=[])
    for lines in diagrams(verdict):
        assert lines[-1][1] == "end" or "no-deadlock" in lines[-1][1]
    assert len(itf.trace_object(verdict)["states"]) == 1
    assert perfetto.trace_object(verdict)["traceEvents"]


# --- Perfetto ------------------------------------------------------------------------------------


def events(verdict: Verdict, ph: str) -> list[dict[str, Any]]:
    whole = json.loads(perfetto.render(verdict))
    return [event for event in whole["traceEvents"] if event["ph"] == ph]


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_of_the_trace_event_format(kind: str) -> None:
    needed = {
        "M": {"name", "pid", "tid", "args"},
        "X": {"name", "cat", "pid", "tid", "ts", "dur", "args"},
        "C": {"name", "pid", "ts", "args"},
        "i": {"name", "pid", "tid", "ts", "s", "args"},
    }
    whole = json.loads(perfetto.render(found(kind)))
    assert set(whole) == {"traceEvents", "displayTimeUnit", "otherData"}
    times = []
    for event in whole["traceEvents"]:
        assert set(event) - {"ph"} == needed[event["ph"]]
        assert isinstance(event["pid"], int) and isinstance(event["name"], str) and event["name"]
        times += [event["ts"]] if "ts" in event else []
    assert times == sorted(times) and times[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_slices_nest_as_the_calls_do(kind: str) -> None:
    verdict = found(kind)
    threads = {
        event["args"]["name"].split()[0]: event["tid"]
        for event in events(verdict, "M")
        if event["name"] == "thread_name"
    }
    assert set(threads) == {s.task for s in verdict.trace} and len(set(threads.values())) == len(threads)
    slices = events(verdict, "X")
    for a in slices:
        for b in slices:
            if a is not b and a["tid"] == b["tid"]:
                ends = a["ts"] + a["dur"], b["ts"] + b["dur"]
                overlap = a["ts"] < b["ts"] < ends[0]
                assert not overlap or ends[1] <= ends[0], "they cross"
    for step in verdict.trace:
        during = [
            e for e in slices if e["tid"] == threads[step.task] and e["ts"] < step.n <= e["ts"] + e["dur"]
        ]
        *outer, own = sorted(during, key=lambda e: -e["dur"] - (e["cat"] != "step"))
        assert (own["cat"], own["dur"], own["args"]["step"]) == ("step", 1, step.n)
        assert [e["name"] for e in outer] == list(perfetto.stack(step))


@pytest.mark.parametrize("kind", ["unbind", "evict"])
def test_counters_follow_the_changes(kind: str) -> None:
    verdict = found(kind)
    states = replayed(verdict)
    counters = events(verdict, "C")
    names = {e["name"] for e in counters}
    assert "page0._refcount" in names and "mm0.pte[0]" not in names
    for name in names:
        last: dict[str, Any] = {}
        own = {e["ts"]: e["args"] for e in counters if e["name"] == name}
        for at, values in enumerate(states):
            last = own.get(at, last)
            assert last == {"value": int(values[name])}


def test_where_the_rule_breaks() -> None:
    (instant,) = events(found("unbind"), "i")
    assert (instant["name"], instant["ts"], instant["s"]) == ("page-lifetime", 73, "g")
    assert instant["args"]["objects"] == "folio_put_refs reads page0._refcount after page0 was freed"
    loop = found("loop")
    assert [e["ts"] for e in events(loop, "i")] == [loop.loop - 1, loop.depth]  # type: ignore[operator]


# --- ITF -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_itf(kind: str) -> None:
    verdict = found(kind)
    trace = json.loads(itf.render(verdict))
    states, names = trace["states"], trace["vars"]
    locations = trace["#meta"]["locations"]
    assert len(set(names)) == len(names) and list(locations) == names
    assert all(re.fullmatch(r"[A-Za-z]\w*", name) for name in names)
    assert [s["#meta"]["index"] for s in states] == list(range(verdict.depth + 1))
    assert [s["#meta"]["source"] for s in states[1:]] == [s.source for s in verdict.trace]
    for state, values in zip(states, replayed(verdict), strict=True):
        assert set(state) == {"#meta", *names}
        plain = {locations[n]: state[n]["#bigint"] if isinstance(state[n], dict) else state[n] for n in names}
        assert plain == values
    for name in names:
        assert len({type(state[name]) for state in states}) == 1, "a variable has one type"
    assert ("loop" in trace) == (verdict.loop is not None)
    numbers = {n for n in names if all(v[locations[n]].lstrip("-").isdecimal() for v in replayed(verdict))}
    assert numbers == {n for n in names if isinstance(states[0][n], dict)} and numbers
    if verdict.loop is not None:
        assert trace["loop"] == verdict.loop - 1
        again = states[trace["loop"]]
        assert {n: again[n] for n in names} == {n: states[-1][n] for n in names}


def test_names_do_not_collide() -> None:
    assert itf.variables(["page0.a_b", "page0.a.b", "mm0.pte[0]"]) == ["page0_a_b", "page0_a_b_", "mm0_pte_0"]


# --- reading, and zonedev show -------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two counterexamples, and a verdict that holds."""
    holds = check(toys.ToyLocks, toys.ToyNew, known=toys.RULES)
    written = tmp_path / "trace.json"
    written.write_text(render([found("unbind"), holds, found("loop")]))
    return written


def shown(capsys: pytest.CaptureFixture[str], *args: Any) -> tuple[int, str, str]:
    code = cli.main(["show", *map(str, args)], load=toys.with_endless)
    out, err = capsys.readouterr()
    return code, out, err


def test_what_is_read_is_what_was_written(file: Path) -> None:
    for again, first in zip(read(file), (found("unbind"), found("loop")), strict=True):
        assert again.trace == first.trace
        assert verdict_object(again) == {**verdict_object(first), "seconds": 0.0}


def test_a_choice_is_read(tmp_path: Path) -> None:
    verdict = found("deadlock")
    chose = replace(verdict, trace=[replace(step, choice=step.n) for step in verdict.trace])
    (tmp_path / "chose.json").write_text(render([chose]))
    assert [s.choice for s in read(tmp_path / "chose.json")[0].trace] == [s.n for s in verdict.trace]


def test_all_violations_are_read(tmp_path: Path) -> None:
    every = check(toys.ToyUnbindVsPin, toys.ToyOld, known=toys.RULES, all_violations=True)
    (tmp_path / "all.json").write_text(render([every]))
    assert [v.trace for v in read(tmp_path / "all.json")] == [v.trace for v in every.violations or []]


def test_show(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, file)
    assert (code, out) == (0, text.render(found("unbind")) + "\n")
    assert err == f"{file} has 2 counterexamples: this is the first; --number 2 shows the second\n"
    code, out, err = shown(capsys, file, "--number", "2", "--format", "text")
    assert (code, out, err) == (0, text.render(found("loop")) + "\n", "")
    for name, module in (("mermaid", mermaid), ("plantuml", plantuml), ("perfetto", perfetto), ("itf", itf)):
        code, out, _ = shown(capsys, file, "--number", "2", "--format", name)
        assert (code, out) == (0, module.render(found("loop")) + "\n") and out.isascii()


def damaged(key: str, value: Any) -> Any:
    """The counterexample with one thing of its second step changed."""
    whole = json.loads(render([found("deadlock")]))
    whole["trace"][1][key] = value
    return whole


WRONG = [
    (damaged("text", None), "step 2 of the trace: text is missing or not as zonedev writes it"),
    (damaged("calls", [1]), "step 2 of the trace: calls is missing or not as zonedev writes it"),
    (damaged("changes", [{"where": "x"}]), "step 2 of the trace, change 1: old is missing or not as zonedev "
     "writes it"),
    (damaged("changes", ["x"]), "step 2 of the trace, change 1: not as zonedev writes it"),
    (damaged("n", 3), "step 2 of the trace is missing or not as zonedev writes it"),
    ({}, "schema_version is None, this zonedev reads 1"),
    (7, "not a verdict: give the output of zonedev check --format json"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "says"), WRONG)
def test_what_is_wrong_is_said_in_a_line(
    value: Any, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(value))
    assert shown(capsys, wrong) == (1, "", f"zonedev: error: {wrong}: {says}\n")


def test_a_number_too_high(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = f"zonedev: error: --number 3: {file} has 2 counterexamples\n"
    assert shown(capsys, file, "--number", "3") == (1, "", error)


# --- the specification beside a step -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_of_a_step(kind: str) -> None:
    for step in found(kind).trace:
        around = excerpt.excerpt(step)
        assert around is not None and not around.changed
        assert f"{around.source.rpartition(':')[0]}:{around.at}" == step.source
        assert around.first <= around.at < around.first + len(around.lines)
        assert around.lines[0].lstrip().startswith("def ")


def test_a_source_that_is_not_what_it_was() -> None:
    step = found("unbind").trace[-1]
    assert excerpt.excerpt(replace(step, text="another()")).changed  # type: ignore[union-attr]
    for source in (
        "kernel/no_such.py:1",
        "kernel/page.py:99999",
        "kernel/page.py:0",
        "kernel/page.py",
        "README.md:1",
    ):
        assert excerpt.excerpt(replace(step, source=source)) is None
