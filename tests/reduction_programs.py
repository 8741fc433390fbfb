"""Random programs for tests of reductions: locks, flags and RCU, of two or three tasks.

They are tamer than those of `programs`: hardly one breaks a rule at once, so that most of their
states are reached.  Some of the tasks run the same program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HEADER = """
from zonedev.lang.primitives import *
from zonedev.lang.records import *
from zonedev.lang.runtime import atomic, choose, current, ensure, free, tasks, when
from zonedev.lang.system import Monitor, Specification, System


class Job(Cpu):
    mine = flag()
    step = count(0, 3)
    friend = ref("Job")
    noted = task_mask()


class Shared(Record):
    freed_breaks = "lifetime"
    up = array(flag(), 3)
    number = count(0, 3)
    a = embed(Lock)
    b = embed(Lock)
    sem = embed(RwSem)
    srcu = embed(Srcu)
    queue = embed(WaitQueue)
    seen = task_mask()
    last = ref("Job")


class Design(Specification):
    task_class = Job


def at_rest(k):
    ensure("at-rest", {rest}, "at rest")


"""

FOOTER = """

def build():
    system = System(Design, monitors=[Monitor("at-rest", at_rest)])
    k = system.k
    k.tasks = [system.task(n).task for n in {names!r}]
    k.s = system.new(Shared, "s")
    for n, program in zip({names!r}, {programs!r}):
        system.run(n, globals()[program], k, actor={actor} and n == {names!r}[-1])
    system.seal()
    return system
