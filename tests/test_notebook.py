"""docs/five-texts.ipynb shows what comes out: its cells are run again, without Jupyter.

.venv/bin/python tests/test_notebook.py       writes what the cells show into the notebook
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import linecache
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).resolve().parents[1] / "docs" / "five-texts.ipynb"


def kept(text: str) -> list[str]:
    """A text as a notebook keeps it: a list of lines."""
    return text.splitlines(keepends=True)


def run(source: str, number: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    """What a cell shows: what it prints, and the value of its last line."""
    file = f"/tmp/ipykernel_1/{number}.py"  # as Jupyter calls it
    linecache.cache[file] = (len(source), None, kept(source), file)
    body = ast.parse(source, file).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), file, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), file, "eval"), names)
    shown: list[dict[str, Any]] = []
    if printed.getvalue():
        shown.append({"name": "stdout", "output_type": "stream", "text": kept(printed.getvalue())})
    if value is not None:
        data = {"text/plain": kept(repr(value))}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": kept(value._repr_html_()), **data}
        shown.append(
            {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        )
    return shown


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with what its cells show now."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, number = [], 0
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            number += 1
            shown = run("".join(cell["source"]), number, names)
            cell = {**cell, "execution_count": number, "outputs": shown}
        cells.append(cell)
    return {**notebook, "cells": cells}


def test_the_notebook_shows_what_comes_out() -> None:
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    now = executed(stored)
    for mine, theirs in zip(now["cells"], stored["cells"], strict=True):
        assert mine == theirs


def test_a_cell_shows_its_last_value_and_what_it_prints() -> None:
    names: dict[str, Any] = {}
    assert run("a = 1\nprint('x')\na", 1, names) == [
        {"name": "stdout", "output_type": "stream", "text": ["x\n"]},
        {
            "data": {"text/plain": ["1"]},
            "execution_count": 1,
            "metadata": {},
            "output_type": "execute_result",
        },
    ]
    assert run("a = 2", 2, names) == [] and names["a"] == 2


def test_the_notebook_is_plain() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert text.isascii()
    for cell in json.loads(text)["cells"]:
        assert max(map(len, "".join(cell["source"]).splitlines())) <= 100


if __name__ == "__main__":
    found = executed(json.loads(NOTEBOOK.read_text(encoding="utf-8")))
    NOTEBOOK.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
