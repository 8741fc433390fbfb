"""zonedev export: a check in the language of another checker."""

from __future__ import annotations

import sys
from pathlib import Path

from zonedev.commands.context import OK, Context, parse_scope
from zonedev.explore.check import select, set_up
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import lower
from zonedev.scenarios.base import full_scope


def export(context: Context) -> int:
    """Write the model to a file, or to stdout."""
    from zonedev.export import LANGUAGES, exported, tla

    o, known = context.options, context.catalogue
    language = LANGUAGES[o.to]
    if o.style not in language.styles:
        raise ZonedevError(f"--style {o.style} is for promela: {o.to} has {', '.join(language.styles)}")
    scenario = known.scenario(o.scenario)
    name = o.design or known.newest()
    selection = select(scenario, known.rules)
    scope = full_scope(scenario, parse_scope(o.scope))
    ts = lower(set_up(scenario, known.design(name), scope, selection.monitors), selection.names)
    sizes = ", ".join(f"{size}={value}" for size, value in scope.items())
    title = f"{scenario.name()}, {name}" + (f" ({sizes})" if sizes else "")
    text = exported(ts, selection.question, o.to, title, o.style)
    if o.output is None:
        sys.stdout.write(text)
        return OK
    file = Path(o.output)
    try:
        if o.to == "tla":
            text = tla.renamed(text, file.stem)
            file.with_suffix(".cfg").write_text(tla.CONFIG, encoding="utf-8")
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ZonedevError(f"-o {o.output}: {error.strerror}") from None
    return OK
