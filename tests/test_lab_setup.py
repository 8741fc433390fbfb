"""The lab's set-up, without a network: what is fetched, unpacked, packed for a guest, and reported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT
from zonedev import cli
from zonedev.lab import archive, cache, cpio, elf, host, initramfs, kernels, modules, setup, userland
from zonedev.lab.archive import Archive, Mirrors, Package
from zonedev.lab.errors import LabError, NothingGoes
from zonedev.lab.host import Tool
from zonedev.lang.errors import ZonedevError

needs_cc = pytest.mark.skipif(host.static_compiler() is None, reason="no C compiler for static programs")
needs_apt = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get")
needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("ZONEDEV_LAB", str(tmp_path / "lab"))
    return tmp_path / "lab"


# Files made by hand


def elf_file(sections: Sequence[tuple[str, bytes, int]], machine: int = elf.X86_64) -> bytes:
    """An ELF file with these sections: name, contents, index of the section linked to (from 1 on)."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, _, _ in sections) + b".shstrtab\0"
    bodies = [("", b"", 0), *sections, (".shstrtab", names, 0)]
    heads, data = b"", b""
    for name, body, link in bodies:
        at = names.index(name.encode() + b"\0")
        heads += elf.SECTION.pack(at, 1, 0, 0, 64 + len(data), len(body), link, 0, 1, 0)
        data += body
    start = struct.pack("<16sHHIQQQ", b"\x7fELF\x02\x01\x01", 1, machine, 1, 0, 0, 64 + len(data))
    return start + struct.pack("<IHHHHHH", 0, 64, 0, 0, 64, len(bodies), len(bodies) - 1) + data + heads


def module(name: str, *depends: str, release: str = "6.12.1-x") -> bytes:
    info = f"name={name}\0depends={','.join(depends)}\0vermagic={release} SMP\0"
    return elf_file([(".modinfo", info.encode(), 0)])


def program(*libraries: str) -> bytes:
    strings = b"\0" + b"".join(name.encode() + b"\0" for name in libraries)
    dynamic = b"".join(struct.pack("<qQ", 1, strings.index(name.encode() + b"\0")) for name in libraries)
    return elf_file([(".dynstr", strings, 0), (".dynamic", dynamic, 1), (".interp", b"/lib64/ld.so\0", 0)])


def bzimage(release: str = "6.12.1-x") -> bytes:
    head = bytearray(0x300)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = struct.pack("<H", 0x80)
    return bytes(head[:0x280]) + f"{release} (builder@host) #1 SMP\0".encode() + bytes(64)


