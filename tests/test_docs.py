"""What README.md and the pages in docs/ show is what comes out.

A fenced block that begins with ``$ zonedev `` is run, and what it prints has to be what the
block shows, to the letter; a line ``# exits N`` after the output gives the exit code, which is 0
without one.  ``> FILE`` keeps the output for a later command of the same page, ``| grep WORD``
shows the lines with that word, and ``--emit-test FILE`` writes a file of that page, which
``$ pytest -qq FILE`` in the same block may run.  After ``(Pdb)`` stands what is typed.  The blocks
of a page that begin with ``>>> `` are one doctest.  A ``python`` block whose first line is
``# FILE.py`` makes that file, for the commands of its page; where the repository, or by then the
page, has a file of that name the block is a passage of it.
Between ``<!-- verdicts NAME -->`` or ``<!-- seeds -->`` and ``<!-- end -->`` stands a table that is
made from the code; after ``<!-- series NAME -->`` what ``zonedev series NAME --check`` prints, from
the goldens.

What ``zonedev conform`` shows is run only where its kernels are set up, and skipped otherwise; the
versions of the kernels may differ, and what a kernel says that the model does not.  What ``zonedev
lab`` shows is of the machine on which the page was written.

    .venv/bin/python tests/test_docs.py       writes the output of every command into the pages
"""

from __future__ import annotations

import doctest
import linecache
import os
import re
import shlex
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from seeds import SEEDS
from zonedev.catalogue import load
from zonedev.explore.check import Verdict
from zonedev.explore.matrix import KEPT
from zonedev.explore.series import cells_of as series_cells
from zonedev.explore.series import read_goldens
from zonedev.lab import kernels, userland
from zonedev.report.series import checked
from zonedev.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def pages() -> list[Path]:
    """README.md and what is written by hand in docs/: docs/reference/ is generated."""
    found = [path for path in sorted(DOCS.rglob("*.md")) if not generated(path.relative_to(DOCS).parts)]
    return [ROOT / "README.md", *found]


def generated(parts: tuple[str, ...]) -> bool:
    return parts[0] == "reference" or any(part.startswith("_") for part in parts)


PAGES = pages()
TABLE = re.compile(r"^<!-- (verdicts|seeds|series) ?(\S*) -->\n(.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = "$ zonedev "
PYTEST = "$ pytest "
REAL = ("$ zonedev conform ", "$ zonedev lab ")
PROMPT = "(Pdb) "
EXITS = "# exits "


def zonedev(words: list[str], directory: str, typed: str) -> tuple[str, int]:
    """Run a command as a user would; an error is what stderr says."""
    return module("zonedev", words, directory, typed)


def module(name: str, words: list[str], directory: str, typed: str = "") -> tuple[str, int]:
    """The same of any module that is a command."""
    done = subprocess.run(
        [sys.executable, "-m", name, *words],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "80"},
        input=typed,
        timeout=1200,  # a whole diff takes minutes, and more where others work too
    )
    text = done.stdout if done.returncode != 1 else done.stdout + done.stderr
    return text.replace(f"{ROOT}/src/zonedev/", ".../"), done.returncode


@cache
def anywhere(line: str) -> tuple[str, int]:
    """A command that writes and reads nothing of its page: the same one is run once."""
    return zonedev(shlex.split(line), str(ROOT), "")


