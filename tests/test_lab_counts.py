"""Counts of pages and pagemaps out of memory that a test has laid out, and layouts out of made-up BTF."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from zonedev.lab import facts
from zonedev.lab.btf import ARRAY, ENUM, INT, MAGIC, PTR, STRUCT, TYPEDEF, UNION, Btf, BtfError
from zonedev.lab.counts import PERCPU_COUNT_BIAS, Inspector, PageCounts
from zonedev.lab.errors import LabError
from zonedev.lab.kernels import LabKernel
from zonedev.lab.layout import Layout

# BTF


@dataclass
class Blob:
    """BTF being written; types are numbered from 1 in the order in which they are added."""

    types: bytes = b""
    strings: bytes = b"\0"
    count: int = 0

    def name(self, text: str) -> int:
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def add(
        self, kind: int, name: str, size: int, rest: bytes = b"", elements: int = 0, flag: int = 0
    ) -> int:
        self.types += struct.pack("<III", self.name(name), flag << 31 | kind << 24 | elements, size) + rest
        self.count += 1
        return self.count

    def record(self, kind: int, name: str, size: int, *members: tuple[str, int, int], flag: int = 0) -> int:
        """Members as (name, type, offset in bytes)."""
        rest = b"".join(struct.pack("<III", self.name(n), of, 8 * at) for n, of, at in members)
        return self.add(kind, name, size, rest, len(members), flag)

    def enum(self, name: str, *values: str) -> int:
        rest = b"".join(struct.pack("<Ii", self.name(v), n) for n, v in enumerate(values))
        return self.add(ENUM, name, 4, rest, len(values))

    def bytes(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", MAGIC, 1, 0, 24, *sizes) + self.types + self.strings


def kernel_btf() -> bytes:
    """The types of a kernel much like v7.2's."""
    b = Blob()
    word = b.add(INT, "unsigned long", 8, struct.pack("<I", 64))
    atomic = b.record(STRUCT, "", 4, ("counter", word, 0))
    atomic_t = b.add(TYPEDEF, "atomic_t", atomic)
    b.add(ARRAY, "", 0, struct.pack("<III", word, word, 4))
    pgmap = b.record(STRUCT, "dev_pagemap", 152, ("ref", b.count + 2, 48))
    ref = b.record(STRUCT, "percpu_ref", 16, ("percpu_count_ptr", word, 0), ("data", word, 8))
    assert ref == pgmap + 1
    b.record(STRUCT, "percpu_ref_data", 56, ("count", word, 0))
    pointer = b.add(PTR, "", pgmap)
    inner = b.record(STRUCT, "", 8, ("compound_info", word, 0))
    union = b.record(UNION, "", 40, ("", inner, 0))
    members = (("flags", word, 0), ("", union, 8), ("_mapcount", atomic_t, 48), ("_refcount", atomic_t, 52))
    page = b.record(STRUCT, "page", 64, *members, flag=1)
    first = b.record(STRUCT, "", 64, ("flags", word, 0), ("pgmap", pointer, 8))
    both = b.record(UNION, "", 64, ("", first, 0), ("page", page, 0))
    counts = (
        ("_large_mapcount", atomic_t, 80),
        ("_entire_mapcount", atomic_t, 88),
        ("_pincount", atomic_t, 92),
    )
    b.record(STRUCT, "folio", 256, ("", both, 0), *counts)
    b.enum("pageflags", "PG_locked", "PG_writeback", "PG_referenced", "PG_head")
    return b.bytes()


def test_members_are_found_in_what_has_no_name() -> None:
    types = Btf(kernel_btf())
    assert types.size("page") == 64 and types.size("nothing") is None
    assert types.offset("page", "compound_info") == 8
    assert types.offset("page", "_refcount") == 52
    assert types.offset("page", "counter") is None  # inside a member with a name
    assert types.offset("folio", "pgmap") == 8
    assert types.is_pointer("folio", "pgmap") and not types.is_pointer("dev_pagemap", "ref")
    assert types.enumerator("pageflags", "PG_head") == 3
    assert types.enumerator("pageflags", "PG_foot") is None
    assert types.enumerator("flagpages", "PG_head") is None


