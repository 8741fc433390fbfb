"""What a notebook shows: small tables in HTML, each with its style, in light and dark.

The colours are those of the notebook's theme where it says which it has (JupyterLab, VS Code,
Colab), else those of the browser.  No verdict is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from zonedev.explore.check import HOLDS, UNDETERMINED, Verdict, Violation
from zonedev.explore.diff import Definition, Difference
from zonedev.explore.matrix import Cell
from zonedev.explore.run import Timeline
from zonedev.explore.trace import TraceStep, shorten
from zonedev.report import text
from zonedev.report.columns import columns, drawn, lanes, rows
from zonedev.report.differences import differing, word
from zonedev.report.table import heading
from zonedev.report.text import REPEATS, plural, scope_text

#: The most steps of a trace that are drawn.
MOST = 40

LIGHT = "color-scheme:light;--fg:#1f2328;--bg:#fff;"
LIGHT += "--bad:#b3261e;--good:#116329;--open:#7d4e00;--mark:#fff3c4;--line:#d0d7de"
DARK = "color-scheme:dark;--fg:#e6edf3;--bg:#161b22;"
DARK += "--bad:#ff8a80;--good:#7ee787;--open:#f2cc60;--mark:#4a3f10;--line:#444c56"
STYLE = f"""<style>
.zonedev{{{LIGHT}}}
@media (prefers-color-scheme:dark){{.zonedev{{{DARK}}}}}
[data-jp-theme-light=true] .zonedev,.vscode-light .zonedev,html[theme=light] .zonedev{{{LIGHT}}}
[data-jp-theme-light=false] .zonedev,.vscode-dark .zonedev,html[theme=dark] .zonedev{{{DARK}}}
.zonedev{{color:var(--fg);background:var(--bg);padding:.5em;overflow-x:auto;font-size:13px}}
.zonedev table{{border-collapse:collapse;color:inherit;margin:.4em 0}}
.zonedev th,.zonedev td{{border:1px solid var(--line);padding:2px 6px;text-align:left;vertical-align:top;
 color:inherit;background:none;white-space:pre-wrap}}
