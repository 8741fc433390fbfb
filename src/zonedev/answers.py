"""What the functions of `zonedev` answer: values to look into, which print as the command line does and
show themselves as tables in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from html import escape
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from zonedev.catalogue import Catalogue, load, unknown
from zonedev.chosen import called, chosen, short_errors
from zonedev.explore import check as checks
from zonedev.explore import run as runs
from zonedev.explore import tracefile
from zonedev.explore.check import VIOLATED
from zonedev.explore.diff import Difference
from zonedev.explore.matrix import Cell
from zonedev.explore.trace import TraceStep
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.report import differences, json, notebook, table, text, timeline
from zonedev.scenarios.base import Scenario

T = TypeVar("T")


class Listing(Mapping[str, T], Generic[T]):
    """Things by their names, in order: iterate for the names, index for a thing."""

    def __init__(self, kind: str, things: Mapping[str, T], about: Callable[[T], str]) -> None:
        self.kind, self._things, self._about = kind, things, about

    def __getitem__(self, name: str) -> T:
        """The thing called `name`; KeyError names the nearest where there is none."""
        if name not in self._things:
            raise KeyError(str(unknown(self.kind, name, self._things)))
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)

    def _entries(self) -> dict[str, str]:
        return {name: self._about(thing) for name, thing in self._things.items()}

    def __repr__(self) -> str:
        return table.listing(self._entries())

    def _repr_html_(self) -> str:
        return notebook.listing(self.kind, self._entries())


@dataclass(frozen=True, repr=False)
class Trace(Sequence[TraceStep]):
    """A counterexample: the steps, the last of which breaks `rule`.

    `objects` says in words what broke it; from step `loop` on, counted from 1, the steps
    repeat for ever.  Where nothing was violated there are no steps.
    """

    scenario: str
    design: str
    scope: Mapping[str, Any]
    rule: str | None = None
    objects: str = ""
    steps: tuple[TraceStep, ...] = ()
    loop: int | None = None
    catalogue: Catalogue = field(default_factory=load, compare=False)

    @overload
    def __getitem__(self, at: int) -> TraceStep: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[TraceStep]: ...
    def __getitem__(self, at: int | slice) -> TraceStep | Sequence[TraceStep]:
        return self.steps[at]

    def __len__(self) -> int:
        return len(self.steps)

    def text(self) -> str:
        """The story as `zonedev replay` prints it: at most 80 columns and some 20 lines."""
        return text.render(self._verdict()) if self else repr(self)

    def json(self) -> str:
        """The text of a trace file, as `zonedev check --format json` prints it."""
        if not self:
            raise ZonedevError(f"{self.scenario}, {self.design}: there is no counterexample")
        return json.render([self._verdict()])

    def save(self, file: str | Path) -> None:
        """Write a trace file, which `Trace.load`, `zonedev replay` and `zonedev show` read."""
        Path(file).write_text(self.json() + "\n", encoding="utf-8")

    @classmethod
    @short_errors()
    def load(
        cls,
        file: str | Path,
        number: int = 1,
        *,
        scenarios: Iterable[type[Scenario]] = (),
        designs: Iterable[type[Specification]] = (),
    ) -> Trace:
        """Counterexample `number`, counted from 1, of a trace file; ZonedevError for what is none.

        `scenarios` and `designs` are the classes of your own that it names.
        """
        known = chosen(scenarios, designs).catalogue
        found = tracefile.read(Path(file), known)
        if not 1 <= number <= len(found):
            raise ZonedevError(f"{file}: no counterexample {number}: give a number in 1..{len(found)}")
        kept = found[number - 1]
        steps = tuple(json.step_from(f"{file}: step {n}", s) for n, s in enumerate(kept.steps, 1))
        return cls(kept.scenario, kept.design, kept.scope, kept.rule, kept.objects, steps, kept.loop, known)

    @short_errors()
    def replay(self) -> Trace:
        """The same steps again, as plain Python; ZonedevError where they no longer break the rule."""
        steps = [json.step_object(step) for step in self.steps]
        recorded = tracefile.Recorded(
            self.scenario, self.design, dict(self.scope), str(self.rule), self.objects, steps, self.loop
        )
        found = tracefile.replay(recorded, self.catalogue)
        if not found.same:
            raise ZonedevError(f"{self.scenario}, {self.design}: {self.rule} no longer breaks")
        return replace(self, objects=found.text, steps=tuple(found.steps))

    def __getstate__(self) -> dict[str, Any]:
        """Without the catalogue: another process has its own."""
        return {**vars(self), "catalogue": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, catalogue=load())

    def _verdict(self) -> checks.Verdict:
        return checks.Verdict(
            self.scenario,
            self.design,
            dict(self.scope),
            VIOLATED,
            self.rule,
            self.objects,
            depth=len(self),
            engine="plain Python",
            loop=self.loop,
            trace=self.steps,
        )

    def __repr__(self) -> str:
        end = f"{text.plural(len(self), 'step', 'steps')} to {self.rule}" if self else "no counterexample"
        return f"<Trace: {self.scenario}, {self.design}: {end}>"

    __str__ = text

    def _repr_html_(self) -> str:
        return notebook.verdict(self._verdict()) if self else notebook.whole(f"<p>{escape(repr(self))}</p>")


@dataclass(repr=False)
class Verdict(checks.Verdict):
    """The answer of `check`: what it found, how much it explored, and the counterexample if there is one.

    `verdict` is "holds", "violated" or "undetermined"; see `zonedev.explore.verdict` for all fields.
    """

    trace: Trace = field(default_factory=lambda: Trace("", "", {}))
    traces: tuple[Trace, ...] = ()  # the counterexamples, of which `trace` is the first

    @classmethod
    def of(cls, found: checks.Verdict, known: Catalogue) -> Verdict:
        """What an engine found, with the catalogue in which a replay finds its names."""
        none = Trace(found.scenario, found.design, found.scope, catalogue=known)
        traces = tuple(
            replace(none, rule=v.rule, objects=v.objects, steps=tuple(v.trace), loop=v.loop)
            for v in found.counterexamples
        )
        values = {f.name: getattr(found, f.name) for f in fields(checks.Verdict)}
        return cls(**{**values, "trace": traces[0] if traces else none}, traces=traces)

    def json(self) -> str:
        """What `zonedev check --format json` prints."""
        return json.render([self])

    def __repr__(self) -> str:
        return text.render(self)

    def _repr_html_(self) -> str:
        return notebook.verdict(self)


@dataclass(repr=False)
class Timeline(runs.Timeline):
    """One schedule of a scenario; `ending` is "finished", "blocked", or the rule that broke."""

    def __repr__(self) -> str:
        return timeline.render(self)

    def _repr_html_(self) -> str:
        return notebook.timeline(self)


@dataclass(frozen=True, repr=False)
class Matrix:
    """Scenarios under designs: `m["evict-vs-pin", "linux-6.1"]` is a verdict, with its trace."""

    cells: tuple[Cell, ...]
    designs: tuple[str, ...]  # in time order
    catalogue: Catalogue = field(default_factory=load, compare=False)

    def __getitem__(self, key: tuple[str | type[Scenario], str | type[Specification]]) -> Verdict:
        """The verdict of a scenario under a design; ZonedevError where it was not checked."""
        names = scenario, design = called(key[0]), called(key[1])
        for cell in self.cells:
            if (cell.scenario, cell.design) == names:
                if cell.found is None:
                    raise ZonedevError(f"{scenario}, {design}: {cell.error or 'not checked: interrupted'}")
                return Verdict.of(cell.found, self.catalogue)
        raise ZonedevError(f"{scenario}, {design}: not in this matrix")

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def as_expected(self) -> bool:
        """Whether all was checked, and no verdict or count is another than what is on record."""
        return all(cell.found is not None and not cell.unexpected for cell in self.cells)

    @property
    def unexpected(self) -> tuple[Cell, ...]:
        """The cells that are not as expected: `error` or `differs` says in words what is wrong."""
        return tuple(cell for cell in self.cells if cell.unexpected)

    def __repr__(self) -> str:
        return table.matrix(self.cells, self.designs) if self.cells else "no checks"

    def _repr_html_(self) -> str:
        return notebook.matrix(self.cells, self.designs)


@dataclass(frozen=True, repr=False)
class Diff:
    """What two designs do differently: the functions, and the scenarios whose verdicts differ."""

    designs: tuple[str, str]
    functions: tuple[Difference, ...]
    cells: tuple[Cell, ...]  # two of each scenario that was asked

    @property
    def verdicts(self) -> dict[str, tuple[str, str]]:
        """The verdicts that differ, in words, by scenario."""
        return {
            a.scenario: (differences.word(a), differences.word(b))
            for a, b in differences.differing(self.cells)
        }

    def __repr__(self) -> str:
        return differences.render(self.designs, self.functions, self.cells)

    def _repr_html_(self) -> str:
        return notebook.difference(self.designs, self.functions, self.cells)
