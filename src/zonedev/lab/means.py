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
    `function` and `flags` are what the kernel does, as the model runs it, and `put` how the
    page is given back.  `dma`: whether a program can have bytes written through it while it holds it.
    """

    name: str
    op: str
    function: str
    flags: int
    rest: tuple[str, ...] = ()
    drop: str = "drop"
    needs: str = ""
    put: str = "put_page"
    dma: bool = False

    @property
    def described(self) -> str:
        """Its name, and how the page is given back where that is not as the design has it."""
        return f"{self.name} with folio_put_refs()" if self.put == BIO_PUT else self.name


#: How direct I/O ends on 6.1.y (backports.py).
BIO_PUT = "folio_put_refs_of_bio"
GOT, PINNED = ("get_user_pages_fast", "put_page"), ("pin_user_pages_fast", "unpin_user_page")
LONG = FOLL_WRITE | FOLL_LONGTERM
VMSPLICE = Pin("vmsplice", "vmsplice", "get_user_pages_fast", 0)
IO_URING = Pin("io_uring", "uring_pin", "pin_user_pages_fast", LONG, put="unpin_user_page", dma=True)
AF_XDP = Pin("AF_XDP", "xdp_pin", "pin_user_pages", LONG, put="unpin_user_page")


def o_direct(version: tuple[int, ...]) -> Pin:
    """A read with O_DIRECT from a disk that is suspended: the page is written on its release."""
    function, put = PINNED if version >= (6, 5) else GOT
    if (6, 1, 79) <= version < (6, 2):
        put = BIO_PUT
    return Pin("O_DIRECT", "dio_submit", function, FOLL_WRITE, ("r",), "dio_finish", "/lab/slow", put)


def pins_of(version: str) -> dict[str, Pin]:
    """How a program holds a page on a kernel, by the function that the scenario names.

    io_uring takes the memory of files as fixed buffers, and O_DIRECT pins instead of getting,
    since v6.5 at the latest: 6.1 does neither, 6.12 both.
    """
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    return {
        "get_user_pages_fast": VMSPLICE,
        "pin_user_pages_fast": o_direct(numbers),
        "pin_user_pages": IO_URING if numbers >= (6, 5) else AF_XDP,
    }
