"""Every scenario under every design, against the expected verdicts and the goldens on disk."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, as_completed
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from zonedev.catalogue import Catalogue
from zonedev.explore.available import bounded
from zonedev.explore.check import UNDETERMINED, Verdict, check
from zonedev.explore.pool import GONE, size_of
from zonedev.explore.pool import pool as pool_of
from zonedev.explore.result import Limits
from zonedev.explore.trace import shorten
from zonedev.lang.errors import ZonedevError
from zonedev.scenarios.base import Scenario

#: What a golden keeps of a verdict.
KEPT = ("verdict", "rule", "states", "transitions", "depth")
#: What of it is less where reductions are used.
COUNTS = ("states", "transitions", "depth")

Golden = dict[str, Any]
Loader = Callable[[], Catalogue]


@dataclass
class Cell:
    """One scenario under one design; `differs` says in words what is not as it should be."""

    scenario: str
    design: str
    found: Verdict | None = None
    error: str | None = None
    differs: list[str] = field(default_factory=list)
    golden: Golden | None = None

    @property
    def unexpected(self) -> bool:
        return self.error is not None or bool(self.differs)


def read_goldens(scenario: type[Scenario]) -> dict[str, Golden]:
    """The goldens of a scenario by design; none where there is no file yet."""
    file = scenario.golden_file()
    if not file.is_file():
        return {}
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        found = kept.get(scenario.name(), {}) if shared(kept) else kept
        if all(is_golden(g) for g in found.values()):
            return dict(found)
    except (ValueError, AttributeError):
        pass
    raise ZonedevError(f"{shorten(str(file))}: not a golden file: mend it, or run zonedev matrix --promote")


def is_golden(value: Any) -> bool:
    """Whether something that was read has all that a golden keeps."""
    return isinstance(value, dict) and set(KEPT) <= set(value)


def shared(kept: Mapping[str, Any]) -> bool:
    """Whether a golden file holds several scenarios, by their names."""
    return not all(isinstance(v, dict) and "verdict" in v for v in kept.values())


def write_goldens(scenario: type[Scenario], cells: Iterable[Cell], together: bool) -> Path:
    """Replace the goldens of a scenario by what was found; `together`: its file has others' too."""
    file = scenario.golden_file()
    found = {
        c.design: kept_of(c.found) for c in cells if c.found is not None and c.found.verdict != UNDETERMINED
    }
    kept: dict[str, Any] = {}
    if together and file.is_file():
        kept = json.loads(file.read_text(encoding="utf-8"))
        kept = kept if shared(kept) else {}
    own = {**(kept.get(scenario.name(), {}) if together else read_or_none(scenario)), **found}
    whole: dict[str, Any] = {**kept, scenario.name(): own} if together else own
    file.write_text(json.dumps(whole, indent=1, sort_keys=together) + "\n", encoding="utf-8")
    return file


def kept_of(verdict: Verdict) -> Golden:
    """What a golden keeps of a verdict, with what was observed where the scenario observes."""
    golden = {k: getattr(verdict, k) for k in KEPT}
    return golden if verdict.observed is None else {**golden, "observed": verdict.observed}


def read_or_none(scenario: type[Scenario]) -> dict[str, Golden]:
    try:
        return read_goldens(scenario)
    except ZonedevError:
        return {}


def pairs(catalogue: Catalogue, names: Iterable[str], everything: bool) -> list[Cell]:
    """The cells that have an expectation or a golden; all designs for a scenario that has neither."""
    cells = []
    for name in names:
        scenario = catalogue.scenario(name)
        goldens = read_or_none(scenario) if everything else read_goldens(scenario)
        cells += cells_of(catalogue, scenario, goldens, everything)
    return cells


def cells_of(
    catalogue: Catalogue, scenario: type[Scenario], goldens: Mapping[str, Golden], everything: bool = False
) -> list[Cell]:
    """The cells of one scenario."""
    wanted = {**dict.fromkeys(scenario.expected), **dict.fromkeys(goldens)}
    designs = [d for d in catalogue.designs if everything or not wanted or d in wanted]
    designs += [d for d in wanted if d not in catalogue.designs]
    return [Cell(scenario.name(), d, golden=goldens.get(d)) for d in designs]