def test_broken_btf_is_refused() -> None:
    with pytest.raises(BtfError, match="0xeb9f"):
        Btf(bytes(64))
    for cut in (3, 60):
        with pytest.raises(BtfError, match="cut off"):
            Btf(kernel_btf()[:cut])


def test_a_layout_names_what_is_missing() -> None:
    b = Blob()
    b.record(STRUCT, "page", 64, ("flags", 0, 0))
    with pytest.raises(LabError, match="struct page has no compound_info or compound_head"):
        Layout.of(Btf(b.bytes()))
    with pytest.raises(LabError, match="no struct page"):
        Layout.of(Btf(Blob().bytes()))


# Counts

VMEMMAP = 0xFFFFEA0000000000
SYMBOLS = {
    "__start_BTF": 0xFFFFFFFF82000000,
    "__stop_BTF": 0xFFFFFFFF82000000 + len(kernel_btf()),
    "__per_cpu_offset": 0xFFFFFFFF81000000,
    "vmemmap_base": 0xFFFFFFFF81001000,
}
PGMAP = 0xFFFF888000010000
DATA = 0xFFFF888000020000
PERCPU = 0x5A5A0
CPU = (0xFFFF88803EC00000, 0xFFFF88803ED00000)


@dataclass
class FakeGuest:
    """Memory that a test lays out, and a shell that knows one command."""

    kernel: LabKernel
    memory: dict[int, bytes] = field(default_factory=dict)  # by where it begins
    cpus: int = 2
    asked: int = 0

    def read(self, address: int, size: int) -> bytes | None:
        for begin, data in self.memory.items():
            if begin <= address and address + size <= begin + len(data):
                return data[address - begin : address - begin + size]
        return None

    def read_physical(self, address: int, size: int) -> bytes | None:
        return None

    def write(self, address: int, form: str, *values: int) -> None:
        for begin, data in self.memory.items():
            if begin <= address < begin + len(data):
                patched = bytearray(data)
                struct.pack_into(form, patched, address - begin, *values)
                self.memory[begin] = bytes(patched)
                return
        self.memory[address] = struct.pack(form, *values)

    def shell(self, command: str, seconds: float = 1.0) -> tuple[int, str]:
        self.asked += 1
        assert "/proc/kallsyms" in command
        return 0, "".join(f"{address:x} D {name}\n" for name, address in SYMBOLS.items())


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGuest:
    """Pages 100 to 107: a folio of four at 100, small ones from 104 on."""
    monkeypatch.setenv("ZONEDEV_LAB", str(tmp_path / "cache"))
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"an image")
    guest = FakeGuest(LabKernel("7.2", "7.2", "7.2", image, None, None, "linux-7.2"))
    guest.memory[SYMBOLS["__start_BTF"]] = kernel_btf()
    guest.write(SYMBOLS["vmemmap_base"], "<Q", VMEMMAP)
    guest.write(SYMBOLS["__per_cpu_offset"], "<QQ", *CPU)
    guest.memory[VMEMMAP + 100 * 64] = bytes(8 * 64)
    for pfn in range(100, 108):
        large = pfn == 100
        guest.write(at(pfn), "<QQ", large << 3, at(100) | 1 if 100 < pfn < 104 else PGMAP)
        guest.write(at(pfn) + 48, "<ii", -1, 1)
    guest.write(at(100) + 80, "<i", -1)
    guest.write(PGMAP + 48, "<QQ", PERCPU, DATA)
    guest.write(DATA, "<Q", PERCPU_COUNT_BIAS + 1)
    guest.write(CPU[0] + PERCPU, "<q", 9)
    guest.write(CPU[1] + PERCPU, "<q", -5)
    return guest


def at(pfn: int) -> int:
    return VMEMMAP + pfn * 64


