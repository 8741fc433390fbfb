"""Fetches and builds the kernel's own tests of device-private memory: lib/test_hmm.c and hmm-tests.c.

Everything is of the very version of the kernel that is set up, and is fetched: no code of the kernel is
part of zonedev.  The host's C compiler builds it; nothing that was fetched runs on the host.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from zonedev.lab import cache, kernels, kmodule
from zonedev.lab.archive import Archive, Package
from zonedev.lab.errors import LabError
from zonedev.lab.hmm_suite import (
    MODULE,
    NEEDED,
    OPTIONS,
    PARTS,
    PROGRAM,
    RECORD,
    SELFTESTS,
    WANTED,
    directory,
    installed,
    obstacle,
    place,
    without,
)
from zonedev.lab.kernels import LabKernel, Stock
from zonedev.lab.kmodule import Headers
from zonedev.lab.setup import Setup, unpack


def fetch(work: Setup, stock: Stock) -> None:
    """Fetch and build the tests for a kernel that is set up, unless they are there."""
    if why := obstacle(stock.name):
        raise LabError(why)
    kernel = kernels.find(stock.name)
    if installed(kernel):
        return
    archive, present = work.find(stock)
    if present[0].version != kernel.version:
        raise LabError(f"kernel {stock.name}: the archive has moved on from {kernel.version}: add --update")
    packages = plan(archive, kernel)
    what = f"hmm-tests of kernel {stock.name}"
    files = archive.download(packages, work.progress(what))
    work.report(f"building {what}", None)
    with cache.scratch(work.place) as raw, cache.making(place(kernel)) as temporary:
        for file in files:
            take_out(file, raw)
        temporary.mkdir()
        build(raw, kernel, temporary)
        record = {"kernel": kernel.version, "packages": [f"{p.name} {p.version}" for p in packages]}
        (temporary / RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
    for old in directory().glob(f"{stock.name}-*"):
        if old != place(kernel):
            cache.remove(old)


def plan(archive: Archive, kernel: LabKernel) -> list[Package]:
    """The packages that are needed, all of the kernel's version; LabError where one is not to be had."""
    names = [*kmodule.header_packages(kernel.release), f"linux-source-{kernel.name}"]
    there = {p.name: p for p in archive.resolve(names)}
    for name in names:
        if name not in there or there[name].version != kernel.version:
            have = f"has {there[name].version} of it" if name in there else "does not have it"
            raise LabError(
                f"kernel {kernel.name}: its hmm-tests need {name} {kernel.version}, and the archive {have}: "
                "add --update"
            )
    return [there[name] for name in names]


def take_out(file: Path, into: Path) -> None:
    """Unpack headers; out of sources, which are an archive in a package, only what is wanted."""
    if not file.name.startswith("linux-source-"):
        unpack([file], into)
        return
    try:
        with contents(file) as members:
            for member, opened in members:
                if ".tar" in member.name:
                    with tarfile.open(fileobj=opened, mode="r|*") as sources:
                        copy_wanted(sources, into / "source")
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LabError(f"{file.name} cannot be unpacked: {error}") from None
    raise LabError(f"{file.name} has no sources")


@contextmanager
def contents(file: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """The regular files in a package, as they come."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            with tarfile.open(fileobj=child.stdout, mode="r|") as members:
                yield files_of(members)
        finally:
            child.kill()  # what follows is of no use


def files_of(members: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for member in members:
        opened = members.extractfile(member) if member.isfile() else None
        if opened is not None:
            yield member, opened


def copy_wanted(sources: tarfile.TarFile, into: Path) -> None:
    """Copy the wanted files; the first part of each name is that of the whole."""
    for member, opened in files_of(sources):
        name = member.name.partition("/")[2]
        if name.startswith(WANTED) and ".." not in Path(name).parts:
            out = into / name
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("wb") as written:
                shutil.copyfileobj(opened, written)


def build(raw: Path, kernel: LabKernel, into: Path) -> None:
    """Build the module and the program from what was unpacked."""
    headers, source = Headers.below(raw, kernel.release), raw / "source"
    for path in (headers.own / "Module.symvers", source / WANTED[0], source / SELFTESTS / "mm" / PARTS[0]):
        if not path.is_file():
            raise LabError(f"kernel {kernel.name}: the packages have no {path.name}")
    if NEEDED not in headers.options:
        raise LabError(without(kernel.name))
    if "MODVERSIONS" in headers.options:
        raise LabError(f"kernel {kernel.name}: no hmm-tests: it has CONFIG_MODVERSIONS, which is not handled")
    work = raw / "work"
    work.mkdir()
    kmodule.build(source / WANTED[0], headers, into / MODULE, work)
    tests = source / SELFTESTS
    given = [*OPTIONS, f"-I{source}", f"-I{tests}", f"-I{tests / 'mm'}"]
    given += ["-isystem", str(source / "tools/include/uapi")]
    given += [
        kmodule.as_in_the_tree(source),
        "-o",
        str(into / PROGRAM),
        *(str(tests / "mm" / part) for part in PARTS),
    ]
    kmodule.compile_with(given, tests / "mm" / PARTS[0])
