"""The reference: pages that are made from the code before Sphinx reads any, in docs/reference/.

A page is a function here that yields Markdown.  Nothing in them is written by hand, so that
nothing in them can fall behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import of_designs
import of_kernel
import of_scenarios
from markup import escaped, fenced, table
from zonedev import schema
from zonedev.catalogue import load
from zonedev.cli import EXIT_CODES, parser
from zonedev.commands.described import commands
from zonedev.commands.manual import ENVIRONMENT, sentence

if TYPE_CHECKING:
    from sphinx.application import Sphinx

FOLDER = "reference"


def index(pages: Mapping[str, object]) -> Iterator[str]:
    yield "# Reference\n"
    yield "Made from the code when the documentation was built.\n"
    yield "```{toctree}\n:maxdepth: 1\n"
    yield from pages
    yield "```"


def command_line() -> Iterator[str]:
    """Every command with its arguments."""
    yield "# Commands and options\n"
    yield "The same is printed by `zonedev COMMAND --help`, and by `zonedev manual` as a manual page.\n"
    for command in commands(parser()):
        yield f"\n## zonedev {command.name}\n"
        yield escaped(sentence(command.about)) + "\n"
        yield from fenced(command.usage("zonedev"), "text")
        rows = [
            (", ".join(f"`{f}`" for f in a.flags) + (f" `{a.value}`" if a.value else ""), escaped(a.about))
            for a in command.arguments
        ]
        yield from table(("argument", ""), rows)
    yield "\n## Exit codes\n"
    yield from table(("code", ""), [(str(code), escaped(text)) for code, text in EXIT_CODES.items()])
    yield "\n## Environment\n"
    yield from table(("variable", ""), [(f"`{name}`", escaped(text)) for name, text in ENVIRONMENT.items()])


def schemas() -> Iterator[str]:
    """What --format json prints, by command."""
    yield "# JSON schemas\n"
    yield "Draft 2020-12. `zonedev schema NAME` prints one that is complete in itself.\n"
    parts: dict[str, object] = {}
    for name in schema.names():
        found = schema.load(name)
        parts |= found.pop("$defs")
        yield f"\n## {name}\n"
        yield from fenced(json.dumps(found, indent=1), "json")
    yield "\n## Parts\n\nWhat the schemas refer to as `#/$defs/NAME`.\n"
    for name, part in sorted(parts.items()):
        yield f"\n### {name}\n"
        yield from fenced(json.dumps(part, indent=1), "json")


def python() -> Iterator[str]:
    """The Python API, from its docstrings."""
    yield "# Python\n"
    yield "[python.md](../python.md) shows how it is used.\n"
    yield "```{eval-rst}"
    yield ".. automodule:: zonedev.api"
    yield "   :members: designs, scenarios, rules, design, scenario, check, run, matrix, diff\n"
    yield ".. automodule:: zonedev.answers"
    yield "   :members:"
    yield "   :member-order: bysource"
    yield "```"


def notebook(file: Path) -> Iterator[str]:
    """The notebook, as a page."""
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source + "\n"
            continue
        yield from fenced(source, "python")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "text/html" in data:
                yield from fenced("".join(data["text/html"]), "{raw} html")
            else:
                yield from fenced("".join(output.get("text") or data["text/plain"]), "text")


def readme(file: Path) -> Iterator[str]:
    """README.md, whose links begin at the root of the repository."""
    yield (
        file.read_text(encoding="utf-8")
        .replace("](docs/", "](../")
        .replace("](examples/", "](../../examples/")
    )


def relinked(app: Sphinx, page: str, text: list[str]) -> None:
    """Links to README.md and to the notebook lead to their pages."""
    for name, to in (("README.md", "readme"), ("five-texts.ipynb", "five-texts")):
        text[0] = re.sub(rf"\]\([./]*{re.escape(name)}", f"](/{FOLDER}/{to}.md", text[0])


def generate(source: Path) -> None:
    """Write the pages into `source`/reference; what has not changed is left as it is."""
    known = load()
    kernel = {f"kernel/{name}": lines for name, lines in of_kernel.pages(known.designs).items()}
    pages: dict[str, Callable[[], Iterator[str]]] = {
        "commands": command_line,
        "scenarios": lambda: of_scenarios.scenarios(known),
        "rules": lambda: of_scenarios.rules(known),
        "designs": lambda: of_designs.designs(known),
        "kernel": lambda: of_kernel.contents(kernel),
        "python": python,
        "schemas": schemas,
    }
    made = {name: page() for name, page in pages.items()} | kernel
    made["index"] = index(pages)
    made["five-texts"] = notebook(source / "five-texts.ipynb")
    made["readme"] = readme(source.parent / "README.md")
    folder = source / FOLDER
    for name, lines in made.items():
        write(folder / f"{name}.md", "\n".join(lines) + "\n")
    for file in folder.rglob("*.md"):
        if file.relative_to(folder).with_suffix("").as_posix() not in made:
            file.unlink()


def write(file: Path, text: str) -> None:
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: generate(Path(app.srcdir)))
    app.connect("source-read", relinked)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
