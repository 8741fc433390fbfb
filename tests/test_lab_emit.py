"""The C program that a run is written as."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from zonedev.lab import ccode
from zonedev.lab.emit import CALLS, DEVICE, NAME, Step, program

UNBIND = "/sys/bus/dax/drivers/device_dax/unbind"
PAGE = 4096

STORY = [
    Step("A", "spawn"),
    Step("B", "spawn"),
    Step("A", "mmap", (DEVICE, 0, 2 << 20), "va"),
    Step("A", "touch", ("va", "w")),
    Step("A", "vmsplice", ("va", PAGE), "pin"),
    Step("B", "write_file", (UNBIND, NAME), blocks=True),
    Step("A", "drop", ("pin",)),
]


def compiled(text: str, place: Path) -> Path:
    """The program, built as strictly as a reader might."""
    source, built = place / "reproducer.c", place / "reproducer"
    source.write_text(text, encoding="ascii")
    flags = ["-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
    try:
        done = subprocess.run(
            ["cc", *flags, "-o", str(built), str(source)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        pytest.skip("there is no cc")
    assert done.returncode == 0, done.stderr
    return built


def outcomes(steps: Sequence[Step], file: Path, place: Path) -> dict[int, list[str]]:
    """What the program says of each step, run on a file; the bytes that it reads are under 0."""
    built = compiled(program("A test", [], [], steps), place)
    done = subprocess.run(
        [str(built), str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    said: dict[int, list[str]] = {}
    for line in done.stdout.splitlines():
        if found := re.match(r"([ \d][ \d]) {4}(\S.*)", line):
            said.setdefault(int(found[1].strip() or 0), []).append(found[2])
    return said


def test_the_program_reads_like_the_story() -> None:
    text = program("Unbind does not wait", ["Seen on 7.2."], ["ndctl create-namespace -m devdax"], STORY)
    assert text.isascii()
    assert text.startswith(
        "// SPDX-License-Identifier: GPL-2.0-only\n/*\n * Unbind does not wait\n *\n * Seen on"
    )
    assert " *     ndctl create-namespace -m devdax\n *     cc " in text
    assert "\tva = STEP(1, do_mmap(device, 0, 0x200000));\n\tSTEP(2, do_touch(va, 'w'));\n" in text
    assert f'\tSTEP(4, do_write_file("{UNBIND}", name));\t/* blocks */\n' in text
    assert "\tSTEP(5, do_drop(pin));\n" in text
    assert len(text.splitlines()) < 250


def test_the_program_has_only_what_it_needs(tmp_path: Path) -> None:
    text = program("", [], [], STORY)
    for absent in ("do_munmap", "do_read", "io_uring", "do_xdp_pin", "pthread_create", "leave(", "FDS"):
        assert absent not in text.replace("-pthread", ""), absent
    for name in ("do_mmap", "copy", "do_vmsplice", "run_steps"):
        assert len(re.findall(rf"^static .*\b{name}\(", text, re.MULTILINE)) == 1
    compiled(text, tmp_path)


@pytest.mark.parametrize("op", sorted(set(CALLS) - {"fork", "thread"}))
def test_each_call_stands_alone(op: str, tmp_path: Path) -> None:
    values: dict[str, str | int] = {"t": "/tmp/file", "n": 0x10000, "c": "r", "b": "00", "r": 8}
    args = tuple(values[kind] for kind in CALLS[op][1])
    compiled(program(op, [], [], [Step("A", op, args, "result")]), tmp_path)


def test_a_handle_is_dropped_as_it_was_taken(tmp_path: Path) -> None:
    takers = {"vmsplice": "do_drop", "xdp_pin": "do_drop", "uring_pin": "do_uring_drop"}
    for op, drop in takers.items():
        steps = [Step("A", op, (0x1000, PAGE), "pin"), Step("A", "drop", ("pin",))]
        assert f"STEP(2, {drop}(pin))" in program(op, [], [], steps)


def test_tasks_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"hello" + bytes(PAGE - 5))
    steps = [
        Step("A", "mmap", (DEVICE, 0, 2 * PAGE), "va"),
        Step("A", "read", ("va", 5)),
        Step("A", "thread", ("T",)),
        Step("T", "write", ("va", b'J"'.hex())),
        Step("A", "fork", ("C",)),
        Step("C", "read", ("va", 3)),
        Step("A", "touch", (f"va + {PAGE}", "r")),
        Step("C", "exit"),
        Step("B", "ftruncate", (DEVICE, 0)),
        Step("A", "touch", ("va", "r")),
        Step("A", "munmap", ("va", 2 * PAGE)),
        Step("T", "touch", ("va", "w")),
    ]
    said = outcomes(steps, file, tmp_path)
    assert said[1][0].startswith("= 0x")
    assert said[0] == ["68 65 6c 6c 6f", "4a 22 6c"]
    assert said[2] == ["= 5"] and said[4] == ["= 2"] and said[6] == ["= 3"]
    assert said[7] == ["! SIGBUS"]
    assert 8 not in said  # it has ended, and says nothing
    assert said[9] == ["= 0"] and said[10] == ["! SIGBUS"]
    assert said[11] == ["= 0"] and said[12] == ["! SIGSEGV"]


def test_a_step_that_blocks_is_left(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    steps = [Step("B", "write_file", (DEVICE, "x"), blocks=True), Step("A", "touch", (0x10000, "r"))]
    said = outcomes(steps, fifo, tmp_path)
    assert said == {1: ["blocks", "has not returned"], 2: ["! SIGSEGV"]}


def test_what_is_no_step() -> None:
    for step, what in (
        (Step("A", "where", ("A",)), "no request"),
        (Step("A", "mmap", (DEVICE,)), "3 arguments"),
        (Step("a b", "exit"), "cannot be called"),
    ):
        with pytest.raises(ValueError, match=what):
            program("", [], [], [step])


def test_the_headers_are_understood() -> None:
    source = ccode.read()
    names = [name for item in source.items for name in item.names]
    assert len(names) == len(set(names))
    assert {function for function, _ in CALLS.values()} <= set(names)
    for item in source.items:  # every header that it includes says what for
        assert item.text.count("{") == item.text.count("}")
