"""The guest's agent, spoken to over a terminal of this machine."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from zonedev.lab.ccode import GUEST

pytestmark = pytest.mark.xdist_group("agent")  # what its fixtures make is made once

PAGE = 4096
SECONDS = 10.0


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent, built as for a guest, with every warning an error."""
    built = tmp_path_factory.mktemp("agent") / "agent"
    flags = ["-static", "-O2", "-pthread", "-Wall", "-Wextra", "-Werror"]
    try:
        probe = subprocess.run(
            ["cc", "-static", "-x", "c", "-", "-o", "/dev/null"],
            input="int main(void) { return 0; }",
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("there is no cc")
    if probe.returncode:
        pytest.skip("cc does not link statically: there is no static libc")
    subprocess.run(["cc", *flags, "-o", str(built), str(GUEST / "agent.c")], check=True)
    return built


class Talk:
    """A terminal with the agent at its other end."""

    def __init__(self, program: Path) -> None:
        self._ours, self._theirs = pty.openpty()
        self._process = subprocess.Popen([str(program), os.ttyname(self._theirs)])
        self._rest = b""
        self._number = 0
        self._answers: dict[int, str] = {}

    def line(self, seconds: float = SECONDS) -> str | None:
        """The next line, or None where there is none in time."""
        until = time.monotonic() + seconds
        while b"\n" not in self._rest:
            heard, _, _ = select.select([self._ours], [], [], max(0.0, until - time.monotonic()))
            if not heard:
                return None
            self._rest += os.read(self._ours, 1 << 16)
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode("ascii")

    def write(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def send(self, request: str) -> int:
        """Ask without waiting."""
        self._number += 1
        self.write(f"{self._number} {request}")
        return self._number

    def answer(self, number: int, seconds: float = SECONDS) -> str | None:
        """``= VALUE`` or ``! NAME``; None where it has not come."""
        until = time.monotonic() + seconds
        while number not in self._answers:
            line = self.line(max(0.0, until - time.monotonic()))
            if line is None:
                return None
            head, _, rest = line.partition(" ")
            self._answers[int(head)] = rest
        return self._answers.pop(number)

    def ask(self, request: str) -> str:
        found = self.answer(self.send(request))
        assert found is not None, f"{request}: no answer"
        return found

    def value(self, request: str) -> str:
        found = self.ask(request)
        assert found.startswith("= "), f"{request}: {found}"
        return found[2:]

    def close(self) -> int:
        """End the agent as a host does that goes away."""
        os.close(self._ours)
        os.close(self._theirs)
        try:
            return self._process.wait(SECONDS)
        finally:
            self._process.kill()


@pytest.fixture
def talk(program: Path) -> Iterator[Talk]:
    found = Talk(program)
    try:
        assert found.line() == "zonedev: ready 1"
        yield found
    finally:
        assert found.close() == 0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of a page that begins with "hello"."""
    path = tmp_path / "file"
    path.write_bytes(b"hello" + bytes(PAGE - 5))
    return path


def test_tasks_are_threads_and_processes_with_names(talk: Talk) -> None:
    first = int(talk.value("- spawn A"))
    assert talk.ask("- spawn A") == "! EEXIST"
    assert int(talk.value("A thread A2")) != first
    assert int(talk.value("A2 fork B")) != first
    assert int(talk.value("B thread B2")) != first
    assert talk.ask("B thread A2") == "! EEXIST"
    assert talk.ask("B fork A2") == "! EEXIST"
    assert talk.ask("C touch 0x1000 r") == "! ESRCH"


def test_memory_is_read_and_written(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap {file} 0 {2 * PAGE}")
    assert va.startswith("0x")
    assert talk.value(f"A read {va} 5") == b"hello".hex()
    assert talk.value(f"A write {va} {b'J'.hex()}") == "1"
    assert file.read_bytes()[:5] == b"Jello"
    assert talk.value(f"A touch {va} w") == "0"
    assert talk.value(f"A read {va} 2") == "0165"
    assert talk.value(f"A read {va} 0") == "-"
    beyond = hex(int(va, 16) + PAGE)
    assert talk.ask(f"A touch {beyond} r") == "! SIGBUS"
    assert talk.ask(f"A write {beyond} 00") == "! SIGBUS"
    assert talk.value(f"A munmap {va} {2 * PAGE}") == "0"
    assert talk.ask(f"A read {va} 1") == "! SIGSEGV"
    assert talk.value(f"A pfn {va}") == "0"


def test_threads_share_memory_and_a_fork_keeps_it(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap {file} 0 {PAGE}")
    talk.value("A thread T")
    talk.value("A fork C")
    assert talk.value(f"T read {va} 1") == talk.value(f"C read {va} 1") == "68"
    assert talk.value(f"T munmap {va} {PAGE}") == "0"
    assert talk.ask(f"A touch {va} r") == "! SIGSEGV"
    assert talk.value(f"C touch {va} r") == "0"


def test_files(talk: Talk, tmp_path: Path) -> None:
    talk.value("- spawn A")
    path = tmp_path / "new"
    assert talk.ask(f"A ftruncate {path} 1") == "! ENOENT"
    assert talk.value(f"A allocate {path} {2 * PAGE}") == "0"
    assert talk.value(f"A write_file {path} two%20words%25") == "10"
    assert path.read_bytes()[:11] == b"two words%\0"
    assert talk.value(f"A fsync {path}") == "0"
    assert talk.value(f"A ftruncate {path} 3") == "0"
    assert path.read_bytes() == b"two"
    assert talk.value(f"A unlink {path}") == "0"
    assert not path.exists()


def test_a_file_that_is_open_has_no_need_of_a_name(talk: Talk, tmp_path: Path) -> None:
    talk.value("- spawn A")
    path = tmp_path / "new"
    assert talk.ask(f"A open {path}") == "! ENOENT"
    talk.value(f"A allocate {path} {2 * PAGE}")
    handle = talk.value(f"A open {path}")
    assert talk.value(f"A unlink {path}") == "0"
    assert talk.value(f"A pwrite fd:{handle} {PAGE} {PAGE} w") == str(PAGE)
    assert talk.ask(f"A pwrite {path} {PAGE} {PAGE} w") == "! ENOENT"
    assert talk.value(f"A fsync fd:{handle}") == "0"
    assert talk.value(f"A ftruncate fd:{handle} {PAGE}") == "0"
    talk.value("A fork C")
    assert talk.ask(f"C fsync fd:{handle}") == "! ENOENT"  # a child has none of its parent's
    assert talk.value(f"A drop {handle}") == "0"
    assert talk.ask(f"A fsync fd:{handle}") == "! ENOENT"


def test_a_page_is_written(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    assert talk.value(f"A pwrite {file} {PAGE} {PAGE} w") == str(PAGE)
    assert file.read_bytes() == b"hello" + bytes(PAGE - 5) + b"w" * PAGE
    assert talk.value("A sync") == "0"


def test_what_is_written_through_a_private_mapping_stays_there(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    file.write_bytes(b"hello" + bytes(PAGE - 5))
    va = talk.value(f"A mmap_private {file} 0 {PAGE}")
    talk.value(f"A write {va} 4a")
    assert talk.value(f"A read {va} 2") == "4a65" and file.read_bytes()[:5] == b"hello"


def test_what_the_file_system_has_to_know(talk: Talk, file: Path, tmp_path: Path) -> None:
    """Reflinks and MAP_SYNC are not to be had everywhere; nothing is mounted here."""
    talk.value("- spawn A")
    assert talk.ask(f"A clone {tmp_path}/copy {tmp_path}/none") == "! ENOENT"
    assert talk.ask(f"A clone {tmp_path}/copy {file}")[:3] in ("= 0", "! E")
    assert talk.ask(f"A mmap_sync {file} 0 {PAGE}")[:4] in ("= 0x", "! EO")
    assert talk.ask(f"A umount {tmp_path}") in ("! EINVAL", "! EPERM")


def test_a_pipe_holds_pages_until_it_is_dropped(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap {file} 0 {PAGE}")
    handle = talk.value(f"A vmsplice {va} {PAGE}")
    talk.value("A fork C")
    assert talk.ask(f"C drop {handle}") == "! EBADF"  # a child has none of its parent's
    assert talk.value(f"A drop {handle}") == "0"
    assert talk.ask(f"A drop {handle}") == "! EBADF"
    assert talk.ask(f"A vmsplice 0x1000 {PAGE}") == "! EFAULT"


def test_fixed_buffers_of_io_uring(talk: Talk) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap /dev/zero 0 {PAGE}")
    handle = talk.ask(f"A uring_pin {va} {PAGE}")
    if handle.startswith("!"):
        pytest.skip(f"io_uring is refused here: {handle}")
    ring = handle[2:]
    assert talk.value(f"A uring_write {ring} {b'hello'.hex()}") == "5"
    assert talk.value(f"A read {va} 5") == b"hello".hex()
    talk.value(f"A write {va} {b'J'.hex()}")
    for _ in range(3):  # the queues go round
        assert talk.value(f"A uring_read {ring} 5") == b"Jello".hex()
    assert talk.value(f"A drop {ring}") == "0"
    assert talk.ask(f"A uring_read {ring} 5") == "! EBADF"


def test_af_xdp_pins(talk: Talk) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap /dev/zero 0 {PAGE}")
    handle = talk.ask(f"A xdp_pin {va} {PAGE}")
    if handle.startswith("!"):
        pytest.skip(f"AF_XDP is refused here: {handle}")
    assert talk.value(f"A drop {handle[2:]}") == "0"


def test_a_blocked_task_is_seen_to_block_while_others_go_on(talk: Talk, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    talk.value("- spawn A")
    talk.value("A thread A2")
    blocked = talk.send(f"A write_file {fifo} hello")
    queued = talk.send("A touch 0x0 r")
    assert talk.answer(blocked, 0.2) is None
    state, wchan, frames = talk.value("- where A").split(" ")
    assert state == "S" and wchan and frames
    assert talk.ask("A2 touch 0x0 r") == "! SIGSEGV"
    assert talk.value(f"- sh cat%20{fifo}") == "0 hello"
    assert talk.answer(blocked) == "= 5"
    assert talk.answer(queued) == "! SIGSEGV"


def test_the_end_of_a_process(talk: Talk, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    talk.value("- spawn A")
    talk.value("A thread A2")
    talk.value("A fork B")
    blocked = talk.send(f"A2 write_file {fifo} hello")
    assert talk.value("A exit") == "0"
    assert talk.answer(blocked) == "! ESRCH"
    assert talk.ask("A touch 0x0 r") == "! ESRCH"
    assert talk.ask("- where A") == "! ESRCH"
    talk.value("- spawn A")  # the name is free again
    assert talk.value("B exit") == "0"


def test_a_killed_task_is_answered_for(talk: Talk, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    talk.value("- spawn A")
    pid = int(talk.value("A fork B"))
    blocked = talk.send(f"B write_file {fifo} hello")
    assert talk.answer(blocked, 0.1) is None
    os.kill(pid, 9)
    assert talk.answer(blocked) == "! SIGKILL"


def shell(command: str) -> str:
    return "- sh " + quote(command)


def test_commands(talk: Talk) -> None:
    assert talk.value(shell("printf 'a%% b'; exit 3")) == "3 a%25%20b"
    assert talk.value(shell("echo oops >&2")) == "0 oops%0a"
    assert talk.value(shell("true")) == "0 "
    slow = talk.send(shell("sleep 5"))
    assert talk.value(shell("true")) == "0 "  # beside the first
    assert talk.answer(slow, 0) is None
    code, output = talk.value(shell("head -c 100000 /dev/zero | tr '\\0' x")).split(" ")
    assert code == "0" and set(output) == {"x"}  # cut short, and not stuck


def test_what_is_no_request(talk: Talk) -> None:
    talk.value("- spawn A")
    for line in ("A jump", "A touch 0x1000", "A touch here r", "A touch 0x1000 x", "A write 0x1000 0g", "A"):
        assert talk.ask(line) == "! EPROTO", line
    assert talk.ask("- jump") == talk.ask("- spawn") == "! EPROTO"
    assert talk.ask("- spawn " + 40 * "A") == "! EPROTO"
    talk.write("what is this")
    assert talk.line() == "0 ! EPROTO"
    talk.write("")
    assert talk.ask("A touch 0x0 r") == "! SIGSEGV"


def test_the_agent_does_not_power_off_a_machine_that_is_no_guest(talk: Talk) -> None:
    assert talk.ask("- poweroff") == "! EPERM"


def test_ordinary_memory_and_what_no_device_mirrors(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap_anon {PAGE}")
    assert talk.value(f"A read {va} 2") == "0000"
    assert talk.value(f"A private_pfn {va}") == "0"
    mirror = talk.value(f"A open {file}")
    assert talk.ask(f"A mirror_read {mirror} {va} 1") == "! ENOTTY"
    assert talk.ask(f"A mirror_write {mirror} {va} 07") == "! ENOTTY"
    assert talk.ask(f"A mirror_migrate {mirror} {va} 1 d") == "! ENOTTY"
    assert talk.ask(f"A mirror_migrate {mirror} {va} 1 q") == "! EPROTO"
    assert talk.ask(f"A mirror_read 1023 {va} 1") == "! EBADF"


def test_direct_io_with_a_disk(talk: Talk, file: Path) -> None:
    talk.value("- spawn A")
    va = talk.value(f"A mmap_anon {PAGE}")
    found = talk.ask(f"A aio_submit {file} {va} {PAGE} r")
    if found == "! EINVAL":
        pytest.skip("no direct I/O on this file system")
    handle = found.removeprefix("= ")
    assert talk.ask(f"A dio_finish {handle}") == "! EBADF"
    assert talk.value(f"A aio_finish {handle}") == str(PAGE)
    assert talk.value(f"A read {va} 5") == b"hello".hex()
    assert talk.ask(f"A aio_finish {handle}") == "! EBADF"
    handle = talk.value(f"A aio_submit {file} {va} {PAGE} w")
    assert talk.value(f"A drop {handle}") == "0"
    assert talk.ask(f"A aio_submit {file.parent}/none {va} {PAGE} r") == "! ENOENT"
