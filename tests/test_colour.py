"""Verdicts in colour: the lines of the plain text, and what stands out in them."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

import toys
from zonedev.explore.check import Verdict, check
from zonedev.report import colour, json, text

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@cache
def verdicts() -> dict[str, Verdict]:
    """One of each kind."""
    known = toys.RULES
    return {
        "violated": check(toys.ToyUnbindVsPin, toys.ToyOld, known=known),
        "loop": check(toys.ToyBackOff, toys.ToyNew, known=known),
        "deadlock": check(toys.ToyLocks, toys.ToyOld, known=known),
        "holds": check(toys.ToyLocks, toys.ToyNew, known=known),
        "all": check(toys.ToyUnbindVsPin, toys.ToyOld, known=known, all_violations=True),
        "open": Verdict("s", "d", {}, "undetermined", stopped="--max-states 8", covered=3),
    }


def printed(verdict: Verdict) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, highlight=False, color_system="standard", width=40)
    console.print(colour.styled(verdict, text.render(verdict)), soft_wrap=True)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["violated", "loop", "deadlock", "holds", "all", "open"])
def test_without_its_styles_it_is_the_plain_text(kind: str) -> None:
    verdict = verdicts()[kind]
    found = printed(verdict)
    assert ANSI.search(found), "nothing is styled"
    assert ANSI.sub("", found) == text.render(verdict) + "\n"


def styles_of(verdict: Verdict) -> dict[str, list[str]]:
    """The pieces of the text by their style."""
    plain = text.render(verdict)
    found: dict[str, list[str]] = {}
    for span in colour.styled(verdict, plain).spans:
        found.setdefault(str(span.style), []).append(plain[span.start : span.end])
    return found


def test_what_stands_out() -> None:
    found = styles_of(verdicts()["violated"])
    assert found["bold red"] == [
        "violated: page-lifetime",
        "=> page-lifetime: dma_write writes page0.dirty after page0 was freed",
    ]
    assert found["bold cyan"] == ["A:", "A:"] and found["bold magenta"] == ["B:"]
    assert found["bold"] == ["2", "NULL", "1", "0"]


def test_the_verdict_has_its_colour() -> None:
    assert styles_of(verdicts()["holds"])["bold green"] == ["holds"]
    assert styles_of(verdicts()["open"])["bold yellow"] == ["undetermined"]
    loop = styles_of(verdicts()["loop"])["dim"]
    assert any(piece.startswith("-- from here on") for piece in loop)


def test_what_broke_is_red_to_its_last_line() -> None:
    red = styles_of(verdicts()["deadlock"])["bold red"]
    assert red[1].startswith("=>") and red[2].startswith("   waits in lock_page")


CHECK = ("check", "toy-unbind-vs-pin", "--design", "toy-1")


def on_a_terminal(*asked: str, **environment: str) -> str:
    """What a command that finds a violation prints there, a check where none is given."""
    main, other = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "COLORTERM")}
    script = "import sys, toys; from zonedev.cli import main; sys.exit(main(sys.argv[1:], toys.with_endless))"
    command = [sys.executable, "-c", script, *(asked or CHECK)]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # what pytest adds to it is not the child's
    with subprocess.Popen(
        command, stdout=other, stderr=subprocess.DEVNULL, env={**kept, **path, **environment}
    ) as process:
        os.close(other)
        found = b""
        try:
            while piece := os.read(main, 4096):
                found += piece
        except OSError:  # the other end is closed
            pass
    os.close(main)
    assert process.returncode == 2
    return found.decode().replace("\r\n", "\n")


def test_a_terminal_says_what_it_wants() -> None:
    in_colour = on_a_terminal(TERM="xterm-256color")
    plain = on_a_terminal(TERM="dumb")
    assert "\x1b[" in in_colour and "\x1b" not in plain
    assert ANSI.sub("", in_colour) == plain
    assert on_a_terminal(TERM="xterm-256color", NO_COLOR="1") == plain
    assert on_a_terminal(TERM="unknown") == plain


def test_a_replay_is_in_colour_too(tmp_path: Path) -> None:
    verdict = verdicts()["violated"]
    file = tmp_path / "trace.json"
    file.write_text(json.render([verdict, verdict]), encoding="utf-8")
    in_colour = on_a_terminal("replay", str(file), TERM="xterm-256color")
    plain = on_a_terminal("replay", str(file), TERM="xterm-256color", NO_COLOR="1")
    assert "\x1b[1;31m=> page-lifetime" in in_colour and "\x1b" not in plain
    assert ANSI.sub("", in_colour) == plain
    assert plain.count("\n\ntoy-unbind-vs-pin") == 1, "an empty line between them"


@pytest.mark.parametrize(
    ("term", "is_one"), [("xterm", True), ("dumb", False), ("unknown", False), (None, True)]
)
def test_a_terminal(term: str | None, is_one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert colour.terminal(Tty()) == is_one
    assert not colour.terminal(io.StringIO())
