"""Verdicts as JUnit XML, for what reads that."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from zonedev.explore.check import UNDETERMINED, VIOLATED, Verdict
from zonedev.report import text


def render(verdicts: Sequence[Verdict]) -> str:
    """A test case a verdict: violated ones have failed, undetermined ones were skipped."""
    suite = ElementTree.Element(
        "testsuite",
        name="zonedev",
        tests=str(len(verdicts)),
        failures=str(sum(v.verdict == VIOLATED for v in verdicts)),
        skipped=str(sum(v.verdict == UNDETERMINED for v in verdicts)),
        errors="0",
        time=f"{sum(v.seconds for v in verdicts):.3f}",
    )
    for verdict in verdicts:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=f"zonedev.{verdict.scenario}",
            name=verdict.design,
            time=f"{verdict.seconds:.3f}",
        )
        told = text.render(verdict)
        if verdict.verdict == VIOLATED:
            failure = ElementTree.SubElement(case, "failure", type=str(verdict.rule))
            failure.set("message", f"{verdict.rule}: {verdict.objects}")
            failure.text = told
        elif verdict.verdict == UNDETERMINED:
            ElementTree.SubElement(case, "skipped", message=told)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode")
