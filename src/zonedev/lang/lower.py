"""Lowering: from kernel functions to a control-flow graph of atomic steps.

An abstract interpreter walks each task's program.  What set-up has fixed (objects,
constants, the design) is evaluated; what depends on the state becomes expressions
over shared locations and locals.  Calls are inlined, methods resolved through the
design's class.  A node that begins a step is a scheduling point; all other nodes
belong to the step before them.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang import runtime
from zonedev.lang.errors import LoweringError, SpecError
from zonedev.lang.expr import Effect, Expr
from zonedev.lang.records import BIT, Field, Kind, Packed, Record, record_class, replace
from zonedev.lang.source import function_ast
from zonedev.lang.system import Group, Program, Specification, System, member_low

MAX_DEPTH = 60
MAX_PASSES = 12


@dataclass(frozen=True)
class Place:
    """Where a step stands: the line, its function and the calls that led there."""

    file: str
    line: int
    end: int
    function: str
    calls: tuple[str, ...]  # outermost first, the last is `function`


@dataclass(eq=False)
class Node:
    """A piece of the control-flow graph."""

    step: Place | None = None  # a step begins here
    effects: list[Effect] = field(default_factory=list)
    term: tuple[Any, ...] = ()  # ("goto", node) | ("if", e, node, node) | ("end",)
    entries: int = 0  # how many edges lead here
    fanout: int = 1
    lost: Expr | None = None  # a sleeper here has lost its wake-up when this holds


@dataclass(frozen=True)
class Static:
    """A value that set-up has fixed."""

    value: Any


@dataclass(frozen=True)
class Dyn:
    """A value that depends on the state."""

    expr: Expr
    kind: Kind


@dataclass(frozen=True)
class Inner:
    """A structure embedded in a record that depends on the state."""

    parent: Dyn
    path: str
    cls: type[Record]


@dataclass(frozen=True)
class Elements:
    """An array field of a record."""

    parent: Static | Dyn
    path: str
    field: Field


@dataclass(frozen=True, eq=False)
class Thunk:
    """A lambda with the frame that it closes over."""

    node: ast.Lambda
    frame: Frame


Value = Static | Dyn | Inner | Elements

INT = Kind("int", 0, 1)


@dataclass(eq=False)
class Frame:
    """One inlined call."""

    key: tuple[Any, ...]
    function: FunctionType
    cls: type | None  # the class that defines it, for super()
    calls: tuple[str, ...]
    primitive: bool
    names: frozenset[str]
    statement: ast.stmt | None = None
    accesses: int = 0  # of the present statement
    exit: Node | None = None
    loops: list[tuple[Node, Node]] = field(default_factory=list)
    outer: Frame | None = None
    aliases: dict[str, Any] = field(default_factory=dict)  # arguments and variables of unrolled loops
    returns: list[tuple[Node, Any, ast.AST]] = field(default_factory=list)

    @property
    def file(self) -> str:
        return self.function.__code__.co_filename

    def place(self, node: ast.AST) -> str:
        return f"{self.file}:{getattr(node, 'lineno', 0)}"


def lower_program(system: System, program: Program, fails: Fails) -> tuple[Node, dict[str, Kind]]:
    """The graph of a task's program, and the kinds of its locals."""
    variables: dict[tuple[Any, ...], Any] = {}
    for _ in range(MAX_PASSES):
        lowering = Lowering(system, program.task, fails, variables)
        try:
            entry = lowering.program(program)
        except LoweringError:
            if not lowering.changed:
                raise
            continue
        if not lowering.changed:
            return entry, lowering.kinds()
    raise SpecError(
        f"{program.function.__name__}: the range of {lowering.changed[-1]} cannot be bounded: "
        "take it from a bounded field, or loop over range()"
    )


def lower_check(
    system: System, check: Callable[[Lowering], None], fails: Fails
) -> tuple[Node, dict[str, Kind]]:
    """The graph of a rule check on the state, which has no steps."""
    variables: dict[tuple[Any, ...], Any] = {}
    while True:
        lowering = Lowering(system, system.tasks[0], fails, variables)
        entry = lowering.current = Node()
        lowering.ghost = 1
        check(lowering)
        lowering.finish(("end",))
        if not lowering.changed:
            return entry, lowering.kinds()


class Fails:
    """The ways in which a step can break a rule, numbered."""

    def __init__(self, rules: frozenset[str] | None) -> None:
        self.rules = rules  # None: all
        self.known: list[tuple[str, str]] = []
        self._numbers: dict[tuple[str, str], int] = {}

    def wanted(self, rule: str) -> bool:
        return self.rules is None or rule in self.rules

    def number(self, rule: str, text: str) -> int:
        if (rule, text) not in self._numbers:
            self._numbers[rule, text] = len(self.known)
            self.known.append((rule, text))
        return self._numbers[rule, text]


