"""What there is to check: designs, rules, scenarios and measured operations, by their names."""

from __future__ import annotations

import difflib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from zonedev.lang.errors import ZonedevError
from zonedev.lang.system import Specification, System
from zonedev.rules.base import Rule
from zonedev.scenarios.base import Case, Scenario

if TYPE_CHECKING:
    from zonedev.designs.series import Series

#: Sets up a system and returns the call that is measured.
Operation = Callable[[System], Callable[[], Any]]


#: What the command line has a list of, and how many names an error line can bear.
LISTED, MANY = ("design", "scenario", "rule"), 6


@dataclass(frozen=True)
class Catalogue:
    """The registries, in the order in which they are listed."""

    designs: Mapping[str, type[Specification]]
    rules: Mapping[str, Rule]
    scenarios: Mapping[str, type[Scenario]]
    operations: Mapping[str, Operation] = field(default_factory=dict)
    series: Mapping[str, Series] = field(default_factory=dict)
    suites: Mapping[str, tuple[type[Case], ...]] = field(default_factory=dict)

    def scenario(self, name: str) -> type[Scenario]:
        """The scenario called `name`, also one of a suite; ZonedevError with near misses otherwise."""
        found = self.everything().get(name)
        if found is None:
            raise unknown("scenario", name, self.everything())
        return found

    def everything(self) -> dict[str, type[Scenario]]:
        """The scenarios, and those of suites, which are not listed among them."""
        cases = (case for suite in self.suites.values() for case in suite if not case.unmodelled)
        return {**self.scenarios, **{case.name(): case for case in cases}}

    def rule(self, name: str) -> Rule:
        """The rule called `name`; ZonedevError with near misses otherwise."""
        if name not in self.rules:
            raise unknown("rule", name, self.rules)
        return self.rules[name]

    def newest(self) -> str:
        """The name of the design that all others derive from: the newest mainline."""
        names = list(self.designs)
        roots = (n for n in names if all(issubclass(d, self.designs[n]) for d in self.designs.values()))
        return next(roots, names[-1])

    def design(self, name: str) -> type[Specification]:
        """A design by its name, SERIES/PATCH or FILE.py:CLASS, or one of these with ~MUTANT.

        ZonedevError says what is wrong.
        """
        if name in self.designs:
            return self.designs[name]
        if "~" in name:
            return self._mutant(*name.rsplit("~", 1))
        file, colon, cls = name.rpartition(":")
        if colon and file.endswith(".py"):
            return self._from_file(Path(file), cls)
        if name.endswith(".py"):
            raise ZonedevError(f"design {name}: name the class too: {name}:CLASS")
        series, slash, number = name.partition("/")
        if slash:
            return self.patch_series(series).at(number)
        if series in self.series:
            last = self.series[series].patches[-1].number
            raise ZonedevError(f"design {name}: name a patch of the series too, such as {name}/{last}")
        raise unknown("design", name, self.designs)

    def _mutant(self, design: str, name: str) -> type[Specification]:
        from zonedev.mutate.patched import mutant_design  # here, since others need none of it

        return mutant_design(self.design(design), design, name)

    def patch_series(self, name: str) -> Series:
        """The patch series called `name`; ZonedevError with near misses otherwise."""
        if name not in self.series:
            raise unknown("series", name, self.series)
        return self.series[name]

    def _from_file(self, file: Path, name: str) -> type[Specification]:
        module = load_module(file)
        found = vars(module).get(name)
        if found is None:
            own = [
                n for n, c in vars(module).items() if isinstance(c, type) and c.__module__ == module.__name__
            ]
            raise unknown("class", name, own, f"{file}:1: ")
        if not isinstance(found, type):
            raise ZonedevError(f"{file}:1: {name} is not a class: give FILE.py:CLASS")
        known = tuple(self.designs.values())
        if not issubclass(found, known):
            line = line_of_class(file, name)
            base = self.designs[self.newest()]
            raise ZonedevError(
                f"{file}:{line}: class {name} does not derive from a design: "
                f"derive it from one such as {base.__module__}.{base.__name__}"
            )
        return found


def load() -> Catalogue:
    """The built-in catalogue."""
    from zonedev.designs import DESIGNS
    from zonedev.designs.series import SERIES
    from zonedev.rules import RULES
    from zonedev.scenarios import SCENARIOS
    from zonedev.scenarios.suites import SUITES

    return Catalogue(DESIGNS, RULES, SCENARIOS, series=SERIES, suites=SUITES)


def load_with_operations() -> Catalogue:
    """The built-in catalogue with the operations that `cost` measures."""
    from zonedev.scenarios import cost

    return replace(load(), operations=cost.OPERATIONS)


def unknown(what: str, name: str, known: Iterable[str], place: str = "") -> ZonedevError:
    """The error for a name that does not exist, with the nearest that do."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near:
        best = likeness(name, near[0])
        near = [n for n in near if likeness(name, n) > best - 0.15]
        return ZonedevError(f"{place}no {what} {name!r}: did you mean {' or '.join(near)}?")
    if what in LISTED and len(names) > MANY:
        return ZonedevError(f"no {what} {name!r}: zonedev {what}s lists them")
    listed = ", ".join(names[:MANY]) + (", ..." if len(names) > MANY else "")
    return ZonedevError(f"{place}no {what} {name!r}: there is {listed or 'none'}")


def likeness(a: str, b: str) -> float:
    return difflib.SequenceMatcher(None, a, b).ratio()


def load_module(file: Path) -> ModuleType:
    """Import a user's file by its path; ZonedevError with file:line for what goes wrong."""
    if not file.is_file():
        raise ZonedevError(f"{file}: no such file")
    spec = importlib.util.spec_from_file_location(f"zonedev_user_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up the names in their annotations
    try:
        with neighbours_of(file):
            spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ZonedevError(
            f"{error.filename or file}:{error.lineno or 1}: syntax error: {error.msg}"
        ) from None
    except ZonedevError as error:
        raise ZonedevError(f"{place_in(error, file)}: {error}") from None
    except Exception as error:
        raise ZonedevError(f"{place_in(error, file)}: {type(error).__name__}: {error}") from None
    return module


@contextmanager
def neighbours_of(file: Path) -> Iterator[None]:
    """A file can import what lies beside it, as a script can."""
    folder = str(file.absolute().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def place_in(error: BaseException, file: Path) -> str:
    """The line of `file` that led to `error`."""
    lines = [
        f.lineno
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename) == file.absolute() or f.filename == str(file)
    ]
    return f"{file}:{lines[-1] if lines else 1}"


def line_of_class(file: Path, name: str) -> int:
    """Where `file` defines the class `name`; 1 where it does not."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith(f"class {name}"):
            return number
    return 1
