"""What a scenario is, and how it becomes a system."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Monitor, Specification, System


@dataclass(frozen=True)
class Scope:
    """A size that the user may choose: its default, its least and its greatest value.

    `choices` are given instead for a scope that is a word.
    """

    default: Any
    lo: int = 1
    hi: int = 1
    meaning: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Expected:
    """What a design is expected to do, and who says so."""

    verdict: str  # holds | violated
    rule: str | None = None
    why: str = ""
    observed: Mapping[str, int] | None = None  # what a scenario that observes has to see


def holds(why: str = "", observed: Mapping[str, int] | None = None) -> Expected:
    return Expected("holds", None, why, observed)


def violated(rule: str, why: str = "") -> Expected:
    return Expected("violated", rule, why)


class Scenario:
    """A small situation.  Subclasses define `setup(m)` and one `task_NAME(t, m)` a task.

    `t` is the kernel as the task sees it, `m` what the set-up has made.
    """

    #: Who tells the story.
    source: ClassVar[str] = ""
    scope: ClassVar[Mapping[str, Scope]] = {}
    #: The rules that it checks; None means all.
    rules: ClassVar[tuple[str, ...] | None] = None
    #: The rule that breaks where some task can never finish any more.
    progress: ClassVar[str] = "removal-terminates"
    #: The rule that breaks where one task is left, and waits for ever.
    alone: ClassVar[str] = "no-deadlock"
    expected: ClassVar[Mapping[str, Expected]] = {}
    #: Whether its tasks call observe(), in an order that no schedule changes.
    observes: ClassVar[bool] = False
    #: Kernel functions whose calls `zonedev run` counts, by what to call these.
    counted: ClassVar[Mapping[str, str]] = {}
    #: Orders of the tasks' calls, such as "A B A", in which real kernels are tried; "" where
    #: the tasks wait for each other.  Empty where no program can do what the tasks do.
    orders: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def setup(m: Any) -> None:
        raise NotImplementedError

    @classmethod
    def name(cls) -> str:
        """The kebab-case name on the command line."""
        given = vars(cls).get("called")
        return str(given) if given else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        return (inspect.getdoc(cls) or "").splitlines()[0]

    @classmethod
    def golden_file(cls) -> Path:
        """Where the exact counts are kept: beside the scenario."""
        return Path(inspect.getfile(cls)).with_suffix(".json")

    @classmethod
    def programs(cls) -> list[tuple[str, Any]]:
        """The tasks' names and functions, in the order of their definition."""
        return list(cls._functions("task_").items())

    @classmethod
    def real_programs(cls) -> list[tuple[str, Any]]:
        """The same for a real kernel: `lab_NAME` stands for a task that does what no program
        can ask a kernel to do."""
        return list({**cls._functions("task_"), **cls._functions("lab_")}.items())

    @classmethod
    def _functions(cls, prefix: str) -> dict[str, Any]:
        found = {}
        for base in reversed(cls.__mro__):
            for attribute, value in vars(base).items():
                if attribute.startswith(prefix):
                    function = value.__func__ if isinstance(value, staticmethod) else value
                    found[attribute.removeprefix(prefix)] = function
        return found


class Case(Scenario):
    """A case of a test suite that others wrote, or a round of one: all rounds decide.

    `case` is what the suite calls it, `variant` for what it is run.  Where `unmodelled` says why, there is
    nothing to check; what it `leaves_out` is no round here.
    """

    case: ClassVar[str] = ""
    unmodelled: ClassVar[str] = ""
    leaves_out: ClassVar[str] = ""

    @classmethod
    def test(cls) -> str:
        """The name of the case in its suite."""
        raise NotImplementedError

    @classmethod
    def variant(cls) -> str:
        """For what it is run; "either" where that makes no difference."""
        raise NotImplementedError


def full_scope(scenario: type[Scenario], given: Mapping[str, str | int]) -> dict[str, Any]:
    """The scope with defaults filled in; ZonedevError for what is unknown or out of range."""
    scope = {name: s.default for name, s in scenario.scope.items()}
    for name, value in given.items():
        size = scenario.scope.get(name)
        if size is None:
            known = ", ".join(scenario.scope) or "none"
            raise ZonedevError(f"{scenario.name()} has no scope {name!r}: it has {known}")
        if size.choices:
            if value not in size.choices:
                raise ZonedevError(f"scope {name}={value}: choose one of {', '.join(size.choices)}")
            scope[name] = value
            continue
        try:
            number = int(value)
        except ValueError:
            raise ZonedevError(f"scope {name}={value}: give a number in {size.lo}..{size.hi}") from None
        if not size.lo <= number <= size.hi:
            raise ZonedevError(f"scope {name}={number}: give a number in {size.lo}..{size.hi}")
        scope[name] = number
    return scope


def build(
    scenario: type[Scenario],
    design: type[Specification],
    scope: Mapping[str, Any],
    monitors: Sequence[Monitor] = (),
) -> System:
    """The system of a scenario under a design, set up and sealed."""
    system = System(design, scope, monitors)
    setup = vars(scenario).get("setup") or scenario.setup
    function = setup.__func__ if isinstance(setup, staticmethod) else setup
    with system.running_as(None):
        function(system)
    for name, program in scenario.programs():
        system.run(name, program, system.k, system)
    system.seal()
    return system
