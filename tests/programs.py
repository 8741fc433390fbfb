"""Random small programs in the specification language, for tests that compare executors.

`source(pick)` writes a module, where `pick(n)` is any number below n, for example
`random.Random(seed).randrange`; `programs` is the same as a Hypothesis strategy.
`load(text, directory)` imports it and gives a function that builds a fresh System.
"""

from __future__ import annotations

import hashlib
import importlib.util
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from zonedev.lang.system import System

Pick = Callable[[int], int]

HEADER = """
from zonedev.lang.primitives import (
    Lock, RwSem, WaitQueue, atomic_add_unless_zero, atomic_dec, atomic_dec_and_test, atomic_inc,
    atomic_inc_not_zero, atomic_read, atomic_t, down_read, down_write, lock, rcu_read_lock, rcu_read_unlock,
    synchronize_rcu, trylock, unlock, up_read, up_write, wait_event, wake_up,
)
from zonedev.lang.records import (
    BIT, Packed, Record, array, count, embed, flag, number, packed, pointer, ref, replace,
)
from zonedev.lang.runtime import atomic, choose, ensure, free, when
from zonedev.lang.system import Monitor, Specification, System


class Word(Packed):
    bit = BIT
    level = number(-2, 4)
    to = pointer("Thing")


class Thing(Record):
    n = count({lo}, {hi}, initial={initial}, below="too-low")
    wide = count(-3, {wide})
    flag = flag()
    to = ref("Thing")
    word = packed(Word)
    cell = array(count(-4, 3), {cells})
    refs = atomic_t(0, 3, initial=1, below="too-low")
    held = embed(Lock)
    sem = embed(RwSem)
    queue = embed(WaitQueue)


class Fleeting(Record):
    freed_breaks = "lifetime"
    n = count(0, 2)


class Design(Specification):
    pass

"""

FOOTER = """

def build():
    system = System(Design, monitors=[Monitor("at-rest", at_rest)])
    k = system.k
    for name in {tasks}:
        system.task(name)
    k.a = system.new(Thing, "a")
    k.b = system.new(Thing, "b")
    k.gone = system.new(Fleeting, "gone")
    k.a.to = k.b
    for name in {tasks}:
        system.run(name, globals()["task_" + name], k, actor={actor} and name == {tasks}[-1])
    system.seal()
    return system
"""


