"""Tests of the kernel's own beside the model's answers: at most 80 columns of plain ASCII, JSON, KTAP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from zonedev.lab.compare import AGREES, UNSEEN
from zonedev.lab.selftest import PASS
from zonedev.lab.test_hmm import Compared, SuiteRun
from zonedev.report.conformance import COLUMN, ascii_of, wrapped
from zonedev.report.json import SCHEMA_VERSION, dump

NAME = "hmm-tests"


def rendered(found: Sequence[SuiteRun], form: str) -> str:
    """All of them in a format: text, json or ktap."""
    if form == "json":
        return dump([suite_object(run) for run in found])
    if form == "ktap":
        return ktap(found)
    return "\n\n".join("\n".join([*head(run), *body(run)]) for run in found)


def head(run: SuiteRun) -> Iterator[str]:
    yield from wrapped(f"{NAME}, Linux {run.kernel} ({run.version}) beside {run.design}: {run.verdict}")
    if run.cases:
        verdicts = Counter(case.verdict for case in run.cases)
        outcomes = Counter(case.result.outcome for case in run.cases)
        yield from wrapped(f"  {len(run.cases)} tests: {counted(verdicts)}; machine: {counted(outcomes)}")
    if run.why:
        yield from wrapped(f"  {ascii_of(run.why)}")


def counted(numbers: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in numbers.items())


def body(run: SuiteRun) -> Iterator[str]:
    for case in run.cases:
        yield from lines_of(case)


def lines_of(case: Compared) -> Iterator[str]:
    """A test; where the sides differ, both."""
    result, verdict = case.result, case.verdict
    note = "; ".join(filter(None, (ascii_of(result.text), *result.warned)))
    bracketed = f" [{note}]" if note else ""
    if verdict in (AGREES, UNSEEN):
        said = f"{result.title}: {result.outcome}"
        if verdict == UNSEEN and result.outcome == PASS:
            bracketed = f" [model: {case.answer or 'no answer'}{'; ' + note if note else ''}]"
        yield from wrapped(f"{verdict:<{COLUMN}}{said}{bracketed}", " " * (COLUMN + 2))
        return
    yield from wrapped(f"{verdict:<{COLUMN}}{result.title}")
    yield from wrapped(f"{'':{COLUMN + 3}}{'model:':<9}{case.answer or 'no answer'}")
    yield from wrapped(f"{'':{COLUMN + 3}}{'machine:':<9}{result.outcome}{bracketed}", " " * (COLUMN + 12))


def ktap(found: Sequence[SuiteRun]) -> str:
    """One result a test; what was not compared is skipped."""
    cases = [(run, case) for run in found for case in run.cases]
    lines = ["KTAP version 1", f"1..{len(cases)}"]
    for number, (run, case) in enumerate(cases, 1):
        name = f"{NAME}.{run.kernel}.{case.result.name}"
        lines += [f"# {line}" for line in lines_of(case)]
        if case.verdict == UNSEEN:
            lines.append(f"ok {number} {name} # SKIP not compared")
        else:
            lines.append(f"{'ok' if case.verdict == AGREES else 'not ok'} {number} {name}")
    return "\n".join(lines)


def suite_object(run: SuiteRun) -> dict[str, Any]:
    """One run for programs; the keys are a contract."""
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": NAME,
        "kernel": run.kernel,
        "version": run.version,
        "design": run.design,
        "verdict": run.verdict,
        "why": run.why,
        "seconds": round(run.seconds, 3),
        "cases": [
            {
                "name": case.result.name,
                "case": case.result.case,
                "verdict": case.verdict,
                "model": case.answer,
                "machine": case.result.outcome,
                "text": case.result.text,
                "warned": case.result.warned,
            }
            for case in run.cases
        ],
    }
