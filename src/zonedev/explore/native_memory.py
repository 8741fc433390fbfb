"""What the native engine's loops do with memory: raw loads and stores, prefetch, what is atomic.

They work on addresses, because the tables of all workers are reached through one array of
numbers.
"""

from __future__ import annotations

from zonedev.explore.native_lang import external, intrinsic

DECLARATIONS = """
declare void @llvm.prefetch.p0(ptr, i32, i32, i32)
declare i64 @llvm.cttz.i64(i64, i1)
"""


@intrinsic("$1 = inttoptr i64 $address to ptr", "$0 = load i64, ptr $1")
def load(address: int) -> int:
    """The word at `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "$2 = load i32, ptr $1", "$0 = zext i32 $2 to i64")
def load32(address: int) -> int:
    """The 32 bits at `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "$2 = load i8, ptr $1", "$0 = zext i8 $2 to i64")
def load8(address: int) -> int:
    """The byte at `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "store i64 $value, ptr $1")
def store(address: int, value: int) -> int:
    """Write a word to `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "$2 = trunc i64 $value to i32", "store i32 $2, ptr $1")
def store32(address: int, value: int) -> int:
    """Write 32 bits to `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "$2 = trunc i64 $value to i8", "store i8 $2, ptr $1")
def store8(address: int, value: int) -> int:
    """Write a byte to `address`."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "call void @llvm.prefetch.p0(ptr $1, i32 0, i32 3, i32 1)")
def prefetch(address: int) -> int:
    """Fetch the cache line of `address`, without waiting for it."""
    raise NotImplementedError


@intrinsic("$0 = lshr i64 $value, $by")
def shift(value: int, by: int) -> int:
    """`value` shifted right by `by` bits, with zeros from the left."""
    raise NotImplementedError


@intrinsic("$0 = call i64 @llvm.cttz.i64(i64 $value, i1 true)")
def lowest(value: int) -> int:
    """The number of the lowest bit of `value` that is set; there has to be one."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "$0 = load atomic i64, ptr $1 acquire, align 8")
def acquire(address: int) -> int:
    """The word at `address`; what was written before it was, is seen as well."""
    raise NotImplementedError


@intrinsic("$1 = inttoptr i64 $address to ptr", "store atomic i64 $value, ptr $1 release, align 8")
def release(address: int, value: int) -> int:
    """Write a word to `address`, after all that was written before."""
    raise NotImplementedError


@intrinsic(
    "$1 = inttoptr i64 $address to ptr",
    "$2 = cmpxchg ptr $1, i64 0, i64 1 acquire monotonic, align 8",
    "$3 = extractvalue {i64, i1} $2, 1",
    "$0 = zext i1 $3 to i64",
)
def trylock(address: int) -> int:
    """1 where the word at `address` was 0, which it no longer is; else 0."""
    raise NotImplementedError


@external
def expand(state: int, out: int) -> int:
    """The steps from a state (llvmgen)."""
    raise NotImplementedError


@external
def stuck(state: int) -> int:
    """What is wrong with a state without steps (llvmgen)."""
    raise NotImplementedError
