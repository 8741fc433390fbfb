"""What the language refuses: one line that names file, line and mend."""

from __future__ import annotations

import importlib.util
import textwrap
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from zonedev.lang.errors import SpecError
from zonedev.lang.transition import lower

HEADER = """
from enum import IntEnum
from zonedev.lang.primitives import *
from zonedev.lang.primitives import Cpu
from zonedev.lang.records import *
from zonedev.lang.records import BIT, Packed, Record, replace
from zonedev.lang.runtime import *
from zonedev.lang.system import Specification, System

class Word(Packed):
    bit = BIT
    level = number(0, 3)

class Box(Record):
    n = count(0, 3)
    m = count(0, 3)
    flag = flag()
    to = ref("Box")
    cell = array(count(0, 3), 2)
    word = packed(Word)
    refs = atomic_t(0, 3)
    held = embed(Lock)
    queue = embed(WaitQueue)
    size = const(1)

    def double(self):
        return 2

class Nobody(Record):
    n = count(0, 3)

class Task(Cpu):
    own = private(count(0, 3))
    other = ref(Nobody)

class Design(Specification):
    task_class = Task

    def boot(self):
        self.a, self.b = self.system.new(Box), self.system.new(Box)

    def f(k, x):
        return x

    @at_setup
    def third(k, box):
        return (box, box)[2]

    def around(k, x):
        return k.around(x)

def build():
    system = System(Design)
    for name, body in BODIES.items():
        system.run(name, body, system.k)
    system.seal()
    return system
"""
numbers = count()


def module(text: str, directory: Path) -> ModuleType:
    path = directory / f"patch{next(numbers)}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def marked(text: str) -> int:
    """The number of the line with #!."""
    return next((n for n, line in enumerate(text.splitlines(), 1) if "#!" in line), 0)


def refusal(body: str, directory: Path) -> str:
    """The error of a task with this body, as "line number of >>>: text"."""
    text = HEADER + "\ndef task(k):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
    line = marked(text)
    found = module(text + "\nBODIES = {'A': task, 'B': task}\n", directory)
    with pytest.raises(SpecError) as caught:
        lower(found.build())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{found.__file__}:{line}: "), message
    return message.removeprefix(f"{found.__file__}:{line}: ")


TWO = 'the statement touches two shared places: split it, or use `with atomic("why")`'
LINE = "two statements with a step on one line: give each a line of its own"
REASON = 'atomic needs a reason: with atomic("why the kernel does this as one"):'
FIRST = "when() has to be the first statement of an atomic block"
NO_VALUE = "may have no value here: assign it before, outside of any loop"

