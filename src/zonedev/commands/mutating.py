"""zonedev explain and mutate: what needs each line of a design."""

from __future__ import annotations

from zonedev.commands.context import OK, UNDETERMINED, Context, show
from zonedev.report.json import dump
from zonedev.report.progress import Reporter


def explain(context: Context) -> int:
    """The mutants of one function, line by line."""
    return campaign(context, [context.options.function])


def mutate(context: Context) -> int:
    """The mutants of all functions; exit code 3 where some question is open."""
    return campaign(context, [])


def campaign(context: Context, functions: list[str]) -> int:
    from zonedev.mutate import campaign as campaigns
    from zonedev.report import mutants as printed

    o, known = context.options, context.catalogue
    with Reporter("mutants", "scenarios") as reporter:
        found = campaigns.run(
            context.load,
            o.design or known.newest(),
            functions,
            most=o.max_states,
            seconds=o.max_seconds,
            jobs=o.jobs,
            on=o.on,
            report=reporter.count,
        )
    if context.json:
        show(dump(printed.json_object(found)))
    else:
        show(printed.explained(found) if functions else printed.rendered(found))
    return OK if found.complete and not found.count(campaigns.OPEN) else UNDETERMINED