"""

SECTIONS = [
    ("lock(s.a)", "unlock(s.a)"),
    ("lock(s.b)", "unlock(s.b)"),
    ("spin_lock(s.a)", "spin_unlock(s.a)"),
    ("down_read(s.sem)", "up_read(s.sem)"),
    ("down_write(s.sem)", "up_write(s.sem)"),
    ("rcu_read_lock()", "rcu_read_unlock()"),
    ("local_irq_disable()", "local_irq_enable()"),
    ("srcu_read_lock(s.srcu)", "srcu_read_unlock(s.srcu)"),
]


class Writer:
    """Writes one program."""

    def __init__(self, pick: Callable[[int], int], left_out: dict[int, list[int]]) -> None:
        self.pick, self.left_out = pick, left_out
        self.lines: list[str] = []
        self.fresh = 0

    def one(self, options: list[Any]) -> Any:
        return options[self.pick(len(options))]

    def some(self, options: list[Any]) -> Any:
        """One of those options that this module has: fewer kinds of statements meet more often."""
        kept = self.left_out.setdefault(len(options), [self.pick(2) for _ in options])
        return self.one([o for o, keep in zip(options, kept, strict=True) if keep] or options)

    def add(self, indent: int, text: str) -> None:
        self.lines.append("    " * indent + text)

    def condition(self) -> str:
        f = self.pick(3)
        texts = [f"s.up[{f}]", f"not s.up[{f}]", "s.number == 1", "s.last is None", "current().mine"]
        return str(self.some(texts))

    def block(self, indent: int, depth: int, length: int) -> None:
        for _ in range(length):
            self.statement(indent, depth)

    def statement(self, indent: int, depth: int) -> None:
        kinds = [self.simple, self.simple, self.simple, self.own, self.rare, self.sleep]
        kinds += [self.check, self.bits, self.bits]
        if depth:
            kinds += [self.section, self.section, self.section, self.branch, self.loop]
        self.some(kinds)(indent, depth)

    def simple(self, indent: int, depth: int) -> None:
        f = self.pick(3)
        self.fresh += 1
        texts = [
            f"s.up[{f}] = True",
            f"s.up[{f}] = False",
            "s.number = 1",
            f"x{self.fresh} = s.up[{f}]\ns.up[{self.pick(3)}] = x{self.fresh}",
            f"x{self.fresh} = s.number\ns.number = (x{self.fresh} + 1) % 3",
            "s.last = current()",
            'with atomic("a test"):\n    for task in tasks():\n        task.noted = task.noted & ~1',
        ]
        for line in str(self.some(texts)).split("\n"):
            self.add(indent, line)

    def bits(self, indent: int, depth: int) -> None:
        """A set of tasks: joined and left, by oneself or for another, looked at, and waited for."""
        bit = self.one(["1", "2", "(1 << current()._index)"])
        self.fresh += 1
        texts = [
            f'with atomic("a test"):\n    s.seen = s.seen | {bit}',
            f'with atomic("a test"):\n    s.seen = s.seen & ~{bit}',
            'with atomic("a test"):\n    when(lambda: s.seen == 0)',
            f"x{self.fresh} = s.seen\ns.up[{self.pick(3)}] = x{self.fresh} == {self.pick(3)}",
        ]
        for line in str(self.some([*texts[:2], *texts])).split("\n"):
            self.add(indent, line)

    def own(self, indent: int, depth: int) -> None:
        texts = [
            "current().mine = True",
            "current().mine = False",
            "current().step = 2",
            "current().step = 0",
        ]
        self.add(indent, str(self.one([*texts, "current().friend = current()", "current().friend = None"])))

    def section(self, indent: int, depth: int) -> None:
        before, after = self.some(SECTIONS)
        self.add(indent, before)
        self.block(indent, depth - 1, 1 + self.pick(2))
        if self.pick(8):
            self.add(indent, after)

    def rare(self, indent: int, depth: int) -> None:
        self.fresh += 1
        x = f"x{self.fresh}"
        texts = [
            "synchronize_rcu()",
            "synchronize_srcu(s.srcu)",
            f"{x} = choose(2)\ns.up[0] = {x} == 1",
            f"{x} = trylock(s.{self.one(['a', 'b'])})\ns.up[1] = {x}",
            f"unlock(s.{self.one(['a', 'b'])})",
            f'with atomic("a test"):\n    when(lambda: {self.condition()})\n    s.up[{self.pick(3)}] = True',
            f'{x} = k.tasks[{self.pick(2)}].mine\ns.up[2] = {x}',
            f'{x} = s.last\nif {x} is not None:\n    {x}.step = {self.pick(3)}',
            "free(s)" if self.pick(2) else "s.number = 2",
        ]  # fmt: skip
        for line in str(self.some(texts)).split("\n"):
            self.add(indent, line)

    def sleep(self, indent: int, depth: int) -> None:
        wait = f"wait_event(s.queue, lambda: {self.condition()})"
        self.add(indent, str(self.one(["wake_up(s.queue)", "wake_up(s.queue)", wait])))

    def check(self, indent: int, depth: int) -> None:
        what = self.one(["s.number != 2", "not (s.up[0] and s.up[1])", "s.last is not current()"])
        self.add(indent, 'with atomic("a test"):')
        self.add(indent + 1, f'ensure("sound", {what}, "a check")')

    def branch(self, indent: int, depth: int) -> None:
        self.add(indent, f"if {self.condition()}:")
        self.block(indent + 1, depth - 1, 1 + self.pick(2))
        if self.pick(2):
            self.add(indent, "else:")
            self.block(indent + 1, depth - 1, 1)

    def loop(self, indent: int, depth: int) -> None:
        self.fresh += 1
        self.add(indent, f"while {self.condition()}:" if self.pick(2) else f"for i{self.fresh} in range(2):")
        self.block(indent + 1, depth - 1, 1 + self.pick(2))


def source(pick: Callable[[int], int], length: int = 3) -> str:
    """A module with two or three tasks."""
    names = "ABC"[: 2 + pick(2)]
    text = HEADER.format(rest=["True", "not k.s.up[0]", "k.s.number != 2"][pick(3)])
    programs = ["program_A"]
    for name in names[1:]:
        programs.append(programs[-1] if pick(2) else f"program_{name}")
    left_out: dict[int, list[int]] = {}
    for program in sorted(set(programs)):
        writer = Writer(pick, left_out)
        writer.block(1, 2, 1 + pick(length))
        text += (
            f"def {program}(k):\n    s = k.s\n"
            + "\n".join(writer.lines)
            + f"\n    s.up[{pick(3)}] = {pick(2) == 1}\n\n\n"
        )
    return text + FOOTER.format(names=names, programs=programs, actor=pick(4) == 0)


def outdented(text: str) -> str:
    return text.replace("\n    ", "\n")


def races(first: str, second: str) -> str:
    """A sets a flag, then does `first`; B does `second` if it sees the flag, and says so."""
    text = HEADER.format(rest="True")
    text += f"def program_A(k):\n    s = k.s\n    s.up[0] = True\n    {first}\n\n\n"
    text += (
        f"def program_B(k):\n    s = k.s\n    x = s.up[0]\n    if x:\n        {second}\n    s.up[1] = x\n\n\n"
    )
    return text + FOOTER.format(names="AB", programs=["program_A", "program_B"], actor=False)


READ = "y = s.number\n        s.up[2] = y == 1"
JOIN = 'with atomic("a test"):\n            s.seen = s.seen | 1'
LEAVE = 'with atomic("a test"):\n            s.seen = s.seen & ~1'
FAILS = 'with atomic("a test"):\n            ensure("sound", s.number == 1, "a check")'
EMPTY = 'with atomic("a test"):\n            when(lambda: s.seen == 0)'

#: Pairs of which neither moves across the other, by what makes that so.
RACES = {
    "reads": races(outdented(READ), "s.number = 1"),
    "writes": races("s.number = 1", READ),
    "awaits": races(outdented(JOIN), EMPTY),
    "sets": races(outdented(JOIN), LEAVE),
    "clears": races(outdented(LEAVE), JOIN),
    "waits": races('with atomic("a test"):\n        when(lambda: s.up[2])', "s.number = 1"),
    "later": races(outdented(READ), "s.last = None\n        s.number = 1"),
    "spins": races("while not s.up[2]:\n        current().mine = True", FAILS),
    "sleeps": races("wait_event(s.queue, lambda: s.up[2])", "s.up[2] = True"),
    "locks": races("lock(s.a)", "lock(s.a)"),
    "strangers": races(
        "s.number = 1\n    unlock(s.a)", "unlock(s.a)\n        lock(s.a)\n        " + READ
    ).replace("    s.up[0] = True", "    lock(s.a)\n    s.up[0] = True"),
}


def alike(program: str, other: str = "") -> str:
    """A, B and C run `program`, or C another."""
    text = HEADER.format(rest="True") + f"def program_A(k):\n    s = k.s\n{program}\n\n"
    text += f"def program_C(k):\n    s = k.s\n{other}\n\n" if other else ""
    last = "program_C" if other else "program_A"
    return text + FOOTER.format(names="ABC", programs=["program_A", "program_A", last], actor=False)


#: Two like tasks, and one that looks at them in order.
WATCHED = alike(
    "    current().mine = True\n    s.number = 1",
    """    x = k.tasks[0].mine
    y = k.tasks[1].mine
    with atomic("a test"):
        ensure("sound", s.number == 0 or not (x and not y), "a check")""",
)

#: Three like tasks.
ALIKE = alike(
    """    current().mine = True
    lock(s.a)
    x = s.number
    s.number = (x + 1) % 3
    with atomic("a test"):
        s.seen = s.seen | (1 << current()._index)
    unlock(s.a)
    wait_event(s.queue, lambda: s.number == 0)
    current().mine = False
    current().step = 2"""
)
