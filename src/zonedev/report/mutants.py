"""What became of mutants: line by line for a function, or as a whole, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from zonedev.explore.check import HOLDS
from zonedev.explore.trace import short_path
from zonedev.mutate.campaign import (
    HARMLESS,
    KILLED,
    OPEN,
    REFUSED,
    SAME,
    SURVIVED,
    TRIVIAL,
    UNREACHED,
    UNSEEN,
    Campaign,
    Outcome,
)
from zonedev.mutate.mutants import Mutant
from zonedev.mutate.trial import DIFFERS, Judgement
from zonedev.report.json import SCHEMA_VERSION
from zonedev.report.table import grid
from zonedev.report.text import plural, wrapped

#: What a single run does without a mutant.
HELD = Judgement(HOLDS)
NOTHING = "nothing in the catalogue needs it"


def file_of(mutant: Mutant) -> str:
    return short_path(mutant.function.__code__.co_filename)


def said(campaign: Campaign, outcome: Outcome) -> str:
    """What became of one mutant, in words."""
    if outcome.state == KILLED:
        return needed(campaign, outcome)
    return {
        SURVIVED: NOTHING,
        OPEN: f"undecided in {', '.join(outcome.undecided)}",
        HARMLESS: "only makes a critical section longer",
        UNSEEN: "changes no state beyond its own steps",
        SAME: "changes no state of any scenario",
        UNREACHED: "no scenario comes here",
        REFUSED: f"does not lower: {outcome.refused}",
        TRIVIAL: "changes no step",
    }[outcome.state]


def needed(campaign: Campaign, outcome: Outcome) -> str:
    """Which verdict a killed mutant turns, and how."""
    found, killer = outcome.found, outcome.killer
    assert found is not None and killer is not None
    if found.verdict == DIFFERS:
        return f"needed in {killer}: {found.why}"
    original = campaign.originals.get(killer, HELD)
    if found.rule is None:
        return f"needed by {original.rule} in {killer}, which holds without"
    instead = "" if original.rule is None else f", instead of {original.rule}"
    if not found.steps:  # of a single run
        return f"needed by {found.rule} in {killer}: {found.why}"
    return f"needed by {found.rule} in {killer} ({plural(found.steps, 'step', 'steps')}{instead})"


# --- one function ------------------------------------------------------------------------------


def explained(campaign: Campaign) -> str:
    """Each line of the functions, with what was done to it."""
    lines: list[str] = []
    for function, some in groupby(campaign.outcomes, lambda o: o.mutant.function):
        mine = list(some)
        at = f"{file_of(mine[0].mutant)}:{function.__code__.co_firstlineno}"
        lines += [*([""] if lines else []), wrapped(f"{function.__name__} ({at}), {campaign.design}")]
        told = [o for o in mine if o.state != TRIVIAL]
        for line, ofline in groupby(sorted(told, key=lambda o: o.mutant.line), lambda o: o.mutant.line):
            lines += line_told(campaign, line, list(ofline))
        if not told:
            lines.append("  no line of it is a step, or decides about one")
    lines += ["", *summary(campaign)]
    seen = [o for o in campaign.outcomes if o.state == KILLED and o.killer in campaign.originals]
    if seen:
        command = f"zonedev check {seen[0].killer} --design {campaign.design}~{seen[0].mutant.name}"
        lines.append(wrapped(f"see for yourself: {command}"))
    return "\n".join(lines)


def line_told(campaign: Campaign, line: int, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The source of one line, and what becomes of it when it is changed."""
    yield wrapped(f"{line:5}  {outcomes[0].mutant.line_text}", " " * 11)
    for outcome in outcomes:
        mutant = outcome.mutant
        what = mutant.words if mutant.whole else f"{mutant.change.text} {mutant.words}"
        yield wrapped(f"  .{mutant.ordinal:<6}{what}: {said(campaign, outcome)}", " " * 11)


# --- all of a design ---------------------------------------------------------------------------


def rendered(campaign: Campaign) -> str:
    """The share that was killed, by file, and who survived."""
    lines = [*summary(campaign), ""]
    rows = []
    for file, some in groupby(
        sorted(campaign.outcomes, key=lambda o: file_of(o.mutant)), lambda o: file_of(o.mutant)
    ):
        mine = [o.state for o in some]
        counted = sum(s in (KILLED, SURVIVED, OPEN) for s in mine)
        if counted:
            rows.append([file, str(counted), str(mine.count(KILLED)), str(counted - mine.count(KILLED))])
    lines += [grid(["", "mutants", "killed", "left"], rows)] if rows else []
    left = [o for o in campaign.outcomes if o.state in (SURVIVED, OPEN)]
    if left:
        lines += ["", "what nothing in the catalogue needs:"]
    for outcome in left:
        mutant = outcome.mutant
        open_ = f" ({said(campaign, outcome)})" if outcome.state == OPEN else ""
        at = f"{file_of(mutant)}:{mutant.line} {mutant.name}"
        lines += [at, wrapped(f"    {mutant.change.text}: {mutant.words}{open_}", "      ")]
    return "\n".join(lines)


def summary(campaign: Campaign) -> Iterator[str]:
    """The counts."""
    killed, counted = campaign.count(KILLED), campaign.counted
    share = f" ({100 * campaign.share:.1f} %)" if counted else ""
    yield wrapped(f"{campaign.design}: {killed} of {plural(counted, 'mutant', 'mutants')} killed{share}")
    others = [
        (campaign.count(OPEN), "undecided"),
        (campaign.count(HARMLESS), "that only make a critical section longer"),
        (campaign.count(UNSEEN), "that change no state beyond their own steps"),
        (campaign.count(SAME), "that change no state of any scenario"),
        (campaign.count(UNREACHED), "where no scenario comes"),
        (campaign.count(REFUSED), "that do not lower"),
        (campaign.count(TRIVIAL), "that change no step"),
    ]
    told = ", ".join(f"{n} {what}" for n, what in others if n)
    if told:
        yield wrapped(f"besides: {told}")
    for why in dict.fromkeys(campaign.skipped.values()):
        names = [n for n, w in campaign.skipped.items() if w == why]
        yield wrapped(f"not asked: {', '.join(names)}: {why}")
    if not campaign.complete:
        yield "stopped before every scenario was asked"


def json_object(campaign: Campaign) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "design": campaign.design,
        "complete": campaign.complete,
        "counted": campaign.counted,
        "killed": campaign.count(KILLED),
        "skipped": campaign.skipped,
        "seconds": round(campaign.seconds, 3),
        "mutants": [mutant_object(campaign, o) for o in campaign.outcomes],
    }


def mutant_object(campaign: Campaign, outcome: Outcome) -> dict[str, Any]:
    mutant, found = outcome.mutant, outcome.found
    return {
        "name": mutant.name,
        "function": mutant.function.__name__,
        "source": f"{file_of(mutant)}:{mutant.line}",
        "text": mutant.change.text,
        "kind": mutant.kind,
        "change": mutant.words,
        "state": outcome.state,
        "scenario": outcome.killer,
        "verdict": found.verdict if found else None,
        "rule": found.rule if found else None,
        "steps": found.steps if found else None,
        "why": found.why or None if found else None,
        "instead_of": campaign.originals.get(outcome.killer, HELD).rule if outcome.killer else None,
        "refused": outcome.refused if outcome.state == REFUSED else None,
        "asked": len(outcome.asked),
    }
