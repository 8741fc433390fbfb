"""All mutants of a design, or of some functions, against the whole catalogue.

Scenarios that hold come first, and then in order of what they cost.  Each is asked about the mutants that no
earlier one has killed; those that run at the same time do not wait for each other, and where
both kill a mutant, the earlier one counts.  So the outcome is the same with any number of processes.

What survives all of them is asked of single runs (runs.py), which say what a call does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field

from zonedev.catalogue import unknown
from zonedev.explore.check import HOLDS
from zonedev.explore.matrix import Loader, read_goldens
from zonedev.explore.pool import GONE, size_of
from zonedev.explore.pool import pool as pool_of
from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification
from zonedev.mutate import runs
from zonedev.mutate.harmless import only_longer
from zonedev.mutate.mutants import Mutant, mutants_of
from zonedev.mutate.trial import Judgement, Survey, Trial, survey, trial

#: What becomes of a mutant.
KILLED, SURVIVED, OPEN, HARMLESS, UNSEEN, SAME, UNREACHED, REFUSED, TRIVIAL = STATES = (
    "killed",
    "survived",
    "open",
    "harmless",
    "unseen",
    "same",
    "unreached",
    "refused",
    "trivial",
)

Report = Callable[[int, int], None]


@dataclass
class Outcome:
    """What became of a mutant.

    `asked` are the scenarios that met it, `undecided` those of them that reached a limit, and
    `found` is what the killer ends with, instead of what the original does.
    """

    mutant: Mutant
    harmless: bool = False  # whether it is proved that it adds no behaviour (harmless.py)
    asked: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    killer: str | None = None
    found: Judgement | None = None
    refused: str | None = None
    differs: bool = False  # whether a scenario has other states with it
    noticed: bool = False  # and not only while a task stands in the window of the change (window.py)
    met: bool = False  # whether another task could come between
    step: bool = False  # whether it changes a step, or what decides about one, in some scenario

    @property
    def state(self) -> str:
        if self.killer is not None:
            return KILLED
        if self.asked and self.harmless and self.differs:
            return HARMLESS
        if self.undecided:
            return OPEN
        if self.asked and self.differs:
            return SURVIVED if self.noticed or not self.met else UNSEEN
        if self.asked:
            return SAME
        if self.refused is not None:
            return REFUSED
        return UNREACHED if self.step else TRIVIAL

    def learn(self, scenario: Survey, judged: Judgement, same: bool, within: bool | None) -> None:
        """A scenario has been asked; `same`: the mutant has its very states; `within`: those but for its
        window, and whether another task could meet that, or None."""
        if not judged.verdict and judged.why and not judged.why.startswith("--max"):
            self.refused = judged.why
            return
        self.asked.append(scenario.scenario)
        self.differs = self.differs or not same
        self.noticed = self.noticed or not (same or within is not None)
        self.met = self.met or within is True
        if judged.differs(scenario.original):
            self.killer, self.found = scenario.scenario, judged
        elif not judged.verdict:
            self.undecided.append(scenario.scenario)


@dataclass
class Campaign:
    """The outcomes of a campaign.

    `originals` are the scenarios' verdicts without any mutant, `skipped` says why a scenario was
    not asked, and `complete` whether all others were.
    """

    design: str
    outcomes: list[Outcome]
    originals: dict[str, Judgement] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    complete: bool = True

    def count(self, state: str) -> int:
        return sum(o.state == state for o in self.outcomes)

    @property
    def counted(self) -> int:
        """The mutants of non-trivial lines: those with which some scenario has other states."""
        return self.count(KILLED) + self.count(SURVIVED) + self.count(OPEN)

    @property
    def share(self) -> float:
        """The share of these that is killed."""
        return self.count(KILLED) / self.counted if self.counted else 1.0


def chosen(design: type[Specification], functions: Collection[str]) -> list[Mutant]:
    """The mutants of some functions, or of all; ZonedevError for a function that has none."""
    every = mutants_of(design)
    names = {m.function.__name__ for m in every}
    for name in functions:
        if name not in names:
            raise unknown("function", name, sorted(names))
    return [m for m in every if not functions or m.function.__name__ in functions]


def run(
    load: Loader,
    design: str,
    functions: Collection[str] = (),
    *,
    most: int,
    seconds: float | None = None,
    jobs: int | None = None,
    on: str | None = None,
    report: Report = lambda done, total: None,
) -> Campaign:
    """Ask every scenario with at most `most` states; after `seconds` no more are begun.

    They are asked in `jobs` processes, by default one a core, or on the Ray cluster `on`.
    """
    begun = time.perf_counter()
    known = load()
    specification = known.design(design)
    mutants = chosen(specification, functions)
    campaign = Campaign(design, [Outcome(m, only_longer(specification, m)) for m in mutants])
    names = [n for n, s in known.scenarios.items() if design in s.expected or design in read_goldens(s)]
    names = names or list(known.scenarios)  # nobody has expected anything of this design
    pool = pool_of(on, jobs)
    try:
        surveyed = list(pool.map(_survey, *zip(*[(load, n, design, most) for n in names], strict=True)))
        campaign.skipped = {n: s for n, s in zip(names, surveyed, strict=True) if isinstance(s, str)}
        asked = (s for s in surveyed if isinstance(s, Survey))
        order = sorted(asked, key=lambda s: (s.original.verdict != HOLDS, s.cost))
        reached = frozenset[str]().union(*(s.functions for s in order))
        for outcome in campaign.outcomes:
            outcome.step = outcome.mutant.function.__name__ not in reached
        campaign.originals = {s.scenario: s.original for s in order}
        deadline = None if seconds is None else begun + seconds
        Trials(pool, load, campaign, order, size_of(pool)).run(deadline, report)
        if campaign.complete:
            ask_runs(pool, load, campaign, report)
    except BrokenExecutor:
        raise ZonedevError(GONE) from None
    except KeyboardInterrupt:
        campaign.complete = False
        pool.shutdown(wait=False, cancel_futures=True)
    pool.shutdown()
    campaign.seconds = time.perf_counter() - begun
    return campaign


class Trials:
    """Asks the scenarios in their order, as many at a time as there are processes."""

    def __init__(
        self,
        pool: Executor,
        load: Loader,
        campaign: Campaign,
        order: Sequence[Survey],
        at_once: int,
    ) -> None:
        self.pool, self.load, self.campaign, self.order, self.at_once = pool, load, campaign, order, at_once
        self.outcomes = {o.mutant.number: o for o in campaign.outcomes}
        self.known: dict[int, Trial] = {}  # by the place of the scenario in the order
        self.told = 0  # scenarios whose answers have been taken

    def run(self, deadline: float | None, report: Report) -> None:
        todo = iter(enumerate(self.order))
        running: dict[Future[Trial], int] = {}
        while True:
            while len(running) < self.at_once and (job := next(todo, None)) is not None:
                if deadline is not None and time.perf_counter() > deadline:
                    self.campaign.complete = False
                    break
                future = self.pool.submit(_trial, self.load, job[1], self.campaign.design, self.alive())
                running[future] = job[0]
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                self.known[running.pop(future)] = future.result()
            self.tell()
            report(self.told, len(self.order))

    def alive(self) -> list[int]:
        """The mutants that nobody has killed so far, whoever comes first in the order."""
        dead = {
            n
            for at, trial in self.known.items()
            for n, judged in trial.judged.items()
            if judged.differs(self.order[at].original)
        }
        return [n for n, o in self.outcomes.items() if o.killer is None and n not in dead]

    def tell(self) -> None:
        """Take the answers in the order of the scenarios."""
        while (found := self.known.get(self.told)) is not None:
            for number, judged in found.judged.items():
                if self.outcomes[number].killer is None:
                    self.outcomes[number].learn(
                        self.order[self.told], judged, number in found.same, found.within.get(number)
                    )
            for number, why in found.refused.items():
                self.outcomes[number].refused = why
            for number in found.steps:
                self.outcomes[number].step = True
            self.told += 1


def ask_runs(pool: Executor, load: Loader, campaign: Campaign, report: Report) -> None:
    """Ask the single runs about who has survived."""
    left = [o for o in campaign.outcomes if o.state in (SURVIVED, OPEN, UNSEEN)]
    asked = [pool.submit(runs.difference, load, campaign.design, o.mutant.number) for o in left]
    for done, (outcome, future) in enumerate(zip(left, asked, strict=True), 1):
        found = future.result()
        if found is not None:
            outcome.killer, outcome.found = found
        report(done, len(left))


def _survey(load: Loader, scenario: str, design: str, most: int) -> Survey | str:
    return survey(load(), scenario, design, most)


def _trial(load: Loader, found: Survey, design: str, numbers: Sequence[int]) -> Trial:
    return trial(load(), found, design, numbers)


__all__ = ["Campaign", "Outcome", "run"]