class Page:
    """The commands of one page, run in a directory of their own."""

    def __init__(self, directory: str, real: bool = False) -> None:
        self.directory = Path(directory)
        self.real = real  # whether to boot kernels
        self.made: set[str] = set()
        self.names: dict[str, Any] = {}
        for name in ("examples", "tests"):
            (self.directory / name).mkdir()
            for file in (ROOT / name).glob("*.py"):
                shutil.copy(file, self.directory / name)

    def python(self, text: str) -> None:
        """Make the file that the first line names, or see that the repository's has the text."""
        found = re.match(r"# ([\w/]+\.py)\n", text)
        if found is None:
            return
        name, body = found[1], text[found.end() :]
        there = next((place / name for place in (ROOT, self.directory) if (place / name).exists()), None)
        if there is not None:
            assert body.strip("\n") in there.read_text(), f"not what {name} says:\n{body}"
        else:
            (self.directory / name).write_text(body)
            self.made.add(name)

    def session(self, text: str) -> str:
        """The block again, with the output that its commands have now."""
        parts = re.split(r"^(?=\$ )", text, flags=re.MULTILINE)
        return "".join(self.command(part) for part in parts if part)

    def command(self, part: str) -> str:
        line, _, shown = part.partition("\n")
        if line.startswith(PYTEST):
            words = shlex.split(line.removeprefix(PYTEST))
            out, code = module("pytest", ["-p", "no:cacheprovider", *words], str(self.directory))
            return ended(line, out, code)
        assert line.startswith(COMMAND), f"not a zonedev command: {line}"
        writes = "--emit-c" in line or "--write" in line
        if line.startswith(REAL) and (writes or not (self.real and kernels_are_there(line))):
            return part
        typed = [text.removeprefix(PROMPT) for text in shown.splitlines() if text.startswith(PROMPT)]
        rest = line.removeprefix(COMMAND)
        rest, _, target = rest.partition(" > ")
        rest, _, wanted = rest.partition(" | grep ")
        if typed or target or "--emit-test" in rest or any(name in rest for name in self.made):
            out, code = zonedev(shlex.split(rest), str(self.directory), "\n".join([*typed, ""]))
        else:
            out, code = anywhere(rest)
        if wanted:
            (word,) = shlex.split(wanted)
            out, code = "".join(s for s in out.splitlines(keepends=True) if word in s), 0
        if target:
            (self.directory / target).write_text(out)
            self.made.add(target)
            out = ""
        for text in typed:
            out = out.replace(PROMPT, f"(Pdb)\0{text}\n", 1)
        out = out.replace("\0", " ")
        return ended(line, out, code)


def ended(line: str, out: str, code: int) -> str:
    """A command with its output and exit code, as pages show them."""
    if out and not out.endswith("\n"):
        out += "\n"
    return f"{line}\n{out}" + (f"{EXITS}{code}\n" if code else "")


Doc = Callable[[str, dict[str, Any]], None]


def blocks(text: str, page: Page, doc: Doc) -> str:
    """The text of a page with every block run and filled in."""

    def fill(found: re.Match[str]) -> str:
        language, body = found[1], found[2]
        if body.startswith(COMMAND):
            body = page.session(body)
        elif body.startswith(">>> "):
            doc(body, page.names)
        elif language == "python":
            page.python(body)
        return f"```{language}\n{body}```"

    return BLOCK.sub(fill, text)


def verdicts(name: str) -> list[tuple[str, ...]]:
    """What is expected of each design, and why."""
    rows: list[tuple[str, ...]] = [("design", "verdict", "because")]
    for design, expected in SCENARIOS[name].expected.items():
        verdict = f"**violated**: {expected.rule}" if expected.rule else expected.verdict
        rows.append((design, verdict, expected.why))
    return rows


def seeds() -> list[tuple[str, ...]]:
    """Which seeded bug each rule catches."""
    rows: list[tuple[str, ...]] = [("rule", "seeded bug", "what is wrong in it", "caught in")]
    for rule, seed in SEEDS.items():
        about = (seed.design.__doc__ or "").splitlines()[0]
        rows.append((rule, f"`{seed.design.__name__}`", about, seed.scenario))
    return rows


def table(found: re.Match[str]) -> str:
    kind, name = found[1], found[2]
    if kind == "series":
        return f"<!-- series {name} -->\n```\n{series_table(name)}\n```\n<!-- end -->"
    head, *rows = verdicts(name) if kind == "verdicts" else seeds()
    lines = [head, tuple("---" for _ in head), *rows]
    body = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"<!-- {f'{kind} {name}'.strip()} -->\n{body}<!-- end -->"


def series_table(name: str) -> str:
    """The verdicts of a series at each of its steps, as the goldens have them."""
    series = load().series[name]
    cells = series_cells(series, series.scenarios, read_goldens(series))
    for cell in cells:
        assert cell.golden is not None
        kept = {k: cell.golden[k] for k in KEPT}
        cell.found = Verdict(scenario=cell.scenario, design=cell.design, scope={}, **kept)
    return checked(series, cells)