def write(path: Path, data: bytes | str = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# What apt says


def test_parse_uris() -> None:
    text = (
        "Reading package lists...\n"
        "'http://h/l/linux-base_4_all.deb' linux-base_4_all.deb 25 SHA256:01ab\n"
        "'http://h/x.deb' linux-image-6.12.1+deb13-cloud-amd64_6.12.1-1_amd64.deb 347 SHA256:2\n"
        "'http://h/y.deb' libcap2_1%3a2.75-10_amd64.deb 28 SHA256:3\n"
    )
    base, image, cap = archive.parse_uris(text)
    assert base == Package(
        "linux-base", "4", "http://h/l/linux-base_4_all.deb", "linux-base_4_all.deb", 25, "01ab"
    )
    assert (image.name, image.version) == ("linux-image-6.12.1+deb13-cloud-amd64", "6.12.1-1")
    assert (cap.version, cap.file) == ("1:2.75-10", "libcap2_1%3a2.75-10_amd64.deb")
    assert [bool(setup.KERNEL.match(p.name)) for p in (base, image, cap)] == [False, True, False]


def test_the_mirrors_of_the_host() -> None:
    text = "Ubuntu|Ubuntu|http://u/\nDebian|Debian|cdrom:[x]/\nDebian|Debian|http://d/\nDebian|Debian|http://e/\n"
    assert archive.parse_targets(text + "Debian|Debian-Security|http://s/\nodd\n") == {
        "Debian": "http://d/",
        "Debian-Security": "http://s/",
    }
    assert archive.parse_targets("") == {}


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        (
            [
                "E: Failed to fetch http://h/InRelease  Could not resolve 'h'\n",
                "E: Some index files failed\n",
            ],
            "the Debian archive cannot be reached: Could not resolve 'h': run again when it can",
        ),
        (
            ["E: The repository 'http://h s Release' does not have a Release file.\n"],
            "trixie: The repository 'http://h s Release' does not have a Release file: "
            "give one that has it with --mirror URL",
        ),
        (
            ["E: Failed to fetch http://h/d-security/x.deb  404  Not Found\n"],
            "trixie: Failed to fetch http://h/d-security/x.deb  404  Not Found: "
            "give one that has it with --security-mirror URL",
        ),
        (
            ["W: GPG error: x: NO_PUBKEY 1\n", "E: The repository 'x' is not signed.\n"],
            "trixie: GPG error: x: NO_PUBKEY 1: apt install debian-archive-keyring, in its newest version",
        ),
        (["E: Write error - write (28: No space left on device)\n"], cache.NO_SPACE),
        (["N: odd\n", "E: Something else\n"], "trixie: Something else"),
        ([], "trixie: apt-get failed and says nothing"),
    ],
)
def test_why_apt_failed(printed: list[str], text: str) -> None:
    assert str(archive.failure("trixie", printed)) == text


@needs_apt
def test_apt_is_kept_from_the_host(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    found = Archive(tmp_path / "apt", ("trixie", "trixie-security"), Mirrors(f"file:{empty}", None))
    assert found.resolve(["coreutils"]) == []  # the host has that one, and knows where to get it
    with pytest.raises(LabError, match=r"^trixie: .*does not have a Release file: give one that has it"):
        found.update(lambda percent: None)
    sources = (tmp_path / "apt/sources.list").read_text()
    assert sources == f"deb [signed-by={host.KEYRING}] file:{empty} trixie main\n"


class Breaking(BaseHTTPRequestHandler):
    """A server of one file, which breaks off half way as often as it is told to."""

    data = bytes(range(256)) * 4096
    breaks = 0
    ranges: list[str | None] = []

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.ranges.append(asked)
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {begin}-{len(self.data) - 1}/{len(self.data)}")
        self.send_header("Content-Length", str(len(self.data) - begin))
        self.send_header("Last-Modified", "Sat, 21 Nov 2020 09:00:00 GMT")
        self.end_headers()
        half = len(self.data) // 2
        self.wfile.write(self.data[begin:half] if Breaking.breaks else self.data[begin:])
        if Breaking.breaks:
            Breaking.breaks -= 1
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.skipif(host.HELPER is None, reason="no apt-helper")
def test_a_download_goes_on_where_it_broke_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "CONFIGURATION", archive.CONFIGURATION.replace('Retries "2"', 'Retries "0"'))
    monkeypatch.setattr(archive, "connection_settings", lambda: 'Acquire::http::Proxy "DIRECT";\n')
    monkeypatch.setattr(Breaking, "ranges", [])
    monkeypatch.setattr(Breaking, "breaks", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), Breaking) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/a_1_all.deb"
        digest = hashlib.sha256(Breaking.data).hexdigest()
        package = Package("a", "1", uri, "a_1_all.deb", len(Breaking.data), digest)
        found = Archive(tmp_path / "apt", ("trixie",), Mirrors("http://none", None))
        with pytest.raises(LabError):
            found.download([package], lambda percent: None)
        half = (tmp_path / "apt/packages/a_1_all.deb").stat().st_size
        assert 0 < half < len(Breaking.data)
        shown: list[float] = []
        (path,) = found.download([package], shown.append)
        assert path.read_bytes() == Breaking.data
        assert Breaking.ranges == [None, f"bytes={half}-"]
        assert all(0 < percent <= 100 for percent in shown)
        found.download([package], shown.append)  # it is there
        assert len(Breaking.ranges) == 2

        path.write_bytes(Breaking.data[:-1])
        wrong = dataclasses.replace(package, sha256="0" * 64)
        with pytest.raises(LabError, match="Hash Sum mismatch"):
            found.download([wrong], shown.append)
        server.shutdown()


