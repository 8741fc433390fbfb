"""Random small scenarios of files: two tasks with a few calls each, as the text of a module."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path

from zonedev.scenarios.base import Scenario

HEADER = """
from __future__ import annotations

from typing import Any

from zonedev.scenarios.base import Scenario


class Random(Scenario):
    progress = "truncate-terminates"

    @staticmethod
    def setup(m: Any) -> None:
        m.pmem = m.k.pmem_device(pages={pages})
        m.file = m.k.dax_file(m.pmem, pages={pages}, blocks={blocks})
        m.other = m.k.dax_file(m.pmem, blocks=0)
        m.va_A = m.task("A").mmap(m.file)
        m.va_B = m.task("B").mmap(m.file, sync={sync})
"""
PIN = """page = t.pin_user_pages_fast(m.va_{name} + {index})
        if page is not None:
            t.dma_write(page)
            t.unpin_user_page(page)"""
CALLS = (
    "t.touch(m.va_{name} + {index})",
    "t.touch(m.va_{name} + {index}, False)",
    "t.ftruncate(m.file, {index})",
    "t.punch_hole(m.file, {index}, 1)",
    "t.pwrite(m.file, {index})",
    "t.pwrite(m.other, {index})",
    "t.fsync(m.file)",
    "t.drop_caches(m.pmem)",
    "t.memory_failure(m.file.pages[0])",
)
TAKES = ("t.ftruncate(m.file, 0)", "t.punch_hole(m.file, {index}, 1)")
#: What a task does once at most, at its end.
LAST = ("t.munmap(m.va_{name})", "t.unlink(m.file)", "t.exit()")


def source(pick: random.Random, calls: int = 2) -> str:
    """A module with a scenario of up to `calls` calls a task, and perhaps one more."""
    pages = 2 if pick.random() < 0.3 else 1
    text = HEADER.format(pages=pages, blocks=pick.randrange(1, pages + 1), sync=pick.random() < 0.5)
    for name in "AB":
        chosen = [pick.choice(CALLS) for _ in range(pick.randrange(1, calls + 1))]
        if pick.random() < 0.7:  # I/O on one side, and on the other what has to mind it
            chosen[0] = PIN if name == "A" else pick.choice(TAKES)
        chosen += [pick.choice(LAST)] if pick.random() < 0.5 else []
        text += f"\n    @staticmethod\n    def task_{name}(t: Any, m: Any) -> None:\n"
        for call in chosen:
            text += f"        {call.format(name=name, index=pick.randrange(pages))}\n"
    return text


def load(text: str, directory: Path, name: str) -> type[Scenario]:
    """The scenario of a module."""
    path = directory / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Scenario] = module.Random
    return found
