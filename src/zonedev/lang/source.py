"""The syntax trees of specification functions, by file, read once.

What was typed at a prompt, or into the cell of a notebook, has a name but is no file: `linecache` keeps it.
"""

from __future__ import annotations

import ast
import linecache
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from zonedev.lang.errors import SpecError


@cache
def _read(file: str, changed: int) -> str:
    """The text of a file as of its last change, in nanoseconds."""
    return Path(file).read_text(encoding="utf-8")


def source(file: str) -> str:
    """The text that has the name `file`, as it is now; SpecError where nothing has."""
    try:
        return _read(file, os.stat(file).st_mtime_ns)  # noqa: PTH116 - often, and a path takes longer
    except OSError:
        text = "".join(linecache.getlines(file))
    if not text:
        raise SpecError(f"{file}: the source is needed for lowering: define it in a file or in a notebook")
    return text


@cache
def parsed(text: str, file: str) -> ast.Module:
    """The syntax tree of a text."""
    return ast.parse(text, file)


def statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements in a syntax tree, without going through their expressions."""
    for part in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, part, ()):
            if isinstance(inner, ast.stmt):
                yield inner
            yield from statements(inner)


@cache
def _functions(text: str, file: str) -> dict[int, ast.FunctionDef]:
    """The functions of a text by the line that their code object names."""
    found: dict[int, ast.FunctionDef] = {}
    for node in statements(parsed(text, file)):
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


@cache
def method_name(prefix: str, kind: str) -> str:
    """Of the method that lowers nodes of a kind."""
    return f"{prefix}_{kind.lower()}"


def lines(file: str) -> list[str]:
    """The lines of a source file."""
    return _lines(source(file))


@cache
def _lines(text: str) -> list[str]:
    return text.splitlines()


def function_ast(function: Callable[..., Any]) -> ast.FunctionDef:
    """The definition of `function`; SpecError where it has no source."""
    function = getattr(function, "__func__", function)
    made: ast.FunctionDef | None = getattr(function, "definition", None)
    if made is not None:  # the function has no source of its own
        return made
    if not isinstance(function, FunctionType):
        raise SpecError(f"{function!r} is not a plain function: define it with def")
    code = function.__code__
    node = _functions(source(code.co_filename), code.co_filename).get(code.co_firstlineno)
    if node is not None and node.name != code.co_name:
        raise SpecError(f"{code.co_filename}: it has changed since {code.co_name} was defined: load it again")
    if node is None:
        raise SpecError(
            f"{code.co_filename}:{code.co_firstlineno}: {function.__name__} is not a plain function: "
            "define it with def"
        )
    return node


def text_at(file: str, line: int, end: int) -> str:
    """The source of a statement on one line, without its comment."""
    joined = " ".join(part.strip() for part in lines(file)[line - 1 : end])
    try:
        tree = ast.parse(joined.rstrip(":") if joined.endswith(":") else joined)
        return ast.unparse(tree)
    except SyntaxError:
        return joined.split("  #")[0].rstrip(":").strip()
