"""What the lab needs of the machine that it runs on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import elf

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: apt's own downloader: unlike apt-get download it goes on with half a file.
HELPER = shutil.which("apt-helper", path="/usr/lib/apt:/usr/libexec/apt")


@dataclass(frozen=True)
class Tool:
    """A tool of the host: what for, the packages of Debian and Ubuntu that have it, its version."""

    name: str
    purpose: str
    packages: str
    version: str | None  # None where it is missing

    @property
    def mend(self) -> str:
        return f"apt install {self.packages}"


def tools() -> list[Tool]:
    """All that a set-up and a boot need, found or not."""
    return [
        Tool(name, purpose, packages, probe())
        for name, purpose, packages, probe in (
            ("qemu-system-x86_64", "to boot kernels", "qemu-system-x86", first("qemu-system-x86_64")),
            ("cc", "to build the guest's agent", "gcc libc6-dev", static_compiler),
            ("apt-get", "to find packages", "apt", first("apt-get")),
            ("apt-helper", "to fetch packages", "apt", lambda: version(HELPER) if HELPER else None),
            ("dpkg-deb", "to unpack packages", "dpkg", first("dpkg-deb")),
            ("gpgv", "to check signatures", "gpgv", first("gpgv", "sqv")),
            ("debian-archive-keyring", "to check signatures", "debian-archive-keyring", keyring),
        )
    ]


def first(*names: str) -> Callable[[], str | None]:
    """A probe for the version of the first of these programs that there is."""

    def probe() -> str | None:
        for name in names:
            if path := shutil.which(name):
                return version(path)
        return None

    return probe


def version(program: str) -> str:
    """The first number in what a program says of its version."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return "?"
    found = re.search(r"\d+(\.\d+)+", said)
    return found[0] if found else "?"


def compiler() -> list[str]:
    """The C compiler, with its options: $CC, or cc."""
    return (os.environ.get("CC") or "cc").split()


def static_compiler() -> str | None:
    """The version of the C compiler, if it makes static programs for x86-64."""
    if not shutil.which(compiler()[0]):
        return None
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "probe"
        command = [*compiler(), "-static", "-x", "c", "-o", str(out), "-"]
        done = subprocess.run(
            command, input=b"int main(void) { return 0; }", capture_output=True, check=False
        )
        if done.returncode or elf.machine(out.read_bytes()) != elf.X86_64:
            return None
    return version(compiler()[0])


def keyring() -> str | None:
    return "found" if KEYRING.is_file() else None