@dataclass
class Program:
    """Writes the body of one task."""

    pick: Pick
    cells: int
    lines: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=lambda: ["1"])  # locals that hold small numbers
    things: list[str] = field(default_factory=lambda: ["k.a", "k.b"])
    words: list[str] = field(default_factory=list)
    fresh: int = 0

    def one(self, options: list[Any]) -> Any:
        return options[self.pick(len(options))]

    def name(self, prefix: str) -> str:
        self.fresh += 1
        return f"{prefix}{self.fresh}"

    def add(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def number(self, depth: int = 2) -> str:
        """An expression of locals."""
        if depth == 0 or self.pick(3) == 0:
            return str(self.one([*self.numbers, str(self.pick(9) - 4)]))
        a, b = self.number(depth - 1), self.number(depth - 1)
        return str(
            self.one(
                [
                    *(f"({a} {sign} {b})" for sign in ("+", "-", "*", "&", "|", "^")),
                    f"({a} // {self.one([-3, 2, 5])})",
                    f"({a} % {self.one([-4, 3, 7])})",
                    f"({a} << {self.pick(4)})",
                    f"({a} >> {self.pick(5)})",
                    f"(1 << ({a} & 7))",
                    f"min({a}, {b})",
                    f"max({a}, {b})",
                ]
            )
        )

    def truth(self) -> str:
        a, b = self.number(1), self.number(1)
        sign = self.one(["==", "!=", "<", "<=", ">", ">="])
        simple = f"{a} {sign} {b}"
        return str(self.one([simple, f"not ({simple})", f"({simple} and {b} > 1)", f"({simple} or {a} < 0)"]))

    def bounded(self) -> str:
        return f"({self.number()}) % {self.one([2, 3, 5])}"

    def thing(self) -> str:
        return str(self.one(self.things))

    def place(self) -> str:
        """A shared number, readable."""
        index = self.one([str(self.pick(self.cells)), f"({self.number(1)}) % {self.cells}"])
        t = self.thing()
        return str(self.one([f"{t}.n", f"{t}.n", f"{t}.wide", f"{t}.cell[{index}]"]))

    def shared_truth(self) -> str:
        """A condition that touches one shared place."""
        t = self.one(["k.a", "k.b"])
        return str(self.one([f"{t}.flag", f"{t}.n > {self.pick(3)}", f"not {t}.flag", f"{t}.to is not None"]))

    def block(self, indent: int, depth: int, length: int) -> None:
        numbers, things, words = list(self.numbers), list(self.things), list(self.words)
        for _ in range(length):
            self.statement(indent, depth)
        self.numbers, self.things, self.words = numbers, things, words

    def statement(self, indent: int, depth: int) -> None:
        kinds = [self.read, self.write, self.write, self.counters, self.locks, self.follow, self.packed]
        kinds += [self.choose, self.atomic, self.wait, self.local, self.check]
        if depth:
            kinds += [self.branch, self.loop]
        self.one(kinds)(indent, depth)

    def read(self, indent: int, depth: int) -> None:
        new, got = self.name("x"), self.name("x")
        self.add(indent, f"{got} = {self.place()}")
        self.add(indent, f"{new} = ({got} + {self.pick(3)}) % {self.one([2, 3, 8])}")
        self.numbers.append(new)

    def local(self, indent: int, depth: int) -> None:
        if len(self.numbers) > 1 and self.pick(2):
            self.add(indent, f"{self.one(self.numbers[1:])} = {self.bounded()}")
            return
        new = self.name("x")
        self.add(indent, f"{new} = {self.bounded()} if {self.truth()} else {self.pick(3)}")
        self.numbers.append(new)

    def write(self, indent: int, depth: int) -> None:
        value = self.one([self.bounded(), self.bounded(), self.number(1)])
        t = self.thing()
        text = self.one([f"{self.place()} = {value}", f"{t}.flag = {self.truth()}", f"{t}.flag = True"])
        self.add(indent, str(text))

    def counters(self, indent: int, depth: int) -> None:
        t, new = self.thing(), self.name("x")
        text = self.one(
            [
                f"atomic_inc({t}.refs)",
                f"atomic_dec({t}.refs)",
                f"{new} = atomic_inc_not_zero({t}.refs)",
                f"{new} = atomic_dec_and_test({t}.refs)",
                f"{new} = atomic_read({t}.refs)",
            ]
        )
        self.add(indent, str(text))
        if str(text).startswith(new):
            self.numbers.append(new)

    def locks(self, indent: int, depth: int) -> None:
        t = self.one(["k.a", "k.b"])
        before, after = self.one(
            [
                (f"lock({t}.held)", f"unlock({t}.held)"),
                (f"down_read({t}.sem)", f"up_read({t}.sem)"),
                (f"down_write({t}.sem)", f"up_write({t}.sem)"),
                ("rcu_read_lock()", "rcu_read_unlock()"),
            ]
        )
        self.add(indent, before)
        self.block(indent, 0, 1)
        if self.pick(6):
            self.add(indent, after)

    def follow(self, indent: int, depth: int) -> None:
        t, new = self.thing(), self.name("t")
        if self.pick(2):
            self.add(indent, f"{t}.to = {self.one(['None', 'k.a', 'k.b'])}")
            return
        self.add(indent, f"{new} = {t}.to")
        if self.pick(3):
            self.add(indent, f"if {new} is None:")
            self.add(indent + 1, "return")
        self.things.append(new)

    def packed(self, indent: int, depth: int) -> None:
        t = self.one(["k.a", "k.b"])
        level = f"({self.number(1)}) % 4"
        if not self.words or self.pick(2):
            new = self.name("w")
            self.add(indent, f"{new} = {t}.word")
            self.words.append(new)
            self.numbers.append(f"{new}.level")
            return
        w = self.one(self.words)
        value = self.one(
            [
                f"replace({w}, level={level})",
                f"replace({w}, bit=True)",
                f"Word(bit=True, level={level}, to={t})",
            ]
        )
        self.add(indent, f"{t}.word = {value}")

    def choose(self, indent: int, depth: int) -> None:
        new = self.name("x")
        self.add(indent, f"{new} = choose({2 + self.pick(2)})")
        self.numbers.append(new)

    def atomic(self, indent: int, depth: int) -> None:
        t = self.one(["k.a", "k.b"])
        self.add(indent, 'with atomic("a test"):')
        if self.pick(2):
            self.add(indent + 1, f"when(lambda: {self.shared_truth()})")
        self.add(indent + 1, f"if {t}.n < {self.pick(3)}:")
        self.add(indent + 2, f"{t}.n = {t}.n + 1")
        self.add(indent + 1, "else:")
        self.add(indent + 2, f"{t}.cell[{self.pick(self.cells)}] = {t}.n - 2")

    def wait(self, indent: int, depth: int) -> None:
        t = self.one(["k.a", "k.b"])
        text = self.one(
            [
                f"wait_event({t}.queue, lambda: {self.shared_truth()})",
                f"wake_up({t}.queue)",
                "synchronize_rcu()",
            ]
        )
        self.add(indent, str(text))

    def check(self, indent: int, depth: int) -> None:
        if self.pick(3):
            self.add(indent, f"k.gone.n = {self.pick(3)}")
        elif self.pick(3):
            self.add(indent, f'ensure("sound", {self.truth()} or {self.pick(2)} == 1, "a check")')
        else:
            self.add(indent, "free(k.gone)")

    def branch(self, indent: int, depth: int) -> None:
        self.add(indent, f"if {self.one([self.truth(), self.shared_truth()])}:")
        self.block(indent + 1, depth - 1, 1 + self.pick(2))
        if self.pick(2):
            self.add(indent, "else:")
            self.block(indent + 1, depth - 1, 1)

    def loop(self, indent: int, depth: int) -> None:
        if self.pick(2):
            self.add(indent, f"while {self.shared_truth()}:")
        else:
            self.add(indent, f"for {self.name('i')} in range({1 + self.pick(2)}):")
        self.block(indent + 1, depth - 1, 1)


def source(pick: Pick, tasks: int = 2, length: int = 4) -> str:
    """A module with at most `tasks` tasks of about `length` statements each."""
    cells = [2, 5, 17, 45][pick(4)]
    lo, hi = [(0, 2), (-4, 3), (-1, 1), (1, 6)][pick(4)]
    wide = [5, (1 << 20), (1 << 40), (1 << 61) - 1][pick(4)]
    text = HEADER.format(lo=lo, hi=hi, initial=max(lo, 0), wide=wide, cells=cells)
    names = "ABC"[: 1 + pick(tasks)]
    for name in names:
        program = Program(pick, cells)
        program.block(1, 2, 1 + pick(length))
        text += f"\ndef task_{name}(k):\n" + "\n".join(program.lines) + "\n    k.a.flag = False\n\n"
    rest = ["True", "k.a.n != 1", "not k.b.flag", "k.a.cell[1] == k.b.cell[1]"][pick(4)]
    text += f'\ndef at_rest(k):\n    ensure("at-rest", {rest}, "at rest")\n'
    listed = repr(tuple(names))
    return text + textwrap.dedent(FOOTER.format(tasks=listed, actor=pick(3) == 0))


@st.composite
def programs(draw: st.DrawFn, tasks: int = 2, length: int = 4) -> str:
    """Hypothesis strategy: the source of a random program."""
    return source(lambda n: draw(st.integers(0, n - 1)), tasks, length)


def load(text: str, directory: Path) -> Callable[[], System]:
    """Import the module `text` from a file in `directory`; returns its `build`."""
    name = "program_" + hashlib.sha256(text.encode()).hexdigest()[:16]
    path = directory / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    build: Callable[[], System] = module.build
    return build