class Lowering:
    """One pass over one program."""

    def __init__(
        self, system: System, task: Record, fails: Fails, variables: dict[tuple[Any, ...], Any]
    ) -> None:
        self.system, self.task, self.fails = system, task, fails
        self.variables = variables
        self.changed: list[str] = []
        self.current: Node | None = None
        self.atomic = 0
        self.ghost = 0
        self.unrolled: tuple[int, ...] = ()
        self._temps = 0
        self._steps = 0
        self._temp_kinds: dict[str, Kind] = {}
        self._names: dict[tuple[Any, ...], str] = {}
        self._lines: dict[tuple[str, int], ast.AST] = {}
        self._groups: dict[tuple[str, str], Group] = group_table(system)

    # --- the graph -------------------------------------------------------------------------

    def program(self, program: Program) -> Node:
        entry = self.current = Node()
        function = program.function
        self_args: list[Value] = []
        if isinstance(function, MethodType):
            self_args, function = [Static(function.__self__)], function.__func__  # type: ignore[assignment]
        args = self_args + [Static(a) for a in program.args]
        assert isinstance(function, FunctionType)
        self.inline(function, args, {}, None, function_ast(function))
        self.finish(("end",))
        return entry

    def finish(self, term: tuple[Any, ...]) -> None:
        """End the open node."""
        if self.current is not None:
            self.link(self.current, term)
            self.current = None

    @staticmethod
    def link(node: Node, term: tuple[Any, ...]) -> None:
        node.term = term
        for target in successors(node):
            target.entries += 1

    def goto(self, node: Node) -> None:
        self.finish(("goto", node))

    def emit(self, effect: Effect) -> None:
        if self.current is not None:
            self.current.effects.append(effect)

    def step(self, frame: Frame, node: ast.AST) -> None:
        """A step begins, for the statement that `frame` is in."""
        if self.current is None:
            return
        at = frame
        while at.primitive and at.outer is not None:
            at = at.outer
        where: ast.AST = node
        if at is not frame:
            assert at.statement is not None
            where = at.statement
        line: int = getattr(where, "lineno", 0)
        if not frame.primitive:
            known = self._lines.setdefault((frame.file, line), frame.statement or where)
            if known is not (frame.statement or where):
                raise LoweringError(
                    frame.place(where), "two statements with a step on one line: give each a line of its own"
                )
        end = getattr(where, "end_lineno", line) or line
        if isinstance(where, ast.If | ast.While):
            end = where.test.end_lineno or line
        elif isinstance(where, ast.With | ast.For):
            end = line
        self._steps += 1
        nxt = Node(step=Place(at.file, line, end, at.function.__name__, at.calls))
        self.goto(nxt)
        self.current = nxt

    def access(self, frame: Frame, node: ast.AST) -> None:
        """A statement touches a shared location: a step, unless inside atomic or a rule."""
        if self.ghost or self.atomic:
            return
        if not frame.primitive:
            self.count(frame, node)
        self.step(frame, frame.statement or node)

    def touch(self, parent: Static | Dyn, fld: Field, frame: Frame, node: ast.AST) -> None:
        """An access to a field: a step, unless the field is the task's own."""
        if not fld.private:
            self.access(frame, node)
        elif not self.ghost and (not isinstance(parent, Static) or top_of(parent.value)[0] is not self.task):
            raise LoweringError(frame.place(node), f"{fld.name} is private to the task that owns it")

    def count(self, frame: Frame, node: ast.AST) -> None:
        frame.accesses += 1
        if frame.accesses > 1:
            raise LoweringError(
                frame.place(node),
                f"{frame.function.__name__}: the statement touches two shared places: split it, "
                'or use `with atomic("why")`',
            )

    def fail(self, condition: Expr, rule: str, text: str, *, always: bool = False) -> None:
        """The rule breaks when `condition` holds."""
        if condition == ir.const(0) or not (always or self.fails.wanted(rule)):
            return
        self.emit(("fail", condition, self.fails.number(rule, text)))

    # --- locals ------------------------------------------------------------------------------

    def kinds(self) -> dict[str, Kind]:
        """The kinds of all locals, by their lowered names."""
        found = dict(self._temp_kinds)
        for key, name in self._names.items():
            value = self.variables.get(key)
            if isinstance(value, Kind):
                found[name] = value
            elif isinstance(value, tuple):
                found[name] = value[0]
        return found

    def temp(self, value: Expr, kind: Kind) -> Dyn:
        """A fresh local that holds `value` from here on."""
        self._temps += 1
        name = f"t{self._temps}"
        self._temp_kinds[name] = kind
        self.emit(("let", name, value))
        return Dyn(("v", name), kind)

    def local(self, key: tuple[Any, ...]) -> str:
        if key not in self._names:
            self._names[key] = f"v{len(self._names)}"
        return self._names[key]

    def assign(self, frame: Frame, name: str, value: Value, node: ast.AST) -> None:
        """Bind a local; what it may hold is joined over all its assignments."""
        key = (frame.key, name)
        before = self.variables.get(key)
        after = self.join(before, value, frame, node, name)
        if after != before or type(after) is not type(before):
            self.variables[key] = after
            self.changed.append(name)
        if isinstance(after, Static):
            return
        if isinstance(value, Elements):
            raise LoweringError(frame.place(node), f"{name}: an array cannot be kept in a variable that changes")
        if isinstance(after, tuple):
            assert isinstance(value, Inner)
            self.emit(("let", self.local(key), value.parent.expr))
        else:
            self.emit(("let", self.local(key), self.encoded(value, after, frame, node)))

    def join(self, before: Any, value: Value, frame: Frame, node: ast.AST, name: str) -> Any:
        """What a variable may hold after one more assignment: Static, a Kind, or an Inner's type."""
        if isinstance(value, Inner):
            kind = (value.parent.kind, value.path, value.cls)
            if before is None or before == kind:
                return kind
            raise LoweringError(frame.place(node), f"{name} refers to different structures")
        if isinstance(value, Elements):
            if before is None or before == Static(value):
                return Static(value)
            raise LoweringError(frame.place(node), f"{name} refers to different arrays")
        if isinstance(value, Static) and (before is None or same(before, value)):
            return value
        mine = self.kind_of(value, frame, node)
        theirs = self.kind_of(before, frame, node) if isinstance(before, Static) else before
        return mine if theirs is None else self.wider(theirs, mine, frame, node, name)

    def wider(self, a: Kind | None, b: Kind | None, frame: Frame, node: ast.AST, name: str) -> Kind:
        if a is None or b is None:
            found = a or b
            assert found is not None
            return found
        if a == b:
            return a
        if a.what == "ref" and b.what == "ref":
            if a.cls is None or b.cls is None:
                return b if a.cls is None else a
            if self.concrete(a) == self.concrete(b):
                return a
        numbers = ("int", "bool", "enum")
        if a.what in numbers and b.what in numbers:
            return Kind("int", min(a.lo, b.lo), max(a.hi, b.hi))
        raise LoweringError(frame.place(node), f"{name} holds both {describe(a)} and {describe(b)}")

    def concrete(self, kind: Kind) -> str:
        records = self.system.instances(kind.cls)
        return type(records[0]).__name__ if records else record_class(kind.cls)

    def kind_of(self, value: Any, frame: Frame, node: ast.AST) -> Kind:
        """The kind of a value that has to live in a variable."""
        if isinstance(value, Dyn):
            return value.kind
        found = value.value if isinstance(value, Static) else value
        if isinstance(found, bool):
            return BIT
        if isinstance(found, int):
            return Kind("int", int(found), int(found))
        if found is None:
            return Kind("ref")
        if isinstance(found, Packed):
            return Kind("packed", cls=type(found))
        if isinstance(found, Record) and found._parent is None:
            return Kind("ref", cls=type(found).__name__)
        raise LoweringError(
            frame.place(node), f"{found!r} cannot be kept in a variable that changes: use a number or a record"
        )

    def read(self, frame: Frame, name: str) -> Value | None:
        if name in frame.aliases:
            found: Value = frame.aliases[name]
            return found
        key = (frame.key, name)
        known = self.variables.get(key)
        if known is None:
            return None
        if isinstance(known, Static):
            return known.value if isinstance(known.value, Elements) else known
        if isinstance(known, tuple):
            return Inner(Dyn(("v", self.local(key)), known[0]), known[1], known[2])
        return Dyn(("v", self.local(key)), known)

    # --- values --------------------------------------------------------------------------------

    def encoded(self, value: Value, kind: Kind | None, frame: Frame, node: ast.AST) -> Expr:
        """The number that stands for `value`."""
        if isinstance(value, Dyn):
            return value.expr
        if isinstance(value, Static):
            found = value.value
            if found is None:
                return ir.const(0)
            if isinstance(found, bool | int):
                return ir.const(int(found))
            if isinstance(found, Record) and found._parent is None:
                return ir.const(found._index + 1)
            if isinstance(found, Packed):
                return ir.const(self.system.encode(Kind("packed", cls=type(found)), found))
        raise LoweringError(frame.place(node), "this value cannot depend on the state")

    def truth(self, value: Value, frame: Frame, node: ast.AST) -> Expr:
        if isinstance(value, Static):
            return ir.const(bool(value.value))
        if isinstance(value, Dyn):
            if value.kind == BIT:
                return value.expr
            if value.kind.what in ("int", "enum"):
                return ir.binary("!=", value.expr, ir.const(0))
        raise LoweringError(frame.place(node), "a condition has to be a bool or a number: compare explicitly")

    def group(self, cls: str, path: str) -> Group:
        return self._groups[cls, path]

    def location(
        self, parent: Static | Dyn, path: str, fld: Field, index: Expr, frame: Frame, node: ast.AST
    ) -> tuple[Group, Expr]:
        """The group and the element of a field of a record, after the checks that an access needs."""
        if isinstance(parent, Static):
            top, record = top_of(parent.value)
            full = f"{record}.{path}" if record else path
            group = self.group(type(top).__name__, full)
            self.alive(group, ir.const(top._index), frame)
            return group, ir.binary("+", ir.const(top._index * group.length), index)
        cls = self.record_class(parent, frame, node)
        if not self.ghost:
            self.fail(
                ir.binary("==", parent.expr, ir.const(0)),
                "kernel-asserts",
                f"NULL pointer dereference in {frame.function.__name__}",
                always=True,
            )
        group = self.group(cls.__name__, path)
        record_index = ir.binary("-", parent.expr, ir.const(1))
        self.alive(group, record_index, frame)
        return group, ir.binary("+", ir.binary("*", record_index, ir.const(group.length)), index)

    def record_class(self, value: Dyn, frame: Frame, node: ast.AST) -> type[Record]:
        if value.kind.what != "ref" or value.kind.cls is None:
            raise LoweringError(frame.place(node), f"a field of {describe(value.kind)}: only records have fields")
        records = self.system.instances(value.kind.cls)
        if not records:
            raise LoweringError(frame.place(node), f"no {value.kind.cls} exists in this scenario")
        return type(records[0])

    def alive(self, group: Group, record_index: Expr, frame: Frame) -> None:
        """An access to a record that was freed breaks its class's rule."""
        rule = type(group.records[0]).freed_breaks
        if rule is None or group.path == "live" or self.ghost:
            return
        live = self.group(group.cls, "live")
        self.fail(
            ir.negate(("ld", live, record_index)),
            rule,
            f"{frame.function.__name__} reaches {group.cls}.{group.path} after it was freed",
        )

    def load(
        self, parent: Static | Dyn, path: str, fld: Field, index: Expr, frame: Frame, node: ast.AST
    ) -> Dyn:
        self.touch(parent, fld, frame, node)
        group, element = self.location(parent, path, fld, index, frame, node)
        if self.ghost:
            return Dyn(("ld", group, element), group.kind)
        return self.temp(("ld", group, element), group.kind)

    def store(
        self,
        parent: Static | Dyn,
        path: str,
        fld: Field,
        index: Expr,
        value: Value,
        frame: Frame,
        node: ast.AST,
    ) -> None:
        if self.ghost:
            raise LoweringError(frame.place(node), "a rule must not change the state")
        self.touch(parent, fld, frame, node)
        group, element = self.location(parent, path, fld, index, frame, node)
        kind = group.kind
        number = self.encoded(value, kind, frame, node)
        mine = self.kind_of(value, frame, node)
        self.wider(kind, mine, frame, node, f"{group.cls}.{path}")
        if kind.what == "int":
            label = f"{group.cls}.{path}"
            if mine.lo < kind.lo:
                self.fail(
                    ir.binary("<", number, ir.const(kind.lo)),
                    fld.below or "counter-range",
                    f"{label} falls below {kind.lo}",
                    always=True,
                )
            if mine.hi > kind.hi:
                self.fail(
                    ir.binary(">", number, ir.const(kind.hi)),
                    "counter-range",
                    f"{label} rises above {kind.hi}",
                    always=True,
                )
        elif kind.what == "bool" and mine != BIT:
            number = ir.binary("!=", number, ir.const(0))
        self.emit(("store", group, element, number))

    # --- statements ----------------------------------------------------------------------------

    def block(self, body: Iterable[ast.stmt], frame: Frame) -> None:
        for statement in body:
            if self.current is None:
                return
            outer, frame.statement = frame.statement, statement
            count, frame.accesses = frame.accesses, 0
            method = getattr(self, f"do_{type(statement).__name__}", None)
            if method is None:
                raise LoweringError(
                    frame.place(statement),
                    f"{frame.function.__name__}: {type(statement).__name__} is not in the language: "
                    "see docs/language.md",
                )
            method(statement, frame)
            frame.statement, frame.accesses = outer, count

    def do_Pass(self, node: ast.Pass, frame: Frame) -> None:  # noqa: N802
        pass

    def do_Expr(self, node: ast.Expr, frame: Frame) -> None:  # noqa: N802
        self.value(node.value, frame)

    def do_Return(self, node: ast.Return, frame: Frame) -> None:  # noqa: N802
        value = Static(None) if node.value is None else self.value(node.value, frame)
        self.leave(frame, value, node)

    def leave(self, frame: Frame, value: Value, node: ast.AST) -> None:
        """Go to the exit of the inlined call with a result."""
        if self.current is not None and frame.exit is not None:
            frame.returns.append((self.current, value, node))
            self.goto(frame.exit)

    def do_Assign(self, node: ast.Assign, frame: Frame) -> None:  # noqa: N802
        if len(node.targets) != 1:
            raise LoweringError(frame.place(node), "assign to one place at a time")
        self.assign_to(node.targets[0], self.value(node.value, frame), frame)

    def do_AnnAssign(self, node: ast.AnnAssign, frame: Frame) -> None:  # noqa: N802
        if node.value is not None:
            self.assign_to(node.target, self.value(node.value, frame), frame)

    def do_AugAssign(self, node: ast.AugAssign, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.target, ast.Name):
            if not self.atomic:
                raise LoweringError(
                    frame.place(node),
                    "a read and a write of shared state in one statement: use a primitive such as "
                    'atomic_inc, or `with atomic("why")`',
                )
            raise LoweringError(frame.place(node), "write x.f = x.f + 1 here: the place is named once a side")
        old = self.value(ast.Name(node.target.id, ast.Load(), lineno=node.lineno), frame)
        new = self.arithmetic(node.op, old, self.value(node.value, frame), frame, node)
        self.assign(frame, node.target.id, new, node)

    def assign_to(self, target: ast.expr, value: Value, frame: Frame) -> None:
        if isinstance(target, ast.Name):
            self.assign(frame, target.id, value, target)
            return
        if isinstance(target, ast.Attribute):
            parent, path, fld = self.field_of(self.value(target.value, frame), target, frame)
            if fld.kind is None or fld.length is not None:
                raise LoweringError(frame.place(target), f"{target.attr} cannot be assigned to")
            self.store(parent, path, fld, ir.const(0), value, frame, target)
            return
        if isinstance(target, ast.Subscript):
            array = self.value(target.value, frame)
            if isinstance(array, Elements):
                index = self.index(array, self.value(target.slice, frame), frame, target)
                self.store(array.parent, array.path, array.field, index, value, frame, target)
                return
        raise LoweringError(frame.place(target), "assign to a name, a field or an array element")

    def do_If(self, node: ast.If, frame: Frame) -> None:  # noqa: N802
        condition = self.truth(self.value(node.test, frame), frame, node)
        if condition[0] == "c":
            self.block(node.body if condition[1] else node.orelse, frame)
            return
        then, other, join = Node(), Node(), Node()
        self.finish(("if", condition, then, other))
        for start, body in ((then, node.body), (other, node.orelse)):
            self.current = start
            self.block(body, frame)
            self.goto(join)
        self.current = join if join.entries else None

    def do_While(self, node: ast.While, frame: Frame) -> None:  # noqa: N802
        if self.atomic or self.ghost:
            raise LoweringError(frame.place(node), "a while loop inside atomic: loop over range() or records")
        head, done = Node(), Node()
        self.goto(head)
        self.current = head
        condition = self.truth(self.value(node.test, frame), frame, node)
        body = Node()
        if condition[0] == "c":
            self.goto(body if condition[1] else done)
        else:
            self.finish(("if", condition, body, done))
        frame.loops.append((head, done))
        self.current = body
        self.block(node.body, frame)
        self.goto(head)
        frame.loops.pop()
        self.current = done if done.entries else None
        self.block(node.orelse, frame)

    def do_Break(self, node: ast.Break, frame: Frame) -> None:  # noqa: N802
        self.goto(frame.loops[-1][1])

    def do_Continue(self, node: ast.Continue, frame: Frame) -> None:  # noqa: N802
        self.goto(frame.loops[-1][0])

    def do_For(self, node: ast.For, frame: Frame) -> None:  # noqa: N802
        if not isinstance(node.target, ast.Name):
            raise LoweringError(frame.place(node), "a for loop has one variable")
        items = self.items(node.iter, frame)
        name = node.target.id
        done = Node()
        for number, item in enumerate(items):
            after = Node()
            frame.loops.append((after, done))
            self.unrolled += (number,)
            frame.aliases[name] = fixed(item)
            self.block(node.body, frame)
            del frame.aliases[name]
            self.unrolled = self.unrolled[:-1]
            frame.loops.pop()
            self.goto(after)
            self.current = after if after.entries else None
            if self.current is None:
                break
        self.goto(done)
        self.current = done if done.entries else None
        self.block(node.orelse, frame)

    def items(self, node: ast.expr, frame: Frame) -> list[Any]:
        """What a for loop runs over: fixed at set-up."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
            bounds = [self.value(a, frame) for a in node.args]
            if all(isinstance(b, Static) and isinstance(b.value, int) for b in bounds):
                return list(range(*(b.value for b in bounds)))  # type: ignore[union-attr]
            raise LoweringError(frame.place(node), "the bounds of range() have to be fixed at set-up")
        value = self.value(node, frame)
        if isinstance(value, Static) and not isinstance(value.value, Record):
            try:
                return list(value.value)
            except TypeError:
                pass
        raise LoweringError(frame.place(node), "loop over range() or over records that are fixed at set-up")

    def do_With(self, node: ast.With, frame: Frame) -> None:  # noqa: N802
        item = node.items[0].context_expr
        word = self.value(item.func, frame) if isinstance(item, ast.Call) else None
        if len(node.items) != 1 or word not in (Static(runtime.atomic), Static(runtime.ghost)):
            raise LoweringError(frame.place(node), 'the only with statement is `with atomic("why"):`')
        assert isinstance(item, ast.Call)
        if word == Static(runtime.ghost):
            self.ghost += 1
            self.block(node.body, frame)
            self.ghost -= 1
            return
        if not item.args or not isinstance(item.args[0], ast.Constant) or not item.args[0].value:
            raise LoweringError(frame.place(node), "atomic needs a reason")
        if not self.atomic and not self.ghost:
            if not frame.primitive:
                self.count(frame, node)
            self.step(frame, node)
        self.atomic += 1
        self.block(node.body, frame)
        self.atomic -= 1

    # --- expressions -----------------------------------------------------------------------------

    def value(self, node: ast.expr, frame: Frame) -> Value:
        method = getattr(self, f"ev_{type(node).__name__}", None)
        if method is None:
            raise LoweringError(
                frame.place(node),
                f"{frame.function.__name__}: {type(node).__name__} is not in the language: see docs/language.md",
            )
        result: Value = method(node, frame)
        return result

    def ev_Constant(self, node: ast.Constant, frame: Frame) -> Value:  # noqa: N802
        return Static(node.value)

    def ev_JoinedStr(self, node: ast.JoinedStr, frame: Frame) -> Value:  # noqa: N802
        return Static(ast.unparse(node))

    def ev_Tuple(self, node: ast.Tuple, frame: Frame) -> Value:  # noqa: N802
        parts = [self.value(e, frame) for e in node.elts]
        if all(isinstance(p, Static | Elements) for p in parts):
            return Static(tuple(p.value if isinstance(p, Static) else p for p in parts))
        raise LoweringError(frame.place(node), "a tuple of values that depend on the state")

    def ev_Lambda(self, node: ast.Lambda, frame: Frame) -> Value:  # noqa: N802
        return Static(Thunk(node, frame))

    def ev_Name(self, node: ast.Name, frame: Frame) -> Value:  # noqa: N802
        if node.id in frame.names:
            found = self.read(frame, node.id)
            if found is not None:
                return found
            raise LoweringError(frame.place(node), f"{node.id} is read before it is assigned")
        function = frame.function
        closure = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        if node.id in closure:
            return Static(closure[node.id].cell_contents)
        if node.id in function.__globals__:
            return Static(function.__globals__[node.id])
        if hasattr(builtins, node.id):
            return Static(getattr(builtins, node.id))
        raise LoweringError(frame.place(node), f"the name {node.id} is not defined")

    def field_of(
        self, value: Value, node: ast.Attribute, frame: Frame
    ) -> tuple[Static | Dyn, str, Field]:
        """The record, path and declaration behind `value.attr`."""
        if isinstance(value, Inner):
            fld = value.cls._fields.get(node.attr)
            if fld is not None:
                return value.parent, f"{value.path}.{node.attr}", fld
        elif isinstance(value, Static) and isinstance(value.value, Record):
            fld = value.value._fields.get(node.attr)
            if fld is not None:
                return value, node.attr, fld
        elif isinstance(value, Dyn) and value.kind.what == "ref":
            cls = self.record_class(value, frame, node)
            fld = cls._fields.get(node.attr)
            if fld is not None:
                return value, node.attr, fld
        raise LoweringError(frame.place(node), f"there is no field {node.attr}")

    def ev_Attribute(self, node: ast.Attribute, frame: Frame) -> Value:  # noqa: N802
        value = self.value(node.value, frame)
        if isinstance(value, Static) and not isinstance(value.value, Record):
            if value.value is None:
                self.fail(
                    ir.const(1),
                    "kernel-asserts",
                    f"NULL pointer dereference in {frame.function.__name__}",
                    always=True,
                )
                self.finish(("end",))
                return Static(None)
            try:
                return Static(getattr(value.value, node.attr))
            except AttributeError:
                raise LoweringError(
                    frame.place(node), f"{value.value!r} has no attribute {node.attr}"
                ) from None
        if isinstance(value, Dyn) and value.kind.what == "packed":
            return self.member(value, node, frame)
        if isinstance(value, Static) and node.attr in ("_index", "_name"):
            return Static(getattr(value.value, node.attr))
        if isinstance(value, Dyn) and node.attr == "_index":
            count = len(self.system.instances(value.kind.cls))
            return Dyn(ir.binary("-", value.expr, ir.const(1)), Kind("int", 0, count - 1))
        parent, path, fld = self.field_of(value, node, frame)
        if fld.embed is not None:
            if isinstance(parent, Static):
                return Static(parent.value._values[node.attr])
            return Inner(parent, path, fld.embed)
        if fld.kind is None:
            return self.constant_field(parent, node, frame)
        if fld.length is not None:
            return Elements(parent, path, fld)
        return self.load(parent, path, fld, ir.const(0), frame, node)

    def constant_field(self, parent: Static | Dyn, node: ast.Attribute, frame: Frame) -> Value:
        """A field that is fixed at set-up, of a record that may depend on the state."""
        if isinstance(parent, Static):
            return Static(parent.value._values[node.attr])
        records = self.system.instances(parent.kind.cls)
        values = [Static(r._values[node.attr]) for r in records]
        if all(same(values[0], v) for v in values):
            return values[0]
        return self.table(values, ir.binary("-", parent.expr, ir.const(1)), frame, node)

    def table(self, values: list[Static], index: Expr, frame: Frame, node: ast.AST) -> Dyn:
        """The value at `index` of a list that is fixed at set-up."""
        kind = self.kind_of(values[0], frame, node)
        numbers = [self.encoded(v, None, frame, node) for v in values]
        for v in values[1:]:
            kind = self.wider(kind, self.kind_of(v, frame, node), frame, node, "the list")
        chosen = numbers[-1]
        for position in range(len(numbers) - 2, -1, -1):
            chosen = ir.select(ir.binary("==", index, ir.const(position)), numbers[position], chosen)
        return Dyn(chosen, kind)

    def member(self, value: Dyn, node: ast.Attribute, frame: Frame) -> Value:
        """A member of a packed word."""
        shift = 0
        for name, kind in value.kind.cls._members.items():
            width = self.system.bits(kind)
            if name == node.attr:
                raw = ir.binary(
                    "&", ir.binary(">>", value.expr, ir.const(shift)), ir.const((1 << width) - 1)
                )
                return Dyn(ir.binary("+", raw, ir.const(member_low(kind))), kind)
            shift += width
        prop = getattr(value.kind.cls, node.attr, None)
        if isinstance(prop, property) and isinstance(prop.fget, FunctionType):
            return self.inline(prop.fget, [value], {}, frame, node)
        raise LoweringError(frame.place(node), f"{value.kind.cls.__name__} has no member {node.attr}")

    def ev_Subscript(self, node: ast.Subscript, frame: Frame) -> Value:  # noqa: N802
        base = self.value(node.value, frame)
        index = self.value(node.slice, frame)
        if isinstance(base, Elements):
            element = self.index(base, index, frame, node)
            return self.load(base.parent, base.path, base.field, element, frame, node)
        if isinstance(base, Static) and isinstance(index, Static):
            return Static(base.value[index.value])
        if isinstance(base, Static) and isinstance(index, Dyn):
            return self.table([Static(v) for v in base.value], index.expr, frame, node)
        raise LoweringError(frame.place(node), "index an array field or a list that is fixed at set-up")

    def index(self, array: Elements, index: Value, frame: Frame, node: ast.AST) -> Expr:
        number = self.encoded(index, None, frame, node)
        if isinstance(array.parent, Static):
            top, path = top_of(array.parent.value)
            group = self.group(type(top).__name__, f"{path}.{array.path}" if path else array.path)
        else:
            group = self.group(self.record_class(array.parent, frame, node).__name__, array.path)
        kind = self.kind_of(index, frame, node)
        if kind.lo < 0 or kind.hi >= group.length:
            outside = ir.binary(
                "or", ir.binary("<", number, ir.const(0)), ir.binary(">=", number, ir.const(group.length))
            )
            self.fail(outside, "counter-range", f"an index of {group.cls}.{group.path}", always=True)
        return number

    def ev_UnaryOp(self, node: ast.UnaryOp, frame: Frame) -> Value:  # noqa: N802
        value = self.value(node.operand, frame)
        if isinstance(node.op, ast.Not):
            truth = ir.negate(self.truth(value, frame, node))
            return Static(bool(truth[1])) if truth[0] == "c" else Dyn(truth, BIT)
        if isinstance(value, Static):
            return Static(~value.value if isinstance(node.op, ast.Invert) else -value.value)
        assert isinstance(value, Dyn)
        if isinstance(node.op, ast.USub):
            return Dyn(("-", ir.const(0), value.expr), Kind("int", -value.kind.hi, -value.kind.lo))
        return Dyn(("-", ir.const(-1), value.expr), Kind("int", -1 - value.kind.hi, -1 - value.kind.lo))

    def ev_BinOp(self, node: ast.BinOp, frame: Frame) -> Value:  # noqa: N802
        left = self.value(node.left, frame)
        return self.arithmetic(node.op, left, self.value(node.right, frame), frame, node)

    def arithmetic(self, op: ast.operator, a: Value, b: Value, frame: Frame, node: ast.AST) -> Value:
        sign = BINARY.get(type(op))
        if sign is None:
            raise LoweringError(frame.place(node), f"{type(op).__name__} is not in the language")
        if isinstance(a, Static) and isinstance(b, Static):
            return Static(ir.OPS[sign](a.value, b.value))
        ka, kb = self.kind_of(a, frame, node), self.kind_of(b, frame, node)
        if {ka.what, kb.what} - {"int", "bool", "enum"}:
            raise LoweringError(frame.place(node), "arithmetic needs numbers")
        e = ir.binary(sign, self.encoded(a, ka, frame, node), self.encoded(b, kb, frame, node))
        return Dyn(e, interval(sign, ka, kb))

    def ev_Compare(self, node: ast.Compare, frame: Frame) -> Value:  # noqa: N802
        result: Expr = ir.const(1)
        left = self.value(node.left, frame)
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node, frame)
            result = ir.binary("and", result, self.comparison(op, left, right, frame, node))
            left = right
        return Static(bool(result[1])) if result[0] == "c" else Dyn(result, BIT)

    def comparison(self, op: ast.cmpop, a: Value, b: Value, frame: Frame, node: ast.AST) -> Expr:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(b, Static):
                raise LoweringError(frame.place(node), "`in` needs a tuple that is fixed at set-up")
            found: Expr = ir.const(0)
            for item in b.value:
                found = ir.binary("or", found, self.comparison(ast.Eq(), a, Static(item), frame, node))
            return ir.negate(found) if isinstance(op, ast.NotIn) else found
        if isinstance(a, Static) and isinstance(b, Static):
            if isinstance(op, ast.Is | ast.Eq):
                return ir.const(same(a, b))
            if isinstance(op, ast.IsNot | ast.NotEq):
                return ir.const(not same(a, b))
        sign = COMPARE[type(op)]
        ka, kb = self.kind_of(a, frame, node), self.kind_of(b, frame, node)
        self.wider(ka, kb, frame, node, "the comparison")
        return ir.binary(sign, self.encoded(a, ka, frame, node), self.encoded(b, kb, frame, node))

    def ev_BoolOp(self, node: ast.BoolOp, frame: Frame) -> Value:  # noqa: N802
        is_and = isinstance(node.op, ast.And)
        result = self.truth(self.value(node.values[0], frame), frame, node)
        for operand in node.values[1:]:
            if result[0] == "c" and bool(result[1]) != is_and:
                break
            result = self.short_circuit(is_and, result, operand, frame)
        return Static(bool(result[1])) if result[0] == "c" else Dyn(result, BIT)

    def short_circuit(self, is_and: bool, left: Expr, operand: ast.expr, frame: Frame) -> Expr:
        """`left and operand`, evaluating the operand only where the kernel would."""
        if left[0] == "c":
            return self.truth(self.value(operand, frame), frame, operand)
        start = Node()
        before, self.current = self.current, start
        right = self.truth(self.value(operand, frame), frame, operand)
        if self.current is start and not start.effects:
            self.current = before
            return ir.binary("and" if is_and else "or", left, right)
        result = self.temp(right, BIT)
        short, join = Node(effects=[("let", result.expr[1], ir.const(not is_and))]), Node()
        self.goto(join)
        short.term = ("goto", join)
        self.current = before
        self.finish(("if", left, start, short) if is_and else ("if", left, short, start))
        self.current = join
        return result.expr

    def ev_IfExp(self, node: ast.IfExp, frame: Frame) -> Value:  # noqa: N802
        condition = self.truth(self.value(node.test, frame), frame, node)
        if condition[0] == "c":
            return self.value(node.body if condition[1] else node.orelse, frame)
        then, other, join = Node(), Node(), Node()
        name = f"<{node.lineno}:{node.col_offset}>"
        self.finish(("if", condition, then, other))
        for start, part in ((then, node.body), (other, node.orelse)):
            self.current = start
            self.assign(frame, name, self.value(part, frame), node)
            self.goto(join)
        self.current = join
        found = self.read(frame, name)
        assert found is not None
        return found

    # --- calls -----------------------------------------------------------------------------------

    def ev_Call(self, node: ast.Call, frame: Frame) -> Value:  # noqa: N802
        func = node.func
        if (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Call)
            and isinstance(func.value.func, ast.Name)
            and func.value.func.id == "super"
        ):
            return self.call_super(func.attr, node, frame)
        target = self.value(func, frame)
        if not isinstance(target, Static):
            raise LoweringError(frame.place(node), "the function that is called has to be fixed at set-up")
        function = target.value
        special = SPECIAL.get(function) if isinstance(function, FunctionType | type) else None
        if special is not None:
            return special(self, node, frame)
        if isinstance(function, Thunk):
            return self.thunk(function, frame)
        if isinstance(function, type) and issubclass(function, Packed):
            return self.packed(function, node, frame)
        if function in (sum, any, all):
            return self.fold(function, node, frame)
        args = [self.value(a, frame) for a in node.args]
        kwargs = {k.arg: self.value(k.value, frame) for k in node.keywords if k.arg is not None}
        if function is len and isinstance(args[0], Elements):
            return Static(self.length(args[0], frame, node))
        if function in PURE:
            return self.pure(function, args, frame, node)
        if isinstance(function, MethodType):
            return self.call_method(function, args, kwargs, frame, node)
        if isinstance(function, FunctionType):
            if isinstance(func, ast.Attribute) and self.is_design(func.value, frame):
                return self.call_watched(function, args, kwargs, frame, node)
            return self.call_primitive(function, args, kwargs, frame, node)
        raise LoweringError(frame.place(node), f"{ast.unparse(func)} cannot be called in the language")

    def is_design(self, node: ast.expr, frame: Frame) -> bool:
        value = self.value(node, frame)
        return isinstance(value, Static) and isinstance(value.value, Specification)

    def call_primitive(
        self, function: FunctionType, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.Call
    ) -> Value:
        if function.__code__ in runtime.PRIMITIVES and not frame.primitive:
            before = self._steps
            result = self.inline(function, args, kwargs, frame, node)
            if self._steps != before:
                self.count(frame, node)
            return result
        return self.inline(function, args, kwargs, frame, node)

    def call_method(
        self, method: MethodType, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.Call
    ) -> Value:
        function = method.__func__
        assert isinstance(function, FunctionType)
        args = [Static(method.__self__), *args]
        if isinstance(method.__self__, System):
            return self.pure(method, args[1:], frame, node)
        if isinstance(method.__self__, Specification):
            return self.call_watched(function, args, kwargs, frame, node)
        return self.inline(function, args, kwargs, frame, node)

    def call_watched(
        self, function: Any, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.Call
    ) -> Value:
        """A call of a design's function, with the checks that rules hang on its return."""
        original = getattr(type(self.system.k), function.__name__, None)
        if function.__name__ == "watched":
            assert isinstance(node.func, ast.Attribute)
            original = getattr(type(self.system.k), node.func.attr)
            args = [Static(self.system.k), *args]
        assert isinstance(original, FunctionType)
        result = self.inline(original, args, kwargs, frame, node)
        for monitor in self.system.monitors:
            if monitor.after == original.__name__ and self.current is not None and not self.ghost:
                self.monitor(monitor, original, args, kwargs, result, frame, node)
        return result

    def monitor(
        self,
        monitor: Any,
        function: FunctionType,
        args: list[Value],
        kwargs: dict[str, Value],
        result: Value,
        frame: Frame | None,
        node: ast.AST,
    ) -> None:
        if not self.fails.wanted(monitor.rule):
            return
        bound = self.bind(function, args, kwargs, frame, node)
        check: FunctionType = monitor.check
        names = check.__code__.co_varnames[: check.__code__.co_argcount]
        available = {**bound, "result": result}
        self.ghost += 1
        self.inline(
            check, [Static(self.system.k)], {n: available[n] for n in names[1:] if n in available}, frame, node
        )
        self.ghost -= 1

    def call_super(self, name: str, node: ast.Call, frame: Frame) -> Value:
        design = type(self.system.k)
        at = frame
        while at.cls is None and at.outer is not None:
            at = at.outer
        mro = design.__mro__
        position = mro.index(at.cls) if at.cls in mro else -1
        for cls in mro[position + 1 :]:
            if name in vars(cls):
                args = [Static(self.system.k)] + [self.value(a, frame) for a in node.args]
                kwargs = {k.arg: self.value(k.value, frame) for k in node.keywords if k.arg}
                return self.inline(vars(cls)[name], args, kwargs, frame, node)
        raise LoweringError(frame.place(node), f"super() has no {name}")

    def bind(
        self,
        function: FunctionType,
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> dict[str, Value]:
        code = function.__code__
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        bound = dict(zip(names, args, strict=False))
        defaults = function.__defaults__ or ()
        preset = dict(
            zip(names[code.co_argcount - len(defaults) : code.co_argcount], defaults, strict=True)
        )
        preset.update(function.__kwdefaults__ or {})
        for name in names:
            if name not in bound:
                if name in kwargs:
                    bound[name] = kwargs[name]
                elif name in preset:
                    bound[name] = Static(preset[name])
                else:
                    place = frame.place(node) if frame else function.__name__
                    raise LoweringError(place, f"{function.__name__}() lacks the argument {name}")
        if len(args) > len(names) or set(kwargs) - set(names):
            raise LoweringError(
                frame.place(node) if frame else function.__name__,
                f"{function.__name__}() takes the arguments {', '.join(names)}",
            )
        return bound

    def inline(
        self,
        function: FunctionType,
        args: list[Value],
        kwargs: dict[str, Value],
        frame: Frame | None,
        node: ast.AST,
    ) -> Value:
        """The body of `function` in place of a call."""
        if function.__code__ in runtime.AT_SETUP:
            return self.evaluate(function, args, frame, node)
        definition = function_ast(function)
        primitive = function.__code__ in runtime.PRIMITIVES
        calls = frame.calls if frame else ()
        if not primitive:
            calls = (*calls, function.__name__)
        if len(calls) > MAX_DEPTH:
            raise LoweringError(f"{function.__code__.co_filename}:{definition.lineno}", "recursion is not in the language")
        key = (
            frame.key if frame else (),
            getattr(node, "lineno", 0),
            getattr(node, "col_offset", 0),
            self.unrolled,
            function.__qualname__,
        )
        inner = Frame(
            key, function, self.defining_class(function), calls, primitive, local_names(definition), outer=frame
        )
        inner.exit = Node()
        stored = assigned_names(definition)
        for name, value in self.bind(function, args, kwargs, frame, node).items():
            if name in stored:
                self.assign(inner, name, value, node)
            elif isinstance(value, Dyn) and value.expr[0] not in "vc":
                inner.aliases[name] = self.temp(value.expr, value.kind)
            else:
                inner.aliases[name] = value
        self.block(definition.body, inner)
        self.leave(inner, Static(None), definition)
        self.current = inner.exit if inner.exit.entries else None
        return self.result(inner)

    def evaluate(
        self, function: FunctionType, args: list[Value], frame: Frame | None, node: ast.AST
    ) -> Value:
        """The result of a function over what set-up has fixed."""
        if not all(isinstance(a, Static) for a in args):
            place = frame.place(node) if frame else function.__name__
            raise LoweringError(place, f"the arguments of {function.__name__}() have to be fixed at set-up")
        with runtime.ghost():
            return Static(function(*(a.value for a in args)))  # type: ignore[union-attr]

    def result(self, inner: Frame) -> Value:
        """What an inlined call returns: one value, or a variable that its returns set."""
        if len(inner.returns) == 1:
            found: Value = inner.returns[0][1]
            return found
        after = self.current
        for node, value, place in inner.returns:
            self.current = node
            self.assign(inner, "<return>", value, place)
        self.current = after
        return self.read(inner, "<return>") or Static(None)

    def defining_class(self, function: FunctionType) -> type | None:
        for cls in type(self.system.k).__mro__:
            if vars(cls).get(function.__name__) is function:
                return cls
        return None

    def thunk(self, thunk: Thunk, caller: Frame) -> Value:
        """The body of a lambda; its access is a step of the statement that calls it."""
        inner = Frame(
            thunk.frame.key,
            thunk.frame.function,
            thunk.frame.cls,
            thunk.frame.calls,
            caller.primitive,
            thunk.frame.names,
            statement=thunk.frame.statement,
            outer=thunk.frame.outer if thunk.frame.primitive else thunk.frame,
            aliases=thunk.frame.aliases,
        )
        return self.value(thunk.node.body, inner)

    def packed(self, cls: type[Packed], node: ast.Call, frame: Frame) -> Value:
        """A packed word built from its members."""
        given = {k.arg: self.value(k.value, frame) for k in node.keywords if k.arg is not None}
        return self.build(cls, given, None, frame, node)

    def build(
        self, cls: type[Packed], given: dict[str, Value], old: Value | None, frame: Frame, node: ast.AST
    ) -> Value:
        unknown = set(given) - set(cls._members)
        if unknown:
            raise LoweringError(frame.place(node), f"{cls.__name__} has no member {min(unknown)}")
        if old is None and all(isinstance(v, Static) for v in given.values()):
            return Static(cls(**{n: v.value for n, v in given.items()}))  # type: ignore[union-attr]
        word: Expr = ir.const(0)
        shift = 0
        for name, kind in cls._members.items():
            width = self.system.bits(kind)
            if name in given:
                part = self.encoded(given[name], kind, frame, node)
                part = ir.binary("-", part, ir.const(member_low(kind)))
            elif old is None:
                part = ir.const(self.system.encode(kind, kind.default()) - member_low(kind))
            else:
                whole = self.encoded(old, Kind("packed", cls=cls), frame, node)
                part = ir.binary("&", ir.binary(">>", whole, ir.const(shift)), ir.const((1 << width) - 1))
            word = ir.binary("|", word, ir.binary("<<", part, ir.const(shift)))
            shift += width
        return Dyn(word, Kind("packed", cls=cls))

    def fold(self, function: Any, node: ast.Call, frame: Frame) -> Value:
        """sum(), any() or all() of a generator over what set-up has fixed."""
        generator = node.args[0] if len(node.args) == 1 else None
        if not isinstance(generator, ast.GeneratorExp) or not (self.ghost or self.atomic):
            raise LoweringError(
                frame.place(node), f"{function.__name__}() takes a generator, inside atomic or a rule"
            )
        parts = list(self.generated(generator, 0, frame))
        if function is sum:
            total: Value = Static(0)
            for part in parts:
                total = self.arithmetic(ast.Add(), total, part, frame, node)
            return total
        result = ir.const(function is all)
        for part in parts:
            truth = self.truth(part, frame, node)
            result = ir.binary("and" if function is all else "or", result, truth)
        return Static(bool(result[1])) if result[0] == "c" else Dyn(result, BIT)

    def generated(self, node: ast.GeneratorExp, depth: int, frame: Frame) -> Iterable[Value]:
        if depth == len(node.generators):
            yield self.value(node.elt, frame)
            return
        part = node.generators[depth]
        if not isinstance(part.target, ast.Name) or part.ifs:
            raise LoweringError(frame.place(node), "a generator has plain variables and no conditions")
        for number, item in enumerate(self.items(part.iter, frame)):
            self.unrolled += (number,)
            shadowed = frame.aliases.get(part.target.id)
            frame.aliases[part.target.id] = fixed(item)
            yield from self.generated(node, depth + 1, frame)
            del frame.aliases[part.target.id]
            if shadowed is not None:
                frame.aliases[part.target.id] = shadowed
            self.unrolled = self.unrolled[:-1]

    def length(self, array: Elements, frame: Frame, node: ast.AST) -> int:
        """The length of an array field; it has to be the same in every record that is meant."""
        if isinstance(array.parent, Static):
            return len(array.parent.value._values[array.field.name])
        lengths = {
            len(r._values[array.field.name]) for r in self.system.instances(array.parent.kind.cls)
        }
        if len(lengths) != 1:
            raise LoweringError(frame.place(node), f"the arrays {array.path} differ in length")
        return lengths.pop()

    def pure(self, function: Any, args: list[Value], frame: Frame, node: ast.Call) -> Value:
        if all(isinstance(a, Static) for a in args):
            return Static(function(*(a.value for a in args)))  # type: ignore[union-attr]
        if function in (bool, int) and isinstance(args[0], Dyn):
            if function is bool:
                return Dyn(self.truth(args[0], frame, node), BIT)
            return Dyn(args[0].expr, Kind("int", args[0].kind.lo, args[0].kind.hi))
        if function in (min, max) and len(args) == 2:
            a, b = (self.encoded(x, None, frame, node) for x in args)
            kinds = [self.kind_of(x, frame, node) for x in args]
            pick = ir.select(ir.binary("<" if function is min else ">", a, b), a, b)
            return Dyn(pick, Kind("int", min(k.lo for k in kinds), max(k.hi for k in kinds)))
        raise LoweringError(frame.place(node), f"{function.__name__}() of a value that depends on the state")

    # --- the words of the language -------------------------------------------------------------

    def sp_when(self, node: ast.Call, frame: Frame) -> Value:
        guard = self.value(node.args[0], frame)
        assert isinstance(guard, Static) and self.current is not None
        if self.current.step is None or self.atomic != 1:
            raise LoweringError(frame.place(node), "when() has to be the first statement of an atomic block")
        step = self.current
        self.emit(("guard", self.truth(self.thunk(guard.value, frame), frame, node)))
        lost = node.args[1] if len(node.args) > 1 else next((k.value for k in node.keywords), None)
        if lost is not None:
            condition = self.value(lost, frame)
            assert isinstance(condition, Static)
            if condition.value is not None:
                self.ghost += 1
                after, self.current = self.current, Node()
                truth = self.truth(self.thunk(condition.value, frame), frame, node)
                known = {e[1]: e[2] for e in self.current.effects if e[0] == "let"}
                step.lost = inline_lets(truth, known)
                self.current = after
                self.ghost -= 1
        return Static(None)

    def sp_choose(self, node: ast.Call, frame: Frame) -> Value:
        count = self.value(node.args[0], frame)
        if not isinstance(count, Static) or not isinstance(count.value, int) or count.value < 1:
            raise LoweringError(frame.place(node), "choose() needs a number that is fixed at set-up")
        if self.atomic or self.ghost:
            raise LoweringError(frame.place(node), "choose() is a step of its own: not inside atomic")
        self.count(frame, node)
        self.step(frame, frame.statement or node)
        assert self.current is not None
        self.current.fanout = count.value
        self._temps += 1
        name = f"t{self._temps}"
        self._temp_kinds[name] = Kind("int", 0, count.value - 1)
        self.emit(("choice", name))
        return Dyn(("v", name), self._temp_kinds[name])

    def sp_current(self, node: ast.Call, frame: Frame) -> Value:
        return Static(self.task)

    def sp_tasks(self, node: ast.Call, frame: Frame) -> Value:
        return Static(tuple(self.system.tasks))

    def sp_ensure(self, node: ast.Call, frame: Frame) -> Value:
        rule, condition = (self.value(a, frame) for a in node.args[:2])
        assert isinstance(rule, Static)
        broken = ir.negate(self.truth(condition, frame, node))
        at = frame
        while at.primitive and at.outer is not None:
            at = at.outer
        self.fail(broken, rule.value, f"{at.function.__name__}, {at.place(at.statement or node)}")
        return Static(None)

    def sp_note(self, node: ast.Call, frame: Frame) -> Value:
        return Static(None)

    def sp_free(self, node: ast.Call, frame: Frame) -> Value:
        record = self.value(node.args[0], frame)
        target = ast.Attribute(node.args[0], "live", lineno=node.lineno, end_lineno=node.end_lineno)
        assert isinstance(record, Static | Dyn)
        parent, path, fld = self.field_of(record, target, frame)
        self.store(parent, path, fld, ir.const(0), Static(False), frame, node)
        return Static(None)

    def sp_replace(self, node: ast.Call, frame: Frame) -> Value:
        old = self.value(node.args[0], frame)
        given = {k.arg: self.value(k.value, frame) for k in node.keywords if k.arg is not None}
        if isinstance(old, Static) and all(isinstance(v, Static) for v in given.values()):
            return Static(replace(old.value, **{n: v.value for n, v in given.items()}))  # type: ignore[union-attr]
        cls = type(old.value) if isinstance(old, Static) else old.kind.cls  # type: ignore[union-attr]
        return self.build(cls, given, old, frame, node)


SPECIAL: dict[Any, Callable[[Lowering, ast.Call, Frame], Value]] = {
    runtime.when: Lowering.sp_when,
    runtime.choose: Lowering.sp_choose,
    runtime.current: Lowering.sp_current,
    runtime.tasks: Lowering.sp_tasks,
    runtime.ensure: Lowering.sp_ensure,
    runtime.free: Lowering.sp_free,
    runtime.note: Lowering.sp_note,
    replace: Lowering.sp_replace,
}
PURE = (len, min, max, bool, int, abs, range)
BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.Is: "==",
    ast.NotEq: "!=",
    ast.IsNot: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


def group_table(system: System) -> dict[tuple[str, str], Group]:
    if not hasattr(system, "_group_table"):
        system._group_table = {(g.cls, g.path): g for g in system.groups()}  # type: ignore[attr-defined]
    return system._group_table  # type: ignore[attr-defined,no-any-return]


def same(a: Any, b: Any) -> bool:
    """Whether two fixed values are the same."""
    x = a.value if isinstance(a, Static) else a
    y = b.value if isinstance(b, Static) else b
    if isinstance(x, bool | int) and isinstance(y, bool | int):
        return x == y and isinstance(x, bool) == isinstance(y, bool)
    return x is y or (type(x) is type(y) and bool(x == y))


def fixed(item: Any) -> Value:
    """An item of a list that is fixed at set-up; array fields stand for themselves."""
    return item if isinstance(item, Elements) else Static(item)


def describe(kind: Kind) -> str:
    return {"ref": f"a {kind.cls or 'NULL'} pointer", "packed": f"a {getattr(kind.cls, '__name__', '')}"}.get(
        kind.what, f"a number in {kind.lo}..{kind.hi}"
    )


def top_of(record: Record) -> tuple[Record, str]:
    """The outermost record, and the path from it to an embedded one."""
    path: list[str] = []
    while record._parent is not None:
        path.insert(0, record._name.removeprefix(record._parent._name + "."))
        record = record._parent
    return record, ".".join(path)


def local_names(definition: ast.FunctionDef) -> frozenset[str]:
    names = {a.arg for a in definition.args.args + definition.args.kwonlyargs}
    for node in ast.walk(definition):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def assigned_names(definition: ast.FunctionDef) -> set[str]:
    return {n.id for n in ast.walk(definition) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def interval(sign: str, a: Kind, b: Kind) -> Kind:
    """The range of `a sign b`."""
    if sign in ("+", "-", "*"):
        ends = [ir.OPS[sign](x, y) for x in (a.lo, a.hi) for y in (b.lo, b.hi)]
        return Kind("int", min(ends), max(ends))
    if sign in ("&", "|", "^") and a.lo >= 0 and b.lo >= 0:
        if sign == "&":
            return Kind("int", 0, min(a.hi, b.hi))
        return Kind("int", 0, (1 << max(a.hi.bit_length(), b.hi.bit_length())) - 1)
    if sign == "&" and (a.lo >= 0 or b.lo >= 0):
        return Kind("int", 0, a.hi if a.lo >= 0 else b.hi)
    if sign == "<<" and a.lo >= 0 and b.lo >= 0:
        return Kind("int", 0, a.hi << b.hi)
    if sign == ">>" and a.lo >= 0:
        return Kind("int", 0, a.hi)
    if sign == "%" and b.lo > 0:
        return Kind("int", 0, b.hi - 1)
    if sign == "//" and a.lo >= 0 and b.lo > 0:
        return Kind("int", 0, a.hi // b.lo)
    return Kind("int", -(1 << 40), 1 << 40)


def inline_lets(e: Expr, lets: dict[str, Expr]) -> Expr:
    def leaf(x: Expr) -> Expr:
        return inline_lets(lets[x[1]], lets) if x[0] == "v" and x[1] in lets else x

    return ir.rewrite(e, leaf)


def successors(node: Node) -> tuple[Node, ...]:
    if not node.term or node.term[0] == "end":
        return ()
    return (node.term[1],) if node.term[0] == "goto" else (node.term[2], node.term[3])


__all__ = ["Fails", "Node", "Place", "lower_check", "lower_program", "successors"]
