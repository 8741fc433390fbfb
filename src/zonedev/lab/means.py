"""By which system call a program gets what a scenario asks for, and what the model runs for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zonedev.kernel import FOLL_LONGTERM, FOLL_WRITE


@dataclass(frozen=True)
class Pin:
    """A way to hold a page.

    `op` and `rest` are the agent's request that takes it, `drop` the one that gives it back;
    `needs` is a script of the guest's that has to run before.
    `function` and `flags` are what the kernel does, as the model runs it.  `dma`: whether a
    program can have bytes written through it while it holds it.
    """

    name: str
    op: str
    function: str
    flags: int
    rest: tuple[str, ...] = ()
    drop: str = "drop"
    needs: str = ""
    dma: bool = False


VMSPLICE = Pin("vmsplice", "vmsplice", "get_user_pages_fast", 0)
IO_URING = Pin("io_uring", "uring_pin", "pin_user_pages_fast", FOLL_WRITE | FOLL_LONGTERM, dma=True)
AF_XDP = Pin("AF_XDP", "xdp_pin", "pin_user_pages", FOLL_WRITE | FOLL_LONGTERM)


def o_direct(function: str) -> Pin:
    """A read with O_DIRECT from a disk that is suspended: the page is written on its release."""
    return Pin("O_DIRECT", "dio_submit", function, FOLL_WRITE, ("r",), "dio_finish", "/lab/slow")


def pins_of(release: str) -> dict[str, Pin]:
    """How a program holds a page on a kernel, by the function that the scenario names.

    io_uring takes the memory of files as fixed buffers, and O_DIRECT pins instead of getting,
    since v6.5 at the latest: 6.1 does neither, 6.12 both.
    """
    version = tuple(int(n) for n in re.findall(r"\d+", release)[:2])
    newer = version >= (6, 5)
    return {
        "get_user_pages_fast": VMSPLICE,
        "pin_user_pages_fast": o_direct("pin_user_pages_fast" if newer else "get_user_pages_fast"),
        "pin_user_pages": IO_URING if newer else AF_XDP,
    }
