"""The initial file system of a guest: the userland, a kernel's modules and the agent, in one archive."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from zonedev.lab import cache, cpio, host, modules, userland
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel

GUEST = Path(__file__).parent / "guest"
SOURCES = (".c", ".h")
STATIC = ("-static", "-O2", "-pthread")
DIRECTORIES = ("bin", "dev", "mnt", "proc", "root", "run", "sbin", "sys", "tmp", "usr/bin", "usr/sbin")


def build(kernel: LabKernel) -> Path:
    """The archive for `kernel`, made if it is not in the cache; LabError where something is missing."""
    base = userland.find()
    name = f"{kernel.name}-{key(kernel, base)}.cpio"
    with cache.locked("initramfs") as place:
        path = place / name
        if path.is_file():
            return cache.used(path)
        cache.expire(place)
        agent = build_agent(place)
        with cache.making(path) as temporary, temporary.open("wb") as out:
            with base.open("rb") as opened:
                shutil.copyfileobj(opened, out)
            archive = cpio.Writer(out)
            for entry in overlay(kernel, agent):
                archive.add(entry)
            archive.close()
        return path


def with_files(kernel: LabKernel, files: Mapping[str, Path]) -> Path:
    """The archive for `kernel` with other files in it, by their names in the guest; programs all."""
    base = build(kernel)
    contents = {name: path.read_bytes() for name, path in sorted(files.items())}
    found = hashlib.sha256(base.name.encode())
    for name, data in contents.items():
        found.update(name.encode() + b"\0" + hashlib.sha256(data).digest())
    with cache.locked("initramfs") as place:
        path = place / f"{kernel.name}-{found.hexdigest()[:16]}.cpio"
        if not path.is_file():
            with cache.making(path) as temporary, temporary.open("wb") as out:
                with base.open("rb") as opened:
                    shutil.copyfileobj(opened, out)
                archive = cpio.Writer(out)
                for name, data in contents.items():
                    archive.add(cpio.file(name, data, 0o755))
                archive.close()
        return cache.used(path)


def key(kernel: LabKernel, base: Path) -> str:
    """A hash of all that goes in; of files that are not ours, their names, sizes and times."""
    found = hashlib.sha256()
    for path in guest_files():
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    outside = [base, *(modules.files(kernel.modules).values() if kernel.modules else ())]
    for path in outside:
        state = path.stat()
        found.update(f"{path} {state.st_size} {state.st_mtime_ns}\n".encode())
    found.update(repr((host.compiler(), STATIC, modules.GROUPS, modules.PARAMETERS, DIRECTORIES)).encode())
    return found.hexdigest()[:16]


def guest_files() -> list[Path]:
    return sorted(p for p in GUEST.iterdir() if p.is_file())


def overlay(kernel: LabKernel, agent: Path) -> Iterator[cpio.Entry]:
    """What a guest has besides the userland."""
    yield from map(cpio.directory, DIRECTORIES)
    yield cpio.console()
    yield cpio.file("agent", agent.read_bytes(), 0o755)
    for path in guest_files():
        if path.suffix not in SOURCES:
            yield cpio.file("init" if path.name == "init" else f"lab/{path.name}", path.read_bytes(), 0o755)
    yield from module_entries(modules.files(kernel.modules) if kernel.modules else {})


def module_entries(available: Mapping[str, Path]) -> Iterator[cpio.Entry]:
    """The modules, and for each group a list of what to load, one line a module with its parameters."""
    packed = set()
    for group, wanted in modules.GROUPS.items():
        lines = []
        for module in modules.load_order(available, wanted):
            if module.name not in packed:
                packed.add(module.name)
                yield cpio.file(f"lib/modules/{module.name}.ko", module.data)
            lines.append(f"{module.name} {modules.PARAMETERS.get(module.name, '')}".rstrip() + "\n")
        yield cpio.file(f"lib/modules/{group}.list", "".join(lines).encode())


def build_agent(place: Path) -> Path:
    """The agent as a static program, built when its sources change; LabError where cc fails."""
    sources = [p for p in guest_files() if p.suffix in SOURCES]
    digest = hashlib.sha256(repr((host.compiler(), STATIC)).encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    built = place / f"agent-{digest.hexdigest()[:16]}"
    if not built.is_file():
        with cache.making(built) as temporary:
            compile_static([p for p in sources if p.suffix == ".c"], temporary)
    return cache.used(built)


def compile_static(sources: list[Path], out: Path) -> None:
    """Compile a program that needs no library in the guest."""
    command = [*host.compiler(), *STATIC, "-o", str(out), *map(str, sources)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise LabError(f"{command[0]}: {error.strerror}: apt install gcc libc6-dev, or set CC") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no message"]
        raise LabError(f"{command[0]} cannot build the agent: {lines[0]}")