.zonedev code{{font-family:monospace;color:inherit;background:none}}
.zonedev .bad{{color:var(--bad);font-weight:600}}
.zonedev .good{{color:var(--good)}}
.zonedev .open{{color:var(--open)}}
.zonedev td.new{{background:var(--mark)}}
.zonedev .call{{font-style:italic;display:block}}
</style>"""


def whole(*parts: str) -> str:
    """A table, or several, with the style that they need."""
    return f'{STYLE}\n<div class="zonedev">\n' + "\n".join(parts) + "\n</div>"


def cell(content: str, cls: str = "", title: str = "", tag: str = "td", span: int = 1) -> str:
    """A cell of a table; `content` is HTML."""
    more = f' class="{cls}"' if cls else ""
    more += f' title="{escape(title)}"' if title else ""
    more += f' colspan="{span}"' if span > 1 else ""
    return f"<{tag}{more}>{content}</{tag}>"


def row(cells: Iterable[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def table(head: Sequence[str], body: Iterable[str]) -> str:
    """A table under the headings `head`, which are plain text."""
    heads = row(cell(escape(h), tag="th") for h in head)
    return f"<table><thead>{heads}</thead>\n<tbody>" + "\n".join(body) + "</tbody></table>"


def listing(kind: str, entries: Mapping[str, str]) -> str:
    """Names and what they mean."""
    lines = (row([cell(f"<code>{escape(n)}</code>"), cell(escape(t))]) for n, t in entries.items())
    return whole(table([kind, ""], lines))


# --- traces ------------------------------------------------------------------------------------


def verdict(found: Verdict) -> str:
    """One verdict: its text, and under it each counterexample as a table."""
    if not found.counterexamples:
        cls = "good" if found.verdict == HOLDS else "open"
        return whole(f'<p class="{cls}">{paragraphs(text.render(found))}</p>')
    where = escape(f"{found.scenario}, {found.design}{scope_text(found)}")
    parts = []
    for violation in found.counterexamples:
        parts.append(f'<p>{where}: <span class="bad">violated: {escape(violation.rule)}</span></p>')
        parts.append(counterexample(violation))
    return whole(*parts)


def paragraphs(told: str) -> str:
    """Lines of text that were broken at 80 columns, as a notebook breaks them."""
    return escape(" ".join(told.split())).replace(" note: ", "<br>note: ")


def counterexample(violation: Violation) -> str:
    """The steps, and what is wrong in the end."""
    last = f"=> {violation.rule}: {shorten(violation.objects)}"
    return steps(violation.trace, last, violation.loop)


def timeline(found: Timeline) -> str:
    """One schedule."""
    where = escape(f"{found.scenario}, {found.design}{scope_text(found)}, seed {found.seed}")
    end = f"=> {found.ending}: {found.text}" if found.text else f"=> {found.ending}"
    return whole(f"<p>{where}</p>", steps(found.steps, end, None, bad=bool(found.text)))


def steps(trace: Sequence[TraceStep], last: str, loop: int | None, bad: bool = True) -> str:
    """A lane for each task with the functions that it is in, and a column for each location that changes,
    with its value where that is new."""
    tasks, shown = lanes(trace), columns(trace)
    width = 1 + len(tasks) + len(shown)
    head = ["step", *(lane.task for lane in tasks), *(c.where.replace(".", ".\n", 1) for c in shown)]
    first = ["at first", *("" for _ in tasks), *(c.initial for c in shown)]
    body = [row(cell(escape(value)) for value in first)]
    states = {r.step.n: r for r in rows(trace, shown)}
    before: tuple[str, str] | None = None
    for each in drawn(trace, MOST, loop=loop):
        step, state = each.step, states[each.step.n]
        if step.n == loop:
            body.append(row([cell(escape(REPEATS.strip("- :")), "open", span=width)]))
        told = here(step, before != (step.task, step.call))
        before = (step.task, step.call)
        body.append(
            row(
                [
                    cell(str(step.n), title=step.source),
                    *(told if lane.task == step.task else cell("") for lane in tasks),
                    *(
                        cell(escape(value), "new") if n in state.changed else cell("")
                        for n, value in enumerate(state.values)
                    ),
                ]
            )
        )
    body.append(row([cell(escape(last), "bad" if bad else "good", span=width)]))
    return table(head, body)


def here(step: TraceStep, entered: bool) -> str:
    """The function that a task is in, under the call where that is another one than before."""
    call = f'<span class="call">{escape(step.call)}</span>' if entered and step.call else ""
    return cell(f"{call}<code>{escape(step.function)}</code>", title=f"{step.source}: {step.text}")


# --- designs side by side ----------------------------------------------------------------------


def matrix(cells: Sequence[Cell], designs: Sequence[str]) -> str:
    """Scenarios down, designs across, and what is not as expected."""
    known = {(c.scenario, c.design): c for c in cells}
    shown = [d for d in designs if any(c.design == d for c in cells)]
    body = (
        row([cell(escape(name), tag="th"), *(verdict_cell(known.get((name, d))) for d in shown)])
        for name in dict.fromkeys(c.scenario for c in cells)
    )
    wrong = [c for c in cells if c.unexpected]
    reasons = (f"{c.scenario}, {c.design}: {c.error or '; '.join(c.differs)}" for c in wrong)
    said = (f'<p class="bad">{escape(reason)}</p>' for reason in reasons)
    count = plural(len(cells), "check", "checks")
    total = f"<p>{count}, {len(wrong) if wrong else 'all'}{' not' if wrong else ''} as expected</p>"
    return whole(table(["", *map(heading, shown)], body), *said, total)


def verdict_cell(found: Cell | None) -> str:
    """A verdict in words and colour: the rule, where one breaks."""
    if found is None:
        return cell("")
    mark = " (!)" if found.unexpected else ""
    if found.found is None:
        return cell("error" + mark if found.error else "not checked", "open", found.error or "")
    verdict = found.found
    cls = {HOLDS: "good", UNDETERMINED: "open"}.get(verdict.verdict, "bad")
    about = f"{verdict.verdict}: {verdict.states} states, depth {verdict.depth}"
    return cell(escape(verdict.rule or verdict.verdict) + mark, cls, about)


def difference(names: tuple[str, str], functions: Sequence[Difference], cells: Sequence[Cell]) -> str:
    """The functions that differ, and the verdicts."""
    couples = differing(cells)
    head = f"{plural(len(functions), 'function differs', 'functions differ')}, "
    head += f"{plural(len(couples), 'verdict differs', 'verdicts differ')} of {len(cells) // 2}"
    return whole(
        f"<p>{escape(head)}</p>",
        table(["function", *names], (row(definitions(each)) for each in functions)),
        table(["scenario", *names], (row(couple(a, b)) for a, b in couples)),
    )


def definitions(found: Difference) -> Iterator[str]:
    yield cell(f"<code>{escape(found.name)}</code>")
    for definition in (found.first, found.second):
        yield cell(defined(definition))


def defined(found: Definition | None) -> str:
    return "not there" if found is None else f"<code>{escape(found.source)}</code>\n{escape(found.about)}"


def couple(first: Cell, second: Cell) -> Iterator[str]:
    yield cell(escape(first.scenario))
    for each in (first, second):
        good = each.found is not None and each.found.verdict == HOLDS
        yield cell(escape(word(each)), "good" if good else "bad")
