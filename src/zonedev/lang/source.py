"""The syntax trees of specification functions, by file, read once."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from zonedev.lang.errors import SpecError


@cache
def _functions(file: str) -> dict[int, ast.FunctionDef | ast.Lambda]:
    """Functions and lambdas of a file by the line that their code object names."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{file}: the source is needed for lowering: {error.strerror}") from error
    found: dict[int, ast.FunctionDef | ast.Lambda] = {}
    for node in ast.walk(ast.parse(text, file)):
        if isinstance(node, ast.FunctionDef):
            first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
            found[first] = node
    return found


@cache
def method_name(prefix: str, kind: str) -> str:
    """Of the method that lowers nodes of a kind."""
    return f"{prefix}_{kind.lower()}"


@cache
def lines(file: str) -> list[str]:
    """The lines of a source file."""
    return Path(file).read_text(encoding="utf-8").splitlines()


def function_ast(function: Callable[..., Any]) -> ast.FunctionDef:
    """The definition of `function`; SpecError where it has no source."""
    function = getattr(function, "__func__", function)
    made: ast.FunctionDef | None = getattr(function, "definition", None)
    if made is not None:  # the function has no source of its own
        return made
    if not isinstance(function, FunctionType):
        raise SpecError(f"{function!r} is not a plain function: define it with def")
    code = function.__code__
    node = _functions(code.co_filename).get(code.co_firstlineno)
    if not isinstance(node, ast.FunctionDef):
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
