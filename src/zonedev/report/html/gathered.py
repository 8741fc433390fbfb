"""What a report tells: scenarios and designs, what was found, and what changed between two designs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

from zonedev.catalogue import Catalogue
from zonedev.explore.check import HOLDS, VIOLATED
from zonedev.explore.diff import Difference, differences
from zonedev.explore.matrix import Cell
from zonedev.lang.system import Specification
from zonedev.report.life import KINDS, Life
from zonedev.report.table import verdict_word
from zonedev.scenarios.base import Expected, Scenario


@dataclass(frozen=True)
class Turn:
    """A verdict that is not the one before; `functions` are those that differ and that the
    counterexample goes through, the nearest to where it breaks first."""

    before: Cell
    now: Cell
    functions: tuple[Difference, ...]


@dataclass(frozen=True)
class Column:
    """A design: `before` is the one that it is compared with, "" for the oldest release.

    `turned` are the verdicts that are not those of `before`, or where that has none of the release
    before it, and so on.
    """

    name: str
    title: str
    release: bool
    before: str = ""
    functions: tuple[Difference, ...] = ()
    turned: tuple[Turn, ...] = ()

    @property
    def short(self) -> str:
        return self.name.removeprefix("linux-")


@dataclass
class Story:
    """A scenario, and what became of it by design."""

    name: str
    about: type[Scenario]
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return self.about.title()

    @property
    def source(self) -> str:
        return self.about.source

    def expected(self, design: str) -> Expected | None:
        return self.about.expected.get(design)

    @property
    def functions(self) -> list[str]:
        """The functions that its counterexamples go through."""
        return sorted({name for cell in self.cells.values() for name in through(cell)})

    @property
    def ladder(self) -> list[str]:
        """The points at which it observes a count, in order."""
        seen = (c.found.observed for c in self.cells.values() if c.found and c.found.observed)
        return list(dict.fromkeys(point for observed in seen for point in observed))


@dataclass(frozen=True)
class Report:
    """All that is told."""

    columns: tuple[Column, ...]
    stories: tuple[Story, ...]
    rules: Mapping[str, str]  # what each rule says
    lives: Mapping[str, Sequence[Life]]  # by kind of page, in the order of the designs

    def story(self, scenario: str) -> Story:
        return next(s for s in self.stories if s.name == scenario)

    def turns(self, scenario: str) -> list[tuple[Column, Turn]]:
        """The designs that turn the verdict of a scenario."""
        return [(c, t) for c in self.columns for t in c.turned if t.now.scenario == scenario]

    def mending(self, cell: Cell) -> list[str]:
        """The designs that hold where a release is violated, if it is violated in each release from
        there to the one that they are compared with."""
        story = self.story(cell.scenario)
        verdicts = [
            (c.name, verdict_of(story.cells[c.name]))
            for c in self.columns
            if c.name in story.cells and c.release
        ]
        order = [name for name, _ in verdicts]

        def together(a: str, b: str) -> bool:
            if a not in order or b not in order:
                return False
            first, last = sorted((order.index(a), order.index(b)))
            return all(verdict == VIOLATED for _, verdict in verdicts[first : last + 1])

        return [
            c.name
            for c, t in self.turns(cell.scenario)
            if verdict_of(t.now) == HOLDS and together(cell.design, t.before.design)
        ]

    @property
    def cells(self) -> list[Cell]:
        return [cell for story in self.stories for cell in story.cells.values()]

    @property
    def newest(self) -> str:
        """The newest release."""
        return next((c.name for c in reversed(self.columns) if c.release), "")

    @property
    def ladders(self) -> list[Story]:
        return [s for s in self.stories if s.ladder]


def gathered(catalogue: Catalogue, cells: Sequence[Cell], lives: Sequence[Life] = ()) -> Report:
    """What the cells of a matrix say, by scenario and by design, and the lives of pages by kind."""
    stories: dict[str, Story] = {}
    for cell in cells:
        story = stories.setdefault(cell.scenario, Story(cell.scenario, catalogue.scenario(cell.scenario)))
        story.cells[cell.design] = cell
    named = [n for n in catalogue.designs if any(n in s.cells for s in stories.values())]
    named += [d for d in dict.fromkeys(c.design for c in cells) if d not in named]
    rules = {name: rule.text for name, rule in catalogue.rules.items()}
    kinds: dict[str, list[Life]] = {kind: [] for kind in KINDS.values()}
    for life in lives:
        kinds[life.kind].append(life)
    return Report(
        tuple(columns(catalogue, named, list(stories.values()))),
        tuple(stories.values()),
        rules,
        {kind: some for kind, some in kinds.items() if some},
    )


def columns(catalogue: Catalogue, names: Sequence[str], stories: Sequence[Story]) -> Iterable[Column]:
    """Releases in the order of time, each compared with the one before; then proposals, each compared
    with the newest design that it derives from or that derives from it."""
    designs = {n: catalogue.design(n) for n in names}
    between = cache(lambda a, b: differences(designs[a], designs[b]))
    releases = [n for n in names if is_release(designs[n])]
    before = {b: a for a, b in pairwise(releases)}
    for name in [*releases, *(n for n in names if n not in releases)]:
        other = before.get(name, "") if name in releases else posted_against(designs, name, releases)
        earlier = releases[releases.index(other) :: -1] if other else []
        yield Column(
            name,
            str(getattr(designs[name], "title", "")),
            name in releases,
            other,
            tuple(between(other, name)) if other else (),
            tuple(
                Turn(a, b, tuple(on_the_way(between(a.design, b.design), a, b)))
                for a, b in turned(stories, earlier, name)
            ),
        )


def is_release(design: type[Specification]) -> bool:
    return bool(getattr(design, "release", True))


def posted_against(designs: dict[str, type[Specification]], name: str, releases: Sequence[str]) -> str:
    """The release that a design shares most with: the fewest functions differ."""
    return min(releases, key=lambda r: len(differences(designs[r], designs[name])), default="")


def turned(stories: Sequence[Story], earlier: Sequence[str], name: str) -> Iterable[tuple[Cell, Cell]]:
    """The cells of a design that do not say what the last of the earlier ones said, which come first."""
    for story in stories:
        before = next((story.cells[d] for d in earlier if d in story.cells), None)
        now = story.cells.get(name)
        if before is not None and now is not None and said(before) != said(now):
            yield before, now


def on_the_way(functions: Iterable[Difference], before: Cell, now: Cell) -> list[Difference]:
    """Those that the counterexample before goes through, or where it held, the one that is new."""
    last = through(before) or through(now)
    return sorted((f for f in functions if f.name in last), key=lambda f: -last[f.name])


def through(cell: Cell) -> dict[str, int]:
    """The functions that the counterexample of a cell goes through, with the last step of each."""
    steps = cell.found.trace if cell.found is not None else ()
    return {name: step.n for step in steps for name in (*step.calls[1:], step.function)}


def verdict_of(cell: Cell) -> str:
    return cell.found.verdict if cell.found is not None else ""


def said(cell: Cell) -> str:
    """A verdict in words."""
    if cell.error is not None:
        return "error"
    return "not checked" if cell.found is None else verdict_word(cell.found.verdict, cell.found.rule)
