"""The report as one file: template, style and script are put together here."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from zonedev import __version__
from zonedev.explore.check import HOLDS, VIOLATED
from zonedev.explore.matrix import Cell
from zonedev.report.html import traces
from zonedev.report.html.beside import Beside
from zonedev.report.html.gathered import Report, said
from zonedev.report.html.picture import picture
from zonedev.report.life import wrong
from zonedev.report.text import plural
from zonedev.report.text import render as as_text


def render(report: Report, beside: Beside = Beside()) -> str:  # noqa: B008
    """The whole page."""
    env = Environment(
        loader=PackageLoader("zonedev.report.html", "assets"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    env.globals.update(word=word, state=state, said=said, plural=plural, picture=picture, wrong=wrong)
    env.filters["story"] = as_text
    return env.get_template("report.html.j2").render(
        report=report,
        beside=beside,
        version=__version__,
        style=asset("report.css"),
        script=asset("report.js"),
        data=embedded(traces.data(report)),
        total=totals(report),
    )


def asset(name: str) -> str:
    return files("zonedev.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def embedded(value: Any) -> str:
    """JSON that can stand in a script element, whatever is in it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def totals(report: Report) -> str:
    """What was checked, in a sentence."""
    cells = report.cells
    found = [c.found.verdict for c in cells if c.found is not None]
    unexpected = sum(c.unexpected for c in cells)
    expected = "all as expected" if not unexpected else f"{unexpected} not as expected"
    return (
        f"{plural(len(cells), 'check', 'checks')} of {plural(len(report.stories), 'scenario', 'scenarios')}: "
        f"{found.count(HOLDS)} hold, {found.count(VIOLATED)} are violated, {expected}"
    )


def state(cell: Cell | None) -> str:
    """The class of a cell: holds, violated, undetermined, error or none."""
    if cell is None:
        return "none"
    if cell.error is not None:
        return "error"
    return "none" if cell.found is None else cell.found.verdict


def word(cell: Cell | None) -> str:
    """What a cell says in a table."""
    if cell is None:
        return "-"
    if cell.error is not None:
        return "error"
    if cell.found is None:
        return "..."
    return cell.found.rule or cell.found.verdict
