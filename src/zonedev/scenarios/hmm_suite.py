"""What the cases of tools/testing/selftests/mm/hmm-tests.c share.

Each is a scenario with the assertions of the case, in its order; a few pages stand for 1024.  Pages hold a
number from 0 to 3: `tag(i)` for what the case fills page i with, `tag(i, 1)` for what differs from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from zonedev.scenarios.base import Case, Expected, Scope, holds
from zonedev.scenarios.parts import END_RULES, MIRROR_RULES, Event

MEMORY = Scope("private", meaning="the memory of the devices", choices=("private", "coherent"))
COHERENT = Scope("coherent", meaning=MEMORY.meaning, choices=MEMORY.choices)
BOTH = ("linux-6.12", "linux-7.2")
RULES = ("suite-asserts", *MIRROR_RULES)
#: Where pages of files are mapped, of which the others know nothing.
FILE_RULES = (
    "suite-asserts",
    "kernel-asserts",
    "no-deadlock",
    "no-lost-wakeup",
    "page-lifetime",
    *END_RULES,
)


class HmmTest(Case):
    """`uses_memory`: it puts pages into the memory of a device, so that coherent memory makes another case
    of it."""

    source = "tools/testing/selftests/mm/hmm-tests.c"
    scope: ClassVar[Mapping[str, Scope]] = {"memory": MEMORY}
    rules: ClassVar[tuple[str, ...] | None] = RULES
    progress = "fault-terminates"
    expected: ClassVar[Mapping[str, Expected]] = dict.fromkeys(BOTH, holds())
    uses_memory: ClassVar[bool] = False

    @classmethod
    def name(cls) -> str:
        return f"hmm-{super().name()}"

    @classmethod
    def test(cls) -> str:
        """The name of the case."""
        plain = re.sub(r"-coherent$", "", super().name())
        return cls.case or plain.replace("-", "_")

    @classmethod
    def variant(cls) -> str:
        """private or coherent; "either" where that makes no difference."""
        return str(cls.scope["memory"].default) if cls.uses_memory else "either"

    @classmethod
    def golden_file(cls) -> Path:
        """One for all of them."""
        return Path(__file__).with_name("hmm_tests.json")


def coherent(scenario: type[HmmTest]) -> type[HmmTest]:
    """The same with coherent memory."""
    about = {
        "scope": {"memory": COHERENT},
        "case": scenario.test(),
        "__module__": scenario.__module__,
        "__doc__": f"{scenario.__doc__}\n\n    With coherent memory.",
    }
    return type(f"{scenario.__name__}Coherent", (scenario,), about)


# --- set-up ------------------------------------------------------------------------------------------


def opened(m: Any, pages: int, fds: int = 1, memory: int = 0, free: int | None = None) -> None:
    """Open `fds` devices with `memory` pages of memory each; m.fd is the first, m.other the second.  The
    page allocator has `free` pages (as many as there are in the buffer), and m.cmd is a buffer of `pages`."""
    m.k.anonymous_memory(pages if free is None else free)
    a = m.task("A")
    coherent = m.scope["memory"] == "coherent"
    m.gpu = m.k.dmirror_device(memory, coherent=coherent, atomics=memory == 0)
    m.fd = a.dmirror_open(m.gpu)
    if fds > 1:
        m.other = a.dmirror_open(m.k.dmirror_device(memory, coherent=coherent))
    m.cmd = m.k.command(pages)
    m.n = pages


def buffer(m: Any, pages: int, fds: int = 1, memory: int = 0, free: int | None = None) -> None:
    """As opened(), with `pages` pages of anonymous memory at m.va."""
    opened(m, pages, fds, memory, free)
    m.va = m.task("A").mmap_anonymous(pages)


def huge_buffer(m: Any, free: int = 2) -> None:
    """As buffer(), with the two pages of a huge one here; but not with coherent memory, of which there are
    no huge pages, so that the suite is run without them there."""
    opened(m, 2, memory=2, free=free)
    m.va = m.task("A").mmap_anonymous(2, thp=m.scope["memory"] == "private")


def filled(m: Any, first: int = 0) -> None:
    """The program has written to its pages; what comes before the first call that is tried is set-up."""
    for i in range(first, m.n):
        m.task("A").touch(m.va + i, True, tag(i))


def forks(m: Any) -> None:
    """A may fork B, which says so when it is done."""
    m.task("A").may_fork("B")
    m.child = m.task("B").task
    m.done = m.k.system.new(Event)


# --- what cases do -----------------------------------------------------------------------------------


def tag(i: int, other: int = 0) -> int:
    """What page i is filled with."""
    return 1 + (i + other) % 3


def fill(t: Any, m: Any, other: int = 0, first: int = 0) -> None:
    """The program writes to its pages."""
    for i in range(first, m.n):
        t.touch(m.va + i, True, tag(i, other))


def check(t: Any, m: Any, other: int = 0, first: int = 0, end: int = 0, at: int = -1) -> None:
    """The program finds in its pages what was written; `at`: at another address."""
    for i in range(first, end or m.n):
        t.assert_eq("ptr", t.read_value((m.va if at < 0 else at) + i), tag(i, other))


def fill_mirror(t: Any, m: Any, other: int = 0) -> None:
    """The program writes to its buffer."""
    for i in range(m.n):
        m.cmd.ptr[i] = tag(i, other)


def check_mirror(t: Any, m: Any, other: int = 0, first: int = 0) -> None:
    """The program looks at what an ioctl has copied to its buffer."""
    for i in range(first, m.n):
        t.assert_eq("mirror", m.cmd.ptr[i], tag(i, other))


def succeeds(t: Any, m: Any, result: int, pages: int = 0) -> None:
    """An ioctl returns 0, and counts all pages, or `pages`."""
    t.assert_eq("ret", result, 0)
    t.assert_eq("cpages", m.cmd.cpages, pages or m.n)


def faulted(t: Any, m: Any) -> None:
    """It took one pass of faults, for whichever pages."""
    t.assert_eq("faults", m.cmd.faults, 1)


def read(t: Any, m: Any, fd: Any) -> None:
    """HMM_DMIRROR_READ of pages that the device did not map, or not all."""
    succeeds(t, m, t.dmirror_read(fd, m.cmd, m.va, m.n))
    faulted(t, m)


def write(t: Any, m: Any, fd: Any) -> None:
    """HMM_DMIRROR_WRITE of such pages."""
    succeeds(t, m, t.dmirror_write(fd, m.cmd, m.va, m.n))
    faulted(t, m)


def to_device(t: Any, m: Any, fd: Any) -> None:
    """HMM_DMIRROR_MIGRATE_TO_DEV of all pages."""
    succeeds(t, m, t.dmirror_to_device(fd, m.cmd, m.va, m.n))


def free(t: Any, m: Any) -> None:
    """hmm_buffer_free()"""
    t.munmap(m.va)