def check_pair(
    load: Loader,
    scenario: str,
    design: str,
    limits: Limits,
    engine: str,
    processes: int | None = None,
    reductions: Sequence[str] = (),
    traces: bool = False,
) -> Verdict | str:
    """One cell, in a process of its own; an error comes back as text.

    So many `processes` share the memory of the machine; by default one a core.  Without `traces`
    nobody reads the counterexample, and it is not sent back.
    """
    catalogue = load()
    gc.disable()
    try:
        verdict = check(
            catalogue.scenario(scenario),
            catalogue.design(design),
            engine=engine,
            limits=bounded(limits, processes or os.cpu_count() or 1),
            known=catalogue.rules,
            design_name=design,
            reductions=reductions,
        )
    except ZonedevError as error:
        return shorten(str(error))
    except KeyboardInterrupt:
        return "interrupted"
    except Exception as error:
        return f"internal error: {type(error).__name__}: {error}"
    finally:
        collected_at_times()
    if not traces:
        verdict.trace = []
    return verdict


#: Checks of a process between two collections of garbage: what a check leaves is some 30 MB.
COLLECT_EVERY = 8
done = count(1)


def collected_at_times() -> None:
    """Collect garbage after some checks, and never during one."""
    if next(done) % COLLECT_EVERY == 0:
        gc.collect()
        gc.freeze()


def run(
    load: Loader,
    cells: list[Cell],
    limits: Limits,
    report: Callable[[int, int], None],
    jobs: int | None = None,
    engine: str = "auto",
    on: str | None = None,
    reductions: Sequence[str] = (),
    traces: bool = False,
) -> bool:
    """Fill in `cells`, the largest first; false where an interrupt left some open.

    The checks run in `jobs` processes, by default one a core, or on the Ray cluster `on`.  Verdicts
    have their counterexamples where `traces` are wanted.
    """
    catalogue = load()
    order = sorted(cells, key=lambda c: -(c.golden or {}).get("states", 0))
    pool = pool_of(on, jobs)
    here = size_of(pool) if on is None else None
    try:
        futures: dict[Future[Verdict | str], Cell] = {
            pool.submit(check_pair, load, c.scenario, c.design, limits, engine, here, reductions, traces): c
            for c in order
        }
        for n, future in enumerate(as_completed(futures), 1):
            settle(catalogue, futures[future], future.result())
            report(n, len(cells))
    except BrokenExecutor:
        raise ZonedevError(GONE) from None
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        return False
    pool.shutdown()
    return True


def settle(catalogue: Catalogue, cell: Cell, answer: Verdict | str) -> None:
    """Compare an answer with what is expected."""
    if isinstance(answer, str):
        cell.error = answer
        return
    cell.found = answer
    expected = catalogue.scenario(cell.scenario).expected.get(cell.design)
    if expected is not None:
        verdict, rule = answer.verdict, answer.rule
        if verdict != expected.verdict or (expected.rule is not None and rule != expected.rule):
            cell.differs.append(
                f"expected {judgement(expected.verdict, expected.rule)}, found {judgement(verdict, rule)}"
                + (f" ({answer.stopped})" if answer.stopped else "")
            )
        if expected.observed is not None and answer.observed is not None:
            cell.differs += unlike("expected", expected.observed, answer.observed)
    if cell.golden is not None:
        counted = {k: v for k, v in cell.golden.items() if k not in COUNTS or not answer.reductions}
        cell.differs += unlike("golden", counted, kept_of(answer))


def unlike(what: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Where two records differ, in words."""
    return [
        f"{what} {key} {value}, found {found.get(key)}"
        for key, value in wanted.items()
        if value != found.get(key)
    ]


def judgement(verdict: str, rule: str | None) -> str:
    return f"{verdict} {rule}" if rule else verdict
