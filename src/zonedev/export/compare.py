"""A check made here and by the judges, and what they disagree about."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path

from zonedev.explore.check import select, set_up
from zonedev.explore.matrix import Golden, Loader, unlike
from zonedev.explore.pool import pool
from zonedev.explore.result import DEADLOCK, LIVELOCK, LOST_WAKEUP, NO_FINISH, Exploration, Question
from zonedev.explore.result import Limits as OwnLimits
from zonedev.explore.runner import Runner
from zonedev.export import exported
from zonedev.export.judges import JUDGES, STUCK, Answer, Limits, asked
from zonedev.lang.errors import ZonedevError
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.scenarios.base import full_scope

#: Counts the changes of how judges are asked; what they answered before counts no more.
ASKED = 2

COUNTS = ("states", "transitions", "depth")  # what a golden tells of the search


@dataclass
class Comparison:
    """A scenario under a design: our answer, theirs by name, and where they disagree, in words."""

    scenario: str
    design: str
    ours: Answer | None = None
    theirs: dict[str, Answer] = field(default_factory=dict)
    differs: list[str] = field(default_factory=list)
    progress: str | None = None  # the rule of progress that breaks here, which no judge is asked about
    error: str | None = None

    @property
    def open(self) -> bool:
        """Whether some judge came to no end."""
        return any(a.stopped for a in self.theirs.values())


def answer_of(ts: TransitionSystem, question: Question) -> tuple[Answer, Exploration]:
    """Our own answer, in the judges' terms: a state where all is finished has one step, to itself."""
    runner = Runner(ts, question, OwnLimits(), None, 1)
    found = runner.run("auto")
    if found.stopped is not None:
        raise ZonedevError(found.stopped)
    if found.ending in (None, NO_FINISH, LIVELOCK):
        return Answer(found.states, found.transitions + found.ends, seconds=found.seconds), found
    assert found.path is not None and found.ending is not None
    broken = STUCK if found.ending in (DEADLOCK, LOST_WAKEUP) else ts.fails[found.ending][0]
    return Answer(broken=broken, level=level_of(ts, runner, found), seconds=found.seconds), found


def level_of(ts: TransitionSystem, runner: Runner, found: Exploration) -> int:
    """How many steps lead to the state where something is wrong, or from which a step is."""
    assert found.path is not None
    state, steps = ts.initial(), 0
    for task, choice in found.path:
        function, fanout = runner.code.steps[task][ts.pcs(state)[task]]
        outcome = function(*state) if fanout == 1 else function(*state, choice)
        if not isinstance(outcome, tuple):
            break
        state, steps = outcome, steps + 1
    return steps


def disagreement(ours: Answer, name: str, theirs: Answer) -> list[str]:
    """What a judge found otherwise."""
    if theirs.stopped:
        return []
    if (ours.broken is None) != (theirs.broken is None):
        return [f"{name}: {theirs.broken or 'nothing'} is broken, here {ours.broken or 'nothing'}"]
    found = []
    for what in ("states", "transitions", "level"):
        here, there = getattr(ours, what), getattr(theirs, what)
        if here != there and None not in (here, there):
            found.append(f"{name}: {what} {there}, here {here}")
    return found


def compare(
    load: Loader,
    scenario: str,
    design: str,
    golden: Golden | None,
    judges: Sequence[str],
    limits: Limits,
    cache: Path | None = None,
) -> Comparison:
    """Make one check here and by the `judges`; `cache` keeps what these answered."""
    known = load()
    row = Comparison(scenario, design)
    try:
        cls = known.scenario(scenario)
        selection = select(cls, known.rules)
        system = set_up(cls, known.design(design), full_scope(cls, {}), selection.monitors)
        ts = lower(system, selection.names)
        row.ours, found = answer_of(ts, selection.question)
        if found.ending in (NO_FINISH, LIVELOCK):
            row.progress = cls.progress
        row.differs += unlike("golden", {k: v for k, v in (golden or {}).items() if k in COUNTS}, vars(found))
        for name in judges:
            text = exported(ts, selection.question, JUDGES[name].language, f"{scenario}, {design}")
            row.theirs[name] = remembered(name, text, selection.question.deadlock, limits, cache)
            row.differs += disagreement(row.ours, name, row.theirs[name])
    except ZonedevError as error:
        row.error = str(error)
    return row


# --- what was answered before ------------------------------------------------------------------------


def remembered(name: str, text: str, stuck: bool, limits: Limits, cache: Path | None) -> Answer:
    """What a judge answers, or has answered to the same question before."""
    key = hashlib.sha256(f"{ASKED} {name} {stuck} {without_comments(text)}".encode()).hexdigest()[:32]
    kept = cache / f"{key}.json" if cache is not None else None
    if kept is not None and kept.is_file():
        return Answer(**json.loads(kept.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(prefix="zonedev-") as place:
        answer = asked(JUDGES[name], text, stuck, Path(place), limits)
    if kept is not None and answer.stopped is None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(asdict(answer)), encoding="utf-8")
        fresh.replace(kept)
    return answer


def without_comments(text: str) -> str:
    """A model without what only its readers need, such as numbers of lines."""
    return re.sub(r'/\*[\s\S]*?\*/|--.*|\\\*.*|^rule ".*"', "", text, flags=re.MULTILINE)


def judge_all(
    load: Loader,
    cells: Sequence[tuple[str, str, Golden | None]],
    judges: Sequence[str],
    limits: Limits,
    cache: Path | None,
    jobs: int | None,
    report: Callable[[Comparison], None],
) -> list[Comparison]:
    """All comparisons, in processes of their own, in the order of `cells`."""
    rows: dict[tuple[str, str], Comparison] = {}
    with pool(None, jobs) as workers:
        futures = [workers.submit(compare, load, *cell, judges, limits, cache) for cell in cells]
        try:
            for future in as_completed(futures):
                row = future.result()
                rows[row.scenario, row.design] = row
                report(row)
        except BaseException:
            workers.shutdown(wait=False, cancel_futures=True)
            raise
    return [rows[scenario, design] for scenario, design, _ in cells]
