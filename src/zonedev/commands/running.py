"""zonedev run and replay: plain Python, without an engine."""

from __future__ import annotations

from bdb import BdbQuit
from pathlib import Path

from zonedev.commands.context import OK, VIOLATED, Context, parse_scope, show
from zonedev.explore import check as checks
from zonedev.explore.check import Verdict
from zonedev.explore.stepper import Stepper
from zonedev.lang.errors import ZonedevError
from zonedev.report import colour
from zonedev.report.json import dump
from zonedev.report.json import render as json_text


def run_schedule(context: Context) -> int:
    """One schedule; exit code 2 where a rule breaks on it."""
    from zonedev.explore.run import run
    from zonedev.report import timeline

    o, known = context.options, context.catalogue
    found = run(
        known.scenario(o.scenario),
        known.design(o.design),
        parse_scope(o.scope),
        o.seed,
        known.rules,
        o.design,
    )
    show(dump(timeline.timeline_object(found)) if context.json else timeline.render(found))
    return VIOLATED if found.ending in known.rules else OK


def replay(context: Context) -> int:
    """The counterexamples of a trace file; exit code 2 where each breaks its rule again."""
    from zonedev.explore import tracefile

    o, known = context.options, context.catalogue
    found = tracefile.read(Path(o.trace), known)
    outcomes = []
    make = tracefile.PdbStepper if o.pdb else Stepper
    for recorded in found:
        try:
            outcome = tracefile.replay(recorded, known, make)
        except (tracefile.QuitDebugger, BdbQuit):
            return OK
        if not outcome.same:
            raise ZonedevError(
                f"{o.trace}: {recorded.scenario}, {recorded.design}: {recorded.rule} no longer breaks: "
                "the specification has changed since"
            )
        verdict = Verdict(
            recorded.scenario,
            recorded.design,
            recorded.scope,
            checks.VIOLATED,
            recorded.rule,
            outcome.text,
            depth=len(outcome.steps),
            engine="plain Python",
            loop=recorded.loop,
            trace=outcome.steps,
        )
        outcomes.append(verdict)
    if context.json:
        show(json_text(outcomes))
    else:
        for number, verdict in enumerate(outcomes):
            if number:
                show("")
            colour.show(verdict)
    return VIOLATED
