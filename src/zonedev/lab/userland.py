"""The programs of a guest: Debian's, with the libraries that they load and nothing else."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from zonedev.lab import cache, cpio, elf
from zonedev.lab.errors import LabError

SUITES = ("trixie", "trixie-security")
PACKAGES = ("busybox-static", "ndctl", "dmsetup", "xfsprogs", "e2fsprogs")
PROGRAMS = ("busybox", "ndctl", "dmsetup", "mkfs.xfs", "mkfs.ext4")
#: Interpreters and data that packages depend on and none of these programs loads.
UNUSED = re.compile(
    r"(lib)?python3|libicu|libglib|libstdc|libsqlite|libdb5|tzdata|debconf|media-types|netbase|dpkg$|tar$"
    r"|readline|libreadline|libncurses|openssl-|init-system|cxl$|libdbus"
)
DIRECTORIES = ("usr/bin", "usr/sbin", "bin", "sbin")
LAYOUT = 1  # to be counted up when write() puts them elsewhere


def recipe() -> str:
    """A hash of what is wanted, so that a release of zonedev that wants something else fetches that."""
    return hashlib.sha256(repr((SUITES, PACKAGES, PROGRAMS, LAYOUT)).encode()).hexdigest()[:16]


def place() -> Path:
    return cache.root() / "debian" / "userland" / f"{recipe()}.cpio"


def find() -> Path:
    """The archive of the userland; LabError where it is not set up."""
    path = place()
    if not path.is_file():
        raise LabError("the guest's programs are not set up: run zonedev lab setup")
    return path


def write(unpacked: Path, versions: Iterable[str], out: Path) -> None:
    """Write the archive from a tree of unpacked packages; LabError where a library is not in it."""
    with out.open("wb") as opened:
        archive = cpio.Writer(opened)
        for name, path in sorted(closure(unpacked).items()):
            archive.add(cpio.file(name, path.read_bytes(), 0o755))
        archive.add(cpio.link("bin/sh", "/usr/bin/busybox"))
        archive.add(cpio.link("lib64", "usr/lib"))  # where programs name their dynamic linker
        archive.add(cpio.file("lab/packages", "".join(f"{v}\n" for v in sorted(versions)).encode()))
        archive.close()


def closure(unpacked: Path) -> dict[str, Path]:
    """The programs and all libraries that they need, by their names in the guest."""
    known = {path.name: path for path in libraries(unpacked)}
    found: dict[str, Path] = {}
    waiting = [(f"usr/bin/{name}", program(unpacked, name)) for name in PROGRAMS]
    while waiting:
        name, path = waiting.pop()
        if name in found:
            continue
        found[name] = path
        for library in elf.needed(path.read_bytes()):
            if library not in known:
                raise LabError(f"the guest's {name} needs {library}, which no fetched package has")
            waiting.append((f"usr/lib/{library}", known[library]))
    return found


def program(unpacked: Path, name: str) -> Path:
    for directory in DIRECTORIES:
        path = unpacked / directory / name
        if path.is_file():
            return path
    raise LabError(f"the guest's {name} is in none of the packages {', '.join(PACKAGES)}")


def libraries(unpacked: Path) -> Iterator[Path]:
    for base, _, names in os.walk(unpacked):
        if "/lib" in base:
            yield from (Path(base) / name for name in names if ".so" in name)
