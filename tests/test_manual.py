"""The manual page and what shells complete: all that the parser takes, and nothing else."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from zonedev.catalogue import load
from zonedev.cli import main, parser
from zonedev.commands import COMMANDS
from zonedev.commands.described import Argument, Command, commands
from zonedev.commands.manual import plain, sentence

SHELLS = {"bash": ["bash", "-c"], "zsh": ["zsh", "-c"], "fish": ["fish", "-c"]}


@cache
def described() -> tuple[Command, ...]:
    return tuple(commands(parser()))


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


# --- what the parser takes -----------------------------------------------------------------------


def test_every_command_is_described_and_every_argument_says_what_it_is() -> None:
    words = [command.name for command in described()]
    assert {word.split()[0] for word in words} == set(COMMANDS)
    assert "lab setup" in words and "lab" not in words
    silent = [
        f"{c.name} {a.flags or a.value}" for c in described() for a in c.arguments if not a.about.strip()
    ]
    assert silent == [] and all(c.about for c in described())


def test_an_argument_is_shown_as_it_is_typed() -> None:
    top = argparse.ArgumentParser(description="d")
    top.add_argument("--many", metavar="M", action="append", help="h")
    top.add_argument("--flag", "-f", action="store_true", help="h")
    top.add_argument("--need", choices=("a", "b"), required=True, help="h")
    top.add_argument("first", metavar="FIRST", help="h")
    top.add_argument("rest", metavar="REST", nargs="*", help="h")
    (command,) = commands(top)
    assert command == Command("", "d", command.arguments)
    assert command.usage("p") == "p FIRST [REST]... [--many M]... [--flag] --need a|b"
    assert command.arguments[3] == Argument(("--flag", "-f"), "", "h", False, False)


# --- the manual page -----------------------------------------------------------------------------


def test_the_page_has_every_command_and_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "manual")
    for command in described():
        assert f'.SS "{plain(command.name)}"\n' in page
        part = page.split(f'.SS "{plain(command.name)}"\n')[1].split(".SS")[0]
        for argument in command.arguments:
            assert all(rf"\fB{plain(flag)}\fR" in part for flag in argument.flags)
            assert plain(sentence(argument.about)) in part


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff: apt install groff")
def test_groff_takes_the_page(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "zonedev.1"
    file.write_text(printed(capsys, "manual"), encoding="utf-8")
    command = ["groff", "-man", "-Tascii", "-ww", "-P-cbou", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "zonedev check SCENARIO... [--format text|json|ktap|junit]" in done.stdout
    assert "--all-violations\n              Go on after the first, and list all there are.\n" in done.stdout


def test_what_roff_would_take_for_its_own_is_said_as_it_stands() -> None:
    assert plain(".TH 'a\\b") == r"\&.TH 'a\eb" and plain("--on") == r"\-\-on"
    assert sentence("bytes, or 4G") == "Bytes, or 4G." and sentence("") == ""


# --- completion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_shell_takes_its_script(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    script = printed(capsys, "completion", shell)
    assert "evict-vs-pin" in script and "dax-refcount-2025/19" in script and "page-lifetime" in script
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}: apt install {shell}")
    file = tmp_path / "script"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run([shell, "-n", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def completed(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of some words."""
    asked = f"""
source {script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
COMP_CWORD={len(words) - 1}
_shtab_zonedev zonedev "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_options_and_names(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    script = tmp_path / "zonedev.bash"
    script.write_text(printed(capsys, "completion", "bash"), encoding="utf-8")
    assert completed(script, "zonedev", "ma") == ["matrix", "manual"]
    assert completed(script, "zonedev", "lab", "s") == ["setup", "status"]
    evict = [name for name in load().everything() if name.startswith("evict-")]
    assert completed(script, "zonedev", "check", "evict-") == evict
    assert completed(script, "zonedev", "check", "evict-vs-pin", "--des") == ["--design"]
    newer = [name for name in load().designs if name.startswith("linux-6")]
    assert completed(script, "zonedev", "check", "evict-vs-pin", "--design", "linux-6") == newer
    assert completed(script, "zonedev", "diff", "linux-5.10", "linux-6") == newer
    assert completed(script, "zonedev", "check", "--rule", "page-") == ["page-lifetime"]
    assert completed(script, "zonedev", "check", "--engine", "n") == ["native"]


def test_completion_leaves_the_errors_of_the_parser_alone(capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "completion", "bash")
    assert main(["check", "evict-vs-pn"]) == 1
    assert "did you mean evict-vs-pin" in capsys.readouterr().err
