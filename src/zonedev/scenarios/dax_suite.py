"""What the cases of files on DAX share.

The man pages say what these calls are for, and the tests of ndctl and xfstests ask for it with data: what was
written is read, a hole reads as zeros, a block that nobody has is free.  Each case is one task, or a few that
come one after the other.  Pages hold a number from 0 to 3: a file writes its own, a program what it is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from zonedev.scenarios.base import Case, Expected, Scope, holds
from zonedev.scenarios.parts import FILE_PMD, FILE_SIZE, PUD

#: Those in which a mapping of a file is counted.
DESIGNS = ("linux-6.15", "linux-7.2")


class DaxTest(Case):
    """`scope` has the level at which files and devices map."""

    scope: ClassVar[Mapping[str, Scope]] = {"size": FILE_SIZE}
    progress = "truncate-terminates"
    expected: ClassVar[Mapping[str, Expected]] = dict.fromkeys(DESIGNS, holds())

    @classmethod
    def name(cls) -> str:
        return f"dax-{super().name()}"

    @classmethod
    def test(cls) -> str:
        """The name of the case, whatever maps it."""
        return cls.case or super().name().replace("-", "_")

    @classmethod
    def variant(cls) -> str:
        """pte, pmd or pud."""
        return str(cls.scope["size"].default)

    @classmethod
    def golden_file(cls) -> Path:
        """One for all of them."""
        return Path(__file__).with_name("dax_tests.json")


def pmd(case: type[DaxTest]) -> type[DaxTest]:
    """The same with PMDs."""
    return larger(case, FILE_PMD, "PMD")


def pud(case: type[DaxTest]) -> type[DaxTest]:
    """The same with PUDs, which a device can have."""
    return larger(case, PUD, "PUD")


def larger(case: type[DaxTest], size: Scope, level: str) -> type[DaxTest]:
    about = {
        "scope": {"size": size},
        "case": case.test(),
        "__module__": case.__module__,
        "__doc__": f"{case.__doc__}\n\n    With a {level}.",
    }
    return type(f"{case.__name__}{level.capitalize()}", (case,), about)


# --- set-up ------------------------------------------------------------------------------------------


def device(m: Any, blocks: int) -> None:
    """A device of `blocks` blocks, each of one page or of a PMD with two; m.n is the pages of a block."""
    m.n = 1 if m.scope["size"] == "pte" else 2
    m.pmem = m.k.pmem_device(pages=blocks * m.n, size=m.scope["size"], per_folio=m.n)


def file(m: Any, blocks: int, written: int = 0) -> None:
    """A device of `blocks` blocks, and a file of as many, of which the first `written` are no hole; A maps
    it at m.va."""
    device(m, blocks)
    m.file = m.k.dax_file(m.pmem, blocks=written * m.n)
    m.va = m.task("A").mmap(m.file)


# --- what cases do -----------------------------------------------------------------------------------


def reads(t: Any, va: int, value: int) -> None:
    """A program finds `value` at an address."""
    t.assert_eq("data", t.read_value(va), value)


def writes(t: Any, va: int, value: int) -> None:
    """A program writes `value` there."""
    t.assert_eq("writes", int(t.touch(va, True, value) is not None), 1)


def sigbus(t: Any, va: int, write: bool) -> None:
    """An access ends in a signal."""
    t.assert_eq("signal", int(t.touch(va, write) is None), 1)


def blocks(t: Any, m: Any, wanted: int) -> None:
    """stat() of the file says that it has so many blocks."""
    t.assert_eq("st_blocks", t.blocks_of(m.file), wanted)
