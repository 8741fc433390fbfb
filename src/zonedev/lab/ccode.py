"""The agent's C functions as text: those that a program needs, taken by name with what they call."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

GUEST = Path(__file__).parent / "guest"
HEADERS = ("calls.h", "files.h", "pins.h", "mirror.h", "steps.h")

#: ``#include <fcntl.h>	/* open O_* */``: a header, and the names that it is for.
INCLUDE = re.compile(r"#include (<.*>)\s*/\* (.*) \*/")
#: A definition with the comment above it: a macro, a variable, or what ends in } at a line's start.
ITEM = re.compile(
    r"(?:^/\*(?:(?!\*/).)*\*/\n)?"
    r"(?:^#define \w+[( ][^\n]*|^static [^\n{]*;$|^static [^;{]*\n?\{.*?^\}[^\n]*$)",
    re.DOTALL | re.MULTILINE,
)
#: The names that a definition gives: of a macro, a function, a struct, a variable.
NAMES = (
    re.compile(r"\A\s*#define (\w+)"),
    re.compile(r"\A\s*static [^;{=(]*?\b(\w+)\("),
    re.compile(r"\A\s*static struct (\w+) \{"),
    re.compile(r"(\w+)(?:\[\w+\])?;\s*\Z"),
)
WORD = re.compile(r"[A-Za-z_]\w*")
#: Comments and strings, in which a name is no use of it.
PROSE = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\])*"', re.DOTALL)


@dataclass(frozen=True)
class Item:
    """A function, a variable or a macro, with the comment above it."""

    names: frozenset[str]
    text: str

    @property
    def words(self) -> set[str]:
        return words_of(self.text)


@dataclass(frozen=True)
class Source:
    """The headers: what they include and what they define, in their order."""

    includes: tuple[tuple[str, frozenset[str]], ...]
    items: tuple[Item, ...]

    def needed(self, wanted: Iterable[str]) -> list[Item]:
        """The items that define `wanted` names and, in turn, the names that they use."""
        waiting, found = set(wanted), set[Item]()
        while waiting:
            name = waiting.pop()
            for item in self.items:
                if name in item.names and item not in found:
                    found.add(item)
                    waiting |= item.words
        return [item for item in self.items if item in found]

    def includes_for(self, text: str) -> list[str]:
        """The include lines for the names in a text."""
        used = words_of(text)
        return sorted(
            f"#include {h}" for h, names in self.includes if any(fnmatch.filter(used, n) for n in names)
        )


def words_of(text: str) -> set[str]:
    return set(WORD.findall(PROSE.sub(" ", text)))


def read(headers: Sequence[str] = HEADERS) -> Source:
    """The headers of the guest's agent."""
    text = "\n".join((GUEST / name).read_text(encoding="ascii") for name in headers)
    includes = tuple((header, frozenset(names.split())) for header, names in INCLUDE.findall(text))
    return Source(includes, tuple(items(text)))


def items(text: str) -> list[Item]:
    """The definitions in a header."""
    return [Item(defined(found[0]), found[0]) for found in ITEM.finditer(text)]


def defined(text: str) -> frozenset[str]:
    bare = PROSE.sub("", text)
    return frozenset(found[1] for pattern in NAMES if (found := pattern.search(bare)))
