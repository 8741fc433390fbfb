"""What is not in the language, and what to write instead."""

from __future__ import annotations

import ast

MENDS: dict[type[ast.AST], str] = {
    ast.Assert: "use BUG_ON() or ensure()",
    ast.AsyncFor: "use a plain for loop",
    ast.Await: "call a kernel function that waits",
    ast.ClassDef: "define classes at the top of the module",
    ast.Delete: "assign another value",
    ast.Dict: "make it at set-up, or use an array field",
    ast.DictComp: "use a for loop",
    ast.FunctionDef: "define functions in the design's class or at the top of the module",
    ast.GeneratorExp: "only sum(), any() and all() take one",
    ast.Global: "keep the state in a field of a record",
    ast.Import: "import at the top of the module",
    ast.ImportFrom: "import at the top of the module",
    ast.List: "use a tuple",
    ast.ListComp: "use a for loop",
    ast.Match: "use if and elif",
    ast.NamedExpr: "assign in a statement of its own",
    ast.Nonlocal: "keep the state in a field of a record",
    ast.Raise: "return a value that says so, as the kernel does",
    ast.Set: "use a tuple",
    ast.SetComp: "use a for loop",
    ast.Slice: "take one element at a time",
    ast.Starred: "name each argument",
    ast.Try: "test for the case instead; kernel code returns errors",
    ast.Yield: "give the task a program of its own",
    ast.YieldFrom: "give the task a program of its own",
}
NAMES: dict[type[ast.AST], str] = {
    ast.AsyncFor: "async for",
    ast.ClassDef: "a class inside a function",
    ast.Delete: "del",
    ast.DictComp: "a dict comprehension",
    ast.FunctionDef: "a function inside a function",
    ast.GeneratorExp: "a generator",
    ast.ImportFrom: "import",
    ast.List: "a list",
    ast.ListComp: "a list comprehension",
    ast.NamedExpr: ":=",
    ast.Set: "a set",
    ast.SetComp: "a set comprehension",
    ast.Slice: "a slice",
    ast.Starred: "*",
    ast.YieldFrom: "yield from",
}


def not_in_the_language(node: ast.AST) -> str:
    """One line: what is refused, and the mend."""
    kind = type(node)
    mend = MENDS.get(kind, "see docs/language.md")
    return f"{NAMES.get(kind, kind.__name__.lower())} is not in the language: {mend}"
