"""Machine code from LLVM IR, by llvmlite, which is kept for the next time."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from zonedev.explore.cache import Cache, name_of

PIPELINE = "4"  # counts the changes of how IR is turned into code


@dataclass(frozen=True)
class Part:
    """A module: what names it, how to write it, and how much LLVM is to optimise it: 0 to 3."""

    name: str
    text: Callable[[], str]
    level: int = 0


class Code:
    """Loaded modules, which know each other's functions; these live as long as this object.

    `cached` tells whether all code was compiled before.
    """

    def __init__(self, parts: Iterable[Part], cache: Cache) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        self.cached = True
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine(0))
        for part in parts:
            self._engine.add_object_file(self.object(part, cache))
        self._engine.finalize_object()

    def object(self, part: Part, cache: Cache) -> Any:
        name = entry_name(part)
        code = cache.read(name)
        if code is None:
            self.cached = False
            code = compile_object(part.text(), part.level)
            cache.write(name, code)
        return llvm.ObjectFileRef.from_data(code)

    def function(self, name: str, arguments: int) -> Callable[..., int]:
        """A function of so many words that returns one; other threads go on while it runs."""
        kind = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_int64] * arguments)
        return kind(self._engine.get_function_address(name))


def target_machine(level: int) -> Any:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=level, jit=True
    )


@functools.lru_cache(maxsize=32)
def compile_object(text: str, level: int = 0) -> bytes:
    """Emit an object file.

    The loops of the search are optimised.  The steps of a model are not: their IR is in SSA form,
    and they are short.  LLVM's optimiser would take ten times as long and make the search 5 to 7
    per cent faster, which would pay from some 10**8 states on (measured with 106 to 1,186 steps).
    """
    machine = target_machine(level)
    module = llvm.parse_assembly(text)
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    if level:
        tuning = llvm.create_pipeline_tuning_options(speed_level=level)
        builder = llvm.create_pass_builder(machine, tuning)
        builder.getModulePassManager().run(module, builder)
    code: bytes = machine.emit_object(module)
    return code


def entry_name(part: Part) -> str:
    """What an object file is called: it is for this text, this processor and this LLVM."""
    return name_of(
        part.name,
        PIPELINE,
        str(part.level),
        llvmlite.__version__,
        str(llvm.llvm_version_info),
        llvm.get_process_triple(),
        llvm.get_host_cpu_name(),
        llvm.get_host_cpu_features().flatten(),
    )
