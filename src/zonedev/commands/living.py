"""zonedev life: the states that pages go through in a design."""

from __future__ import annotations

from zonedev.commands.context import OK, Context, show
from zonedev.lang.errors import ZonedevError
from zonedev.report.json import SCHEMA_VERSION, dump
from zonedev.report.life import KINDS, Life, lives
from zonedev.report.monitor import event, monitor
from zonedev.report.text import wrapped


def life(context: Context) -> int:
    """The lives of pages, kind by kind."""
    o, known = context.options, context.catalogue
    design = o.design or known.newest()
    known.design(design)
    found = lives(context.load, design, o.scenario or list(known.scenarios))
    if o.kind:
        found = [each for each in found if each.kind == kind_of(o.kind)]
    if not found:
        raise ZonedevError(f"{design}: no scenario has such a page: name another --kind or design")
    if o.format == "rv":
        if len(found) > 1:
            names = ", ".join(short for short, long in SHORT.items() if any(x.kind == long for x in found))
            raise ZonedevError(f"--format rv is for one kind of page: add --kind, one of {names}")
        show(monitor(found[0]))
    elif o.format == "json":
        show(dump({"schema_version": SCHEMA_VERSION, "lives": [life_object(each) for each in found]}))
    else:
        show("\n\n".join(as_text(each) for each in found))
    return OK


#: The words of --kind.
SHORT = dict(zip(("devdax", "fsdax", "private", "coherent", "p2pdma"), KINDS.values(), strict=True))


def kind_of(word: str) -> str:
    return SHORT[word]


def as_text(found: Life) -> str:
    """Stages with the counts seen in them, and arrows with their operations."""
    lines = [f"{found.design}, {found.kind}"]
    for (a, b), names in found.arrows.items():
        lines.append(wrapped(f"  {' + '.join(a)} -> {' + '.join(b)}: {', '.join(names)}", "      "))
    lines.append("counts")
    for stage, counts in found.counts.items():
        lines.append(wrapped(f"  {' + '.join(stage)}: {', '.join(map(str, sorted(counts)))}", "      "))
    return "\n".join(lines)


def life_object(found: Life) -> dict[str, object]:
    return {
        "design": found.design,
        "kind": found.kind,
        "stages": [
            {"stage": list(s), "begins": s in found.begins, "counts": sorted(c)}
            for s, c in found.counts.items()
        ],
        "arrows": [
            {
                "from": list(a),
                "to": list(b),
                "event": event(a, b),
                "operations": {name: found.seen_in[a, b, name] for name in names},
            }
            for (a, b), names in found.arrows.items()
        ],
    }
