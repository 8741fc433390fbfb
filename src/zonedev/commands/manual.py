"""zonedev manual and completion: the command line as a manual page, and for the shell.

Both are made from the parser that reads the command line, so that neither can fall behind it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping

from zonedev import __version__
from zonedev.catalogue import Catalogue
from zonedev.cli import EXIT_CODES, parser
from zonedev.commands.context import OK, Context, show
from zonedev.commands.described import Argument, Command, commands

ENVIRONMENT = {
    "XDG_CACHE_HOME": "where compiled checks are kept, under zonedev/ (default: ~/.cache)",
    "ZONEDEV_LAB": "where real kernels are kept (default: zonedev/lab in the cache)",
    "ZONEDEV_ACCEL": "kvm or tcg: how guests run",
    "ZONEDEV_TLC": "the place of tla2tools.jar, for benchmarks/judges.py",
    "ZONEDEV_TRACEBACK": "with any value, an error comes with its traceback",
    "NO_COLOR": "with any value, no colours on a terminal",
    "RAY_ADDRESS": "the cluster that --on ray takes (default: one on this machine)",
}

EXAMPLES = {
    "zonedev check devdax-unbind-vs-pin --design linux-5.10 --design linux-6.1": (
        "Does unbind wait for a pin?  One counterexample, one proof within bounds."
    ),
    "zonedev check devdax-unbind-vs-pin --design my_patch.py:MyPatch": "The same of a patch of your own.",
    "zonedev diff linux-7.2 my_patch.py:MyPatch": "What the patch changes, and which verdicts.",
    "zonedev report -o report.html": "The whole catalogue as one page for a browser.",
}


def manual(context: Context) -> int:
    """The manual page, in the language of man(7)."""
    show("\n".join(page(parser())))
    return OK


def page(top: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.TH ZONEDEV 1 "" "zonedev {__version__}" "User Commands"'
    yield from (".nh", ".ad l")  # what is copied from it has to be whole
    yield from section("NAME", [rf"zonedev \- {plain('specification and checker of ZONE_DEVICE pages')}"])
    yield from section("SYNOPSIS", [r".B zonedev", r"\fICOMMAND\fR [\fIARGUMENTS\fR]"])
    yield from section("DESCRIPTION", [plain(top.description or "")])
    yield ".SH COMMANDS"
    for command in commands(top):
        yield from told(command)
    yield from section("EXIT STATUS", entries({str(code): text for code, text in EXIT_CODES.items()}))
    yield from section("ENVIRONMENT", entries(ENVIRONMENT))
    yield from section("EXAMPLES", entries(EXAMPLES))
    yield from section("SEE ALSO", [r".BR spin (1),", r".BR qemu\-system\-x86_64 (1)"])


def told(command: Command) -> Iterator[str]:
    yield f'.SS "{plain(command.name)}"'
    yield plain(sentence(command.about))
    yield ".PP"
    yield rf".B zonedev {plain(command.name)}"
    yield " ".join(part(a) for a in command.arguments)
    for argument in command.arguments:
        yield ".TP"
        yield flagged(argument)
        yield plain(sentence(argument.about))


def part(argument: Argument) -> str:
    """An argument of a synopsis; it is not broken over two lines."""
    found = flagged(argument, 1).replace(" ", r"\ ")
    return (found if argument.needed else f"[{found}]") + ("..." if argument.again else "")


def flagged(argument: Argument, many: int | None = None) -> str:
    flags = ", ".join(rf"\fB{plain(flag)}\fR" for flag in argument.flags[:many])
    value = rf"\fI{plain(argument.value)}\fR" if argument.value else ""
    return " ".join(filter(None, [flags, value]))


def section(name: str, lines: Iterable[str]) -> Iterator[str]:
    yield f'.SH "{name}"'
    yield from lines


def entries(of: Mapping[str, str]) -> Iterator[str]:
    for name, text in of.items():
        yield ".TP"
        yield rf"\fB{plain(name)}\fR"
        yield plain(sentence(text))


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def plain(text: str) -> str:
    """A text that roff prints as it stands: hyphens that can be copied, no requests."""
    found = text.replace("\\", r"\e").replace("-", r"\-").replace("~", r"\(ti").replace("^", r"\(ha")
    return rf"\&{found}" if found.startswith((".", "'")) else found


def completion(context: Context) -> int:
    """A script with which a shell completes commands, options, and the names that there are."""
    import shtab  # here, since no other command needs it

    top = parser()
    offer(top, names(context.catalogue))
    show(shtab.complete(top, context.options.shell))
    return OK


def names(catalogue: Catalogue) -> Mapping[str, list[str]]:
    """What can stand for each placeholder that means a name."""
    patches = [f"{s.name}/{p.number}" for s in catalogue.series.values() for p in s.patches]
    designs = [*catalogue.designs, *patches]
    return {
        "SCENARIO": list(catalogue.everything()),
        "D": designs,
        "DESIGN": designs,
        "R": list(catalogue.rules),
    }


def offer(top: argparse.ArgumentParser, known: Mapping[str, list[str]]) -> None:
    """Give the arguments of a parser what a shell is to offer for them."""
    import shtab

    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for found in action.choices.values():
                offer(found, known)
            continue
        value = action.metavar if isinstance(action.metavar, str) else ""
        if value in known:
            action.choices = known[value]
        elif value == "DIR":
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif "FILE" in value or value.endswith(".json"):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
