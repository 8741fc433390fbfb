"""The API: what the commands do, as functions of Python.

Where a design is asked for, its name, SERIES/PATCH, FILE.py:CLASS or a class of one's own will
do; where a scenario is, its name or a class.  ZonedevError says in one line what is wrong.
Nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Literal

from zonedev.answers import Diff, Listing, Matrix, Timeline, Trace, Verdict
from zonedev.catalogue import Catalogue, load
from zonedev.chosen import Chosen, Design, chosen, several, short_errors
from zonedev.explore import check as checks
from zonedev.explore import matrix as matrices
from zonedev.explore import run as runs
from zonedev.explore.available import bounded
from zonedev.explore.diff import differences
from zonedev.explore.matrix import Cell
from zonedev.explore.pool import FORKS
from zonedev.explore.reduce import REDUCTIONS
from zonedev.explore.result import Limits, Progress
from zonedev.lang.errors import ZonedevError
from zonedev.report import table
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Scenario

Engine = Literal["auto", "python", "native"]
ENGINES = ("auto", "python", "native")

__all__ = [
    "Diff",
    "Listing",
    "Matrix",
    "Timeline",
    "Trace",
    "Verdict",
    "check",
    "design",
    "designs",
    "diff",
    "matrix",
    "rules",
    "run",
    "scenario",
    "scenarios",
]


# --- what there is ------------------------------------------------------------------------------


def designs() -> Listing[Design]:
    """The designs by name, in time order; then those that an argument needs."""
    return Listing("design", load().designs, table.about_design)


def scenarios() -> Listing[type[Scenario]]:
    """The scenarios by name, each with its scopes."""
    return Listing("scenario", load().scenarios, table.about_scenario)


def rules() -> Listing[Rule]:
    """The rules by name."""
    return Listing("rule", load().rules, table.about_rule)


@short_errors()
def design(name: str) -> Design:
    """The design called `name`: also SERIES/PATCH, or FILE.py:CLASS.  Derive a patch of your own from it."""
    return load().design(name)


@short_errors()
def scenario(name: str) -> type[Scenario]:
    """The scenario called `name`, also one of a suite."""
    return load().scenario(name)


# --- what can be asked ----------------------------------------------------------------------------


@short_errors()
def check(
    scenario: str | type[Scenario],
    design: str | Design | None = None,
    *,
    scope: Mapping[str, str | int] | None = None,
    rules: Iterable[str] | None = None,
    engine: Engine = "auto",
    workers: int = 1,
    max_states: int | None = None,
    max_seconds: float | None = None,
    max_memory: int | None = None,
    all_violations: bool = False,
    reductions: Sequence[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Verdict:
    """Explore every interleaving of a scenario under a design: by default the newest mainline.

    `scope` gives sizes, such as ``{"pages": 2}``; `rules` narrows the rules that are checked.  `workers` are
    threads of the native engine.  A search that comes to `max_states`, `max_seconds` or
    `max_memory` bytes (by default what the machine has left), or is interrupted, ends
    "undetermined".  With `all_violations` it goes on after the first.  `progress` is called now and then.
    """
    newest = load().newest()
    found = chosen([scenario], [newest if design is None else design])
    known, (name,) = found.catalogue, found.designs
    among("engine", engine, ENGINES)
    for each in reductions or ():
        among("reduction", each, tuple(REDUCTIONS))
    positive(workers=workers, max_states=max_states, max_seconds=max_seconds, max_memory=max_memory)
    answer = checks.check(
        known.scenario(found.scenarios[0]),
        known.design(name),
        scope,
        None if rules is None else [known.rule(r).name for r in several("rules", rules)],
        engine,
        workers,
        bounded(Limits(max_states, max_seconds, max_memory)),
        progress,
        known=known.rules,
        design_name=name,
        all_violations=all_violations,
        reductions=reductions,
    )
    return Verdict.of(answer, known)


@short_errors()
def run(
    scenario: str | type[Scenario],
    design: str | Design | None = None,
    *,
    scope: Mapping[str, str | int] | None = None,
    seed: int = 0,
) -> Timeline:
    """One schedule of a scenario: seed 0 runs each task as far as it goes, others choose at random."""
    found = chosen([scenario], [load().newest() if design is None else design])
    known, (name,) = found.catalogue, found.designs
    answer = runs.run(
        known.scenario(found.scenarios[0]), known.design(name), scope or {}, seed, known.rules, name
    )
    return Timeline(**{f.name: getattr(answer, f.name) for f in fields(answer)})


@short_errors()
def matrix(
    scenarios: Iterable[str | type[Scenario]] | None = None,
    designs: Iterable[str | Design] | None = None,
    *,
    engine: Engine = "auto",
    jobs: int | None = None,
    max_states: int | None = None,
    max_seconds: float | None = None,
    max_memory: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Matrix:
    """Scenarios, by default all, under designs, against the expected verdicts and exact counts.

    Without `designs` a scenario is checked under those for which something is expected of it, or
    if nothing is, under all.  The checks run in `jobs` processes, by default one a core.
    `progress` is called with the number of checks that are done, and of all.
    """
    found = chosen(load().scenarios if scenarios is None else scenarios, designs or ())
    known = found.catalogue
    cells: list[Cell] = []
    for name in dict.fromkeys(found.scenarios):
        scenario = known.scenario(name)
        goldens = {} if name in found.own else matrices.read_goldens(scenario)
        if designs is None:
            cells += matrices.cells_of(known, scenario, goldens)
        else:
            cells += [Cell(name, d, golden=goldens.get(d)) for d in dict.fromkeys(found.designs)]
    fill(found, cells, Limits(max_states, max_seconds, max_memory), progress, jobs, engine)
    order = {**dict.fromkeys(known.designs), **dict.fromkeys(c.design for c in cells)}
    return Matrix(tuple(cells), tuple(d for d in order if any(c.design == d for c in cells)), known)


@short_errors()
def diff(
    first: str | Design,
    second: str | Design,
    *,
    scenarios: Iterable[str | type[Scenario]] | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Diff:
    """The functions that two designs do not share, and which scenarios (by default all) they differ in.

    An empty list of `scenarios` asks for the functions only.
    """
    found = chosen(load().scenarios if scenarios is None else scenarios, [first, second])
    one, two = (found.catalogue.design(name) for name in found.designs)
    cells = [Cell(s, d) for s in found.scenarios for d in found.designs]
    fill(found, cells, Limits(), progress, jobs, "auto")
    return Diff((found.designs[0], found.designs[1]), tuple(differences(one, two)), tuple(cells))


# --- how -------------------------------------------------------------------------------------------

#: The catalogues that processes have from the one that they are forked from: a class that was typed
#: into a notebook cannot be sent to them.
INHERITED: dict[int, Catalogue] = {}


def inherited(number: int) -> Catalogue:
    return INHERITED[number]


@contextmanager
def loader(found: Chosen) -> Iterator[matrices.Loader]:
    """What gives a process the catalogue."""
    if not found.own:
        yield load
        return
    if not FORKS:
        raise ZonedevError(
            "classes of one's own need processes that fork: put them into a FILE.py, and give FILE.py:CLASS"
        )
    INHERITED[id(found)] = found.catalogue
    try:
        yield partial(inherited, id(found))
    finally:
        del INHERITED[id(found)]


def fill(
    found: Chosen,
    cells: list[Cell],
    limits: Limits,
    progress: Callable[[int, int], None] | None,
    jobs: int | None,
    engine: str,
) -> None:
    """Check the cells, in processes."""
    among("engine", engine, ENGINES)
    positive(jobs=jobs, max_states=limits.states, max_seconds=limits.seconds, max_memory=limits.memory)
    if cells:
        with loader(found) as get:
            matrices.run(
                get, cells, limits, progress or (lambda done, total: None), jobs, engine, traces=True
            )


def among(what: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise ZonedevError(f"no {what} {given!r}: there is {', '.join(known)}")


def positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ZonedevError(f"{name}={number}: give a number above 0")