# Archives for the kernel to unpack


def test_cpio_round_trip(tmp_path: Path) -> None:
    entries = [
        cpio.console(),
        cpio.file("usr/lib/x", b"12345", 0o755),
        cpio.file("usr/lib/empty", b""),
        cpio.link("bin/sh", "/usr/bin/busybox"),
        cpio.directory("usr/lib"),
    ]
    path = tmp_path / "a.cpio"
    with path.open("wb") as out:
        for part in (entries[:2], entries[2:]):  # two archives, one after the other
            writer = cpio.Writer(out)
            for entry in part:
                writer.add(entry)
            writer.close()
    found = {e.name: e for e in cpio.read(path.read_bytes())}
    assert list(found)[:3] == ["dev", "dev/console", "usr"]  # directories before what is in them
    assert [found[e.name] for e in entries] == entries
    assert stat.S_ISCHR(found["dev/console"].mode) and found["dev/console"].device == (5, 1)
    assert stat.S_ISDIR(found["usr"].mode)
    with pytest.raises(ValueError, match="no cpio header at byte 0"):
        list(cpio.read(b"070707"))


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio")
def test_cpio_is_what_others_read(tmp_path: Path) -> None:
    path = tmp_path / "a.cpio"
    with path.open("wb") as out:
        writer = cpio.Writer(out)
        writer.add(cpio.file("lab/fsdax", b"abc", 0o755))
        writer.close()
    listed = subprocess.run(["cpio", "-t"], stdin=path.open("rb"), capture_output=True, text=True).stdout
    assert listed.split() == ["lab", "lab/fsdax"]


# ELF files


def test_elf() -> None:
    assert elf.modinfo(module("xfs", "libcrc32c"))["depends"] == "libcrc32c"
    assert list(elf.needed(program("libc.so.6", "libm.so.6"))) == ["libc.so.6", "libm.so.6", "ld.so"]
    assert elf.sections(b"#!/bin/sh\n") == [] and not elf.is_elf(b"")


def test_a_real_program() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    assert any(name.startswith(("libc.so", "libm.so")) for name in elf.needed(data))


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    import lzma

    tree = tmp_path / "kernel"
    write(tree / "a/nd_pmem.ko", module("nd_pmem", "libnvdimm", "nd_btt"))
    write(tree / "a/nd_btt.ko", module("nd_btt", "libnvdimm"))
    write(tree / "a/libnvdimm.ko.xz", lzma.compress(module("libnvdimm")))
    write(tree / "b/dm-mod.ko", module("dm_mod", "dax"))  # dax is built in
    write(tree / "b/unwanted.ko", module("unwanted"))
    write(tree / "modules.order")
    found = modules.load_order(modules.files(tree), ["nd_pmem", "ext4", "dm_mod"])
    assert [m.name for m in found] == ["libnvdimm", "nd_btt", "nd_pmem", "dm_mod"]
    assert elf.modinfo(found[0].data)["name"] == "libnvdimm"  # uncompressed
    assert modules.release_of(tree / "a/libnvdimm.ko.xz") == "6.12.1-x"


# The cache


