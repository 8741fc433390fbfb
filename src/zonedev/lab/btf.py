"""The layout of a kernel's structures out of its BTF (Documentation/bpf/btf.rst)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

MAGIC = 0xEB9F
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)
TRANSPARENT = (TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG)
#: Bytes that follow a type's own 12: fixed, and for each of its elements.
EXTRA = {
    INT: (4, 0),
    ARRAY: (12, 0),
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    FUNC_PROTO: (0, 8),
    VAR: (4, 0),
    DATASEC: (0, 12),
    DECL_TAG: (4, 0),
    ENUM64: (0, 12),
}


class BtfError(ValueError):
    """Not BTF, or broken."""


@dataclass
class Btf:
    """The types of a kernel; structures are asked for by name."""

    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        self._kind: list[int] = [0]  # by the number of a type; 0 is void
        self._place: list[int] = [0]
        try:
            magic, _, _, header, types, types_size, strings, _ = struct.unpack_from("<HBBIIIII", self.data)
            if magic != MAGIC:
                raise BtfError("no BTF: it does not begin with 0xeb9f")
            self._strings = header + strings
            self._index(header + types, header + types + types_size)
        except struct.error:
            raise BtfError("the BTF is cut off") from None

    def _index(self, at: int, end: int) -> None:
        """Note where each type is, and the structures and enumerations by their names."""
        self._named: dict[tuple[int, int], int] = {}  # (kind, where the name is) -> number
        unpack = struct.Struct("<III").unpack_from
        kinds, places, named, extra = self._kind, self._place, self._named, EXTRA
        while at < end:
            name, info, _ = unpack(self.data, at)
            kind = info >> 24 & 0x1F
            if kind in (STRUCT, UNION, ENUM, ENUM64):
                named.setdefault((kind, name), len(kinds))
            kinds.append(kind)
            places.append(at)
            fixed, each = extra.get(kind, (0, 0))
            at += 12 + fixed + each * (info & 0xFFFF)

    def _string(self, offset: int) -> str:
        start = self._strings + offset
        return self.data[start : self.data.index(b"\0", start)].decode()

    def _find(self, name: str, *kinds: int) -> int | None:
        for (kind, where), number in self._named.items():
            if kind in kinds and self.data.startswith(name.encode() + b"\0", self._strings + where):
                return number
        return None

    def size(self, structure: str) -> int | None:
        """Bytes of a structure; None where the kernel has none of that name."""
        number = self._find(structure, STRUCT)
        return None if number is None else int(struct.unpack_from("<III", self.data, self._place[number])[2])

    def offset(self, structure: str, member: str) -> int | None:
        """Where in a structure a member is, in bytes; also of what is unnamed in it, or None."""
        found = self._member(structure, member)
        return None if found is None else found[0]

    def is_pointer(self, structure: str, member: str) -> bool:
        """Whether a member is a pointer."""
        found = self._member(structure, member)
        return found is not None and self._kind[self._resolved(found[1])] == PTR

    def enumerator(self, enumeration: str, name: str) -> int | None:
        """The value of a name of an enumeration; None where there is none."""
        number = self._find(enumeration, ENUM)
        if number is None:
            return None
        place = self._place[number]
        (info,) = struct.unpack_from("<I", self.data, place + 4)
        for at in range(place + 12, place + 12 + 8 * (info & 0xFFFF), 8):
            where, value = struct.unpack_from("<Ii", self.data, at)
            if self._string(where) == name:
                return int(value)
        return None

    def _member(self, structure: str, member: str) -> tuple[int, int] | None:
        number = self._find(structure, STRUCT)
        return None if number is None else self._search(number, member.encode() + b"\0")

    def _search(self, number: int, wanted: bytes) -> tuple[int, int] | None:
        """(Offset, type) of a member of structure `number`, or of what is unnamed in it."""
        place = self._place[number]
        (info,) = struct.unpack_from("<I", self.data, place + 4)
        packed = info >> 31  # the upper byte of an offset is then the width of a bit field
        inner = []
        for at in range(place + 12, place + 12 + 12 * (info & 0xFFFF), 12):
            where, of, bits = struct.unpack_from("<III", self.data, at)
            offset = (bits & 0xFFFFFF if packed else bits) // 8
            if self.data.startswith(wanted, self._strings + where):
                return offset, of
            if not where or self.data[self._strings + where] == 0:
                inner.append((offset, self._resolved(of)))
        for offset, of in inner:
            if self._kind[of] in (STRUCT, UNION) and (found := self._search(of, wanted)):
                return offset + found[0], found[1]
        return None

    def _resolved(self, number: int) -> int:
        """Behind typedefs and qualifiers."""
        while self._kind[number] in TRANSPARENT:
            (number,) = struct.unpack_from("<I", self.data, self._place[number] + 8)
        return number