REFUSED: dict[str, tuple[str, str]] = {
    # one step a statement, and a line
    "two reads": ("x = k.a.n + k.a.m  #!", f"task: {TWO}"),
    "a read and a write": ("k.a.n = k.b.n  #!", f"task: {TWO}"),
    "a primitive and a read": ("atomic_set(k.a.refs, k.b.n)  #!", f"task: {TWO}"),
    "two primitives": ("x = atomic_read(k.a.refs) + atomic_read(k.b.refs)  #!", f"task: {TWO}"),
    "a read on both sides of if": ("x = k.a.n if k.a.flag else 0  #!", f"task: {TWO}"),
    "a wait for two places": ("wait_event(k.a.queue, lambda: k.a.flag and k.b.flag)  #!", f"task: {TWO}"),
    "two places through a lambda": (
        """
        get = lambda: k.a.n
        x = get() + k.b.n  #!
        """,
        f"task: {TWO}",
    ),
    "two stores on a line": ("k.a.n = 1; k.b.n = 1  #!", LINE),
    "two primitives on a line": ("lock(k.a.held); unlock(k.a.held)  #!", LINE),
    "if and its body on a line": ("if k.a.flag: wake_up(k.a.queue)  #!", LINE),
    "+= on shared state": (
        "k.a.n += 1  #!",
        '+= is a read and a write of k.a.n: use a primitive such as atomic_inc(), or `with atomic("why")`',
    ),
    "+= in atomic": (
        """
        with atomic("a test"):
            k.a.n += 1  #!
        """,
        "+= is a read and a write of k.a.n: write k.a.n = k.a.n + ...",
    ),
    # atomic, when, choose
    "no reason": ("with atomic():  #!\n    k.a.n = 1", REASON),
    "empty reason": ("with atomic(' '):  #!\n    k.a.n = 1", REASON),
    "another with": ("with open('x'):  #!\n    pass", 'the only with statement is `with atomic("why"):`'),
    "atomic as": (
        "with atomic('a test') as x:  #!\n    pass",
        'the only with statement is `with atomic("why"):`',
    ),
    "a look without a step": (
        "with ghost():  #!\n    x = k.a.n",
        "ghost() is for rules: kernel code cannot look without a step",
    ),
    "when outside": ("when(lambda: k.a.flag)  #!", FIRST),
    "when later": (
        """
        with atomic("a test"):
            k.a.n = 1
            when(lambda: k.a.flag)  #!
        """,
        FIRST,
    ),
    "when in a branch": (
        """
        with atomic("a test"):
            if k.a.flag:
                when(lambda: k.b.flag)  #!
        """,
        FIRST,
    ),
    "when of a value": (
        """
        with atomic("a test"):
            when(k.a.flag)  #!
        """,
        "when() takes a lambda: when(lambda: ...)",
    ),
    "when in a nested block": (
        """
        with atomic("a test"):
            with atomic("a test"):
                when(lambda: k.a.flag)  #!
        """,
        FIRST,
    ),
    "choose in atomic": (
        """
        with atomic("a test"):
            x = choose(2)  #!
        """,
        "choose() is a step of its own: not inside atomic, nor in a rule",
    ),
    "choose of a local": (
        """
        n = k.a.n
        x = choose(n)  #!
        """,
        "choose() needs a number above 0 that is fixed at set-up",
    ),
    "while in atomic": (
        """
        with atomic("a test"):
            while k.a.flag:  #!
                pass
        """,
        "a while loop inside atomic: loop over range() or records",
    ),
    "a wait in atomic": (
        """
        with atomic("a test"):
            wait_event(k.a.queue, lambda: k.a.flag)  #!
        """,
        "a while loop inside atomic: loop over range() or records",
    ),
    # loops
    "a loop without a step": (
        """
        x = 0
        while x < 2:  #!
            x = (x + 1) % 3
        """,
        "a loop without a step: every way round it has to touch shared state",
    ),
    "a loop with a way round that has no step": (
        """
        x = k.a.n
        while True:  #!
            if x:
                continue
            x = k.a.n
        """,
        "a loop without a step: every way round it has to touch shared state",
    ),
    "a number without bound": (
        """
        x = 0
        while k.a.flag:
            x = x + 1  #!
        """,
        "x grows without bound: use min() or %, or loop over range()",
    ),
    "a function that fails at set-up": (
        "x = k.third(k.a)  #!",
        "third() fails at set-up: IndexError: tuple index out of range",
    ),
    "range of a local": (
        """
        n = k.a.n
        for i in range(n):  #!
            pass
        """,
        "range() of a value that depends on the state",
    ),
    "loop over an array": (
        "for x in k.a.cell:  #!\n    pass",
        "loop over range() or records that are fixed at set-up",
    ),
    "two loop variables": ("for i, j in ((1, 2),):  #!\n    pass", "a for loop has one variable"),
    "assigning to a loop variable": (
        "for i in range(2):\n    i = 1  #!",
        "i is the variable of a for loop here: assign to another name",
    ),
    "a loop variable twice": (
        "for i in range(2):\n    for i in range(2):  #!\n        pass",
        "i is the variable of an outer loop as well: use another name",
    ),
    "a loop variable after the loop": ("for i in range(2):\n    pass\nk.a.n = i  #!", f"i {NO_VALUE}"),
    "a loop variable in a lambda after the loop": (
        """
        for i in range(2):
            ready = lambda: k.a.n > i  #!
        wait_event(k.a.queue, ready)
        """,
        f"i {NO_VALUE}",
    ),
    # locals
    "assigned in one branch": (
        """
        if k.a.flag:
            x = 1
        k.a.n = x  #!
        """,
        f"x {NO_VALUE}",
    ),
    "assigned in the last round": (
        """
        while k.a.flag:
            if k.b.flag:
                k.a.n = x  #!
            x = 1
        """,
        f"x {NO_VALUE}",
    ),
    "number and pointer": (
        """
        x = 1
        if k.a.flag:
            x = k.a.to  #!
        """,
        "x holds both a number in 1..1 and a Box pointer: use one name for each",
    ),
    "two structures": (
        """
        box = k.a.to
        part = box.held
        if k.a.flag:
            part = box.queue  #!
        """,
        "part refers to different structures or arrays: use one name for each",
    ),
    "a string that changes": (
        """
        x = "one"
        if k.a.flag:
            x = "two"  #!
        """,
        "'two' cannot depend on the state: use a number, a record or a packed value",
    ),
    # values
    "division by what may be 0": (
        """
        n = k.a.n
        x = 3 // n  #!
        """,
        "the divisor can be 0: use max(), or a number with a fixed sign",
    ),
    "a shift to the left of nothing": (
        """
        n = k.a.n
        x = 1 << n - 1  #!
        """,
        "the shift is by -1..2: it has to be in 0..62",
    ),
    "true division": ("x = 3 / 2  #!", "the operator Div is not in the language"),
    "or of numbers": (
        """
        n = k.a.n
        x = n or 3  #!
        """,
        "`and` and `or` of other values than bools: compare, or use `a if a else b`",
    ),
    "is of numbers": (
        """
        n = k.a.n
        if n is 1: pass  #!
        """,
        "`is` compares pointers: use == here",
    ),
    "a pointer as condition": (
        "if k.a.to:  #!\n    pass",
        "a condition has to be a bool or a number: compare with None or another",
    ),
    "order of pointers": (
        """
        box = k.a.to
        if box < k.b:  #!
            pass
        """,
        "only numbers are greater or less than others",
    ),
    "a negative index of a tuple": (
        """
        n = k.a.n
        x = (1, 2)[n - 2]  #!
        """,
        "the index of a tuple can be negative: Python counts from its end then",
    ),
    "an index outside": ("x = (1, 2)[2]  #!", "(1, 2)[2]: IndexError: tuple index out of range"),
    "an unknown member": ("k.a.word = Word(odd=1)  #!", "Word has no member odd"),
    "a value of another kind": (
        "k.a.to = 1  #!",
        "Box.to holds both a Box pointer and a number in 1..1: use one name for each",
    ),
    "f-string of state": (
        """
        n = k.a.n
        note(f"{n}", 1)  #!
        """,
        "an f-string of what can change: hand the value to ensure() itself",
    ),
    # records
    "a constant": ("k.a.size = 2  #!", "size is fixed at set-up"),
    "a whole array": ("k.a.cell = (1, 2)  #!", "cell is an array: assign to an element"),
    "an embedded structure": ("k.a.held = None  #!", "held is fixed at set-up"),
    "an unknown field": ("k.a.nn = 1  #!", "Box has no field nn"),
    "a method of a record": (
        "x = k.a.double()  #!",
        "Box has no field double: write what it does as a function of the design",
    ),
    "a field of a number": (
        """
        n = k.a.n
        n.x = 1  #!
        """,
        ".x: only records have fields that can change",
    ),
    "a member of a packed value": (
        """
        w = k.a.word
        w.level = 1  #!
        """,
        ".level: a packed value is changed by replace()",
    ),
    "an attribute of the design": ("k.state = 1  #!", ".state: only records have fields that can change"),
    "a private field of another": (
        """
        for task in tasks():
            task.own = 1  #!
        """,
        "own is private to the task that owns it: use current()",
    ),
    "a class without instances": (
        """
        other = current().other
        other.n = 1  #!
        """,
        "no Nobody exists in this scenario",
    ),
    "a new record": ("k.system.new(Box)  #!", "new() belongs into set-up, where records are made"),
    "a record by its class": (
        "x = Box(k.system, 'x', 2)  #!",
        "Box cannot be called in the language: see docs/language.md",
    ),
    "free of what cannot be freed": ("free(k.a)  #!", "Box has no field live"),
    # calls
    "too many arguments": ("k.f(1, 2)  #!", "f(): too many positional arguments"),
    "an unknown argument": ("k.f(1, y=2)  #!", "f(): got an unexpected keyword argument 'y'"),
    "a missing argument": ("k.f()  #!", "f(): missing a required argument: 'x'"),
    "* in a call": ("k.f(*(1,))  #!", "* is not in the language: name each argument"),
    "** in a call": ("k.f(**{})  #!", "** is not in the language: name each argument"),
    "a lambda with arguments": (
        "f = lambda x: x  #!",
        "a lambda has no arguments here: it sees the names around it",
    ),
    "a library function": ("print(1)  #!", "print cannot be called in the language: see docs/language.md"),
    "an unknown name": ("k.f(y)  #!", "the name y is not defined"),
    "sum outside of atomic": (
        "x = sum(b.n for b in (k.a, k.b))  #!",
        "sum() takes a generator, inside atomic or a rule",
    ),
    # Python that is not in the language
    "two targets": ("x = y = 1  #!", "assign to one place at a time"),
    "unpacking": ("x, y = (1, 2)  #!", "assign to a name, a field or an array element"),
    "list comprehension": (
        "x = [i for i in (1, 2)]  #!",
        "a list comprehension is not in the language: use a for loop",
    ),
    "list": ("x = [1]  #!", "a list is not in the language: use a tuple"),
    "dict": ("x = {}  #!", "dict is not in the language: make it at set-up, or use an array field"),
    "generator": (
        "x = (i for i in (1, 2))  #!",
        "a generator is not in the language: only sum(), any() and all() take one",
    ),
    "walrus": ("if (x := k.a.n): pass  #!", ":= is not in the language: assign in a statement of its own"),
    "slice": ("x = (1, 2)[0:1]  #!", "a slice is not in the language: take one element at a time"),
    "yield": ("yield  #!", "yield is not in the language: give the task a program of its own"),
    "try": (
        "try:  #!\n    pass\nexcept ValueError:\n    pass",
        "try is not in the language: test for the case instead; kernel code returns errors",
    ),
    "raise": (
        "raise ValueError  #!",
        "raise is not in the language: return a value that says so, as the kernel does",
    ),
    "assert": ("assert k.a.flag  #!", "assert is not in the language: use BUG_ON() or ensure()"),
    "del": ("x = 1\ndel x  #!", "del is not in the language: assign another value"),
    "global": ("global x  #!\nx = 1", "global is not in the language: keep the state in a field of a record"),
    "class": (
        "class X:  #!\n    pass",
        "a class inside a function is not in the language: define classes at the top of the module",
    ),
    "function": (
        "def f():  #!\n    pass",
        "a function inside a function is not in the language: "
        "define functions in the design's class or at the top of the module",
    ),
    "import": ("import os  #!", "import is not in the language: import at the top of the module"),
    "match": ("match k.a.n:  #!\n    case 1:\n        pass", "match is not in the language: use if and elif"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    body, message = REFUSED[name]
    assert refusal(body, tmp_path) == message


def test_recursion(tmp_path: Path) -> None:
    text = (
        HEADER.replace("return k.around(x)", "return k.around(x)  #!") + "\ndef task(k):\n    k.around(1)\n"
    )
    found = module(text + "BODIES = {'A': task}\n", tmp_path)
    with pytest.raises(SpecError) as caught:
        lower(found.build())
    assert str(caught.value) == f"{found.__file__}:{marked(text)}: around() calls itself: use a loop"


def test_broken_before_the_first_step(tmp_path: Path) -> None:
    text = HEADER + "\ndef task(k):  #!\n    x = k.f(1)\n    ensure('sound', x == 2, 'text')\n    k.a.n = 1\n"
    line = marked(text)
    found = module(text + "BODIES = {'A': task}\n", tmp_path)
    with pytest.raises(SpecError) as caught:
        lower(found.build())
    where = found.__file__
    assert str(caught.value) == (
        f"{where}:{line}: task breaks sound before its first step: task, {where}:{line + 2}"
    )


def test_place_of_a_counter_that_overflows(tmp_path: Path) -> None:
    text = HEADER + "\ndef task(k):\n    x = k.a.n\n    k.b.n = x + 1  #!\n"
    line = marked(text)
    found = module(text + "BODIES = {'A': task}\n", tmp_path)
    assert ("counter-range", f"task, {found.__file__}:{line}: Box.n rises above 3") in lower(
        found.build()
    ).fails


# --- at a plain run --------------------------------------------------------------------------------


def plain(body: str, directory: Path) -> str:
    """The error of a plain run of one task."""
    text = HEADER + "\ndef task(k):\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
    found = module(text + "\nBODIES = {'A': task}\n", directory)
    run = found.build().spawn()
    try:
        while run.failure is None and run.enabled():
            run.step(run.enabled()[0])
        error: Any = run.failure
    except SpecError as raised:
        error = raised
    run.close()
    return str(error).removeprefix(f"{found.__file__}:{len(HEADER.splitlines()) + 3}: ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("with atomic(''):\n    k.a.n = 1", REASON),
        ("when(lambda: k.a.flag)", FIRST),
        ("k.a.size = 2", "box0.size is constant after set-up"),
        ("k.system.new(Box)", "Box: records are created at set-up only"),
        ("free(k.a)", "box0 cannot be freed: its class has no freed_breaks"),
        ("k.a.word = Word(level=4)", "Word.level would become 4, outside its range 0..3"),
        ("k.a.cell[2] = 1", "box0.cell[2]: the index is not below 2"),
        ("k.a.n = 4", "box0.n would become 4, outside its range 0..3"),
    ],
)
def test_refused_at_a_plain_run(body: str, message: str, tmp_path: Path) -> None:
    assert plain(body, tmp_path) == message


# --- at set-up -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("private(embed(Lock))", "private() takes a field that can change, such as count() or ref()"),
        (
            "enum(IntEnum('E', {'A': 0, 'C': 2}))",
            "E: the values of an enumeration count from 0, without gaps",
        ),
        (
            "[k.system.new(type('Box', (Box,), {})) for k in [System(Design).k]]",
            "two classes of records are called Box: rename one",
        ),
    ],
)
def test_refused_at_setup(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message.replace("(", r"\(").replace(")", r"\)")):
        module(HEADER + text + "\n", tmp_path)


def test_a_state_that_has_no_room(tmp_path: Path) -> None:
    text = HEADER + "\nclass Wide(Record):\n    n = count(0, 1 << 63)\n"
    text += "\ndef task(k):\n    k.wide.n = 1\nBODIES = {'A': task}\n"
    found = module(
        text.replace(
            "self.system.new(Box)\n", "self.system.new(Box)\n        self.wide = self.system.new(Wide)\n"
        ),
        tmp_path,
    )
    with pytest.raises(SpecError, match=r"^Wide\.n has 64 bits, more than the 62 of a word$"):
        lower(found.build())
