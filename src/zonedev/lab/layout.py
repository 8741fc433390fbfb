"""Where a kernel keeps the counts of its pages: offsets of members and addresses of symbols.

Nothing of this is written down here: a kernel describes its own structures (BTF) and names its own
symbols, and where it does not, its debug information does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from zonedev.lab.errors import LabError


class Types(Protocol):
    """The structures of a kernel."""

    def size(self, structure: str) -> int | None:
        """Bytes of a structure; None where the kernel has none of that name."""

    def offset(self, structure: str, member: str) -> int | None:
        """Where in a structure a member is, in bytes; None where it has none of that name."""

    def is_pointer(self, structure: str, member: str) -> bool:
        """Whether a member is a pointer."""

    def enumerator(self, enumeration: str, name: str) -> int | None:
        """The value of a name of an enumeration."""


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes from the head page of a folio, unless it says otherwise."""

    page_size: int  # sizeof(struct page)
    head_bit: int  # PG_head, a bit of flags
    flags: int
    head: int  # in a tail page: the head page, with bit 0 set
    refcount: int
    mapcount: int
    large_mapcount: int | None  # of the whole folio, where the kernel counts that
    entire_mapcount: int | None  # times that a large folio is mapped as a whole
    pincount: int | None  # of a large folio
    pgmap: int
    ref: int  # in dev_pagemap
    ref_is_pointer: bool
    percpu_count_ptr: int  # in percpu_ref
    data: int  # in percpu_ref
    count: int  # in percpu_ref_data

    @property
    def span(self) -> int:
        """Bytes of a large folio's struct pages that have all its counts."""
        return max(self.refcount, self.large_mapcount or 0, self.entire_mapcount or 0, self.pincount or 0) + 4

    @classmethod
    def of(cls, types: Types) -> Layout:
        """The layout of a kernel with these types; LabError where one is missing."""
        page_size = types.size("page")
        if page_size is None:
            raise LabError("counts are not observable: the kernel's types have no struct page")

        def at(structure: str, *members: str) -> int:
            found = [types.offset(structure, member) for member in members]
            known = [offset for offset in found if offset is not None]
            if not known:
                raise LabError(f"counts are not observable: struct {structure} has no {' or '.join(members)}")
            return known[0]

        def folio(*members: tuple[str, int]) -> int | None:
            """Of a folio since v5.16, or of one of the first tail pages (by its number)."""
            for member, number in members:
                offset = types.offset("page" if number else "folio", member)
                if offset is not None:
                    return number * page_size + offset
            return None

        pgmap = types.offset("folio", "pgmap")
        return cls(
            page_size=page_size,
            head_bit=types.enumerator("pageflags", "PG_head") or 0,
            flags=at("page", "flags"),
            head=at("page", "compound_info", "compound_head"),
            refcount=at("page", "_refcount"),
            mapcount=at("page", "_mapcount"),
            large_mapcount=folio(("_large_mapcount", 0)),
            entire_mapcount=folio(("_entire_mapcount", 0), ("_total_mapcount", 0), ("compound_mapcount", 1)),
            pincount=folio(("_pincount", 0), ("compound_pincount", 1), ("hpage_pinned_refcount", 2)),
            pgmap=at("page", "pgmap") if pgmap is None else pgmap,
            ref=at("dev_pagemap", "ref"),
            ref_is_pointer=types.is_pointer("dev_pagemap", "ref"),
            percpu_count_ptr=at("percpu_ref", "percpu_count_ptr"),
            data=at("percpu_ref", "data"),
            count=at("percpu_ref_data", "count"),
        )
