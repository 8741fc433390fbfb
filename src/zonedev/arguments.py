"""What the machine by hand is given: sizes and addresses in bytes, flags by name, records."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE
from zonedev.kernel.inode import Inode
from zonedev.kernel.sparse import check_range, check_size
from zonedev.lang.errors import ZonedevError
from zonedev.lang.records import Record

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
#: The alignments that a device can have, and the level at which each maps.
LEVELS = {PAGE_SIZE: "pte", 1 << 21: "pmd", 1 << 30: "pud"}
#: What returns the records that calls are given, by their class.
RETURNED_BY = {
    "DaxDevice": "device_dax()",
    "Dmirror": "dmirror_open()",
    "DmirrorDevice": "dmirror_device()",
    "Inode": "dax_file()",
    "Page": "a pin",
    "PmemDevice": "pmem_device()",
    "VmFile": "device_dax() or dax_file()",
}


def size_of(text: str | int) -> int:
    """A size in bytes: 4096, "2MiB", "1TiB"."""
    match = re.fullmatch(r"\s*(\d+)\s*([KMGT]iB|B|)\s*", str(text))
    if not match:
        raise ZonedevError(f"size {text!r}: give bytes, or a number with KiB, MiB, GiB or TiB")
    return int(match[1]) * UNITS[match[2]]


def pages_of(size: str | int) -> int:
    """The pages of `size` bytes."""
    total = size_of(size)
    if total % PAGE_SIZE:
        raise ZonedevError(f"size {size!r}: give a multiple of 4KiB")
    return total >> PAGE_SHIFT


def device_shape(
    size: str | int, align: str | int, levels: Sequence[str] = tuple(LEVELS.values())
) -> dict[str, Any]:
    """The arguments of the kernel's device_dax() and pmem_device() for a device of `size` bytes
    that maps at one of `levels`, with pages of `align`."""
    total, each = size_of(size), size_of(align)
    if LEVELS.get(each) not in levels:
        sizes = "4KiB, 2MiB or 1GiB" if "pud" in levels else "4KiB or 2MiB"
        raise ZonedevError(f"align {align!r}: a device maps with {sizes}")
    if total == 0 or total % each:
        raise ZonedevError(f"size {size!r}: give a multiple of the alignment {align!r}")
    return {"pages": total >> PAGE_SHIFT, "size": LEVELS[each], "per_folio": each >> PAGE_SHIFT}


def for_kernel(
    method: Callable[..., Any], task: Any, args: Sequence[Any], named: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments as the kernel function takes them; ZonedevError for what it cannot take."""
    signature = inspect.signature(method)
    bound = signature.bind(*args, **(with_flags(named) if "flags" in signature.parameters else named))
    given = bound.arguments
    for name, value in given.items():
        check_kind(method, name, value)
        if name == "va":
            given[name] = mapped_page_number(task, value)
    if "inode" in given:
        check_pages(given["inode"], given)
    return bound


def check_kind(method: Callable[..., Any], name: str, value: Any) -> None:
    """ZonedevError unless `value` is of the class that the function names for its argument."""
    method = inspect.unwrap(method)  # monitors may watch it
    function = getattr(method, "__func__", method)
    hint = function.__annotations__.get(name)
    cls = int if hint == "int" else function.__globals__.get(str(hint))
    if isinstance(cls, type) and issubclass(cls, (int, Record)) and not isinstance(value, cls):
        made = f"what {RETURNED_BY[cls.__name__]} returned" if cls.__name__ in RETURNED_BY else None
        mend = "a number" if cls is int else made or f"a record of class {cls.__name__}"
        raise ZonedevError(f"{function.__name__}(): {name} {value!r}: give {mend}")


def check_pages(inode: Inode, given: Mapping[str, Any]) -> None:
    """ZonedevError unless a file can have the pages that are named."""
    if "size" in given:
        check_size(inode, given["size"])
    if "index" in given:
        check_range(inode, given["index"], given.get("nr", inode.per_folio))


def mapped_page_number(task: Any, va: Any) -> int:
    """The page number of a byte address at which a task has mapped something, once at least."""
    number = page_number(va)
    mm = None if task is None else task._values.get("mm")
    if mm is not None and number >= len(mm.vma_at):
        end = len(mm.vma_at) << PAGE_SHIFT
        raise ZonedevError(f"VA {va:#x}: {task!r} has mapped nothing but what is below {end:#x}")
    return number


def page_number(va: Any) -> int:
    if not isinstance(va, int) or va < 0:
        raise ZonedevError(f"VA {va!r}: give an address in bytes, as mmap() returned it")
    return va >> PAGE_SHIFT


def with_flags(named: Mapping[str, Any]) -> dict[str, Any]:
    """`longterm` and `write` as GUP flags."""
    words = {n: v for n, v in named.items() if n in ("longterm", "write")}
    if not words:
        return dict(named)
    flags = FOLL_WRITE if words.get("write", True) else 0
    flags |= FOLL_LONGTERM if words.get("longterm") else 0
    return {**{n: v for n, v in named.items() if n not in words}, "flags": flags}
