"""Every construct of the language, lowered and run plainly: the two agree in every reachable state."""

# ruff: noqa: B023, RUF021, SIM108, SIM222  (the constructs themselves are what is tested)

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import pytest

from plain import Compared, compare
from zonedev.lang.primitives import (
    Cpu,
    Lock,
    WaitQueue,
    atomic_dec,
    atomic_dec_and_test,
    atomic_inc,
    atomic_inc_not_zero,
    atomic_read,
    atomic_t,
    lock,
    rcu_read_lock,
    rcu_read_unlock,
    synchronize_rcu,
    unlock,
    wait_event,
    wake_up,
)
from zonedev.lang.records import (
    BIT,
    Packed,
    Record,
    array,
    const,
    count,
    embed,
    enum,
    flag,
    number,
    packed,
    pointer,
    private,
    ref,
    replace,
)
from zonedev.lang.runtime import at_setup, atomic, choose, current, ensure, free, note, tasks, when
from zonedev.lang.system import Monitor, Specification, System


class Colour(IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2


class Word(Packed):
    bit: Any = BIT
    level: Any = number(-2, 4)
    to: Any = pointer("Box")

    @property
    def high(self) -> bool:
        if self.bit:
            return bool(self.level > 1)
        return False


class Inside(Record):
    size: Any = const(2)
    cell: Any = array(count(0, 3), 2)
    n: Any = count(0, 3)


class Ghostly(Record):
    """A class without instances."""


class Box(Record):
    n: Any = count(-2, 5)
    m: Any = count(0, 3, below="too-low")
    flag: Any = flag()
    to: Any = ref("Box")
    nobody: Any = ref(Ghostly)
    cell: Any = array(count(0, 3), 3)
    row: Any = array(count(0, 3))
    word: Any = packed(Word)
    colour: Any = enum(Colour)
    inside: Any = embed(Inside)
    refs: Any = atomic_t(0, 3, initial=1, below="too-low")
    held: Any = embed(Lock)
    queue: Any = embed(WaitQueue)
    size: Any = const(1)
    peers: Any = const(())


class Mortal(Record):
    freed_breaks = "lifetime"
    n: Any = count(0, 2)


class Task(Cpu):
    own: Any = private(count(0, 3))
    notes: Any = array(private(count(0, 3)), 2)


class Old(Specification):
    task_class = Task

    def boot(self) -> None:
        self.a, self.b = self.system.new(Box), self.system.new(Box, size=2)
        self.a._values["row"].grow(1)
        self.b._values["row"].grow(3)
        self.a._values["to"] = self.b
        self.a.peers = self.b.peers = (self.a, self.b)
        self.gone = self.system.new(Mortal)

    def f(k, x: int, y: int = 2, *, z: int = 1) -> int:
        if x > y:
            return x + z
        k.a.flag = True
        return y

    def g(k, box: Box | None) -> int:
        return 1

    @at_setup
    def fixed(self, box: Box, by: int = 1) -> int:
        return len(box._name) + by


class New(Old):
    def f(k, x: int, y: int = 2, *, z: int = 1) -> int:
        """The newer one, which calls the older."""
        k.b.n = y
        return super().f(x, y=y, z=z) + 1

    def g(k, box: Box | None) -> int:
        if box is None:
            return 0
        k.b.n = box.size
        return 2


Body = Callable[[Any], Any]
PROGRAMS: dict[str, tuple[Body, ...]] = {}


def program(body: Body) -> Body:
    PROGRAMS[body.__name__] = (body, other)
    return body


def alone(body: Body) -> Body:
    PROGRAMS[body.__name__] = (body,)
    return body


def other(k: Any) -> None:
    """What the second task does: it changes what most programs look at."""
    k.a.n = 2
    k.a.flag = True
    k.a.to = k.a


def builder(*bodies: Body, monitors: tuple[Monitor, ...] = ()) -> Callable[[], System]:
    def build() -> System:
        system = System(New, monitors=monitors)
        for name, body in zip("ABC", bodies, strict=False):
            system.run(name, body, system.k)
        system.seal()
        return system

    return build


# --- expressions ---------------------------------------------------------------------------------


@program
def evaluation_order(k: Any) -> None:
    k.a.cell[k.f(1, 0) - 2] = k.f(0, 1) - 1


@program
def and_or(k: Any) -> None:
    x = k.a.n
    if x > 0 and k.a.flag:
        k.b.n = 1
    if x > 1 or k.a.flag:
        k.b.m = 1
    y = x > 0 and x < 2 or not x
    k.b.flag = y


@program
def and_or_of_fixed_values(k: Any) -> None:
    k.b.n = 0 or 3
    k.b.m = (k.a.size and 2) or 1


@program
def chained_comparison(k: Any) -> None:
    x = k.a.n
    if 0 < x < k.b.m:  # does not read m where x is 0
        k.b.flag = True
    k.b.m = 3


@program
def conditional_expression(k: Any) -> None:
    x = k.a.n
    y = 2 if x else -1
    k.b.n = y
    k.b.m = (k.f(2) if x > 1 else 1) % 4


@program
def arithmetic(k: Any) -> None:
    x = k.a.n - 2
    k.b.n = -x % 3
    k.b.n = +x // -2
    k.b.n = (~x & 3) + (x << 1) // 4
    k.b.m = (x ^ 1) & 3 | (1 if x < 0 else 0)
    k.b.n = min(max(x, -1), 1)
    k.b.n = int(x > 0) + abs(-1)


@program
def true_is_one(k: Any) -> None:
    k.b.n = 1 if True == 1 else 2
    x = True if k.a.flag else 2
    k.b.n = x


@program
def membership(k: Any) -> None:
    if k.a.n in (0, 2):
        k.b.n = 1
    x = k.a.n
    if x not in (1, 2):
        k.b.m = 1


@program
def tuples(k: Any) -> None:
    x = k.a.n
    if x >= 0:
        k.b.n = (3, 1, 0)[x % 3]
    box = k.a.peers[x % 2]
    box.flag = True


@alone
def index_outside_of_a_tuple(k: Any) -> None:
    x = choose(3)
    k.a.flag = True
    k.b.n = (1, 2)[x]


# --- locals ----------------------------------------------------------------------------------------


@program
def local_of_both_branches(k: Any) -> None:
    if k.a.flag:
        x = k.a.n
    else:
        x = -1
    k.b.n = x


@program
def bool_and_number(k: Any) -> None:
    x: Any = False
    if k.a.flag:
        x = 3
    k.b.n = x


@program
def pointer_or_none(k: Any) -> None:
    box = None
    if k.a.flag:
        box = k.a.to
    if box is not None:
        box.m = 1
    k.b.flag = box is k.b


@program
def two_ways_to_one_step(k: Any) -> None:
    x = choose(2)
    if x:
        y = 1
    else:
        y = 2
    k.b.n = y


@program
def keeps_an_array_of_a_changing_record(k: Any) -> None:
    box = k.a.to
    cells = box.cell
    box = k.b
    cells[1] = 2
    x = cells[1]
    box.n = x


@program
def keeps_an_embedded_record(k: Any) -> None:
    box = k.a.to
    inside = box.inside
    box = None
    inside.n = 2
    k.b.n = inside.size


# --- loops -----------------------------------------------------------------------------------------


@program
def for_with_break_and_else(k: Any) -> None:
    for i in range(3):
        if k.a.n == i:
            break
        if i == 1:
            continue
        k.b.cell[i] = 1
    else:
        k.b.flag = True
    k.b.m = 3


@program
def while_with_break_and_else(k: Any) -> None:
    x = 0
    while k.a.flag:
        x = (x + 1) % 4
        if x == 2:
            break
        if k.a.n == 2:
            continue
        k.b.n = x
    else:
        k.b.m = 1
    k.a.flag = False


@program
def nested_while(k: Any) -> None:
    x = 0
    while k.a.n == 0:
        while not k.a.flag:
            x = min(x + 1, 2)
        k.b.n = x
        break


@program
def return_inside_loops(k: Any) -> None:
    x = leaves_early(k)
    k.b.m = x


def leaves_early(k: Any) -> Any:
    for i in range(2):
        with atomic("a test"):
            if k.a.n == i:
                k.b.cell[i] = 3
                return i
        while k.a.flag:
            if k.a.n > 1:
                return 2
            break
    return 3


@program
def loop_over_records(k: Any) -> None:
    for box in k.system.instances(Box):
        box.m = box.size
    for _ in ():
        k.a.n = 1


@program
def value_of_last_round(k: Any) -> None:
    last = 0
    for i in range(3):
        if k.a.cell[i] == 0:
            last = i
    k.b.n = last


@program
def negative_range(k: Any) -> None:
    for i in range(2, -1, -1):
        k.a.cell[i] = i


@program
def lambda_sees_the_loop_variable(k: Any) -> None:
    for i in range(2):
        with atomic("a test"):
            when(lambda: k.a.n >= i)
            k.b.n = i


@program
def lambda_in_a_variable(k: Any) -> None:
    x = 1
    ready = lambda: k.a.n > x  # noqa: E731
    x = 0
    wait_event(k.a.queue, ready)
    k.b.n = x


@program
def lambda_called_twice(k: Any) -> None:
    pick: Any = lambda: helper(k, k.a.flag)  # noqa: E731
    with atomic("a test"):
        k.b.n = pick() - pick()


def helper(k: Any, yes: Any) -> int:
    if yes:
        return 1
    return 2


# --- atomic and when ---------------------------------------------------------------------------------


@program
def load_after_store(k: Any) -> None:
    with atomic("a test"):
        k.a.n = k.a.n + 1
        x = k.a.n
        k.b.n = x
        k.b.cell[x % 3] = k.b.n % 4


@program
def atomic_that_may_touch_nothing(k: Any) -> None:
    x = choose(2)
    with atomic("a test"):
        if x == 1:
            k.b.n = 1
    with atomic("a test"):
        pass
    k.b.flag = True


@program
def nested_atomic(k: Any) -> None:
    with atomic("a test"):
        k.a.n = 1
        with atomic("a test"):
            k.b.n = 1
        atomic_inc(k.b.refs)


@program
def when_with_a_function(k: Any) -> None:
    with atomic("a test"):
        when(lambda: helper(k, k.a.flag) == 1)
        k.b.n = 1
    wait_event(k.b.queue, lambda: done(k))


def done(k: Any) -> Any:
    if k.a.n == 2:
        return True
    return k.a.flag


@program
def sum_any_all(k: Any) -> None:
    with atomic("a test"):
        k.b.n = sum(1 if box.flag else 2 for box in k.system.instances(Box))
        k.b.m = 1 if any(box.n == 2 for box in k.a.peers) else 2
        k.b.flag = all(box.cell[i] == 0 for box in k.a.peers for i in range(2))


@alone
def any_stops_at_the_first(k: Any) -> None:
    with atomic("a test"):
        free(k.gone)
        k.b.flag = any(box.n == 0 or k.gone.n == 1 for box in k.a.peers)


# --- calls -------------------------------------------------------------------------------------------


@program
def keyword_and_default_arguments(k: Any) -> None:
    x = k.f(y=1, x=k.a.n)
    k.a.n = k.f(0, z=2) + x - 2


@program
def result_of_a_branch(k: Any) -> None:
    box = k.a.to
    k.b.m = k.g(box) - 1
    k.b.m = k.g(None)


@program
def fixed_at_setup(k: Any) -> None:
    k.b.n = k.fixed(k.a, by=1)


def factory(by: int) -> Body:
    def body(k: Any) -> Any:
        x = k.a.n
        k.b.n = x + by

    return body


PROGRAMS["closure"] = (factory(2), other)


@program
def argument_that_is_assigned(k: Any) -> None:
    counts_down(k, 2, k.a)


def counts_down(k: Any, n: int, box: Any) -> None:
    while n > 0:
        box.n = n
        n = max(n - 1, 0)
        box = k.b


@program
def plain_note(k: Any) -> None:
    note("seen", k.a.n)
    k.b.n = 1


# --- records -----------------------------------------------------------------------------------------


@program
def packed_values(k: Any) -> None:
    w = k.a.word
    box = k.a.to
    k.a.word = Word(bit=True, level=w.level, to=box)
    w = k.a.word
    k.b.word = replace(w, level=-2)
    if w.high or w.to is k.a:
        k.b.n = w.level
    w = k.b.word
    k.b.flag = w == Word(bit=True, level=-2, to=k.b)
    k.b.m = 3


@program
def packed_out_of_range(k: Any) -> None:
    x = k.a.n
    k.b.word = Word(level=x + 3)


@program
def null_pointer(k: Any) -> None:
    box = k.b.to
    k.a.flag = True
    box.n = 1


@program
def null_pointer_of_an_embedded_counter(k: Any) -> None:
    box = k.b.to
    atomic_inc(box.refs)


@program
def null_pointer_of_a_constant(k: Any) -> None:
    box = k.b.to
    k.a.flag = True
    k.a.n = box.size


@program
def embedded_in_a_changing_record(k: Any) -> None:
    box = k.a.to
    box.inside.n = box.inside.size
    x = k.a.n
    box.inside.cell[x % 2] = len(box.inside.cell)
    x = box.inside.cell[1]
    k.b.n = x


@program
def arrays_of_several_lengths(k: Any) -> None:
    box = k.a.to
    x = k.a.n
    box.row[x] = 1


@program
def static_index_outside(k: Any) -> None:
    k.a.flag = False
    k.a.row[2] = 1


@program
def pointer_to_no_class(k: Any) -> None:
    nobody = k.b.nobody
    k.a.nobody = nobody
    if k.a.nobody is None:
        k.b.n = 1


@program
def enumeration(k: Any) -> None:
    k.a.colour = Colour.BLUE
    x = k.b.colour
    if x == Colour.RED:
        x = k.a.colour
    k.b.colour = x


@program
def index_of_a_record(k: Any) -> None:
    box = k.a.to
    k.b.n = box._index + k.b._index


@program
def counter_overflow(k: Any) -> None:
    x = k.a.n
    k.b.m = x + 2


@program
def counter_underflow(k: Any) -> None:
    atomic_dec(k.a.refs)
    if atomic_dec_and_test(k.a.refs):
        k.b.n = 1


@program
def lifetime(k: Any) -> None:
    if k.a.flag:
        free(k.gone)
    k.gone.n = 1


@program
def private_fields(k: Any) -> None:
    current().own = 2
    x = k.a.n
    current().notes[x % 2] = current().own
    with atomic("a test"):
        current().own = 1
        k.b.n = x
    k.b.m = current().notes[0]


@program
def all_tasks(k: Any) -> None:
    with atomic("a test"):
        for task in tasks():
            if not task.irqs_off:
                k.a.n = k.a.n + 1


@alone
def local_statements_only(k: Any) -> None:
    x = 1
    current().own = x + 1


@program
def primitives(k: Any) -> None:
    lock(k.a.held)
    if atomic_inc_not_zero(k.a.refs):
        x = atomic_read(k.a.refs)
        k.b.n = x
    unlock(k.a.held)
    wake_up(k.a.queue)


@program
def ensures(k: Any) -> None:
    x = k.a.n
    k.b.flag = True
    ensure("sound", x != 2, "{} is {}", k.a, x)
    k.b.n = 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_lowered_as_run(name: str) -> None:
    found = compare(builder(*PROGRAMS[name]))
    assert found.states


# --- what must have happened -----------------------------------------------------------------------


def run(name: str, **more: Any) -> Compared:
    return compare(builder(*PROGRAMS[name], **more))


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("null_pointer", {"kernel-asserts"}),
        ("null_pointer_of_an_embedded_counter", {"kernel-asserts"}),
        ("null_pointer_of_a_constant", {"kernel-asserts"}),
        ("packed_out_of_range", {"counter-range"}),
        ("arrays_of_several_lengths", {"counter-range"}),
        ("static_index_outside", {"counter-range"}),
        ("index_outside_of_a_tuple", {"counter-range"}),
        ("counter_overflow", {"counter-range"}),
        ("counter_underflow", {"too-low"}),
        ("lifetime", {"lifetime"}),
        ("any_stops_at_the_first", set()),
        ("ensures", {"sound"}),
    ],
)
def test_rules_broken(name: str, rules: set[str]) -> None:
    assert run(name).broken == rules


