"""What can be seen of a guest from outside, and how its addresses are found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zonedev.lab import facts
from zonedev.lab.kernels import LabKernel

WORD = 8  # bytes


class Memory(Protocol):
    """What those who look into a guest ask of it."""

    kernel: LabKernel

    @property
    def cpus(self) -> int:
        """How many CPUs it has."""

    def read(self, address: int, size: int) -> bytes | None:
        """The kernel's memory; None where nothing is mapped."""

    def read_physical(self, address: int, size: int) -> bytes | None:
        """Physical memory; None where there is none."""

    def shell(self, command: str, seconds: float = ...) -> tuple[int, str]:
        """Run a command in it: exit code and output."""


def symbols(guest: Memory, names: Sequence[str]) -> dict[str, int]:
    """The addresses of those symbols that the kernel has.

    They are the same in every boot, as nothing is randomised, so that a guest is asked once.
    """
    about = {"image": facts.of_file(guest.kernel.image), "symbols": " ".join(names)}
    return facts.known("symbols", about, lambda: asked(guest, names))


def asked(guest: Memory, names: Sequence[str]) -> dict[str, int]:
    """The addresses out of the guest's /proc/kallsyms."""
    _, out = guest.shell(f"grep -wF -e {' -e '.join(names)} /proc/kallsyms")
    words = (line.split() for line in out.splitlines())
    return {w[2]: int(w[0], 16) for w in words if len(w) == 3 and w[2] in names}
