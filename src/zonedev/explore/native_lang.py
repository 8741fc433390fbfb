"""The language of the native engine's loops: Python functions of 64-bit integers, as LLVM IR.

A function marked with `kernel` takes and returns whole numbers of 64 bits, which wrap; one
that returns nothing returns 0.  It has local variables, `if`, `while`, `for ... in range(...)`,
`break`, `continue` and `return`; the operators + - * & | ^ ~ << >> (the last keeps the sign),
comparisons, `and`, `or`, `not` and conditional expressions; min() and max() of two; calls of other
kernels, of intrinsics (native_memory) and of what a model defines (`external`).  A global name
is a number that is known when the code is generated: the module's, or one of `constants`.

Anything else is refused with its line, when the kernels are compiled.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any

from zonedev.lang.errors import SpecError

OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "ashr",
    ast.FloorDiv: "udiv",
    ast.Mod: "urem",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "slt",
    ast.LtE: "sle",
    ast.Gt: "sgt",
    ast.GtE: "sge",
}
WRAP = 1 << 64


def kernel(function: Callable[..., int]) -> Callable[..., int]:
    """Mark a function as one of the native engine's; it cannot be called from Python."""
    function.native = "kernel"  # type: ignore[attr-defined]
    return function


def external(function: Callable[..., int]) -> Callable[..., int]:
    """Mark a function that the compiled model defines; only its name and its arguments count."""
    function.native = "external"  # type: ignore[attr-defined]
    return function


