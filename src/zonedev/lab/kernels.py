"""The kernels that a guest can boot: Debian's stock ones that were set up, or one of the user's own."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import cache, modules
from zonedev.lab.errors import LabError


@dataclass(frozen=True)
class LabKernel:
    """A kernel on disk, ready to boot."""

    name: str  # what it is asked for by: "6.12", or "custom"
    release: str  # what uname -r prints
    version: str  # of the Debian package; the release again where there is none
    image: Path  # bzImage
    modules: Path | None  # lib/modules/<release>; None where all that a guest needs is built in
    vmlinux: Path | None  # with DWARF, where the debug information was fetched
    design: str  # whose rules it should follow


@dataclass(frozen=True)
class Stock:
    """Where a kernel is found in the Debian archive: in the first of these suites that has it."""

    name: str
    suites: tuple[tuple[str, ...], ...]  # each with its security suite

    @property
    def design(self) -> str:
        return design_of(self.name)


STOCK = {
    kernel.name: kernel
    for kernel in (
        Stock("5.10", (("bullseye", "bullseye-security"),)),
        Stock("6.1", (("bookworm", "bookworm-security"),)),
        Stock("6.12", (("trixie", "trixie-security"),)),
        Stock("7.2", (("forky", "forky-security"), ("sid",))),
    )
}
#: The first releases with the rules of each design, newest first (docs/designs.md).
DESIGNS = (
    ((6, 17), "linux-7.2"),
    ((6, 15), "linux-6.15"),
    ((6, 2), "linux-6.12"),
    ((5, 18), "linux-6.1"),
    ((5, 2), "linux-5.10"),
)
RECORD = "kernel.json"


def design_of(release: str) -> str:
    """The design that has the rules of a release such as "6.12.3-amd64"; LabError for one
    whose rules no design has."""
    version = tuple(int(n) for n in re.findall(r"\d+", release)[:2])
    found = next((design for since, design in DESIGNS if version >= since), None)
    if found is None:
        raise LabError(f"kernel {release}: no design is known to have its rules: name one with --design")
    return found


def chosen(given: Sequence[str]) -> list[Stock]:
    """The kernels of ``--kernel 6.1,6.12``, each once; all of them where nothing is given."""
    names = [name for part in given for name in part.split(",")] or list(STOCK)
    for name in names:
        if name not in STOCK:
            from zonedev.catalogue import unknown  # the lab itself has no need of the catalogue

            raise unknown("kernel", name, STOCK)
    return [STOCK[name] for name in dict.fromkeys(names)]


def directory() -> Path:
    return cache.root() / "debian" / "kernels"


def installed(name: str) -> LabKernel | None:
    """The stock kernel called `name` if it is set up."""
    try:
        place = (directory() / name).resolve(strict=True)
        record = json.loads((place / RECORD).read_text(encoding="utf-8"))
        vmlinux = place / "vmlinux"
        (place / "vmlinuz").stat()
        return LabKernel(
            name=name,
            release=record["release"],
            version=record["version"],
            image=place / "vmlinuz",
            modules=place / "modules" / record["release"],
            vmlinux=vmlinux if vmlinux.is_file() else None,
            design=STOCK[name].design,
        )
    except (OSError, ValueError, KeyError):
        return None


def find(name: str) -> LabKernel:
    """The stock kernel called `name`; LabError where it is not set up, ZonedevError for no such name."""
    chosen([name])
    found = installed(name)
    if found is None:
        raise LabError(f"kernel {name} is not set up: run zonedev lab setup --kernel {name}")
    return found


def named(name: str) -> LabKernel:
    """The stock kernel called `name`, set up or not: one to talk about."""
    (stock,) = chosen([name])
    return installed(name) or LabKernel(name, name, name, Path(), None, None, stock.design)


def custom(
    image: Path, modules_: Path | None = None, vmlinux: Path | None = None, design: str | None = None
) -> LabKernel:
    """A kernel of the user's own, which should follow the rules of `design`, or else of its release.

    `modules_` is its lib/modules/<release>, or None where all is built in; `vmlinux` the file with
    debug information.  LabError where a file is not what it should be.
    """
    release = release_of(image)
    if modules_ is not None:
        if not modules_.is_dir():
            raise LabError(f"{modules_}: no such directory: --modules takes lib/modules/{release}")
        if modules_.name != release and (modules_ / release).is_dir():
            modules_ = modules_ / release
        check_modules(modules_, release)
    if vmlinux is not None and not vmlinux.is_file():
        raise LabError(f"{vmlinux}: no such file: --vmlinux takes the vmlinux of kernel {release}")
    return LabKernel(
        "custom",
        release,
        release,
        image.absolute(),
        modules_.absolute() if modules_ else None,
        vmlinux.absolute() if vmlinux else None,
        design or design_of(release),
    )


def release_of(image: Path) -> str:
    """The release that a bzImage says it is (Documentation/arch/x86/boot.rst, kernel_version)."""
    try:
        with image.open("rb") as opened:
            data = opened.read(1 << 16)  # the set-up code, where the string is
    except OSError as error:
        raise LabError(f"{image}: {error.strerror}: --kernel-image takes a bzImage") from None
    if data[0x202:0x206] == b"HdrS":
        (at,) = struct.unpack_from("<H", data, 0x20E)
        words = data[at + 0x200 :].split(b"\0")[0].split() if at else []
        if words and words[0].isascii():
            return words[0].decode()
    raise LabError(f"{image}: not a bzImage of x86: give arch/x86/boot/bzImage of the kernel's build")


def check_modules(place: Path, release: str) -> None:
    """LabError where the modules are of another kernel, which would refuse them in the guest."""
    for path in list(modules.files(place).values())[:1]:
        of = modules.release_of(path)
        if of != release:
            raise LabError(f"{place}: modules of {of}, but the image is {release}: give those of the image")
