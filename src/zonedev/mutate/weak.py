"""Atomic operations that are none: what they become where they are weakened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zonedev.lang import primitives as strong
from zonedev.lang.primitives import Atomic, Lock
from zonedev.lang.runtime import primitive

PREFIX = "weak_"


@primitive
def weak_add(a: Atomic, n: int) -> None:
    found = a.value
    a.value = found + n


@primitive
def weak_sub(a: Atomic, n: int) -> None:
    found = a.value
    a.value = found - n


@primitive
def weak_inc(a: Atomic) -> None:
    found = a.value
    a.value = found + 1


@primitive
def weak_dec(a: Atomic) -> None:
    found = a.value
    a.value = found - 1


@primitive
def weak_dec_return(a: Atomic) -> int:
    found = a.value
    a.value = found - 1
    return found - 1


@primitive
def weak_sub_return(a: Atomic, n: int) -> int:
    found = a.value
    a.value = found - n
    return found - n


@primitive
def weak_sub_and_test(a: Atomic, n: int) -> bool:
    found = a.value
    a.value = found - n
    return found == n


@primitive
def weak_dec_and_test(a: Atomic) -> bool:
    found = a.value
    a.value = found - 1
    return found == 1


@primitive
def weak_cmpxchg(a: Atomic, old: int, new: int) -> int:
    found = a.value
    if found == old:
        a.value = new
    return found


@primitive
def weak_add_unless_zero(a: Atomic, n: int) -> bool:
    """Does not look for zero."""
    strong.atomic_add(a, n)
    return True


@primitive
def weak_inc_not_zero(a: Atomic) -> bool:
    """Does not look for zero."""
    strong.atomic_inc(a)
    return True


@primitive
def weak_trylock(l: Lock) -> bool:
    """Does not look whether the lock is held."""
    l.held = True
    return True


#: What each becomes, with what that is in words.
WEAK: dict[Callable[..., Any], tuple[Callable[..., Any], str]] = {
    strong.atomic_add: (weak_add, "not atomic"),
    strong.atomic_sub: (weak_sub, "not atomic"),
    strong.atomic_inc: (weak_inc, "not atomic"),
    strong.atomic_dec: (weak_dec, "not atomic"),
    strong.atomic_dec_return: (weak_dec_return, "not atomic"),
    strong.atomic_sub_return: (weak_sub_return, "not atomic"),
    strong.atomic_sub_and_test: (weak_sub_and_test, "not atomic"),
    strong.atomic_dec_and_test: (weak_dec_and_test, "not atomic"),
    strong.atomic_cmpxchg: (weak_cmpxchg, "not atomic"),
    strong.atomic_add_unless_zero: (weak_add_unless_zero, "also from zero"),
    strong.atomic_inc_not_zero: (weak_inc_not_zero, "also from zero"),
    strong.trylock: (weak_trylock, "also where held"),
}
