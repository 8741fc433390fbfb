"""Random programs that go round, and brute force that tells which of them can do so for ever.

`busy_source(pick)` writes a module, as `source` of programs.py does; `Brute` enumerates the
closed walks through all states of a small program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from programs import HEADER
from zonedev.explore.python import PythonEngine
from zonedev.explore.result import State
from zonedev.lang.transition import TransitionSystem

Steps = list[tuple[int, int]]

PROGRAM = """
{tasks}

def task_Z(k):
    with atomic("lets all others finish"):
        when(lambda: {guard})
        k.b.wide = 1


def at_rest(k):
    pass


def build():
    system = System(Design)
    k = system.k
    for name in {names}:
        system.task(name)
    k.a = system.new(Thing, "a")
    k.b = system.new(Thing, "b")
    for name in {names}:
        system.run(name, globals()["task_" + name], k, actor=name == "{actor}")
    system.seal()
    return system
"""


def busy_source(pick: Callable[[int], int]) -> str:
    """A module with one to three tasks that lock, try, wait and go round, until one more that waits for
    its moment tells them to end."""
    names = "ABC"[: 1 + pick(3)]
    tasks = []
    for name in names:
        body = [line for _ in range(1 + pick(3)) for line in statement(pick, 1)]
        lines = [f"def task_{name}(k):", "    while k.b.wide == 0:", *("        " + line for line in body)]
        if pick(3) == 0:
            lines += [f"        if {truth(pick)}:", "            break"]
        tasks.append("\n".join([*lines, ""]))
    guard = " and ".join(truth(pick) for _ in range(1 + pick(3)))
    actor = names[-1] if pick(4) == 0 else ""
    header = HEADER.format(lo=0, hi=2, initial=0, wide=5, cells=2)
    return header + PROGRAM.format(tasks="\n\n".join(tasks), guard=guard, names=(*names, "Z"), actor=actor)


def truth(pick: Callable[[int], int]) -> str:
    """A condition that touches one shared place."""
    thing = ["k.a", "k.b"][pick(2)]
    return [f"{thing}.flag", f"not {thing}.flag", f"{thing}.n == {pick(3)}", f"{thing}.n < 2"][pick(4)]


def statement(pick: Callable[[int], int], depth: int) -> list[str]:
    """Whatever waits here ends its wait when the others are told to end."""
    thing = ["k.a", "k.b"][pick(2)]
    inside = statement(pick, depth - 1) if depth else [f"{thing}.n = {pick(3)}"]
    inner = ["    " + line for line in inside]
    swing = ['with atomic("swings"):', f"    {thing}.flag = not {thing}.flag"]
    turn = ['with atomic("turns"):', f"    {thing}.n = ({thing}.n + 1) % 3"]
    return [
        swing,
        swing,
        turn,
        turn,
        [f"{thing}.n = {pick(3)}"],
        [f"lock({thing}.held)", *inside, f"unlock({thing}.held)"],
        [f"if trylock({thing}.held):", *inner, f"    unlock({thing}.held)"],
        [f"while not trylock({thing}.held):", "    pass", *inside, f"unlock({thing}.held)"],
        ['with atomic("a wait"):', f"    when(lambda: {truth(pick)} or k.b.wide == 1)", f"    {thing}.n = 1"],
        [f"if {truth(pick)}:", *inner],
        ["if choose(2) == 1:", *inner],
        [f"wake_up({thing}.queue)"],
        [f"if {truth(pick)}:", *inner, "else:", f"    {thing}.flag = True"],
    ][pick(13)]


@st.composite
def busy_programs(draw: st.DrawFn) -> str:
    return busy_source(lambda n: draw(st.integers(0, n - 1)))


class Brute:
    """All states of a small program, and all closed walks: nothing is pruned, nothing is clever."""

    def __init__(self, ts: TransitionSystem) -> None:
        self.ts, engine = ts, PythonEngine(ts)
        self.level = {ts.initial(): 0}
        self.moves: dict[State, list[tuple[int, int, Any]]] = {}
        todo = [ts.initial()]
        for state in todo:  # it grows
            self.moves[state] = engine.expand(state)
            for _, _, new in self.moves[state]:
                if isinstance(new, tuple) and new not in self.level:
                    self.level[new] = self.level[state] + 1
                    todo.append(new)

    def able(self, state: State) -> frozenset[int]:
        return frozenset(task for task, _, _ in self.moves[state])

    def unfinished(self, state: State) -> bool:
        return any(pc and not t.actor for pc, t in zip(self.ts.pcs(state), self.ts.tasks, strict=True))

    def comes_back(self, start: State) -> bool:
        """Whether a walk leads from `start` to it on which all that can take a step somewhere take one."""
        begin = (start, self.able(start), frozenset[int]())
        seen, todo = {begin}, [begin]
        while todo:
            state, able, taken = todo.pop()
            for task, _, new in self.moves[state]:
                if isinstance(new, int):  # a step that breaks a rule
                    continue
                there = (new, able | self.able(new), taken | {task})
                if new == start and there[1] <= there[2]:
                    return True
                if there not in seen:
                    seen.add(there)
                    todo.append(there)
        return False

    def livelocked(self) -> bool:
        return any(self.unfinished(s) and self.comes_back(s) for s in self.moves)

    def along(self, path: Steps) -> list[State]:
        """The states that a path leads through."""
        states = [self.ts.initial()]
        for step in path:
            (new,) = (n for t, c, n in self.moves[states[-1]] if (t, c) == step)
            states.append(new)
        return states

    def assert_lasso(self, path: Steps, loop: int) -> None:
        states = self.along(path)
        entered = next(n for n, state in enumerate(states) if state in states[loop:])
        assert self.level[states[entered]] == entered <= loop, "the way to the loop is a shortest one"
        assert len(path) > loop and states[-1] == states[loop], "the loop comes back"
        taken = {task for task, _ in path[loop:]}
        assert all(self.able(s) <= taken and self.unfinished(s) for s in states[loop:])