@pytest.mark.parametrize(
    ("name", "where", "values"),
    [
        ("and_or_of_fixed_values", "box1.n", {3}),
        ("true_is_one", "box1.n", {1, 2}),
        ("negative_range", "box0.cell[2]", {2}),
        ("lambda_called_twice", "box1.n", {0}),
        ("keeps_an_array_of_a_changing_record", "box0.cell[1]", {0, 2}),
        ("value_of_last_round", "box1.n", {2}),
        ("private_fields", "A.own", {1}),
    ],
)
def test_values_at_the_end(name: str, where: str, values: set[int]) -> None:
    assert {end[where] for end in run(name).ends} == values


def test_deadlock() -> None:
    def first(k: Any) -> None:
        lock(k.a.held)
        lock(k.b.held)

    def second(k: Any) -> None:
        lock(k.b.held)
        lock(k.a.held)

    assert compare(builder(first, second)).deadlocks == 3


def test_rcu() -> None:
    def reader(k: Any) -> None:
        rcu_read_lock()
        k.gone.n = 1
        rcu_read_unlock()

    def writer(k: Any) -> None:
        if not k.a.flag:
            synchronize_rcu()
            free(k.gone)

    assert compare(builder(reader, writer)).broken == {"lifetime"}


def seen(k: Any, x: int, y: int, result: int) -> None:
    ensure("watched", result < 5 or x != y or k.a.flag, "{}", result)


def at_rest(k: Any) -> None:
    for box in k.system.instances(Box):
        ensure("rest", box.n != 2 or box.flag, "{}", box)


def test_monitors() -> None:
    def body(k: Any) -> None:
        k.a.n = k.f(2, 1)
        k.f(x=3, y=3, z=3)
        k.b.n = 2

    monitors = (Monitor("watched", seen, after="f"), Monitor("rest", at_rest))
    assert compare(builder(body, other, monitors=monitors)).broken == {"rest"}


def test_a_watched_function_as_program() -> None:
    def build() -> System:
        system = System(New, monitors=(Monitor("watched", lambda_free, after="g"),))
        system.run("A", system.k.g, system.k.a)
        system.seal()
        return system

    assert compare(build).broken == {"watched"}


def lambda_free(k: Any, box: Box, result: int) -> None:
    ensure("watched", result != 2, "{}", box)
