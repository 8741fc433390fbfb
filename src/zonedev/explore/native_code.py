"""Machine code from LLVM IR, by llvmlite, kept in the user's cache directory.

A cache entry is an object file behind a checksum, named by a hash of the IR, of the
version of LLVM and of the processor.  An entry that is damaged, or cannot be read or
written, only costs the time to compile again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

PIPELINE = "3"  # counts the changes of how IR is turned into code
KEEP = 400  # entries that the cache holds at most


def cache_directory() -> Path | None:
    """Where compiled models are kept; None where the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "zonedev" / "native"
    except RuntimeError:
        return None


class Code:
    """A loaded module; its functions live as long as this object.

    `cached` tells whether the code came from the cache.  With `cache` None nothing is
    kept.
    """

    def __init__(self, text: str, cache: Path | None) -> None:
        prepare()
        machine = target_machine()
        name = entry_name(text, machine)
        kept = read_entry(cache / name) if cache is not None else None
        self.cached = kept is not None
        if kept is None:
            code = compile_object(text, machine)
            if cache is not None:
                write_entry(cache, name, code)
            kept = llvm.ObjectFileRef.from_data(code)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())
        self._engine.add_object_file(kept)
        self._engine.finalize_object()

    def address(self, function: str) -> int:
        return int(self._engine.get_function_address(function))


def prepare() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def target_machine() -> Any:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=0, jit=True
    )


def compile_object(text: str, machine: Any) -> bytes:
    """Emit an object file.

    No optimisation: the IR is in SSA form, and the steps are short.  LLVM's optimiser
    would take ten times as long and make the search 5 to 7 per cent faster, which would
    pay from some 10**8 states on (measured with 106 to 1,186 steps).
    """
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    code: bytes = machine.emit_object(module)
    return code


def entry_name(text: str, machine: Any) -> str:
    parts = [PIPELINE, llvmlite.__version__, str(llvm.llvm_version_info), machine.triple]
    parts += [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten(), text]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40] + ".o"


def read_entry(path: Path) -> Any:
    """The object file of a sound cache entry, or None."""
    try:
        data = path.read_bytes()
        checksum, code = data[:32], data[32:]
        if hashlib.sha256(code).digest() == checksum:
            return llvm.ObjectFileRef.from_data(code)
    except (OSError, RuntimeError):
        pass
    return None


def write_entry(cache: Path, name: str, code: bytes) -> None:
    """Put an entry in place at once, whoever else writes the same; failures do not matter."""
    with contextlib.suppress(OSError):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix=".new", delete=False) as file:
            draft = Path(file.name)
            try:
                file.write(hashlib.sha256(code).digest() + code)
                file.close()
                draft.replace(cache / name)
            finally:
                draft.unlink(missing_ok=True)
        prune(cache)


def prune(cache: Path) -> None:
    """Drop the oldest entries beyond KEEP."""
    entries = [p for p in cache.iterdir() if p.suffix == ".o"]
    if len(entries) > KEEP:
        entries.sort(key=lambda p: p.stat().st_mtime)
        for path in entries[: len(entries) - KEEP]:
            path.unlink(missing_ok=True)
