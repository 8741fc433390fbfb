"""A run as one plain C program for a bug report: its tasks' calls, in their order, and nothing else.

The functions that make the calls are those of the agent (guest/calls.h, files.h, pins.h), so that what
was run and what is sent to a list are one text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zonedev.lab import ccode

#: C functions by the agent's requests, with the kinds of their arguments: a text, a number,
#: a character, bytes, room for bytes, a task.
CALLS = {
    "mmap": ("do_mmap", "tnn"),
    "mmap_sync": ("do_mmap_sync", "tnn"),
    "munmap": ("do_munmap", "nn"),
    "mmap_private": ("do_mmap_private", "tnn"),
    "touch": ("do_touch", "nc"),
    "read": ("do_read", "nr"),
    "write": ("do_write", "nb"),
    "pfn": ("do_pfn", "n"),
    "futex_wake": ("do_futex_wake", "n"),
    "vmsplice": ("do_vmsplice", "nn"),
    "xdp_pin": ("do_xdp_pin", "nn"),
    "uring_pin": ("do_uring_pin", "nn"),
    "uring_write": ("do_uring_write", "nb"),
    "uring_read": ("do_uring_read", "nr"),
    "dio_submit": ("do_dio_submit", "nnc"),
    "dio_finish": ("do_dio_finish", "n"),
    "aio_submit": ("do_aio_submit", "tnnc"),
    "aio_finish": ("do_aio_finish", "n"),
    "drop": ("do_drop", "n"),
    "write_file": ("do_write_file", "tt"),
    "ftruncate": ("do_ftruncate", "tn"),
    "punch": ("do_punch", "tnn"),
    "allocate": ("do_allocate", "tn"),
    "unlink": ("do_unlink", "t"),
    "fsync": ("do_fsync", "t"),
    "sync": ("do_sync", ""),
    "open": ("do_open", "t"),
    "pwrite": ("do_pwrite", "tnnc"),
    "clone": ("do_clone", "tt"),
    "umount": ("do_umount", "t"),
    "drop_caches": ("do_drop_caches", ""),
    "fiemap": ("do_fiemap", "tn"),
    "mmap_anon": ("do_mmap_anon", "n"),
    "mirror_read": ("do_mirror_read", "nnr"),
    "mirror_write": ("do_mirror_write", "nnb"),
    "mirror_migrate": ("do_mirror_migrate", "nnnc"),
    "private_pfn": ("do_private_pfn", "n"),
    "fork": ("start_process", "s"),
    "thread": ("start_thread", "s"),
}
#: How what a request took is dropped, where closing it is not all.
DROPS = {"uring_pin": "do_uring_drop", "dio_submit": "do_dio_finish", "aio_submit": "do_aio_finish"}
#: The commands that make the block device of dio_submit.
SLOW = ("modprobe brd rd_nr=1 rd_size=16384", "dmsetup create slow --table '0 32768 linear /dev/ram0 0'")
#: What starts a task out of another one.
STARTS = ("fork", "thread")
MOST_STEPS = 99
ROOM = 4096  # bytes that a read has room for


class Expr(str):
    """A text argument that is C as it stands."""


#: The device that the program is given, and its name in sysfs.
DEVICE = Expr("device")
NAME = Expr("name")


@dataclass(frozen=True)
class Step:
    """A request of a task's, in the agent's words.

    An argument is a number, a text, or the `result` of an earlier step in C ("va", "va + 4096");
    bytes are hex, as in the protocol.  `result` names the variable that takes the outcome, "" for
    none.  `blocks`: whether the call was seen to wait.
    """

    task: str
    op: str
    args: tuple[str | int, ...] = ()
    result: str = ""
    blocks: bool = False


def program(
    title: str,
    comment: Sequence[str],
    setup: Sequence[str],
    steps: Sequence[Step],
    path: str = "/dev/dax0.0",
) -> str:
    """The program; `setup` has the shell commands that make the device or file at `path`, for the
    comment on top.

    ValueError for a request that is none of a task's.
    """
    steps = [step for step in steps if step.op != "spawn"]  # every process is there from the start
    if len(steps) > MOST_STEPS:
        raise ValueError(f"{len(steps)} steps are more than the {MOST_STEPS} that a program can have")
    variables = "\n".join(variables_of(steps))
    tasks = "\n\n".join(tasks_of(steps))
    main = main_of(steps)
    source = ccode.read()
    functions = "\n\n".join(blocks(source.needed(ccode.words_of(tasks + main))))
    includes = "\n".join(source.includes_for(functions + main))
    slow = SLOW if any(step.op == "dio_submit" for step in steps) else ()
    run = ("cc -O2 -pthread -o reproducer reproducer.c", f"./reproducer {path}")
    top = "\n".join(top_comment(title, comment, [*setup, *slow, *run]))
    parts = [top, "#define _GNU_SOURCE\n" + includes, functions, variables, tasks, main]
    return "\n\n".join(part for part in parts if part) + "\n"


def top_comment(title: str, comment: Sequence[str], commands: Sequence[str]) -> Iterator[str]:
    yield "// SPDX-License-Identifier: GPL-2.0-only"
    about = [title, "", *comment, "", "As root:", "", *(f"    {c}" for c in commands)]
    yield "/*"
    for line in about:
        yield f" * {line.replace('*/', '* /')}".rstrip()
    yield " */"


def blocks(items: Sequence[ccode.Item]) -> Iterator[str]:
    """Functions apart, macros together."""
    macros = [item.text for item in items if item.text.startswith("#define")]
    if macros:
        yield "\n".join(macros)
    yield from (item.text for item in items if item.text not in macros)


def variables_of(steps: Sequence[Step]) -> Iterator[str]:
    yield "static const char *device" + (", *name;" if NAME in set(exprs(steps)) else ";")
    results = list(dict.fromkeys(step.result for step in steps if step.result))
    if results:
        yield f"static long {', '.join(results)};"
    if any("r" in CALLS[step.op][1] for step in steps if step.op in CALLS):
        yield f"static char bytes[{ROOM}];"


def exprs(steps: Sequence[Step]) -> Iterator[Expr]:
    return (a for step in steps for a in step.args if isinstance(a, Expr))


def started(steps: Sequence[Step]) -> list[str]:
    """The tasks that another one starts."""
    return [str(step.args[0]) for step in steps if step.op in STARTS]


def names(steps: Sequence[Step]) -> list[str]:
    """The tasks: those that are started by another one first, so that they are known to it."""
    found = list(dict.fromkeys([*(step.task for step in steps), *started(steps)]))
    for name in found:
        if not name.isidentifier():
            raise ValueError(f"a task cannot be called {name!r}")
    later = [name for name in reversed(started(steps)) if name in found]
    return [*dict.fromkeys(later), *(name for name in found if name not in later)]


def tasks_of(steps: Sequence[Step]) -> Iterator[str]:
    """A function for each task, with its steps."""
    takers = {step.result: step.op for step in steps if step.result}
    for name in names(steps):
        own = [line(n, step, takers) for n, step in enumerate(steps, 1) if step.task == name]
        yield "\n".join([f"static void {name}(void)", "{", *(f"\t{text}" for text in own), "}"])


def line(number: int, step: Step, takers: dict[str, str]) -> str:
    if step.op == "exit":
        return f"leave({number}, __func__);"
    took = f"{step.result} = " if step.result else ""
    return f"{took}STEP({number}, {call(step, takers)});" + ("\t/* blocks */" if step.blocks else "")


def call(step: Step, takers: dict[str, str]) -> str:
    """The call of a step; `takers` has the requests by the variables that took their results."""
    if step.op not in CALLS:
        raise ValueError(f"{step.op} is no request of a task")
    function, kinds = CALLS[step.op]
    if len(step.args) != len(kinds):
        raise ValueError(f"{step.op} takes {len(kinds)} arguments, not {len(step.args)}")
    if step.op == "drop":
        function = DROPS.get(takers.get(str(step.args[0]), ""), function)
    arguments = ", ".join(argument(k, a) for k, a in zip(kinds, step.args, strict=True))
    text = f"{function}({arguments})"
    return f"show(bytes, {text})" if "r" in kinds else text


def argument(kind: str, value: str | int) -> str:
    if kind == "t":
        return value if isinstance(value, Expr) else quoted(str(value).encode())
    if kind == "c":
        return f"'{value}'"
    if kind == "b":
        data = b"" if value == "-" else bytes.fromhex(str(value))
        return f"{quoted(data)}, {len(data)}"
    number = hex(value) if isinstance(value, int) and value > ROOM else str(value)
    return f"bytes, {number}" if kind == "r" else number


def quoted(data: bytes) -> str:
    """A C string."""
    plain = (chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in data)
    return f'"{"".join(plain)}"'


def main_of(steps: Sequence[Step]) -> str:
    own = [name for name in names(steps) if name not in started(steps)]
    lines = [
        "int main(int argc, char **argv)",
        "{",
        "\tif (argc != 2) {",
        '\t\tfprintf(stderr, "usage: %s DEVICE\\n", argv[0]);',
        "\t\treturn 1;",
        "\t}",
        "\tdevice = argv[1];",
        *(["\tname = basename(device);"] if NAME in set(exprs(steps)) else []),
        "\tshare_steps();",
        *(f"\tstart_process({name});" for name in own),
        f"\trun_steps({len(steps)});",
        "\treturn 0;",
        "}",
    ]
    return "\n".join(lines)
