"""Fetches kernels and the guest's programs, and puts them into the cache."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from zonedev.lab import cache, kernels, userland
from zonedev.lab.archive import Archive, Mirrors, Package, Progress
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel, Stock

NEWEST = "linux-image-cloud-amd64"  # depends on the newest kernel of a suite
KERNEL = re.compile(r"linux-(image|base|binary|modules)-(?P<release>\d.*-cloud-amd64)$")

#: Is told what is being done, and how far it is in percent where that is known.
Report = Callable[[str, float | None], None]


class Setup:
    """One set-up, which holds the lock on `place`.

    `mirrors` is called where something has to be fetched; `update` takes what the archive has newer.
    """

    def __init__(
        self, place: Path, mirrors: Callable[[], Mirrors], report: Report, update: bool = False
    ) -> None:
        self.place, self.mirrors, self.report, self.update = place, mirrors, report, update
        self.archives: dict[str, Archive] = {}

    def kernel(self, stock: Stock, debug_info: bool = False) -> None:
        """Fetch a kernel, and its debug information, if they are missing or are to be updated."""
        present = kernels.installed(stock.name)
        if present and not self.update and (present.vmlinux or not debug_info):
            return
        archive, packages = self.find(stock)
        version = packages[0].version
        if present is None or (self.update and present.version != version):
            debug_info |= present is not None and present.vmlinux is not None
            self.install(stock, archive, packages)
            present = kernels.find(stock.name)
        if debug_info and not present.vmlinux:
            self.debug_info(present, archive)

    def userland(self) -> None:
        """Fetch the programs of the guest, if they are missing or are to be updated."""
        if userland.place().is_file() and not self.update:
            return
        archive = self.archive(userland.SUITES)
        packages = [p for p in archive.resolve(userland.PACKAGES) if not userland.UNUSED.match(p.name)]
        if not packages:
            raise LabError(f"{userland.SUITES[0]} lacks one of {', '.join(userland.PACKAGES)}")
        files = archive.download(packages, self.progress("programs of the guest"))
        self.report("unpacking programs of the guest", None)
        with cache.scratch(self.place) as raw:
            unpack(files, raw)
            with cache.making(userland.place()) as temporary:
                userland.write(raw, [f"{p.name} {p.version}" for p in packages], temporary)
        for old in userland.place().parent.iterdir():
            if old != userland.place():
                cache.remove(old)  # of another release of zonedev

    def done(self) -> None:
        """Throw away what was kept to go on with after an interruption."""
        cache.remove(self.place / "apt")

    def archive(self, suites: Sequence[str]) -> Archive:
        """Some suites with their index as it is now."""
        name = suites[0]
        if name not in self.archives:
            found = Archive(self.place / "apt" / name, suites, self.mirrors())
            found.update(self.progress(f"index of {name}"))
            self.archives[name] = found
        return self.archives[name]

    def progress(self, what: str) -> Progress:
        return lambda percent: self.report(what, percent)

    def find(self, stock: Stock) -> tuple[Archive, list[Package]]:
        """The first suite that has this kernel now, and the packages of the kernel there."""
        seen = []
        for suites in stock.suites:
            archive = self.archive(suites)
            packages = [p for p in archive.resolve([NEWEST]) if KERNEL.match(p.name)]
            if packages and packages[0].version.startswith(f"{stock.name}."):
                return archive, packages
            seen.append(f"{suites[0]} has {packages[0].version if packages else 'none'}")
        raise LabError(
            f"the archive has no kernel {stock.name} any more ({', '.join(seen)}): "
            "use one of your own with --kernel-image"
        )

    def install(self, stock: Stock, archive: Archive, packages: Sequence[Package]) -> None:
        """Fetch and unpack a kernel."""
        matched = KERNEL.match(packages[0].name)
        assert matched
        release, version = matched["release"], packages[0].version
        what = f"kernel {stock.name} ({version})"
        files = archive.download(packages, self.progress(what))
        self.report(f"unpacking {what}", None)
        place = kernels.directory() / f"{stock.name}-{version}"
        with cache.scratch(self.place) as raw, cache.making(place) as temporary:
            unpack(files, raw)
            (temporary / "modules").mkdir(parents=True)
            shutil.move(only(raw, f"boot/vmlinuz-{release}", "vmlinuz"), temporary / "vmlinuz")
            shutil.move(only(raw, f"lib/modules/{release}"), temporary / "modules" / release)
            record = {"release": release, "version": version}
            (temporary / kernels.RECORD).write_text(json.dumps(record) + "\n", encoding="utf-8")
        with cache.making(kernels.directory() / stock.name) as temporary:
            temporary.symlink_to(place.name)
        for old in kernels.directory().glob(f"{stock.name}-*"):
            if old != place:
                cache.remove(old)

    def debug_info(self, kernel: LabKernel, archive: Archive) -> None:
        """Fetch a kernel's vmlinux with debug information, and only that."""
        name = f"linux-image-{kernel.release}-dbg"
        found = [p for p in archive.resolve([name]) if p.name == name and p.version == kernel.version]
        if not found:
            raise LabError(
                f"kernel {kernel.name}: the archive has moved on from {kernel.version}: add --update"
            )
        what = f"debug information of kernel {kernel.name}"
        (file,) = archive.download(found, self.progress(what))
        self.report(f"unpacking {what}", None)
        with cache.making(kernel.image.with_name("vmlinux")) as temporary:
            extract(file, "vmlinux", temporary)
        file.unlink()


def unpack(files: Sequence[Path], into: Path) -> None:
    """Unpack packages into one tree; they are removed when all are."""
    for file in files:
        command = ["dpkg-deb", "-x", str(file), str(into)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{file.name} cannot be unpacked: {done.stderr.strip()}")
    for file in files:
        file.unlink()


def extract(file: Path, prefix: str, out: Path) -> None:
    """Copy the one regular file whose name begins with `prefix` out of a package, and nothing else."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with tarfile.open(fileobj=child.stdout, mode="r|") as members:
            for member in members:
                if member.isfile() and Path(member.name).name.startswith(prefix):
                    opened = members.extractfile(member)
                    assert opened is not None
                    with out.open("wb") as written:
                        shutil.copyfileobj(opened, written, 1 << 20)
                    child.kill()  # what follows is of no use
                    return
    raise LabError(f"{file.name} has no {prefix}")


def only(base: Path, *ends: str) -> Path:
    """What lies below `base` at a path that ends so; where that is has changed over the releases."""
    for end in ends:
        for found in base.glob(f"**/{end}"):
            return found
    raise LabError(f"the packages of the kernel have no {ends[0]}")
