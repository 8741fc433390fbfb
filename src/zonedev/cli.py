"""The command line: what the commands are called, and what they take."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from zonedev.catalogue import unknown
from zonedev.commands import COMMANDS, Context, run
from zonedev.commands.context import complain
from zonedev.explore.matrix import Loader
from zonedev.explore.on import address_of
from zonedev.explore.reduce import REDUCTIONS, named
from zonedev.lab.errors import LabError
from zonedev.lang.errors import ZonedevError

ERROR, UNDETERMINED = 1, 3

#: What the exit codes mean.
EXIT_CODES = {
    0: "holds, or as expected",
    1: "wrong usage or an error",
    2: "violated, or not as expected; model and machine differ",
    3: "undetermined: a limit was hit, or Ctrl-C; a kernel could not be run",
    4: "an oops of a real kernel that the model did not foretell",
    5: "a run on a real kernel took too long",
}


class UsageError(ZonedevError):
    """A command line that cannot be understood."""


class Parser(argparse.ArgumentParser):
    """Reports wrong usage as one line, with exit code 1 like every other error."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def positive(text: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def natural(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def memory(text: str) -> int:
    """Bytes, with a suffix K, M, G or T."""
    units = {"K": 10, "M": 20, "G": 30, "T": 40}
    number, unit = text, 0
    if text and text[-1].upper() in units:
        number, unit = text[:-1], units[text[-1].upper()]
    if not (number.isascii() and number.isdigit()) or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500M or 4G")
    return int(number) << unit


def reductions(text: str) -> tuple[str, ...]:
    try:
        return named(text)
    except ZonedevError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def cluster(text: str) -> str:
    """What --on takes."""
    try:
        address_of(text)
    except ZonedevError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no cluster: write ray, ray=HOST:PORT or ray://HOST:PORT"
        ) from None
    return text


