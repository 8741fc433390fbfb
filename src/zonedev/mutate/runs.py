"""Single runs as plain Python, which say what calls do: the cases of test suites, and stories.

A step that does what a call is there for breaks no rule where it is left out: then nothing
happens.  But a case of the kernel's own tests asserts what comes of it, and real kernels
were compared with the stories of `zonedev conform`, line by line.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, wraps
from types import FrameType, FunctionType
from typing import Any

from zonedev.catalogue import Catalogue
from zonedev.explore.check import VIOLATED, select, set_up
from zonedev.explore.matrix import Loader
from zonedev.explore.replay import check_at_rest
from zonedev.explore.stepper import Stepper, start
from zonedev.lang.errors import CounterRange, RuleBroken, ZonedevError
from zonedev.lang.system import Specification
from zonedev.machine import Endless
from zonedev.mutate.mutants import mutants_of
from zonedev.mutate.patched import patched
from zonedev.mutate.trial import DIFFERS, Judgement
from zonedev.scenarios.base import Scenario, full_scope

#: Bytes of the devices and files of stories, by name.
SIZES = {"dax0": 1 << 30, "pmem0": 1 << 30, "file0": 4 << 20, "file1": 4 << 20}
#: How many steps a run may have, as a multiple of the original's, and anyway.
TIMES, ANYWAY = 4, 500

#: What a case costs besides: how often these are called.
COSTS = {
    "flush_tlb_mm": "TLB flushes",
    "flush_tlb_local": "TLBs emptied",
    "handle_mm_fault": "page faults",
    "alloc_page": "pages allocated",
    "folio_prealloc": "pages allocated in faults",
    "copy_user_page": "pages copied",
    "mmu_notifier_invalidate_range_start": "invalidations",
}

#: Steps after which a call of a story does not come to an end.
LONG = 3_000

#: What a run says, in lines.
Lines = tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A scenario in one order of its tasks; `order` is None for a run of a suite's case, or of a scenario
    that observes, with the first schedule there is.

    `says` is what the original says, after `steps`, and `functions` are those that it goes through.
    """

    scenario: str
    order: tuple[str, ...] | None
    says: Lines = ()
    steps: int = 0
    functions: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return f"{self.scenario} ({' '.join(self.order)})" if self.order else self.scenario


def runs_of(known: Catalogue, design: str) -> Iterator[Run]:
    """What can be run of a catalogue, not run yet."""
    for name, scenario in known.everything().items():
        expected = scenario.expected.get(design)
        if expected is None and name in known.scenarios:
            continue
        if scenario.observes or name not in known.scenarios:
            yield Run(name, None)
        if scenario.orders and version_of(known.design(design)):
            for order in scenario.orders:
                yield Run(name, tuple(order.replace(",", " ").split()))


@cache
def originals(load: Loader, design: str) -> tuple[Run, ...]:
    """The runs of the original that break no rule, with what they say."""
    known, found = load(), []
    for run in runs_of(known, design):
        with functions_called() as called:
            try:
                says, steps = told(known, run, known.design(design))
            except (ZonedevError, RuleBroken):
                continue
        found.append(replace(run, says=says, steps=steps, functions=frozenset(called)))
    return tuple(found)


def difference(load: Loader, design: str, number: int) -> tuple[str, Judgement] | None:
    """The first run that ends otherwise with a mutant, and how; None where all are the same."""
    known = load()
    specification = known.design(design)
    mutant = mutants_of(specification)[number - 1]
    changed = patched(specification, mutant).once_set_up
    assert changed is not None
    for run in sorted(originals(load, design), key=lambda r: r.steps):
        if mutant.function.__name__ not in run.functions:
            continue
        judged = judgement(known, run, changed)
        if judged is not None:
            return run.name, judged
    return None


def judgement(known: Catalogue, run: Run, changed: type[Specification]) -> Judgement | None:
    """How a run ends otherwise than it should; None where it does not, or cannot be run so."""
    try:
        says, steps = told(known, run, changed)
    except RuleBroken as broken:
        return Judgement(VIOLATED, broken.rule, why=broken.text)
    except CounterRange as error:
        return Judgement(VIOLATED, error.rule or "counter-range", why=str(error))
    except Endless as error:
        return Judgement(DIFFERS, why=str(error))
    except Exception:  # such as a local without a value: no kernel, so no answer
        return None
    if says == run.says:
        return None
    at = next((n for n, (a, b) in enumerate(zip(says, run.says, strict=False)) if a != b), None)
    if at is None:
        at = min(len(says), len(run.says))
    ours = says[at] if at < len(says) else "nothing more"
    right = run.says[at] if at < len(run.says) else "nothing more"
    return Judgement(DIFFERS, None, steps, f"{ours}, instead of: {right}")


