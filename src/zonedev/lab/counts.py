"""The reference counts of a guest's pages and pagemaps, read from outside while it runs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from zonedev.lab import debuginfo
from zonedev.lab.btf import Btf, BtfError
from zonedev.lab.debuginfo import DwarfTypes, program
from zonedev.lab.errors import LabError
from zonedev.lab.layout import Layout, Types
from zonedev.lab.memory import WORD, Memory, symbols

PAGE_SHIFT = 12
PFNS = 1 << 34  # as many as 46 bits of physical addresses have
PERCPU_COUNT_BIAS = 1 << 63
PERCPU_REF_ATOMIC = 1  # bits of percpu_count_ptr (include/linux/percpu-refcount.h)
PERCPU_REF_DEAD = 2
SYMBOLS = (
    "__start_BTF",
    "__stop_BTF",
    "__per_cpu_offset",
    "vmemmap_base",
    "page_offset_base",
    *debuginfo.SYMBOLS,
)


@dataclass(frozen=True)
class PageCounts:
    """The counts of the folio of a page; 0 mappings and 0 pins are 0.

    `pincount` is the kernel's own field, which only a large folio has: a pin of a small one is
    GUP_PIN_COUNTING_BIAS in `refcount`.
    """

    refcount: int
    mapcount: int
    pincount: int


class Inspector:
    """Reads counts.  The guest does nothing for it, but for its symbols once."""

    def __init__(self, guest: Memory) -> None:
        self._guest = guest
        self._symbol = symbols(guest, SYMBOLS)
        for name in ("__per_cpu_offset", "vmemmap_base"):
            if name not in self._symbol:
                raise LabError(
                    f"counts are not observable: {name} is not in /proc/kallsyms (CONFIG_KALLSYMS_ALL)"
                )
        self.layout = Layout.of(types_of(guest, self._symbol))
        base = self._word(self._symbol["vmemmap_base"])
        if base is None:
            raise LabError("counts are not observable: vmemmap_base cannot be read")
        self._vmemmap = base
        direct = self._symbol.get("page_offset_base")
        self._direct_map = None if direct is None else self._word(direct)

    def page(self, pfn: int) -> PageCounts | None:
        """The counts of the page with a page frame number; None where its struct page is gone."""
        head = self._head(pfn)
        small = None if head is None else self._guest.read(head, self.layout.page_size)
        if head is None or small is None:
            return None
        of = self.layout
        if not small[of.flags + of.head_bit // 8] >> of.head_bit % 8 & 1:
            return PageCounts(atomic(small, of.refcount), atomic(small, of.mapcount) + 1, 0)
        large = self._guest.read(head, of.span)  # one read: the counts belong together
        if large is None:
            return None
        pins = 0 if of.pincount is None else atomic(large, of.pincount)
        return PageCounts(atomic(large, of.refcount), self._mappings(large, pfn), pins)

    def _mappings(self, large: bytes, pfn: int) -> int:
        """folio_mapcount() of a large folio; before v6.10 page_mapcount() of its page."""
        of = self.layout
        if of.large_mapcount is not None:
            return atomic(large, of.large_mapcount) + 1
        whole = -1 if of.entire_mapcount is None else atomic(large, of.entire_mapcount)
        page = self._guest.read(self._page(pfn), of.page_size)
        return whole + 1 + (0 if page is None else atomic(page, of.mapcount) + 1)

    def pgmap(self, pfn: int) -> int | None:
        """The address of the page's dev_pagemap; None where the struct page is gone or has none."""
        head = self._head(pfn)
        return None if head is None else self._word(head + self.layout.pgmap) or None

    def pgmap_ref(self, pfn: int) -> int | None:
        """The references to the page's pagemap; None where they cannot be seen any more."""
        pgmap = self.pgmap(pfn)
        return None if pgmap is None else self.ref(pgmap)

    def ref(self, pgmap: int) -> int | None:
        """The references that a dev_pagemap's percpu_ref counts; None where it was freed."""
        of = self.layout
        ref: int | None = pgmap + of.ref
        if of.ref_is_pointer:
            ref = self._word(pgmap + of.ref)
        if not ref:
            return None
        pointer, data = self._word(ref + of.percpu_count_ptr), self._word(ref + of.data)
        count = self._word(data + of.count) if data else None
        if pointer is None or count is None:
            return None
        if pointer & PERCPU_REF_ATOMIC and abs(signed(count)) < PERCPU_COUNT_BIAS >> 1:
            return signed(count)
        # Until the grace period after a kill the bias is still in, and what the CPUs count is to be added.
        parts = self._per_cpu(pointer & ~(PERCPU_REF_ATOMIC | PERCPU_REF_DEAD))
        return None if parts is None else signed(count - PERCPU_COUNT_BIAS + sum(parts))

    def _per_cpu(self, address: int) -> list[int] | None:
        found = []
        for cpu in range(self._guest.cpus):
            offset = self._word(self._symbol["__per_cpu_offset"] + WORD * cpu)
            value = None if offset is None else self._word(address + offset & (1 << 64) - 1)
            if value is None:
                return None
            found.append(value)
        return found

    def pfn_of(self, address: int) -> int | None:
        """The number of the page whose struct page an address lies in, or whose memory in the direct
        map; None for any other address."""
        pfns = [(address - self._vmemmap) // self.layout.page_size]
        if self._direct_map is not None:
            pfns.append((address - self._direct_map) >> PAGE_SHIFT)
        return next((pfn for pfn in pfns if 0 <= pfn < PFNS), None)

    def _page(self, pfn: int) -> int:
        """The address of a struct page."""
        return self._vmemmap + pfn * self.layout.page_size

    def _head(self, pfn: int) -> int | None:
        """The address of the first struct page of the page's folio."""
        page = self._page(pfn)
        info = self._word(page + self.layout.head)
        if info is None:
            return None
        # Either the head's address or, since v7.0, a mask for the page's own.  A folio is aligned to its
        # size, so that both do as a mask.
        return page & info - 1 if info & 1 else page

    def _word(self, address: int) -> int | None:
        data = self._guest.read(address, WORD)
        return None if data is None else int.from_bytes(data, "little")


def atomic(data: bytes, offset: int) -> int:
    """An atomic_t out of what was read."""
    return int(struct.unpack_from("<i", data, offset)[0])


def signed(word: int) -> int:
    """A long out of 64 bits."""
    word &= (1 << 64) - 1
    return word - (1 << 64) if word >> 63 else word


def types_of(guest: Memory, symbol: dict[str, int]) -> Types:
    """The kernel's types: out of its own BTF, or else out of its debug information.

    LabError where it has neither.
    """
    start, stop = symbol.get("__start_BTF"), symbol.get("__stop_BTF")
    data = guest.read(start, stop - start) if start and stop else None
    if data is None:
        if guest.kernel.vmlinux is None:
            raise LabError("counts are not observable: neither BTF (CONFIG_DEBUG_INFO_BTF) nor --vmlinux")
        return DwarfTypes(program(guest, symbol))
    try:
        return Btf(data)
    except BtfError as error:
        raise LabError(f"counts are not observable: {error}") from None
