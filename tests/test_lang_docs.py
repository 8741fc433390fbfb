"""The examples of docs/language.md: what is accepted runs, what is refused says so."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

from zonedev.lang.errors import SpecError
from zonedev.lang.transition import lower

PAGE = Path(__file__).resolve().parents[1] / "docs" / "language.md"
BLOCKS = re.findall(r"```python( refused)?\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
ACCEPTED = "\n\n".join(text for refused, text in BLOCKS if not refused)
REFUSED = [text for refused, text in BLOCKS if refused]


def module(text: str, directory: Path) -> ModuleType:
    path = directory / "page.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("page", path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def with_task(body: str, design: str) -> str:
    return (
        f"{ACCEPTED}\n\ndef task(k):\n{textwrap.indent(body, '    ')}\n\nsystem = System({design})\n"
        "system.run('A', task, system.k)\nsystem.run('B', task, system.k)\nsystem.seal()\n"
    )


def test_examples_run(tmp_path: Path) -> None:
    module(ACCEPTED, tmp_path)


@pytest.mark.parametrize(
    ("design", "call"),
    [
        ("Users", "k.enter(k.table)\nk.leave(k.table)\nk.drain(k.table)"),
        ("Loops", "k.zap_all(k.table)\nk.retry(k.table)"),
        ("Recheck", "k.gup_fast(k.table, 0)"),
    ],
)
def test_examples_lower(design: str, call: str, tmp_path: Path) -> None:
    found = module(with_task(call, design), tmp_path)
    assert lower(found.system).tasks[0].steps


@pytest.mark.parametrize("text", REFUSED)
def test_refused_examples(text: str, tmp_path: Path) -> None:
    message = text.strip().splitlines()[-1].removeprefix("# ")
    found = module(with_task(text, "Loops"), tmp_path)
    with pytest.raises(SpecError) as caught:
        lower(found.system)
    place = re.escape(str(found.__file__))
    assert re.fullmatch(rf"{place}:\d+: (task: )?{re.escape(message)}", str(caught.value))
