"""The command line as data, read off its parser: for the manual page and the reference."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Argument:
    """An option, or a positional argument: `flags` are empty then.

    `value` is what stands for its value, "" where it takes none; a choice is spelt out.
    """

    flags: tuple[str, ...]
    value: str
    about: str
    needed: bool
    again: bool

    def usage(self) -> str:
        """As a synopsis shows it."""
        words = " ".join([*self.flags[:1], *([self.value] if self.value else [])])
        return (words if self.needed else f"[{words}]") + ("..." if self.again else "")


@dataclass(frozen=True)
class Command:
    """A command: `name` has its words without the program's own, such as ``lab setup``."""

    name: str
    about: str
    arguments: tuple[Argument, ...]

    def usage(self, program: str) -> str:
        return " ".join(filter(None, [program, self.name, *(a.usage() for a in self.arguments)]))


def commands(parser: argparse.ArgumentParser, name: str = "") -> Iterator[Command]:
    """The commands of a parser, in the order in which they were added; one with actions is its actions."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, found in action.choices.items():
                yield from commands(found, f"{name} {word}".strip())
            return
    yield Command(name, parser.description or "", tuple(arguments(parser)))


def arguments(parser: argparse.ArgumentParser) -> Iterator[Argument]:
    """Positional ones first, then options; without ``--help``, which every command has."""
    known = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    for action in sorted(known, key=lambda a: bool(a.option_strings)):
        positional = not action.option_strings
        yield Argument(
            tuple(action.option_strings),
            value_of(action),
            action.help or "",
            action.nargs not in ("*", "?") if positional else action.required,
            action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction),
        )


def value_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.choices:
        return "|".join(map(str, action.choices))
    return str(action.metavar or action.dest.upper())
