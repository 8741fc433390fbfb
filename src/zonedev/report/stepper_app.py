"""A counterexample in the terminal, stepped through with the keyboard."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Input, Static

from zonedev.explore.check import Verdict
from zonedev.explore.trace import TraceStep
from zonedev.report import stepper_text as texts
from zonedev.report.columns import columns, drawn, lanes, rows
from zonedev.report.text import spoken_of


class Steps(DataTable[Text]):
    """The table of the steps; its row 0 is the state before the first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "step", show=False),
        Binding("k", "cursor_up", "back", show=False),
        Binding("home", "app.go(0)", "first", show=False),
        Binding("end", "app.go(-1)", "last", show=False),
        Binding("n", "app.switch(1)", "next task"),
        Binding("p", "app.switch(-1)", "previous task"),
        Binding("q", "app.quiet", "quiet steps"),
        Binding("slash", "app.search", "search"),
        Binding("question_mark", "app.help", "help"),
        Binding("escape", "app.quit", "quit"),
    ]


class Search(Input):
    """The line in which a function is searched."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.search_over", "cancel", show=False)]


class Help(ModalScreen[None]):
    """What the keys do; any key leaves it."""

    def compose(self) -> ComposeResult:
        yield Static(texts.HELP, id="help", markup=False)

    def on_key(self, event: Any) -> None:
        event.stop()
        self.dismiss()


class StepperApp(App[None]):
    """Steps through the counterexample of a violated verdict."""

    TITLE = "zonedev"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: auto; padding: 0 1; }
    #table { height: 3fr; }
    #below { height: 2fr; min-height: 8; border-top: solid $primary; }
    #details { width: 1fr; padding: 0 1; }
    #side { width: 1fr; border-left: solid $primary; padding: 0 1; }
    #source { text-wrap: nowrap; text-overflow: ellipsis; }
    #note { height: auto; color: $warning; padding: 0 1; }
    Search { display: none; }
    Help { align: center middle; }
    #help { width: auto; height: auto; border: solid $primary; padding: 1 2; background: $surface; }
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__()
        self.verdict = verdict
        self.steps = verdict.trace
        self.kept = spoken_of(verdict.trace, verdict.rule)
        self.lanes = lanes(verdict.trace)
        self.colours = texts.styles_of(self.lanes)
        self.with_quiet = False
        self.searched = ""
        self.shown: list[TraceStep] = []  # those that have a row, from row 1 on

    def compose(self) -> ComposeResult:
        yield Static(texts.headline(self.verdict), id="head")
        yield Steps(id="table", cursor_type="row", header_height=2, fixed_columns=1)
        with Horizontal(id="below"):
            with VerticalScroll(can_focus=False):
                yield Static(id="details")
            with Vertical(id="side"):
                yield Static(id="source")
        yield Static(id="note")
        yield Search(placeholder="a function, or a part of its name")
        yield Footer()

    def on_mount(self) -> None:
        self.fill(0)

    @property
    def table(self) -> Steps:
        return self.query_one(Steps)

    @property
    def current(self) -> TraceStep | None:
        """The step under the cursor; None before the first."""
        row = self.table.cursor_row
        return self.shown[row - 1] if 0 < row <= len(self.shown) else None

    def fill(self, number: int) -> None:
        """Write the table, and put the cursor on the step with that number or the next that is shown."""
        shown = columns(self.steps, self.kept, self.with_quiet)
        most = max(len(self.steps), 1)
        picked = {d.step.n for d in drawn(self.steps, most, self.kept, self.verdict.loop)}
        width = texts.lane_width(self.lanes, self.size.width)
        table = self.table
        table.clear(columns=True)
        table.add_columns(*texts.heads(self.lanes, shown, self.colours))
        table.add_row(*texts.before(self.lanes, shown))
        self.shown = []
        for row in rows(self.steps, shown):
            if not self.with_quiet and row.step.n not in picked:
                continue
            self.shown.append(row.step)
            mark = "@" if row.step.n == self.verdict.loop else ""
            broken = row.step is self.steps[-1]
            table.add_row(*texts.cells(row, self.lanes, self.colours, width, mark, broken))
        self.go_to(number)
        table.focus()

    def go_to(self, number: int) -> None:
        later = (row for row, step in enumerate(self.shown, 1) if step.n >= number)
        self.table.move_cursor(row=next(later, len(self.shown)) if number else 0)

    def on_data_table_row_highlighted(self) -> None:
        self.describe()

    def on_resize(self) -> None:
        self.call_after_refresh(self.describe)

    def describe(self) -> None:
        """Write what is beside the table about the step under the cursor."""
        step = self.current
        height = self.query_one("#side").size.height
        beside = Text("before the first step") if step is None else texts.source(step, height)
        below = Text() if step is None else texts.details(step, self.verdict, self.colours)
        self.query_one("#source", Static).update(beside)
        self.query_one("#details", Static).update(below)
        self.query_one("#note", Static).update("")

    def action_go(self, row: int) -> None:
        self.table.move_cursor(row=row % (len(self.shown) + 1))

    def action_switch(self, way: int) -> None:
        """Go to the next or the previous step whose task is not that of the step before it."""
        turns = [
            row for row, step in enumerate(self.shown, 1) if row == 1 or step.task != self.shown[row - 2].task
        ]
        here = self.table.cursor_row
        ahead = (
            [row for row in turns if row > here] if way > 0 else [row for row in turns[::-1] if row < here]
        )
        if ahead:
            self.table.move_cursor(row=ahead[0])

    def action_quiet(self) -> None:
        """Show the quiet steps and columns, or leave them out again."""
        number = self.current.n if self.current else 0
        self.with_quiet = not self.with_quiet
        self.fill(number)

    def action_help(self) -> None:
        self.push_screen(Help())

    def action_search(self) -> None:
        search = self.query_one(Search)
        search.display = True
        search.value = self.searched
        search.focus()

    def action_search_over(self) -> None:
        self.query_one(Search).display = False
        self.table.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.searched = event.value.strip()
        self.action_search_over()
        if self.searched:
            self.find(self.searched)

    def find(self, name: str) -> None:
        """Go to the next step of a function, from the first on again; of a quiet step, show those too."""
        here = self.current.n if self.current else 0
        found = [s for s in [*self.steps[here:], *self.steps[:here]] if name in s.function]
        if not found:
            self.query_one("#note", Static).update(Text(f"no step of a function with {name} in its name"))
            return
        target = next((s for s in found if s in self.shown), None)
        if target is None:
            self.with_quiet = True
            self.fill(found[0].n)
        else:
            self.go_to(target.n)