def intrinsic(*lines: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Mark a function that stands for a few instructions.

    In the lines, $a is the argument a, $0 the result, and $1, $2, ... are temporary names.
    """

    def mark(function: Callable[..., int]) -> Callable[..., int]:
        function.native = lines  # type: ignore[attr-defined]
        return function

    return mark


def generate(entries: Iterable[Callable[..., int]], constants: Mapping[str, int], declared: str) -> str:
    """The IR of a module that has the kernels `entries`, and all that they call.

    `declared` are declarations of what the intrinsics use.
    """
    parts, externals = [declared], dict[str, str]()
    exported = list(entries)
    todo, seen = list(exported), {id(f) for f in exported}
    while todo:
        function = todo.pop()
        translated = Translation(function, constants, function in exported)
        parts += translated.text()
        for called in translated.called:
            if called.native == "external":  # type: ignore[attr-defined]
                arguments = ", ".join("i64" for _ in inspect.signature(called).parameters)
                externals[called.__name__] = f"declare i64 @{called.__name__}({arguments})"
            elif id(called) not in seen:
                seen.add(id(called))
                todo.append(called)
    return "\n".join([*parts, *externals.values()]) + "\n"


class Translation:
    """One kernel.  Variables live in memory, from which LLVM takes them into registers."""

    def __init__(self, function: Callable[..., int], constants: Mapping[str, int], exported: bool) -> None:
        assert isinstance(function, FunctionType)
        self.function, self.constants, self.exported = function, constants, exported
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        self.tree = tree
        self.arguments = [a.arg for a in tree.args.args]
        self.variables = set(self.arguments)
        self.lines: list[str] = []
        self.called: list[Callable[..., int]] = []
        self.loops: list[tuple[str, str]] = []  # where `continue` and `break` lead to
        self.names = 0
        self.slots: list[str] = []
        self.open = True  # whether the block has no end yet

    def text(self) -> list[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.variables.add(node.id)
        self.block(self.tree.body)
        if self.open:
            self.end("ret i64 0")
        linkage = "" if self.exported else "internal "
        inlined = "" if self.exported else " alwaysinline"
        arguments = ", ".join(f"i64 %arg.{a}" for a in self.arguments)
        head = [f"define {linkage}i64 @{self.tree.name}({arguments}){inlined} nounwind {{", "entry:"]
        head += [f"  {v} = alloca i64" for v in (*self.slots, *(f"%v.{v}" for v in sorted(self.variables)))]
        head += [f"  store i64 %arg.{a}, ptr %v.{a}" for a in self.arguments]
        return [*head, *self.lines, "}"]

    # --- writing -------------------------------------------------------------------------------

    def error(self, node: ast.AST, what: str) -> SpecError:
        line = self.function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        return SpecError(f"{self.function.__code__.co_filename}:{line}: a kernel cannot have {what}")

    def fresh(self) -> str:
        self.names += 1
        return f"t{self.names}"

    def op(self, text: str) -> str:
        name = f"%{self.fresh()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def slot(self) -> str:
        """A piece of memory for what two ways compute."""
        self.slots.append(f"%{self.fresh()}")
        return self.slots[-1]

    def label(self, name: str) -> None:
        """Begin a block; the one before leads here where it has no end yet."""
        if self.open:
            self.lines.append(f"  br label %{name}")
        self.lines.append(f"{name}:")
        self.open = True

    def end(self, text: str) -> None:
        """End the block.  What is written until the next one can never run."""
        if not self.open:
            self.lines.append(f"{self.fresh()}:")
        self.lines.append(f"  {text}")
        self.open = False

    # --- statements ----------------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            getattr(self, f"do_{type(statement).__name__}", self.refuse)(statement)

    def refuse(self, node: ast.AST) -> Any:
        raise self.error(node, f"a {type(node).__name__}")

    def do_Pass(self, node: ast.Pass) -> None:  # noqa: N802
        """Nothing."""

    def do_Expr(self, node: ast.Expr) -> None:  # noqa: N802
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def do_Assign(self, node: ast.Assign) -> None:  # noqa: N802
        (target,) = node.targets
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            values = [self.value(v) for v in node.value.elts]  # all of them first
            for each, value in zip(target.elts, values, strict=True):
                self.assign(each, value)
        else:
            self.assign(target, self.value(node.value))

    def do_AnnAssign(self, node: ast.AnnAssign) -> None:  # noqa: N802
        assert node.value is not None
        self.assign(node.target, self.value(node.value))

    def do_AugAssign(self, node: ast.AugAssign) -> None:  # noqa: N802
        assert isinstance(node.target, ast.Name)
        old = self.op(f"load i64, ptr %v.{node.target.id}")
        self.assign(node.target, self.binary(node, node.op, old, self.value(node.value)))

    def assign(self, target: ast.expr, value: str) -> None:
        if not isinstance(target, ast.Name):
            raise self.error(target, "a target but a name")
        self.lines.append(f"  store i64 {value}, ptr %v.{target.id}")

    def do_Return(self, node: ast.Return) -> None:  # noqa: N802
        self.end(f"ret i64 {'0' if node.value is None else self.value(node.value)}")

    def do_If(self, node: ast.If) -> None:  # noqa: N802
        then, other, join = self.fresh(), self.fresh(), self.fresh()
        self.condition(node.test, then, other)
        self.label(then)
        self.block(node.body)
        if self.open:
            self.end(f"br label %{join}")
        self.label(other)
        self.block(node.orelse)
        self.label(join)

    def do_While(self, node: ast.While) -> None:  # noqa: N802
        head, body, after = self.fresh(), self.fresh(), self.fresh()
        self.label(head)
        self.condition(node.test, body, after)
        self.loop(node.body, body, head, after)
        self.label(after)

    def do_For(self, node: ast.For) -> None:  # noqa: N802
        call = node.iter
        known = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"
        if not known or not isinstance(call, ast.Call) or not 1 <= len(call.args) <= 2:
            raise self.error(node, "a loop but over range(n) or range(a, b)")
        first, last = ["0", *map(self.value, call.args)][-2:]
        at = self.slot()
        head, body, step, after = (self.fresh() for _ in range(4))
        self.lines.append(f"  store i64 {first}, ptr {at}")
        self.label(head)
        now = self.op(f"load i64, ptr {at}")
        self.assign(node.target, now)
        self.end(f"br i1 {self.op(f'icmp slt i64 {now}, {last}')}, label %{body}, label %{after}")
        self.loop(node.body, body, step, after)
        self.label(step)
        more = self.op(f"add i64 {self.op(f'load i64, ptr {at}')}, 1")
        self.lines.append(f"  store i64 {more}, ptr {at}")
        self.end(f"br label %{head}")
        self.label(after)

    def loop(self, statements: list[ast.stmt], body: str, again: str, after: str) -> None:
        """The body of a loop, which goes on at `again` and is left for `after`."""
        self.label(body)
        self.loops.append((again, after))
        self.block(statements)
        self.loops.pop()
        if self.open:
            self.end(f"br label %{again}")

    def do_Break(self, node: ast.Break) -> None:  # noqa: N802
        self.end(f"br label %{self.loops[-1][1]}")

    def do_Continue(self, node: ast.Continue) -> None:  # noqa: N802
        self.end(f"br label %{self.loops[-1][0]}")

    # --- expressions ---------------------------------------------------------------------------

    def value(self, node: ast.expr) -> str:
        """The number that an expression has."""
        known = self.known(node)
        if known is not None:
            return str((known + WRAP // 2) % WRAP - WRAP // 2)
        if isinstance(node, ast.Name):
            return self.op(f"load i64, ptr %v.{node.id}")
        if isinstance(node, ast.BinOp):
            return self.binary(node, node.op, self.value(node.left), self.value(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self.op(f"sub i64 0, {self.value(node.operand)}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
            return self.op(f"xor i64 {self.value(node.operand)}, -1")
        if isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
            return self.choice(node, lambda: "1", lambda: "0")
        if isinstance(node, ast.IfExp):
            return self.choice(node.test, lambda: self.value(node.body), lambda: self.value(node.orelse))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return self.call(node, node.func.id)
        raise self.error(node, f"a {type(node).__name__}")

    def known(self, node: ast.expr) -> int | None:
        """The value of a name or literal that is a number already."""
        if isinstance(node, ast.Constant) and isinstance(node.value, int):
            return int(node.value)
        if isinstance(node, ast.Name) and node.id not in self.variables:
            found = self.constants.get(node.id, self.function.__globals__.get(node.id))
            if not isinstance(found, int):
                raise self.error(node, f"the name {node.id}, which is no number")
            return found
        return None

    def binary(self, node: ast.AST, operator: ast.operator, a: str, b: str) -> str:
        name = OPERATORS.get(type(operator))
        if name is None:
            raise self.error(node, f"the operator {type(operator).__name__}")
        return self.op(f"{name} i64 {a}, {b}")

    def choice(self, test: ast.expr, then: Callable[[], str], other: Callable[[], str]) -> str:
        """One of two values, of which only that one is computed."""
        at = self.slot()
        labels = self.fresh(), self.fresh()
        join = self.fresh()
        self.condition(test, *labels)
        for label, value in zip(labels, (then, other), strict=True):
            self.label(label)
            self.lines.append(f"  store i64 {value()}, ptr {at}")
            self.end(f"br label %{join}")
        self.label(join)
        return self.op(f"load i64, ptr {at}")

    def condition(self, node: ast.expr, then: str, other: str) -> None:
        """Go on at one of two labels."""
        if isinstance(node, ast.BoolOp):
            both = isinstance(node.op, ast.And)
            for part in node.values[:-1]:
                more = self.fresh()
                self.condition(part, *((more, other) if both else (then, more)))
                self.label(more)
            self.condition(node.values[-1], then, other)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            self.condition(node.operand, other, then)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1:
            sign = COMPARISONS[type(node.ops[0])]
            a, b = self.value(node.left), self.value(node.comparators[0])
            self.end(f"br i1 {self.op(f'icmp {sign} i64 {a}, {b}')}, label %{then}, label %{other}")
        elif isinstance(node, ast.Compare):
            raise self.error(node, "a chain of comparisons")
        else:
            truth = self.op(f"icmp ne i64 {self.value(node)}, 0")
            self.end(f"br i1 {truth}, label %{then}, label %{other}")

    def call(self, node: ast.Call, name: str) -> str:
        arguments = [self.value(a) for a in node.args]
        if name in ("min", "max") and len(arguments) == 2:
            a, b = arguments
            test = self.op(f"icmp {'slt' if name == 'min' else 'sgt'} i64 {a}, {b}")
            return self.op(f"select i1 {test}, i64 {a}, i64 {b}")
        function: Any = self.function.__globals__.get(name)
        native = getattr(function, "native", None)
        if native is None or len(arguments) != len(inspect.signature(function).parameters):
            raise self.error(node, f"this call of {name}()")
        if isinstance(native, tuple):
            return self.instructions(function, native, arguments)
        self.called.append(function)
        return self.op(f"call i64 @{name}({', '.join(f'i64 {a}' for a in arguments)})")

    def instructions(self, function: Any, lines: tuple[str, ...], arguments: list[str]) -> str:
        """An intrinsic's own."""
        result = f"%{self.fresh()}"
        given = dict(zip(inspect.signature(function).parameters, arguments, strict=True))
        words = {"0": result, **{str(n): f"%{self.fresh()}" for n in range(1, 5)}, **given}
        gives = False
        for line in lines:
            gives = gives or line.startswith("$0 ")
            for word in sorted(words, key=len, reverse=True):
                line = line.replace(f"${word}", words[word])
            self.lines.append(f"  {line}")
        return result if gives else "0"
