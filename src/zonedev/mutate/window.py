"""What a swap, or an atomic block taken apart, changes beyond the moments when it is under way.

Two statements that change places always lead to other states: those where a task stands between them.
The window of such a mutant are the steps of these statements, in the original and in the mutant.  Where
both have the same states as soon as no task stands in it, whatever others have read, written or waited for
in between came to nothing: everyone can leave the window at once, and then what he has done is in the state.

That says something only where somebody could have come between, so it is also asked whether the steps of
another task touch what the window changes, or change what it touches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from zonedev.lang import expr as ir
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.system import Group
from zonedev.lang.transition import TaskCode
from zonedev.mutate.separate import switch_of

#: A task's number, and one of its steps.
At = tuple[int, int]
#: A location; None for any element of its group.
Place = tuple[str, str, int | None]


@dataclass(frozen=True)
class Window:
    """The steps between which the original and a mutant differ."""

    original: frozenset[At]
    mutant: frozenset[At]


def window(tasks: Collection[TaskCode], number: int) -> Window | None:
    """The window of a mutant; None where the mutant can come to what is the original's alone."""
    original: set[At] = set()
    mutant: set[At] = set()
    for at, task in enumerate(tasks):
        plain, on = reached(task, 0), reached(task, number)
        aside = on - plain
        joins = {t for pc in aside for t in leads(task.steps[pc - 1].body, number)[0]} - aside
        bodies = [task.entry, *[task.steps[pc - 1].body for pc in plain & on if pc]]
        first = {pc for body in bodies for pc in beside(body, number)}
        beyond = closure(task, first, 0, joins)
        if beyond & on:
            return None
        original |= {(at, pc) for pc in beyond}
        mutant |= {(at, pc) for pc in aside}
    return Window(frozenset(original), frozenset(mutant))


def reached(task: TaskCode, number: int) -> set[int]:
    """The steps to which a mutant can come, or the original, as far as the program alone says that."""
    return closure(task, leads(task.entry, number)[0], number, ())


def closure(task: TaskCode, first: Iterable[int], number: int, without: Collection[int]) -> set[int]:
    """The steps from `first` on, with the end, up to those of `without`."""
    found: set[int] = set()
    todo = list(first)
    while todo:
        pc = todo.pop()
        if pc not in found and pc not in without:
            found.add(pc)
            if pc:
                todo += leads(task.steps[pc - 1].body, number)[0]
    return found


def leads(body: Iterable[Effect], number: int) -> tuple[set[int], bool]:
    """The steps to which effects lead, and whether they can be gone through without coming to one."""
    found: set[int] = set()
    for effect in body:
        if effect[0] == "goto":
            return found | {effect[1]}, False
        if effect[0] == "if":
            ways = [leads(block, number) for block in taken(effect, number)]
            found = found.union(*(pcs for pcs, _ in ways))
            if not any(through for _, through in ways):
                return found, False
    return found, True


def taken(effect: Effect, number: int) -> list[list[Effect]]:
    """The branches that can be taken with a mutant on."""
    asks = switch_of(effect[1])
    if asks is None:
        return [effect[2], effect[3]]
    return [effect[2] if asks == number else effect[3]]


def beside(body: list[Effect], number: int, behind: list[Effect] | None = None) -> Iterator[int]:
    """The steps to which the original goes where the mutant takes another way."""
    for at, effect in enumerate(body):
        if effect[0] != "if":
            continue
        rest = [*body[at + 1 :], *(behind or [])]
        if switch_of(effect[1]) == number:
            yield from leads([*effect[3], *rest], 0)[0]
        else:
            for block in effect[2], effect[3]:
                yield from beside(block, number, rest)


def contended(tasks: Collection[TaskCode], inside: Collection[At], taken_steps: Collection[At]) -> bool:
    """Whether what another task does meets what is done inside, of the steps that some state has."""
    code = list(tasks)
    for at in {task for task, _ in inside}:
        mine = [touched(code[t].steps[pc - 1].body) for t, pc in inside if t == at and (t, pc) in taken_steps]
        theirs = [touched(code[t].steps[pc - 1].body) for t, pc in taken_steps if t != at]
        reads, writes = united(mine)
        others_read, others_write = united(theirs)
        if meet(writes, others_read | others_write) or meet(reads, others_write):
            return True
    return False


def united(found: Iterable[tuple[set[Place], set[Place]]]) -> tuple[set[Place], set[Place]]:
    reads: set[Place] = set()
    writes: set[Place] = set()
    for read, written in found:
        reads |= read
        writes |= written
    return reads, writes


def touched(body: Iterable[Effect]) -> tuple[set[Place], set[Place]]:
    """What the original reads in a body, and what it writes."""
    reads: set[Place] = set()
    writes: set[Place] = set()
    for effect in body:
        for e in ir.effect_exprs(effect):
            reads |= {place(x[1], x[2]) for x in ir.leaves(e) if x[0] == "ld" and x[1].cls != "Switch"}
        if effect[0] == "store":
            writes.add(place(effect[1], effect[2]))
        if effect[0] == "if":
            for block in taken(effect, 0):
                read, written = touched(block)
                reads |= read
                writes |= written
    return reads, writes


def place(group: Group, index: Expr) -> Place:
    return group.cls, group.path, index[1] if index[0] == "c" else None


def meet(some: set[Place], others: set[Place]) -> bool:
    """Whether two sets of places may have one in common."""
    groups = {(cls, path) for cls, path, index in some if index is None}
    theirs = {(cls, path) for cls, path, index in others if index is None}
    return (
        not some.isdisjoint(others)
        or any((cls, path) in groups for cls, path, _ in others)
        or any((cls, path) in theirs for cls, path, _ in some)
    )
