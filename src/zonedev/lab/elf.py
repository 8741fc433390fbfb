"""The little that the lab needs of ELF files: what a program loads, what a module depends on."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

X86_64 = 62
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")


@dataclass(frozen=True)
class Section:
    name: str
    data: bytes
    link: int


def is_elf(data: bytes) -> bool:
    """Whether these are the first bytes of a 64-bit little-endian ELF file."""
    return data[:6] == b"\x7fELF\x02\x01"


def machine(data: bytes) -> int:
    """The architecture number, such as X86_64."""
    return int(struct.unpack_from("<H", data, 18)[0])


def sections(data: bytes) -> list[Section]:
    """The sections of a 64-bit little-endian ELF file; none where `data` is something else."""
    if not is_elf(data):
        return []
    (offset,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    heads = [SECTION.unpack_from(data, offset + i * size) for i in range(count)]
    if not heads:
        return []
    strings = data[heads[names][4] : heads[names][4] + heads[names][5]]
    return [Section(text(strings, h[0]), data[h[4] : h[4] + h[5]], h[6]) for h in heads]


def text(strings: bytes, at: int) -> str:
    return strings[at : strings.index(b"\0", at)].decode()


def needed(data: bytes) -> Iterator[str]:
    """The shared libraries that a program or library names (DT_NEEDED), and its interpreter."""
    found = sections(data)
    for section in found:
        if section.name == ".interp":
            yield text(section.data, 0).rpartition("/")[2]
        if section.name == ".dynamic":
            strings = found[section.link].data
            for tag, value in struct.iter_unpack("<qQ", section.data):
                if tag == 1:
                    yield text(strings, value)


def modinfo(data: bytes) -> dict[str, str]:
    """What a kernel module says of itself: name, depends, vermagic; the first of each."""
    found: dict[str, str] = {}
    for section in sections(data):
        if section.name == ".modinfo":
            for item in section.data.split(b"\0"):
                key, equals, value = item.decode(errors="replace").partition("=")
                if equals:
                    found.setdefault(key, value)
    return found


def undefined(data: bytes) -> set[str]:
    """The symbols that an object file uses and does not have."""
    found: set[str] = set()
    every = sections(data)
    for section in every:
        if section.name == ".symtab":
            strings = every[section.link].data
            for name, _, _, home, _, _ in SYMBOL.iter_unpack(section.data):
                if name and home == 0:
                    found.add(text(strings, name))
    return found
