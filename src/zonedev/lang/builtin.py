"""Packed values, and Python's own functions: len, min, max, bool, int, abs, range, sum, any, all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from zonedev.lang import expr as ir
from zonedev.lang.expr import Expr
from zonedev.lang.expressions import Expressions, bits_of
from zonedev.lang.frames import Frame
from zonedev.lang.records import Array, Kind, Packed
from zonedev.lang.system import member_low
from zonedev.lang.values import NUMBERS, Dyn, Part, Static, Value, truth_value

PURE = (len, min, max, bool, int, abs, range)


class Builtin(Expressions):
    """Calls of what is no kernel function."""

    def packed(
        self,
        cls: type[Packed],
        old: Value | None,
        args: list[Value],
        given: dict[str, Value],
        frame: Frame,
        node: ast.AST,
    ) -> Value:
        """A packed word built from its members, the others as in `old` or as by default."""
        unknown = set(given) - set(cls._members)
        if args or unknown:
            what = f"has no member {min(unknown)}" if unknown else "takes its members by name"
            raise frame.error(node, f"{cls.__name__} {what}")
        if (old is None or isinstance(old, Static)) and all(isinstance(v, Static) for v in given.values()):
            start = {} if not isinstance(old, Static) else {n: getattr(old.value, n) for n in cls._members}
            fixed = {n: v.value for n, v in given.items() if isinstance(v, Static)}
            return Static(cls(**{**start, **fixed}))
        word: Expr = ir.const(0)
        shift = 0
        for name, kind in cls._members.items():
            width = self.system.bits(kind)
            if name in given:
                number = self.ranged(given[name], kind, f"{cls.__name__}.{name}", None, frame, node)
                part = ir.binary("-", number, ir.const(member_low(kind)))
            elif old is None:
                part = ir.const(self.system.encode(kind, kind.default()) - member_low(kind))
            else:
                part = bits_of(self.encoded(old, frame, node), shift, width)
            word = ir.binary("|", word, ir.binary("<<", part, ir.const(shift)))
            shift += width
        return Dyn(word, Kind("packed", cls=cls))

    def pure(
        self, function: Any, args: list[Value], kwargs: dict[str, Value], frame: Frame, node: ast.AST
    ) -> Value:
        """A function of Python's own."""
        if kwargs:
            raise frame.error(node, f"{function.__name__}() takes no names of arguments here")
        if function is len and isinstance(args[0], Part) and self.array_at(args[0]):
            lengths = set(self.lengths(args[0].parent, args[0].path))
            if len(lengths) != 1:
                raise frame.error(node, f"the arrays {args[0].path} differ in length")
            return Static(lengths.pop())
        fixed = [a.value for a in args if isinstance(a, Static)]
        if len(fixed) == len(args):
            return self.static(lambda: function(*fixed), frame, node)
        kinds = [self.kind_of(a, frame, node) for a in args]
        numbers = [self.encoded(a, frame, node) for a in args]
        if function is int and len(args) == 1 and kinds[0].what in NUMBERS:
            return Dyn(numbers[0], Kind("int", kinds[0].lo, kinds[0].hi))
        if function in (min, max) and len(args) == 2:
            pick = ir.select(ir.binary("<" if function is min else ">", *numbers), *numbers)
            return Dyn(pick, Kind("int", function(k.lo for k in kinds), function(k.hi for k in kinds)))
        raise frame.error(node, f"{function.__name__}() of a value that depends on the state")

    def fold(self, function: Any, node: ast.Call, frame: Frame) -> Value:
        """sum(), any() or all() of a generator over what set-up has fixed."""
        generator = node.args[0] if len(node.args) == 1 else None
        if not isinstance(generator, ast.GeneratorExp) or not (self.ghost or self.atomic):
            raise frame.error(node, f"{function.__name__}() takes a generator, inside atomic or a rule")
        turns = self.turns(generator, 0, frame)
        if function is not sum:
            parts = (generator.elt for _ in turns)
            return truth_value(self.all_or_any(function is all, parts, lambda e: self.condition(e, frame)))
        total: Value = Static(0)
        for _ in turns:
            part = self.value(generator.elt, frame)
            total = self.arithmetic(ast.Add(), total, part, frame, node)
        return total

    def turns(self, node: ast.GeneratorExp, depth: int, frame: Frame) -> Iterator[None]:
        """Once for every value of a generator, with its variables bound."""
        if depth == len(node.generators):
            yield
            return
        part = node.generators[depth]
        if not isinstance(part.target, ast.Name) or part.ifs:
            raise frame.error(node, "a generator has plain variables and no conditions here")
        for number, item in enumerate(self.items(part.iter, frame)):
            with self.bound(frame, part.target.id, item, number):
                yield from self.turns(node, depth + 1, frame)

    def items(self, node: ast.expr, frame: Frame) -> list[Any]:
        """What a for loop runs over: fixed at set-up."""
        value = self.value(node, frame)
        if isinstance(value, Static) and not isinstance(value.value, Array):
            found: list[Any] = self.static(lambda: list(value.value), frame, node).value
            return found
        raise frame.error(node, "loop over range() or records that are fixed at set-up")