def told(known: Catalogue, run: Run, design: type[Specification]) -> tuple[Lines, int]:
    """What a run says under a design, and after how many steps (of a story: lines)."""
    scenario = known.scenario(run.scenario)
    if run.order is None:
        return case(known, scenario, design, max(TIMES * run.steps, ANYWAY) if run.steps else 1 << 20)
    return story(scenario, run.order, design)


# --- a case of a suite ---------------------------------------------------------------------------


def case(
    known: Catalogue, scenario: type[Scenario], design: type[Specification], most: int
) -> tuple[Lines, int]:
    """One schedule, with all rules; what it observes, who still waits, and what it costs."""
    asked = select(scenario, known.rules)
    system = set_up(scenario, base_of(design), full_scope(scenario, {}), asked.monitors)
    costs: Counter[str] = Counter()
    system.k.__class__ = counting(design, costs)
    system._hook()
    stepper = start(system, asked.ignored, Quiet)
    try:
        while ready := stepper.enabled():
            stepper.step(ready[0])
            if stepper.taken > most:
                return ("goes on for ever",), stepper.taken
        left = [n for n, w in enumerate(stepper.waiting) if w is not None and not stepper.actors[n]]
        if not left:
            check_at_rest(system, asked.ignored)
    finally:
        stepper.close()
    waits = [f"{stepper.tasks[n]!r} waits for good" for n in left]
    return (
        *(f"{task}: {label} {value}" for task, label, value in system.observations),
        *waits,
        *(f"{what}: {costs[name]}" for name, what in COSTS.items()),
    ), stepper.taken


def counting(design: type[Specification], costs: Counter[str]) -> type[Specification]:
    """The design, whose functions count the calls of what costs."""

    def counted(name: str, function: FunctionType) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any) -> Any:
            costs[name] += 1
            return function(*args)

        return call

    found = {name: getattr(design, name, None) for name in COSTS}
    made = {name: counted(name, f) for name, f in found.items() if isinstance(f, FunctionType)}
    return type(design.__name__, (design,), made)


class Quiet(Stepper):
    """Keeps no trace."""

    def __init__(self, ignored: frozenset[str] = frozenset()) -> None:
        super().__init__(ignored, keep=0)


def base_of(design: type[Specification]) -> type[Specification]:
    """What a scenario is set up with: the original of a mutant."""
    return next(c for c in design.__mro__ if "~" not in getattr(c, "name", "~"))


# --- a story -------------------------------------------------------------------------------------


def story(scenario: type[Scenario], order: tuple[str, ...], design: type[Specification]) -> tuple[Lines, int]:
    """What the model says of the calls in an order, as it is compared with real kernels."""
    from zonedev.lab.means import pins_of  # here, since it is the lab's
    from zonedev.lab.model import Model
    from zonedev.lab.teller import Teller

    model = Model(design, SIZES, pins_of(version_of(design)))
    model.machine.max_steps = LONG
    try:
        teller = Teller(model, scenario, full_scope(scenario, {}), design)
        teller.set_up()
        lines = teller.tell(order)
    finally:
        model.close()
    said = tuple(
        f"{line.moment} {line.kind} {line.task} {line.text}: {line.said}, {len(line.warned)} warnings"
        for line in lines
    )
    return said, len(said)


def version_of(design: type[Specification]) -> str:
    """The release whose rules a design has; "" for one that is of none."""
    names = (getattr(c, "name", "") for c in design.__mro__)
    return next((m[1] for n in names if (m := re.match(r"linux-(\d+\.\d+)", n))), "")


# --- what a run goes through ---------------------------------------------------------------------


@contextmanager
def functions_called() -> Iterator[set[str]]:
    """The names of all functions that are called meanwhile, in every thread."""
    called: set[str] = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            called.add(frame.f_code.co_name)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield called
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


__all__ = ["difference", "originals"]
