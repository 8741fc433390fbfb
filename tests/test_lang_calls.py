"""Calls that are like another are copied: to what walking them again would give, name for name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plain import compare
from zonedev import catalogue
from zonedev.explore.check import select, set_up
from zonedev.lang import inline
from zonedev.lang.errors import SpecError
from zonedev.lang.primitives import Lock, WaitQueue, atomic_inc, atomic_t, lock, unlock, wait_event, wake_up
from zonedev.lang.records import Record, array, count, embed, flag, ref
from zonedev.lang.runtime import atomic, choose
from zonedev.lang.system import Specification, System
from zonedev.lang.transition import TransitionSystem, lower
from zonedev.rules import RULES
from zonedev.scenarios.base import full_scope


class Cell(Record):
    n: Any = count(0, 3)
    m: Any = count(0, 3)
    used: Any = flag()
    next: Any = ref("Cell")
    row: Any = array(count(0, 3), 2)
    refs: Any = atomic_t(0, 3)
    held: Any = embed(Lock)
    queue: Any = embed(WaitQueue)


class Design(Specification):
    def boot(self) -> None:
        self.a, self.b = self.system.new(Cell), self.system.new(Cell)
        self.a._values["next"] = self.b

    def set_both(k, x: int, y: int) -> bool:
        """Depends on whether its arguments are one local."""
        k.a.n = x
        k.a.m = y
        return x == y

    def count_to(k, n: int, end: int) -> int:
        """Assigns to an argument, and has to be walked twice."""
        last = 0
        while k.a.n > n:
            last = n
            n = min(n + 1, end)
            if n == end:
                break
        return n + last

    def take(k, cell: Cell) -> Cell | None:
        """Has steps, primitives and several returns."""
        lock(cell.held)
        if cell.used:
            unlock(cell.held)
            return None
        cell.used = True
        unlock(cell.held)
        return cell

    def twice(k, cell: Cell) -> int:
        """Calls what is copied, and is copied itself."""
        found = k.take(cell)
        if found is None:
            again = k.take(cell)
            return 1 if again is None else 2
        found.n = 1
        return 0

    def ends(k, cell: Cell) -> None:
        """Never returns."""
        k.broken(cell)
        cell.m = 3

    def broken(k, cell: Cell) -> None:
        nothing = None if cell.m == 0 else cell
        nothing.n = 2  # type: ignore[union-attr]

    def settle(k, cell: Cell) -> None:
        wait_event(cell.queue, lambda: k.is_used(cell))

    def is_used(k, cell: Cell) -> bool:
        return bool(cell.used)

    def row_of(k, cell: Cell) -> int:
        row = cell.row
        with atomic("one"):
            row[0] = min(row[0] + 1, 3)
            row[1] = k.larger(row[0], row[1])
            last: int = row[1]
        return last

    def larger(k, x: int, y: int) -> int:
        return x if x > y else y


Body = Callable[[Any], None]
BODIES: dict[str, Body] = {}


def body(function: Body) -> Body:
    BODIES[function.__name__] = function
    return function


@body
def one_local_or_two(k: Any) -> None:
    x = choose(2)
    y = choose(2)
    k.b.used = k.set_both(x, x)
    k.b.used = k.set_both(x, y)
    k.b.used = k.set_both(y, x)
    k.b.used = k.set_both(y + 1, x + 1)


@body
def arguments_that_are_assigned_to(k: Any) -> None:
    x = k.count_to(0, 2)
    k.b.n = min(x, 3)
    x = k.count_to(0, 2)
    k.b.m = min(x, 3)
    for n in range(2):
        begin = choose(2)
        y = k.count_to(begin, 1)
        k.b.row[n] = min(y, 3)


@body
def copies_of_copies(k: Any) -> None:
    k.b.n = k.twice(k.a)
    cell = k.a.next
    k.b.n = k.twice(cell)
    k.b.n = k.twice(k.a)
    cell = k.b if choose(2) else k.a
    k.b.m = k.twice(cell)


@body
def what_does_not_return(k: Any) -> None:
    if choose(2):
        k.ends(k.a)
    else:
        k.ends(k.a)


@body
def lambdas(k: Any) -> None:
    k.settle(k.a)
    atomic_inc(k.a.refs)
    k.b.used = k.is_used(k.a)
    k.a.used = False
    k.settle(k.a)


@body
def arrays(k: Any) -> None:
    k.b.n = k.row_of(k.a)
    cell = k.a.next
    k.b.n = k.row_of(cell)
    k.b.m = k.row_of(k.a)


@body
def loops(k: Any) -> None:
    cell = k.a
    while k.b.n < 2:
        k.b.n = k.twice(cell) + 1
        cell = cell.next
        if cell is None:
            cell = k.a


def other(k: Any) -> None:
    k.twice(k.b)
    k.a.n = 2
    k.a.used = True
    wake_up(k.a.queue)


def built(function: Body) -> System:
    system = System(Design)
    system.run("A", function, system.k)
    system.run("B", other, system.k)
    system.seal()
    return system


def shown(ts: TransitionSystem) -> list[Any]:
    return [
        [(t.entry, t.steps, t.pc, t.locals, t.kinds) for t in ts.tasks],
        ts.rest,
        ts.slots,
        ts.frozen,
        ts.fails,
    ]


@pytest.mark.parametrize("name", BODIES)
def test_calls_run_as_in_python(name: str) -> None:
    compare(lambda: built(BODIES[name]))


@pytest.mark.parametrize("name", BODIES)
def test_copied_is_as_walked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system = built(BODIES[name])
    copied = shown(lower(system))
    monkeypatch.setattr(inline, "likeness", lambda *_: None)
    assert shown(lower(system)) == copied


CELLS = [("devdax-pinners-vs-unbind", "linux-7.2"), ("devdax-fault-vs-unbind", "linux-4.5")]


@pytest.mark.parametrize(("scenario", "design"), CELLS)
def test_copied_is_as_walked_in_the_kernel(
    scenario: str, design: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = catalogue.load()
    asked = known.scenario(scenario)
    selection = select(asked, RULES)
    system = set_up(asked, known.design(design), full_scope(asked, {}), selection.monitors)
    copied = shown(lower(system, selection.names))
    monkeypatch.setattr(inline, "likeness", lambda *_: None)
    assert shown(lower(system, selection.names)) == copied


class Steered(Design):
    """What a fixed argument steers away from a recursion in one call is one in another."""

    def first(k, n: int) -> None:
        k.second(n)

    def second(k, n: int) -> None:
        k.a.n = n
        if n == 1:
            k.third()

    def third(k) -> None:
        k.second(0)


def test_a_copy_hides_no_recursion() -> None:
    def task(k: Any) -> None:
        k.third()
        k.first(1)

    system = System(Steered)
    system.run("A", task, system.k)
    system.seal()
    with pytest.raises(SpecError, match=r"second\(\) calls itself"):
        lower(system)
