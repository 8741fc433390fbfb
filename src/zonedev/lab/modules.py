"""Which modules a guest loads, and in which order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zonedev.lab import elf
from zonedev.lab.errors import LabError

#: What is loaded when: at boot, or when a script of the guest asks for it, for a big module costs an
#: emulated machine seconds.  One that a kernel has built in, or does not have, is left out.
GROUPS: Mapping[str, Sequence[str]] = {
    "boot": (
        "nfit",
        "nd_e820",
        "nd_pmem",
        "dax_pmem",
        "device_dax",
    ),
    "ext4": ("crc32c_generic", "ext4"),
    "xfs": ("xfs",),
    "slow": ("dm_mod", "brd"),
}
#: What a module is given when it is loaded.
PARAMETERS = {"brd": "rd_nr=1 rd_size=16384"}
SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


@dataclass(frozen=True)
class Module:
    """A module as it goes into the guest."""

    name: str
    data: bytes


def normal(name: str) -> str:
    """The kernel takes - and _ in a module's name for the same."""
    return name.replace("-", "_")


def files(directory: Path) -> dict[str, Path]:
    """The module files of lib/modules/<release>, by the names of the modules."""
    found = {}
    for path in sorted(directory.rglob("*.ko*")):
        stem, dot, _ = path.name.partition(".ko")
        if dot and path.name.endswith(SUFFIXES):
            found[normal(stem)] = path
    return found


def contents(path: Path) -> bytes:
    """A module, uncompressed, so that the guest need not do it."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        import lzma  # here and below: what most kernels do without

        return lzma.decompress(data)
    if path.suffix == ".gz":
        import gzip

        return gzip.decompress(data)
    if path.suffix == ".zst":
        try:
            return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
        except FileNotFoundError:
            raise LabError(f"{path.name}: reading it needs zstd: apt install zstd") from None
    return data


def load_order(available: Mapping[str, Path], wanted: Iterable[str]) -> list[Module]:
    """Those of the wanted modules that there are, each after those it depends on."""
    done: dict[str, Module] = {}

    def visit(name: str) -> None:
        if name in done or name not in available:
            return
        data = contents(available[name])
        for other in filter(None, elf.modinfo(data).get("depends", "").split(",")):
            visit(normal(other))
        done[name] = Module(name, data)

    for name in wanted:
        visit(normal(name))
    return list(done.values())


def release_of(path: Path) -> str:
    """The release that a module was built for."""
    return elf.modinfo(contents(path)).get("vermagic", "").partition(" ")[0]
