"""A running guest in drgn, the debugger, with the debug information of its kernel.

Where a kernel does not describe its own types this does, and it reads the guest by other means than
`counts`: its own page walk, its own knowledge of the kernel.
"""

from __future__ import annotations

from typing import Any

from zonedev.lab.errors import LabError
from zonedev.lab.memory import WORD, Memory

PHYSICAL_BITS = 52
SYMBOLS = ("vmcoreinfo_data", "vmcoreinfo_size")


def program(guest: Memory, symbol: dict[str, int]) -> Any:
    """A drgn.Program of the running guest; LabError where something that it needs is missing."""
    drgn = debugger()
    if guest.kernel.vmlinux is None:
        raise LabError("no debug information: zonedev lab setup --debug-info, or --vmlinux")
    found = drgn.Program(drgn.Platform(drgn.Architecture.X86_64))

    def read(address: int, size: int, offset: int, physical: bool) -> bytes:
        data = guest.read_physical(address, size)
        if data is None:
            raise drgn.FaultError("the guest does not have this memory", address)
        return data

    found.set_linux_kernel_custom(vmcoreinfo(guest, symbol), True)
    found.add_memory_segment(0, 1 << PHYSICAL_BITS, read, True)
    try:
        found.load_debug_info([str(guest.kernel.vmlinux)])
        found.type("struct page")
    except (LookupError, drgn.MissingDebugInfoError):
        raise LabError(f"{guest.kernel.vmlinux}: not the debug information of the running kernel") from None
    return found


def debugger() -> Any:
    """The module drgn; LabError where it is not installed."""
    try:
        import drgn
    except ImportError:
        raise LabError("drgn is missing, which reads debug information: pip install 'zonedev[lab]'") from None
    return drgn


def vmcoreinfo(guest: Memory, symbol: dict[str, int]) -> bytes:
    """What the kernel tells those who look at its memory."""
    where, size = (guest.read(symbol[name], WORD) if name in symbol else None for name in SYMBOLS)
    if where is None or size is None:
        raise LabError("drgn cannot look at this kernel: it has no vmcoreinfo (CONFIG_VMCORE_INFO)")
    return guest.read(int.from_bytes(where, "little"), int.from_bytes(size, "little")) or b""


class DwarfTypes:
    """The types of a drgn program, as `layout` asks for them."""

    def __init__(self, found: Any) -> None:
        self._program = found

    def _type(self, name: str) -> Any:
        try:
            return self._program.type(name)
        except LookupError:
            return None

    def size(self, structure: str) -> int | None:
        found = self._type(f"struct {structure}")
        return None if found is None else int(found.size)

    def offset(self, structure: str, member: str) -> int | None:
        found = self._type(f"struct {structure}")
        try:
            return None if found is None else int(debugger().offsetof(found, member))
        except LookupError:
            return None

    def is_pointer(self, structure: str, member: str) -> bool:
        found = self._type(f"struct {structure}")
        return found is not None and bool(found.member(member).type.kind == debugger().TypeKind.POINTER)

    def enumerator(self, enumeration: str, name: str) -> int | None:
        found = self._type(f"enum {enumeration}")
        values = () if found is None else found.enumerators
        return next((int(e.value) for e in values if e.name == name), None)
