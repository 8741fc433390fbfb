"""A design with one mutant: a patch like others, that can be checked, run and replayed."""

from __future__ import annotations
import __future__

import ast
import copy
from types import CodeType, FunctionType
from typing import Any

from zonedev.catalogue import unknown
from zonedev.lang.errors import ZonedevError
from zonedev.lang.source import function_ast
from zonedev.lang.system import Specification
from zonedev.mutate.mutants import (
    DROP,
    SKIP,
    SPLIT,
    SWAP,
    WEAKEN,
    Mutant,
    called,
    mutants_of,
)
from zonedev.mutate.weak import WEAK


def patched(design: type[Specification], mutant: Mutant) -> type[Specification]:
    """The design in which a mutant takes the place of its function, wherever that is called.

    A scenario is set up with the original: what is asked is what the mutant does then.
    """
    name, owner = mutant.function.__name__, mutant.owner
    made = {
        "name": f"{getattr(design, 'name', design.__name__)}~{mutant.name}",
        "one_access": mutant.kind != SPLIT,
    }
    function = mutated(mutant)
    if owner is design:
        runs = type(design.__name__, (design,), {**made, name: function})
    else:
        stand_in = type(owner.__name__, (owner,), {name: function})  # comes right before its owner
        runs = type(design.__name__, (design, stand_in), made)
    return type(design.__name__, (design,), {**made, "once_set_up": runs})


def mutant_design(design: type[Specification], called: str, name: str) -> type[Specification]:
    """The design with the mutant called `name`; ZonedevError, where there is none, says what there is."""
    function = name.rpartition(".")[0]
    mine = [m for m in mutants_of(design) if m.function.__name__ == (function or name)]
    if not mine:
        names = sorted({m.function.__name__ for m in mutants_of(design)})
        raise unknown("function", function or name, names, f"design {called}~{name}: ")
    found = [m for m in mine if m.name == name]
    if not found:
        raise ZonedevError(
            f"design {called}~{name}: name one of its mutants, from {mine[0].name} to {mine[-1].name}: "
            f"zonedev explain {mine[0].function.__name__} --design {called} lists them"
        )
    return patched(design, found[0])


def mutated(mutant: Mutant) -> FunctionType:
    """The function with its change."""
    function = mutant.function
    memo: dict[int, Any] = {}
    definition = copy.deepcopy(function_ast(function), memo)
    node = memo[id(mutant.change.node)]
    weak = called(node, function) if mutant.kind == WEAKEN else None
    Change(mutant, node).visit(definition)
    ast.fix_missing_locations(definition)
    names = {WEAK[weak][0].__name__: WEAK[weak][0]} if weak is not None else {}
    code = compiled(function, definition)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
    made = FunctionType(
        code,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        tuple(cells[n] for n in code.co_freevars),
    )
    made.__kwdefaults__, made.__doc__ = function.__kwdefaults__, function.__doc__
    made.__annotations__, made.__qualname__ = function.__annotations__, function.__qualname__
    made.definition = definition  # type: ignore[attr-defined]
    return made


def compiled(function: FunctionType, definition: ast.FunctionDef) -> CodeType:
    """The code of a definition that closes over what `function` does."""
    closed = [
        ast.Assign([ast.Name(n, ast.Store())], ast.Constant(None)) for n in function.__code__.co_freevars
    ]
    bare = copy.copy(definition)
    bare.decorator_list = []
    outer = ast.parse("def outer(): pass").body[0]
    assert isinstance(outer, ast.FunctionDef)
    outer.body = [*closed, bare]
    module = ast.fix_missing_locations(ast.Module([outer], []))
    flags = __future__.annotations.compiler_flag
    code = compile(module, function.__code__.co_filename, "exec", flags, dont_inherit=True)
    inner = next(c for c in code.co_consts if isinstance(c, CodeType))
    return next(c for c in inner.co_consts if isinstance(c, CodeType) and c.co_name == definition.name)


class Change(ast.NodeTransformer):
    """Makes the change in a copy of the function."""

    def __init__(self, mutant: Mutant, node: ast.AST) -> None:
        self.mutant, self.node = mutant, node

    def visit(self, node: ast.AST) -> Any:
        if self.mutant.kind == SWAP:
            for body in bodies(node):
                if self.node in body:
                    at = body.index(self.node)
                    body[at], body[at + 1] = body[at + 1], body[at]
                    return node
        if node is self.node:
            return self.changed(node)
        return self.generic_visit(node)

    def changed(self, node: Any) -> Any:
        kind = self.mutant.kind
        if kind in (DROP, SKIP, SPLIT):
            rest = {DROP: [], SKIP: getattr(node, "orelse", []), SPLIT: getattr(node, "body", [])}[kind]
            return rest or ast.copy_location(ast.Pass(), node)
        if kind == WEAKEN:
            weak = called(node, self.mutant.function)
            assert weak is not None
            node.func = ast.copy_location(ast.Name(WEAK[weak][0].__name__, ast.Load()), node.func)
            return node
        forced = self.mutant.change.forced
        sign = ast.Or() if forced else ast.And()
        return ast.copy_location(
            ast.BoolOp(sign, [node, ast.copy_location(ast.Constant(forced), node)]), node
        )


def bodies(node: ast.AST) -> list[list[Any]]:
    """The lists of statements in a node."""
    return [b for b in (getattr(node, n, None) for n in ("body", "orelse")) if isinstance(b, list)]
