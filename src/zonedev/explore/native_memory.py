"""What the native kernels do with memory: raw loads and stores, prefetch, calls by address.

The kernels work on addresses, not on NumPy arrays, because the tables of all workers
are reached through one array of numbers, and because the address of a model's code is
only known at run time (so that the kernels are compiled once for all models).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba.extending
from llvmlite import ir
from numba import njit, types

I64 = ir.IntType(64)
intrinsic: Callable[[Callable[..., Any]], Callable[..., int]] = numba.extending.intrinsic


def reading(bits: int) -> Any:
    """The code of a load of `bits` bits, extended by zeros."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(bits)
        value = builder.load(builder.inttoptr(args[0], kind.as_pointer()), align=bits // 8)
        return value if bits == 64 else builder.zext(value, I64)

    return codegen


def writing(bits: int) -> Any:
    """The code of a store of the lower `bits` bits."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(bits)
        value = args[1] if bits == 64 else builder.trunc(args[1], kind)
        builder.store(value, builder.inttoptr(args[0], kind.as_pointer()), align=bits // 8)
        return context.get_dummy_value()

    return codegen


@intrinsic
def load(typingctx: Any, address: Any) -> Any:
    """The word at `address`."""
    return types.int64(types.int64), reading(64)


@intrinsic
def load32(typingctx: Any, address: Any) -> Any:
    """The 32 bits at `address`."""
    return types.int64(types.int64), reading(32)


@intrinsic
def load8(typingctx: Any, address: Any) -> Any:
    """The byte at `address`."""
    return types.int64(types.int64), reading(8)


@intrinsic
def store(typingctx: Any, address: Any, value: Any) -> Any:
    """Write a word to `address`."""
    return types.void(types.int64, types.int64), writing(64)


@intrinsic
def store32(typingctx: Any, address: Any, value: Any) -> Any:
    """Write 32 bits to `address`."""
    return types.void(types.int64, types.int64), writing(32)


@intrinsic
def store8(typingctx: Any, address: Any, value: Any) -> Any:
    """Write a byte to `address`."""
    return types.void(types.int64, types.int64), writing(8)


@intrinsic
def prefetch(typingctx: Any, address: Any) -> Any:
    """Fetch the cache line of `address`, without waiting for it."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i8p, i32 = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [i8p, i32, i32, i32])
        name = "llvm.prefetch.p0"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        at = builder.inttoptr(args[0], i8p)
        builder.call(function, [at, i32(0), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def call(typingctx: Any, function: Any, a: Any, b: Any) -> Any:
    """Call the code at `function` with two words; one that takes fewer ignores the rest."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(I64, [I64, I64])
        target = builder.inttoptr(args[0], kind.as_pointer())
        return builder.call(target, [args[1], args[2]])

    return types.int64(types.int64, types.int64, types.int64), codegen


def stamp() -> str:
    """A name for this version of the kernels."""
    digest = hashlib.sha256()
    for name in ("native_memory.py", "native_kernels.py", "native_back.py"):
        with contextlib.suppress(OSError):
            digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:12]


STAMP = stamp()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel on its first call, and keep the machine code for later runs.

    Numba names its cache entries by the function and looks at the date of its own file
    only; the stamp in the name covers the functions that it calls.  Where no cache can be
    written, the kernel is compiled in every run.
    """
    function.__qualname__ = f"{function.__name__}_{STAMP}"
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        return njit(nogil=True, error_model="numpy")(function)