def test_an_idle_page_counts_nothing_but_itself(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    assert inspector.page(104) == PageCounts(1, 0, 0)
    guest.write(at(104) + 48, "<ii", 1, 3)
    assert inspector.page(104) == PageCounts(3, 2, 0)


def test_all_pages_of_a_folio_have_its_counts(guest: FakeGuest) -> None:
    guest.write(at(100) + 52, "<i", 4)
    guest.write(at(100) + 80, "<i", 1)
    guest.write(at(100) + 92, "<i", 1)
    inspector = Inspector(guest)
    assert {inspector.page(pfn) for pfn in range(100, 104)} == {PageCounts(4, 2, 1)}
    assert {inspector.pgmap(pfn) for pfn in range(100, 108)} == {PGMAP}


def test_a_tail_may_hold_a_mask_for_its_address(guest: FakeGuest) -> None:
    for pfn in range(101, 104):
        guest.write(at(pfn) + 8, "<Q", (1 << 64) - 4 * 64 | 1)
    inspector = Inspector(guest)
    assert {inspector.pgmap(pfn) for pfn in range(100, 104)} == {PGMAP}


def test_older_kernels_count_a_mapping_of_the_whole_apart(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    inspector.layout = replace(inspector.layout, large_mapcount=None)
    guest.write(at(100) + 88, "<i", -1)
    assert inspector.page(102) == PageCounts(1, 0, 0)
    guest.write(at(100) + 88, "<i", 0)
    guest.write(at(102) + 48, "<i", 1)
    assert inspector.page(102) == PageCounts(1, 3, 0)
    assert inspector.page(101) == PageCounts(1, 1, 0)


def test_a_removed_page_is_none(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    assert inspector.page(108) is None and inspector.pgmap(108) is None and inspector.pgmap_ref(108) is None


def test_addresses_of_struct_pages(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    assert inspector.pfn_of(at(104) + 52) == 104
    assert inspector.pfn_of(PGMAP) is None and inspector.pfn_of(0) is None


def test_addresses_of_memory(guest: FakeGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SYMBOLS, "page_offset_base", 0xFFFFFFFF81002000)
    guest.write(SYMBOLS["page_offset_base"], "<Q", 0xFFFF888000000000)
    inspector = Inspector(guest)
    assert inspector.pfn_of(PGMAP + 4095) == 16
    assert inspector.pfn_of(at(104) + 52) == 104
    assert inspector.pfn_of(SYMBOLS["vmemmap_base"]) is None


def test_a_percpu_ref_is_the_sum_over_the_cpus(guest: FakeGuest) -> None:
    assert Inspector(guest).pgmap_ref(104) == 1 + 9 - 5


def test_a_killed_percpu_ref_keeps_its_bias_until_the_grace_period_ends(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    guest.write(PGMAP + 48, "<Q", PERCPU | 3)
    guest.write(DATA, "<Q", PERCPU_COUNT_BIAS)
    assert inspector.pgmap_ref(104) == 4
    guest.write(DATA, "<Q", 4)
    assert inspector.pgmap_ref(104) == 4
    guest.write(DATA, "<q", -1)  # one put too many
    assert inspector.pgmap_ref(104) == -1
    guest.write(PGMAP + 48, "<QQ", 3, 0)  # percpu_ref_exit()
    assert inspector.pgmap_ref(104) is None


def test_a_pagemap_may_point_to_its_ref(guest: FakeGuest) -> None:
    inspector = Inspector(guest)
    inspector.layout = replace(inspector.layout, ref_is_pointer=True)
    guest.write(PGMAP + 48, "<Q", DATA + 64)
    guest.memory[DATA] = struct.pack("<Q56xQQ", PERCPU_COUNT_BIAS + 1, PERCPU, DATA)
    assert inspector.pgmap_ref(104) == 5


def test_symbols_are_asked_for_once(guest: FakeGuest) -> None:
    Inspector(guest)
    Inspector(guest)
    assert guest.asked == 1


def test_a_kernel_without_btf_is_said_to_be_one(guest: FakeGuest) -> None:
    del guest.memory[SYMBOLS["__start_BTF"]]
    with pytest.raises(LabError, match=r"neither BTF .* nor --vmlinux"):
        Inspector(guest)


# Facts


def test_a_fact_is_found_out_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONEDEV_LAB", str(tmp_path))
    answers = iter([1, 2, 3])
    assert facts.known("n", {"a": "x"}, lambda: next(answers)) == 1
    assert facts.known("n", {"a": "x"}, lambda: next(answers)) == 1
    assert facts.known("n", {"a": "y"}, lambda: next(answers)) == 2
    (file,) = [p for p in (tmp_path / "facts").glob("n-*.json") if '"fact": 1' in p.read_text()]
    file.write_text("{")
    assert facts.known("n", {"a": "x"}, lambda: next(answers)) == 3