def test_an_entry_is_complete_or_not_there(root: Path) -> None:
    place = root / "x" / "tree"

    def broken() -> None:
        with cache.making(place) as temporary:
            write(temporary / "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert list(place.parent.iterdir()) == []
    for text in "one", "two":
        with cache.making(place) as temporary:
            write(temporary / "file", text)
    assert (place / "file").read_text() == "two"
    assert [p.name for p in place.parent.iterdir()] == ["tree"]
    assert cache.size(place) == 3


CHILD = """
import sys, time
from zonedev.lab import cache
with cache.locked("area") as place, cache.making(place / "deep" / "tree") as temporary:
    temporary.mkdir()
    (temporary / "half").write_text("x")
    print("in", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of making an entry."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=env) as child:
        assert child.stdout is not None and child.stdout.readline() == "in\n"
        yield child
        child.kill()


def test_what_a_killed_setup_leaves_is_cleared(root: Path, holder: subprocess.Popen[str]) -> None:
    assert (root / "area/deep/tree.tmp/half").exists()
    waited = []

    def waiting() -> None:
        waited.append(time.perf_counter())
        holder.send_signal(signal.SIGKILL)

    with cache.locked("area", waiting) as place:
        assert len(waited) == 1
        assert list((place / "deep").iterdir()) == []
    with cache.locked("area", waiting):
        assert len(waited) == 1  # nobody to wait for


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZONEDEV_LAB", "/proc/none")
    with pytest.raises(LabError, match="set ZONEDEV_LAB to a directory"), cache.locked("area"):
        pass


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZONEDEV_LAB")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert cache.root() == Path("/c/zonedev/lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache.root() == Path("/h/.cache/zonedev/lab")


def test_built_files_expire(root: Path) -> None:
    old, new = write(root / "old"), write(root / "new")
    os.utime(old, (0, 0))
    cache.expire(root)
    assert (old.exists(), new.exists()) == (False, True)


# Kernels


def test_find_says_how_to_get_a_kernel() -> None:
    with pytest.raises(LabError, match=r"^kernel 6.12 is not set up: run zonedev lab setup --kernel 6.12$"):
        kernels.find("6.12")
    with pytest.raises(ZonedevError, match=r"no kernel '6.13': did you mean"):
        kernels.find("6.13")
    assert [k.name for k in kernels.chosen(["6.1,7.2", "6.1"])] == ["6.1", "7.2"]
    assert [k.name for k in kernels.chosen([])] == ["5.10", "6.1", "6.12", "7.2"]


def test_a_broken_record_is_no_kernel(root: Path) -> None:
    write(root / "debian/kernels/6.1/kernel.json", "{")
    assert kernels.installed("6.1") is None


def test_a_kernel_of_the_users_own(tmp_path: Path) -> None:
    image, vmlinux = write(tmp_path / "bzImage", bzimage()), write(tmp_path / "vmlinux")
    assert kernels.custom(image).modules is None
    write(tmp_path / "lib/modules/6.12.1-x/kernel/a.ko", module("a"))
    for given in (tmp_path / "lib/modules", tmp_path / "lib/modules/6.12.1-x"):
        found = kernels.custom(image, given, vmlinux, "linux-6.1")
        assert (found.name, found.release, found.design) == ("custom", "6.12.1-x", "linux-6.1")
        assert found.modules == tmp_path / "lib/modules/6.12.1-x"
        assert found.vmlinux == vmlinux


@pytest.mark.parametrize(
    ("release", "design"),
    [
        ("5.10.0-46-cloud-amd64", "linux-5.10"),
        ("5.17.1", "linux-5.10"),
        ("5.18.0-rc1", "linux-6.1"),
        ("6.12.117+deb13-cloud-amd64", "linux-6.12"),
        ("6.15", "linux-6.15"),
        ("6.17", "linux-7.2"),
        ("8.0", "linux-7.2"),
    ],
)
def test_the_rules_of_a_release(release: str, design: str) -> None:
    assert kernels.design_of(release) == design


@pytest.mark.parametrize("release", ["4.19.0", "5.1", "mine"])
def test_the_rules_of_a_release_that_no_design_has(release: str) -> None:
    with pytest.raises(LabError, match=f"kernel {release}: .* --design"):
        kernels.design_of(release)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda d: kernels.custom(d / "none"),
            "none: No such file or directory: --kernel-image takes a bzImage",
        ),
        (
            lambda d: kernels.custom(write(d / "x", b"\x7fELF" + bytes(999))),
            "x: not a bzImage of x86: give arch/",
        ),
        (lambda d: kernels.custom(write(d / "x")), "x: not a bzImage of x86"),
        (
            lambda d: kernels.custom(write(d / "x", bzimage()), d / "none"),
            "none: no such directory: --modules takes lib/modules/6.12.1-x",
        ),
        (
            lambda d: kernels.custom(
                write(d / "x", bzimage()), write(d / "m/a.ko", module("a", release="6.1.0")).parent
            ),
            "m: modules of 6.1.0, but the image is 6.12.1-x: give those of the image",
        ),
        (
            lambda d: kernels.custom(write(d / "x", bzimage()), None, d / "none"),
            "none: no such file: --vmlinux takes the vmlinux of kernel 6.12.1-x",
        ),
    ],
)
def test_files_that_are_no_kernel(tmp_path: Path, make: Callable[[Path], Any], text: str) -> None:
    with pytest.raises(LabError) as caught:
        make(tmp_path)
    assert text in str(caught.value)


# The guest's file system

AGENT = "#include <stdio.h>\nint main(void) { return puts(WORD); }\n"


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest with a small agent, and a userland of one file."""
    place = tmp_path / "guest"
    for name, text in {"init": "#!i", "slow": "#!s", "agent.c": '#include "w.h"\n' + AGENT}.items():
        write(place / name, text)
    write(place / "w.h", '#define WORD "one"\n')
    monkeypatch.setattr(initramfs, "GUEST", place)
    userland.place().parent.mkdir(parents=True)
    with userland.place().open("wb") as out:
        writer = cpio.Writer(out)
        writer.add(cpio.file("usr/bin/busybox", b"b", 0o755))
        writer.close()
    return place


def kernel_with(tree: Path) -> kernels.LabKernel:
    return kernels.LabKernel("custom", "6.12.1-x", "6.12.1-x", tree / "image", tree, None, "linux-6.1")


@needs_cc
def test_initramfs(tmp_path: Path, guest: Path) -> None:
    kernel = kernel_with(tmp_path / "modules")
    write(tmp_path / "modules/brd.ko", module("brd"))
    write(tmp_path / "modules/nfit.ko", module("nfit", "libnvdimm"))
    write(tmp_path / "modules/libnvdimm.ko", module("libnvdimm"))
    path = initramfs.build(kernel)
    found = {e.name: e for e in cpio.read(path.read_bytes())}
    assert {"usr/bin/busybox", "init", "agent", "lab/slow", "dev/console", "proc", "sys", "tmp"} <= set(found)
    assert not {"lab/agent.c", "lab/init", "lab/w.h"} & set(found)
    assert found["lib/modules/boot.list"].data == b"libnvdimm\nnfit\n"
    assert found["lib/modules/slow.list"].data == b"brd rd_nr=1 rd_size=16384\n"
    assert found["lib/modules/xfs.list"].data == b""
    assert found["init"].mode & 0o111 and found["agent"].mode & 0o111
    agent = write(tmp_path / "agent", found["agent"].data)
    agent.chmod(0o755)
    assert subprocess.run([agent], capture_output=True, text=True).stdout == "one\n"

    before = path.stat().st_ino
    assert initramfs.build(kernel).stat().st_ino == before  # nothing has changed
    write(guest / "w.h", '#define WORD "two"\n')
    second = initramfs.build(kernel)
    assert second != path
    write(tmp_path / "modules/brd.ko", module("brd", "nfit"))
    assert initramfs.build(kernel) not in (path, second)
    assert not list(path.parent.glob("*.tmp"))


@needs_cc
def test_an_agent_that_does_not_compile(tmp_path: Path, guest: Path) -> None:
    write(guest / "w.h", "")
    with pytest.raises(LabError, match=r"cc cannot build the agent: .*agent.c:3.*WORD"):
        initramfs.build(kernel_with(tmp_path / "none"))
    assert not list(cache.root().glob("initramfs/*.cpio"))


def test_no_compiler(tmp_path: Path, guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-cc")
    with pytest.raises(LabError, match="no-such-cc: No such file or directory: apt install gcc"):
        initramfs.build(kernel_with(tmp_path / "none"))


def test_no_userland(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="programs are not set up: run zonedev lab setup"):
        initramfs.build(kernel_with(tmp_path / "none"))


def test_the_scripts_of_the_guest() -> None:
    scripts = [p for p in initramfs.guest_files() if p.suffix not in initramfs.SOURCES]
    assert {"init", "common", "devdax", "fsdax", "slow"} <= {p.name for p in scripts}
    for path in scripts:
        checked = subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, ""), path.name
    loaded = {
        word
        for p in scripts
        for line in p.read_text().splitlines()
        for word in line.split()[1:2]
        if line.startswith("load ")
    }
    assert {w for w in loaded if w.isalnum()} <= set(modules.GROUPS)


def test_only_what_programs_load_is_kept(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in userland.PROGRAMS:
        write(raw / "usr/sbin" / name, program("liba.so.1"))
    write(raw / "usr/lib/x86_64-linux-gnu/liba.so.1", program("libb.so"))
    write(raw / "lib/x86_64-linux-gnu/libb.so.2", program())
    (raw / "lib/x86_64-linux-gnu/libb.so").symlink_to("libb.so.2")
    write(raw / "usr/lib/x86_64-linux-gnu/libunused.so", program())
    with pytest.raises(LabError, match=r"needs ld.so, which no fetched package has"):
        userland.write(raw, [], tmp_path / "out")
    write(raw / "usr/lib64/ld.so", elf_file([]))
    userland.write(raw, ["b 2", "a 1"], tmp_path / "out")
    found = {e.name: e for e in cpio.read((tmp_path / "out").read_bytes())}
    assert {n for n in found if ".so" in n} == {f"usr/lib/{n}" for n in ("liba.so.1", "libb.so", "ld.so")}
    assert found["lab/packages"].data == b"a 1\nb 2\n"
    (raw / "usr/sbin/ndctl").unlink()
    with pytest.raises(LabError, match="the guest's ndctl is in none of the packages"):
        userland.write(raw, [], tmp_path / "out")


# A set-up from an archive of the test's own


def deb(place: Path, name: str, version: str, files: dict[str, bytes]) -> Package:
    tree = place / name
    write(
        tree / "DEBIAN/control",
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: a\nDescription: b\n",
    )
    for path, data in files.items():
        write(tree / path, data)
    out = place / f"{name}_{version}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "-b", str(tree), str(out)],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(tree)
    return Package(name, version, "", out.name, out.stat().st_size, "")


class FakeArchive(Archive):
    """An archive that has what the test put into a directory for each suite."""

    shelf: Path
    asked: list[str] = []

    def __init__(self, place: Path, suites: Sequence[str], mirrors: Mirrors) -> None:
        self.place, self.suites = place, suites

    def update(self, progress: archive.Progress) -> None:
        self.asked.append(self.suites[0])
        progress(100.0)

    def resolve(self, names: Sequence[str]) -> list[Package]:
        files = sorted((self.shelf / self.suites[0]).glob("*.deb"))
        found = [Package(f.name.split("_")[0], f.name.split("_")[1], "", f.name, 1, "") for f in files]
        return [p for p in found if (p.name in names) == p.name.endswith("-dbg")]

    def download(self, packages: Sequence[Package], progress: archive.Progress) -> list[Path]:
        (self.place / "packages").mkdir(parents=True, exist_ok=True)
        return [
            Path(shutil.copy(self.shelf / self.suites[0] / p.file, self.place / "packages")) for p in packages
        ]


def shelve(shelf: Path, suite: str, base: str, revision: str = "1", debug: bool = False) -> None:
    """A kernel in the archive, packed as newer releases do: in several packages, below usr/lib/modules."""
    release, version = f"{base}-cloud-amd64", f"{base}-{revision}"
    home = f"usr/lib/modules/{release}"
    place = shelf / suite
    shutil.rmtree(place, ignore_errors=True)
    deb(place, f"linux-binary-{release}", version, {f"{home}/vmlinuz": bzimage(release)})
    deb(place, f"linux-modules-{release}", version, {f"{home}/kernel/brd.ko": module("brd")})
    if debug:
        big = {f"usr/lib/debug/boot/vmlinux-{release}": b"DWARF", f"usr/lib/debug/{home}/a.ko": b"no"}
        deb(place, f"linux-image-{release}-dbg", version, big)


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    FakeArchive.shelf, FakeArchive.asked = tmp_path / "shelf", []
    monkeypatch.setattr(setup, "Archive", FakeArchive)
    return tmp_path / "shelf"


def set_up(name: str, debug_info: bool = False, update: bool = False) -> kernels.LabKernel:
    with cache.locked("debian") as place:
        work = setup.Setup(place, lambda: Mirrors("m", None), lambda what, percent: None, update)
        work.kernel(kernels.STOCK[name], debug_info)
        work.done()
    return kernels.find(name)


@needs_dpkg
def test_set_up_update_and_debug_information(shelf: Path, root: Path) -> None:
    shelve(shelf, "trixie", "6.12.1", debug=True)
    found = set_up("6.12")
    assert (found.release, found.version, found.design) == ("6.12.1-cloud-amd64", "6.12.1-1", "linux-6.12")
    assert kernels.release_of(found.image) == found.release
    assert found.modules is not None and list(modules.files(found.modules)) == ["brd"]
    assert found.vmlinux is None
    assert sorted(p.name for p in (root / "debian").iterdir()) == [".lock", "kernels"]  # no package is kept
    set_up("6.12")
    assert FakeArchive.asked == ["trixie"]  # the second time nothing was asked for

    found = set_up("6.12", debug_info=True)
    assert found.vmlinux is not None and found.vmlinux.read_bytes() == b"DWARF"
    shelve(shelf, "trixie", "6.12.2", debug=True)
    assert set_up("6.12", debug_info=True) == found
    newer = set_up("6.12", update=True)
    assert newer.version == "6.12.2-1" and newer.vmlinux is not None  # what it had, it has again
    assert not found.image.exists()


@needs_dpkg
def test_debug_information_of_a_kernel_that_is_gone(shelf: Path) -> None:
    shelve(shelf, "bookworm", "6.1.1")
    set_up("6.1")
    shelve(shelf, "bookworm", "6.1.2", debug=True)
    with pytest.raises(LabError, match=r"kernel 6.1: the archive has moved on from 6.1.1-1: add --update"):
        set_up("6.1", debug_info=True)


@needs_dpkg
def test_the_first_suite_that_has_it(shelf: Path) -> None:
    shelve(shelf, "forky", "7.1.9")
    shelve(shelf, "sid", "7.2.3")
    assert set_up("7.2").version == "7.2.3-1"
    shelve(shelf, "forky", "7.2.1")
    assert set_up("7.2", update=True).version == "7.2.1-1"
    shelve(shelf, "forky", "7.3.1")
    shelve(shelf, "sid", "7.4.0")
    with pytest.raises(LabError, match=r"no kernel 7.2 any more \(forky has 7.3.1-1, sid has 7.4.0-1\)"):
        set_up("7.2", update=True)
    assert kernels.find("7.2").version == "7.2.1-1"  # and that one stays


@needs_dpkg
def test_a_setup_that_fails_leaves_nothing(shelf: Path, root: Path) -> None:
    shelve(shelf, "bookworm", "6.1.1")
    broken = next((shelf / "bookworm").glob("linux-modules*"))
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(LabError, match=r"linux-modules-.* cannot be unpacked"):
        set_up("6.1")
    assert kernels.installed("6.1") is None
    assert not list(root.rglob("*.tmp")) and not list((root / "debian/kernels").iterdir())


# The command


def tools(**versions: str | None) -> list[Tool]:
    return [Tool(name, "for that", f"package-of-{name}", version) for name, version in versions.items()]


def lab(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, result, and complaints; the progress that a slow machine shows is left out."""
    code = cli.main(["lab", *args])
    out, err = capsys.readouterr()
    err = "".join(line for line in err.splitlines(keepends=True) if not line.startswith("lab: "))
    assert out.isascii() and all(len(line) <= 80 for line in out.splitlines() if "/lab" not in line)
    return code, out, err


def test_status_of_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "tools", lambda: tools(qemu="7.2", cc=None))
    code, out, err = lab(capsys, "status")
    assert (code, err) == (3, "")
    assert "kernel  6.12   not set up (zonedev lab setup --kernel 6.12)\n" in out
    assert "host    qemu: 7.2\nhost    cc: missing: apt install package-of-cc\n" in out
    code, out, _ = lab(capsys, "status", "--format", "json")
    found = json.loads(out)
    assert (code, found["ready"], len(found["kernels"])) == (3, False, 4)


def test_all_that_the_host_lacks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "tools", lambda: tools(qemu=None, apt="2", cc=None))
    code, out, err = lab(capsys, "setup")
    assert (code, out) == (3, "")
    assert err == (
        "zonedev: error: the lab needs qemu for that: apt install package-of-qemu\n"
        "zonedev: error: the lab needs cc for that: apt install package-of-cc\n"
    )


@needs_dpkg
def test_setup_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, shelf: Path, guest: Path
) -> None:
    monkeypatch.setattr(host, "tools", lambda: tools(qemu="7.2"))
    shelve(shelf, "bookworm", "6.1.1")
    code, out, err = lab(capsys, "setup", "--kernel", "6.1", "--mirror", "http://m/debian")
    assert (code, err) == (0, "")
    assert "kernel  6.1    6.1.1-1        1 MiB  debug info: none     rules: linux-6.1\n" in out
    assert lab(capsys, "status")[1] == out
    shelve(shelf, "trixie", "6.12.1")
    code, out, err = lab(capsys, "setup", "--kernel", "5.10,6.12", "--mirror", "http://m/debian")
    assert (code, err.count("\n")) == (3, 1)
    assert "the archive has no kernel 5.10 any more (bullseye has none): use one of your own" in err
    assert "kernel  6.12   6.12.1-1" in out  # the others are fetched all the same


def test_no_mirror(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, guest: Path, shelf: Path
) -> None:
    def none(*given: object) -> Mirrors:
        raise NothingGoes("none here")

    monkeypatch.setattr(host, "tools", lambda: tools(qemu="7.2"))
    monkeypatch.setattr(archive, "host_mirrors", none)
    assert lab(capsys, "setup") == (3, "", "zonedev: error: none here\n")


def test_a_full_disk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, guest: Path, shelf: Path
) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(host, "tools", lambda: tools(qemu="7.2"))
    monkeypatch.setattr(setup.Setup, "kernel", full)
    assert lab(capsys, "setup") == (3, "", f"zonedev: error: {cache.NO_SPACE}\n")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([], "the following arguments are required: ACTION"),
        (["setup", "--kernel", "6.11"], "no kernel '6.11': did you mean"),
        (["setup", "--mirror", "debian"], "'debian' is not a URL such as http://HOST/debian"),
    ],
)
def test_wrong_usage(capsys: pytest.CaptureFixture[str], args: list[str], text: str) -> None:
    code, out, err = lab(capsys, *args)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert text in err


def test_tools_of_this_host() -> None:
    for tool in host.tools():
        assert tool.version != ""
    assert host.first("no-such-program")() is None
