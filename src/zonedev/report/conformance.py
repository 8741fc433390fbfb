"""What model and machine said, as text: at most 80 columns of plain ASCII."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from zonedev.lab.compare import AGREES, DIFFERS, NOT_RUN, UNSEEN, Conformance, Row, place
from zonedev.lab.story import Line
from zonedev.report.json import SCHEMA_VERSION, dump

WIDTH = 80
COLUMN = 9  # of the verdicts


def rendered(found: Sequence[Conformance], form: str) -> str:
    """All of them in a format: text, json or ktap."""
    if form == "json":
        return dump([conformance_object(c) for c in found])
    if form == "ktap":
        return ktap(found)
    return "\n\n".join(render(c) for c in found)


def render(found: Conformance) -> str:
    """One scenario on one kernel."""
    return "\n".join([*head(found), *body(found)])


def head(found: Conformance) -> Iterator[str]:
    what = {AGREES: "agrees", DIFFERS: "differs"}.get(found.verdict, found.verdict)
    scope = ", ".join(f"{n}={v}" for n, v in found.scope.items())
    name = f"{found.scenario}{f' ({scope})' if scope else ''}"
    kernel = f"{found.kernel} ({found.version})" if found.kernel != found.version else found.version
    on = f" on {found.fs}" if found.fs else ""
    yield from wrapped(f"{name}, Linux {kernel}{on} beside {found.design}: {what}")
    about = [f"order {found.order}"] if found.order else []
    about += [f"{function}() by {means}" for function, means in found.means.items()]
    if about:
        yield from wrapped("  " + "; ".join(about), "    ")
    if found.why:
        yield from wrapped(f"  {ascii_of(found.why)}", "    ")


def body(found: Conformance) -> Iterator[str]:
    before: dict[str, tuple[str | None, str | None]] = {}
    for row in found.rows:
        if row.line.kind in ("look", "setup", "observe"):
            said = (row.model.said if row.model else None, row.machine.said if row.machine else None)
            known = before.get(row.line.text)
            before[row.line.text] = said
            if row.line.kind != "observe" and (said == known or set(said) == {None}):
                continue
        yield from lines_of(row)
    if found.verdict not in (AGREES, DIFFERS):
        yield from (f"{'console':<{COLUMN}}{ascii_of(line)}"[:WIDTH] for line in found.console[-6:])


def ascii_of(text: str) -> str:
    """What a kernel or a tool wrote, as printable ASCII."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def lines_of(row: Row) -> Iterator[str]:
    """A row; where the sides differ, both."""
    model, machine = row.model, row.machine
    if row.verdict == AGREES:
        assert model is not None and machine is not None
        yield from entry(row.verdict, model, said_by(model, place(model, machine)))
        if note := note_of(machine):
            yield from wrapped(f"{'':{COLUMN + 3}}[{note}]", " " * (COLUMN + 4))
        return
    if row.verdict == UNSEEN:
        line = model if model and model.said is not None else machine or model
        assert line is not None
        why = note_of(machine) if machine else ""
        yield from entry(row.verdict, line, line.said or "", f" [{why}]" if why else "")
        return
    yield from entry(row.verdict, row.line, "")
    for side, line in (("model", model), ("machine", machine)):
        said = (said_by(line) or "cannot tell") if line else "nothing"
        note = f" [{note_of(line)}]" if line and note_of(line) else ""
        yield from wrapped(f"{'':{COLUMN + 3}}{side + ':':<9}{said}{note}", " " * (COLUMN + 12))


def entry(verdict: str, line: Line, said: str, why: str = "") -> Iterator[str]:
    """A line in the grammar that both sides share."""
    who = f"{line.task}: " if line.kind in ("call", "return", "end", "observe") else "   "
    goes_on = "... " if line.kind in ("return", "end") else ""
    arrow = ": " if line.kind in ("look", "setup", "observe") else " -> "
    text = f"{who}{goes_on}{line.text}{arrow + said if said else ''}{why}"
    return wrapped(f"{verdict:<{COLUMN}}{text}", " " * (COLUMN + 5))


def said_by(line: Line, where: str = "") -> str:
    """The outcome in words; "" where there is none."""
    said = line.said or ""
    if said == "waits":
        where = where or (line.stack[0] if line.stack else "")
        said = f"waits in {where}" if where else "waits"
    warned = f", {len(line.warned)} WARNINGs" if len(line.warned) > 1 else ", WARNING" if line.warned else ""
    return said + (warned if said else "")


def note_of(line: Line) -> str:
    """What is not compared of a line."""
    return "; ".join(filter(None, (*line.warned, line.note)))


def wrapped(text: str, indent: str = "    ") -> Iterator[str]:
    lead = text[: len(text) - len(text.lstrip())]
    yield from textwrap.wrap(
        text.strip() if not lead else text[len(lead) :],
        WIDTH,
        initial_indent=lead,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def ktap(found: Sequence[Conformance]) -> str:
    """One result a run, its text as diagnostics; what could not be run is skipped."""
    lines = ["KTAP version 1", f"1..{len(found)}"]
    for number, one in enumerate(found, 1):
        parts = (one.scenario, one.kernel, one.fs, one.order.replace(" ", "-"))
        name = ".".join(filter(None, parts))
        lines += [f"# {line}" for line in render(one).splitlines()]
        if one.verdict == NOT_RUN:
            lines.append(f"ok {number} {name} # SKIP {one.why}")
        else:
            lines.append(f"{'ok' if one.verdict == AGREES else 'not ok'} {number} {name}")
    return "\n".join(lines)


def conformance_object(found: Conformance) -> dict[str, Any]:
    """One run for programs; the keys are a contract."""
    return {
        "schema_version": SCHEMA_VERSION,
        "scenario": found.scenario,
        "scope": found.scope,
        "order": found.order,
        "kernel": found.kernel,
        "version": found.version,
        "design": found.design,
        "fs": found.fs,
        "means": found.means,
        "accel": found.accel,
        "verdict": found.verdict,
        "why": found.why,
        "seconds": round(found.seconds, 3),
        "lines": [row_object(row) for row in found.rows],
        "console": [] if found.verdict == AGREES else found.console,
    }


def row_object(row: Row) -> dict[str, Any]:
    line = row.line
    return {
        "moment": line.moment,
        "kind": line.kind,
        "task": line.task,
        "text": line.text,
        "verdict": row.verdict,
        "model": side_object(row.model),
        "machine": side_object(row.machine),
    }


def side_object(line: Line | None) -> dict[str, Any] | None:
    """What a side said; null where it has no such line."""
    if line is None:
        return None
    return {"said": line.said, "warned": list(line.warned), "note": line.note, "stack": list(line.stack)}
