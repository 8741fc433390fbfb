"""What the pages claim of kernels, in a form that is checked: the parser of their `{claims}` blocks.

A block has a claim on each line, with sizes of the situation after the design where they matter:

    ```{claims}
    devdax-unbind-vs-pin  linux-5.10            holds
    devdax-unbind-vs-pin  linux-6.1   size=pmd  violated page-lifetime
    ```

What is shown and what is tested is the answer of the check, and no record of one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path

import zonedev
from zonedev import Verdict, ZonedevError

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r" {0,3}(`{3,})\s*(.*?)\s*$")
INFO = "{claims}"
#: A claim is checked at once, or not at all: what a search in CPython takes seconds for.
MOST = 30_000
FORM = "SCENARIO DESIGN [NAME=VALUE,...] holds, or ... violated RULE"


class ClaimError(ValueError):
    """A line that is no claim; the message begins with its number."""


@dataclass(frozen=True)
class Claim:
    """That a design holds in a scenario, or breaks `rule`."""

    line: int
    scenario: str
    design: str
    rule: str | None = None
    scope: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        sizes = ",".join(f"{name}={value}" for name, value in self.scope.items())
        return " ".join(filter(None, (self.scenario, self.design, sizes, self.said)))

    @property
    def said(self) -> str:
        """The verdict, as it stands at the end of the line."""
        return f"violated {self.rule}" if self.rule else "holds"


def claim_of(text: str, line: int) -> Claim:
    """The claim that stands on a line; ClaimError where it is none."""
    match text.split():
        case [scenario, design, *sizes, "holds"] if len(sizes) < 2:
            rule = None
        case [scenario, design, *sizes, "violated", rule] if len(sizes) < 2:
            pass
        case _:
            raise ClaimError(f"line {line}: not a claim: {text.strip()!r}: write {FORM}")
    scope: dict[str, str] = {}
    for size in sizes[0].split(",") if sizes else ():
        name, _, value = size.partition("=")
        if not (name and value):
            raise ClaimError(f"line {line}: not a scope: {sizes[0]!r}: write NAME=VALUE,...")
        scope[name] = value
    return Claim(line, scenario, design, rule, scope)


def claims_in(text: str) -> list[Claim]:
    """The claims of a page, in their order; ClaimError for a line or a block that is none."""
    claims: list[Claim] = []
    fence, info, opened = "", "", 0
    for number, line in enumerate(text.splitlines(), 1):
        found = FENCE.match(line)
        if found and not fence:
            fence, info, opened = found[1], found[2], number
        elif found and len(found[1]) >= len(fence) and not found[2]:
            fence = ""
        elif fence and info == INFO and line.strip():
            claims.append(claim_of(line, number))
    if fence and info == INFO:
        raise ClaimError(f"line {opened}: a block of claims that is not closed")
    return claims


def answered(claim: Claim) -> Verdict:
    """What the checker says to a claim; ZonedevError where it names what there is not."""
    with chdir(ROOT):  # a design in a file, such as one of examples/, is named from here
        return zonedev.check(claim.scenario, claim.design, scope=claim.scope, max_states=MOST)


def differs(claim: Claim, verdict: Verdict) -> str | None:
    """What is wrong with a claim, given the answer; None where it is so."""
    found = f"{verdict.verdict} {verdict.rule or ''}".strip()
    return None if found == claim.said else f"line {claim.line}: {claim}: {found}"


def verify(claim: Claim) -> str | None:
    """What is wrong with a claim, in a line; None where it is so."""
    try:
        return differs(claim, answered(claim))
    except ZonedevError as error:
        return f"line {claim.line}: {claim}: {error}"