def doctested(body: str, names: dict[str, Any]) -> None:
    """Run a block of Python prompts, with the names of the blocks before it."""
    name = f"block{zlib.crc32(body.encode())}"
    test = doctest.DocTestParser().get_doctest(body, names, name, None, 0)
    for nr, example in enumerate(test.examples):  # for classes that a later block of the page checks
        lines = example.source.splitlines(keepends=True)
        linecache.cache[f"<doctest {name}[{nr}]>"] = (len(example.source), None, lines, name)
    report: list[str] = []
    done = doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
    assert done.failed == 0, "".join(report)
    names.update(test.globs)


def filled(path: Path, doc: Doc, real: bool = False) -> str:
    with TemporaryDirectory() as directory:
        return blocks(TABLE.sub(table, path.read_text()), Page(directory, real), doc)


def kernels_are_there(line: str) -> bool:
    """Whether the kernels of a ``zonedev conform`` are set up, and a QEMU to boot them."""
    named = re.search(r"--kernel (\S+)", line)
    names = named[1].split(",") if named else list(kernels.STOCK)
    ready = shutil.which("qemu-system-x86_64") and userland.place().is_file()
    return line.startswith(REAL[0]) and bool(ready) and all(kernels.installed(n) for n in names)


def real_sessions() -> list[Any]:
    """The ``zonedev conform`` commands of all pages that do not only write a file."""
    return [
        pytest.param(part, id=f"{path.name}-{part.splitlines()[0].removeprefix('$ zonedev conform ')}")
        for path in PAGES
        for _, body in BLOCK.findall(path.read_text())
        for part in re.split(r"^(?=\$ )", body, flags=re.MULTILINE)
        if part.startswith(REAL[0]) and "--emit-c" not in part and "--write" not in part
    ]


def without_the_machines_words(text: str) -> list[str]:
    """The lines of a conformance without versions, and without what is only noted."""
    text = re.sub(r"\[[^]]*\]", "", text)
    return re.sub(r"\d+\.\d+\.\d+-\d+", "VERSION", text).split()


@pytest.mark.parametrize("part", real_sessions())
def test_real_kernels_say_what_the_page_shows(part: str) -> None:
    if not kernels_are_there(part.splitlines()[0]):
        pytest.skip("its kernels are not set up: zonedev lab setup")
    with TemporaryDirectory() as directory:
        now = Page(directory, real=True).command(part)
    assert without_the_machines_words(now) == without_the_machines_words(part)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_page_shows_what_comes_out(path: Path) -> None:
    assert filled(path, doctested).splitlines() == path.read_text().splitlines()


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_are_short(path: Path) -> None:
    prose = BLOCK.sub("", path.read_text())
    assert [s for s in prose.splitlines() if len(s) > 100 and not s.startswith("|")] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_the_text_is_plain(path: Path) -> None:
    assert path.read_text().isascii()


def test_every_scenario_rule_and_design_is_described() -> None:
    from zonedev.designs import DESIGNS
    from zonedev.rules import RULES

    for pages, names in ((("scenarios", "devices"), SCENARIOS), (("rules",), RULES), (("designs",), DESIGNS)):
        text = "".join((ROOT / "docs" / f"{page}.md").read_text() for page in pages)
        assert [name for name in names if f"## {name}\n" not in text] == []


def test_every_override_is_described() -> None:
    from zonedev.designs import DESIGNS

    text = (ROOT / "docs" / "designs.md").read_text()
    for name, design in DESIGNS.items():
        section = text.split(f"## {name}\n", 1)[1].split("\n## ")[0]
        if "| override |" in section:
            own = set(vars(design)) - {"name", "title", "release"}
            assert [n for n in sorted(own) if not n.startswith("__") and f"`{n}`" not in section] == []


if __name__ == "__main__":
    for page in [Path(name).resolve() for name in sys.argv[1:]] or PAGES:
        new = filled(page, lambda body, names: None, real=True)
        if new != page.read_text():
            page.write_text(new)
            print(f"{page.relative_to(ROOT)} changed")