def url(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    if not (scheme.isalpha() and colon and rest.startswith("/")) or text.split() != [text]:
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://HOST/debian")
    return text


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="zonedev",
        description="Specification and checker of the life cycles of Linux ZONE_DEVICE pages.",
        epilog="Exit codes: " + ". ".join(f"{code} {about}" for code, about in EXIT_CODES.items()) + ".",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")

    def command(name: str, about: str, formats: Sequence[str] = ("text", "json")) -> Parser:
        found: Parser = commands.add_parser(name, help=about, description=about, allow_abbrev=False)
        if formats:
            found.add_argument("--format", choices=formats, default="text", help="what to print")
        return found

    for name in ("designs", "scenarios", "rules"):
        command(name, f"list the {name}")
    add_check(command("check", "explore every interleaving", ("text", "json", "ktap", "junit")))
    add_matrix(command("matrix", "every scenario under every design, against what is expected"))
    add_report(command("report", "the catalogue as a page for a browser", ()))
    add_life(command("life", "the states that pages go through in a design", ("text", "json", "rv")))
    add_series(command("series", "which patch of a patch series turns which verdict"))
    one = command("run", "run one schedule as plain Python")
    one.add_argument("scenario", metavar="SCENARIO", help="its tasks are run")
    one.add_argument("--design", metavar="D", required=True, help="a design, SERIES/PATCH or FILE.py:CLASS")
    add_scope(one)
    one.add_argument("--seed", metavar="N", type=natural, default=0, help="0: each task as far as it goes")
    again = command("replay", "a counterexample again, as plain Python")
    again.add_argument("trace", metavar="TRACE.json", help="what check --format json printed")
    again.add_argument("--pdb", action="store_true", help="stop in the debugger before each step")
    add_show(command("show", "look at a counterexample, step by step or in another format", ()))
    form = command("schema", "the JSON schema of what --format json prints", ())
    form.add_argument("name", metavar="NAME", nargs="?", help="a command (default: list them)")
    diff = command("diff", "what differs between two designs")
    diff.add_argument("first", metavar="DESIGN", help="as for check --design")
    diff.add_argument("second", metavar="DESIGN", help="the other one")
    diff.add_argument("scenario", metavar="SCENARIO", nargs="*", default=[], help="only these (default: all)")
    add_on(diff)
    add_limits(diff)
    cost = command("cost", "shared-memory steps and atomic operations of kernel operations")
    cost.add_argument(
        "--design", metavar="D", action="append", default=[], help="as for check (default: every release)"
    )
    add_export(command("export", "write a check in the language of another checker", ()))
    about = "what needs each line of a function: the rule that breaks without it"
    add_mutants(command("explain", about), "FUNCTION")
    add_mutants(command("mutate", "the same for all functions: the share of changes that some rule notices"))
    add_conform(command("conform", "the same on real kernels, beside the model", ("text", "json", "ktap")))
    add_lab(command("lab", "set up real kernels, or say what there is", ()))
    command("manual", "print the manual page, for man -l -", ())
    shells = command("completion", "print what a shell needs to complete commands and names", ())
    shells.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    return top


def add_check(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", nargs="+", help="one of zonedev scenarios, or a case")
    found.add_argument(
        "--design",
        metavar="D",
        action="append",
        default=[],
        help="a design, SERIES/PATCH or FILE.py:CLASS (default: the newest)",
    )
    found.add_argument("--rule", metavar="R", action="append", default=[], help="check only this rule")
    add_scope(found)
    found.add_argument(
        "--all-violations", action="store_true", help="go on after the first, and list all there are"
    )
    found.add_argument(
        "--emit-test", metavar="FILE.py", help="write the counterexamples as tests for pytest as well"
    )
    add_engine(found)
    found.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="threads of the native engine (default: 1), or processes (default: one a core of the cluster)",
    )
    add_reduce(found, None)
    found.add_argument("--checkpoint", metavar="DIR", help="keep there how far the native engine has come")
    found.add_argument("--resume", action="store_true", help="go on from what --checkpoint DIR has")
    add_on(found)
    add_limits(found)


def add_scope(found: Parser) -> None:
    found.add_argument(
        "--scope", metavar="NAME=N,...", action="append", default=[], help="sizes, e.g. pages=2"
    )


def add_engine(found: Parser) -> None:
    found.add_argument(
        "--engine",
        choices=("auto", "python", "native"),
        default="auto",
        help="what searches: CPython, compiled code, or first the one and then the other (default)",
    )


def add_show(found: Parser) -> None:
    found.add_argument("trace", metavar="TRACE.json", help="what check --format json printed")
    found.add_argument(
        "--format",
        choices=("text", "mermaid", "plantuml", "perfetto", "itf"),
        help="what to print (default: text, and on a terminal one steps through it)",
    )
    found.add_argument(
        "--number", metavar="N", type=positive, help="the Nth counterexample of the file (default: the first)"
    )


def add_on(found: Parser) -> None:
    found.add_argument(
        "--on", metavar="ray", type=cluster, help="on a Ray cluster: ray, ray=HOST:PORT or ray://HOST:PORT"
    )


def add_reduce(found: Parser, default: tuple[str, ...] | None) -> None:
    found.add_argument(
        "--reduce",
        metavar="R,...",
        type=reductions,
        default=default,
        help=f"fewer states, the same verdict: {', '.join(REDUCTIONS)}, or none (docs/reductions.md)",
    )


def add_limits(found: Parser) -> None:
    found.add_argument("--max-states", metavar="N", type=positive, help="give up there: undetermined")
    found.add_argument("--max-seconds", metavar="S", type=seconds, help="the same, in seconds of time")
    found.add_argument(
        "--max-memory", metavar="M", type=memory, help="bytes, or 500M, 4G (default: 90 %% of what is left)"
    )


def add_matrix(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", nargs="*", help="only these")
    found.add_argument("--all", action="store_true", help="also pairs without expectation or golden")
    found.add_argument(
        "--suite",
        choices=("hmm-tests", "dax-tests"),
        help="the cases of a test suite instead of the scenarios",
    )
    add_cells(found)
    add_reduce(found, ())


def add_report(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", nargs="*", help="only these")
    found.add_argument(
        "-o", dest="output", metavar="FILE.html", default="report.html", help="where to write it"
    )
    for name, about in (
        ("conform", "also what zonedev conform --format json wrote"),
        ("mutants", "also what zonedev mutate --format json wrote"),
        ("peers", "also what benchmarks/peers.py --json wrote"),
    ):
        found.add_argument(f"--{name}", metavar="FILE.json", help=about)
    found.add_argument("--jobs", metavar="N", type=positive, help="processes (default: one a core)")
    add_on(found)
    add_limits(found)


def add_life(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", nargs="*", help="only as these show it")
    found.add_argument("--design", metavar="D", help="as for check (default: the newest)")
    found.add_argument(
        "--kind",
        choices=("devdax", "fsdax", "private", "coherent", "p2pdma"),
        help="only pages of this memory",
    )


def add_mutants(found: Parser, *positional: str) -> None:
    for name in positional:
        found.add_argument(name.lower(), metavar=name, help="a kernel function, such as try_grab_folio")
    found.add_argument("--design", metavar="D", help="a design or FILE.py:CLASS (default: the newest)")
    found.add_argument("--jobs", metavar="N", type=positive, help="processes (default: one a core)")
    add_on(found)
    found.add_argument(
        "--max-states",
        metavar="N",
        type=positive,
        default=30_000,
        help="leave out scenarios with more states (default: 30000)",
    )
    found.add_argument("--max-seconds", metavar="S", type=seconds, help="begin no scenario after that")


def add_series(found: Parser) -> None:
    found.add_argument("name", metavar="NAME", nargs="?", help="show its patches (default: list all series)")
    found.add_argument("scenario", metavar="SCENARIO", nargs="*", help="check these at every patch")
    found.add_argument("--check", action="store_true", help="check the series' own scenarios")
    add_cells(found)


def add_cells(found: Parser) -> None:
    """What goes for many checks, in processes."""
    found.add_argument("--promote", action="store_true", help="write what is found as the goldens")
    add_engine(found)
    found.add_argument("--jobs", metavar="N", type=positive, help="processes (default: one a core)")
    add_on(found)
    add_limits(found)


def add_export(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", help="as for check")
    found.add_argument("--design", metavar="D", help="as for check (default: the newest)")
    add_scope(found)
    found.add_argument("--to", choices=("promela", "tla", "murphi"), required=True, help="the language")
    found.add_argument(
        "--style",
        choices=("loop", "processes"),
        default="loop",
        help="promela: one loop over all steps, or a process a task",
    )
    found.add_argument("-o", dest="output", metavar="FILE", help="where to write it (default: stdout)")


def add_conform(found: Parser) -> None:
    found.add_argument("scenario", metavar="SCENARIO", nargs="*", help="default: all that programs can do")
    found.add_argument(
        "--kernel", metavar="K,...", action="append", default=[], help="e.g. 6.12,7.2 (default: all set up)"
    )
    found.add_argument(
        "--fs",
        metavar="FS,...",
        help="file systems for scenarios with files: ext4, xfs",
    )
    found.add_argument("--design", metavar="D", help="beside this design instead of the kernel's own")
    found.add_argument("--order", metavar="'A B A'", help="the order of the tasks' calls")
    add_scope(found)
    found.add_argument(
        "--suite", choices=("hmm-tests",), help="the kernel's own tests of device memory instead of scenarios"
    )
    found.add_argument("--kernel-image", metavar="FILE", help="a bzImage of your own")
    found.add_argument("--modules", metavar="DIR", help="its lib/modules/RELEASE")
    found.add_argument("--vmlinux", metavar="FILE", help="its vmlinux with debug information")
    found.add_argument("--emit-c", metavar="FILE.c", help="write the operations as a C program instead")
    found.add_argument("--write", metavar="FILE.md", help="put the tables into a page, between its marks")
    found.add_argument("--jobs", metavar="N", type=positive, help="guests at a time (default: one a core)")
    found.add_argument("--timeout", metavar="S", type=seconds, default=60.0, help="for one run (default: 60)")


def add_lab(lab: Parser) -> None:
    actions = lab.add_subparsers(dest="action", required=True, parser_class=Parser, metavar="ACTION")
    about = "fetch kernels and what a guest needs from the Debian archive"
    setup = actions.add_parser("setup", help=about, description=about, allow_abbrev=False)
    setup.add_argument(
        "--kernel", metavar="V,...", action="append", default=[], help="only these: 5.10, 6.1, 6.12, 7.2"
    )
    setup.add_argument(
        "--debug-info", action="store_true", help="also vmlinux with debug information: 300 MB each"
    )
    setup.add_argument(
        "--test-hmm", action="store_true", help="also the kernel's own hmm-tests: fetches 170 MB, for 7.2"
    )
    setup.add_argument("--update", action="store_true", help="refresh what the archive has newer")
    setup.add_argument(
        "--mirror", metavar="URL", type=url, help="of Debian (default: that of the host's apt)"
    )
    setup.add_argument("--security-mirror", metavar="URL", type=url, help="of Debian's security updates")
    about = "what the lab has: kernels, tools of the host"
    status = actions.add_parser("status", help=about, description=about, allow_abbrev=False)
    for found in (setup, status):
        found.add_argument("--format", choices=("text", "json"), default="text", help="what to print")


def main(argv: Sequence[str] | None = None, load: Loader | None = None) -> int:
    """Run a command and return its exit code; nothing but the result goes to stdout."""
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown("command", args[0], COMMANDS)
        options = parser().parse_args(args)
        code = run(options.command, Context(options, load))
        sys.stdout.flush()
        return code
    except LabError as error:
        return failed(str(error), UNDETERMINED)
    except ZonedevError as error:
        return failed(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR
    except KeyboardInterrupt:
        print("zonedev: interrupted", file=sys.stderr)
        return UNDETERMINED
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return failed(f"internal error: {text} (set ZONEDEV_TRACEBACK=1 for the traceback)")


def failed(text: str, code: int = ERROR) -> int:
    """Report an error in one line, after its traceback where that is asked for."""
    if os.environ.get("ZONEDEV_TRACEBACK"):
        traceback.print_exc()
    complain(text)
    return code


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())
