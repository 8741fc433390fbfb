"""Writes and reads initramfs archives: cpio in its "newc" form, with no need to be root."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAGIC, TRAILER = b"070701", "TRAILER!!!"
FIELDS = 13  # hexadecimal numbers of eight digits after the magic


@dataclass(frozen=True)
class Entry:
    """A file, directory, symbolic link (its data is the target) or device node, owned by root."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode())


def console() -> Entry:
    """/dev/console, which the kernel opens for init before anything is mounted."""
    return Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))


class Writer:
    """Writes one archive; directories that were not added are made on the way."""

    def __init__(self, out: BinaryIO) -> None:
        self.out = out
        self.made: set[str] = set()
        self.inode = 0

    def add(self, entry: Entry) -> None:
        parent = entry.name.rpartition("/")[0]
        if parent and parent not in self.made:
            self.add(directory(parent))
        if stat.S_ISDIR(entry.mode):
            if entry.name in self.made:
                return
            self.made.add(entry.name)
        self._write(entry)

    def close(self) -> None:
        self._write(Entry(TRAILER, 0))

    def _write(self, entry: Entry) -> None:
        name = entry.name.encode() + b"\0"
        self.inode += 1
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        # inode, mode, uid, gid, nlink, mtime, size, device (2), device node (2), name size, checksum
        fields = (self.inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        head = MAGIC + b"".join(b"%08x" % field for field in fields) + name
        self.out.write(padded(head) + padded(entry.data))


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def read(data: bytes) -> Iterator[Entry]:
    """The entries of one or several archives that follow each other."""
    at = 0
    while at < len(data):
        if data[at : at + 6] != MAGIC:
            raise ValueError(f"no cpio header at byte {at}")
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(FIELDS)]
        mode, length, device, name_length = numbers[1], numbers[6], (numbers[9], numbers[10]), numbers[11]
        head = 6 + 8 * FIELDS
        name = data[at + head : at + head + name_length - 1].decode()
        at += head + name_length + -(head + name_length) % 4
        if name != TRAILER:
            yield Entry(name, mode, data[at : at + length], device)
        at += length + -length % 4
