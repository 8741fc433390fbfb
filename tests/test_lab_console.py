"""What a guest says: reports on its console (recorded from real kernels), answers, and where tasks wait."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from zonedev.lab.channel import Agent, Wire
from zonedev.lab.console import Report, reports
from zonedev.lab.waits import Patience, Watch, Where

CONSOLES = Path(__file__).parent / "consoles"


def recorded(name: str, ended: bool = False) -> list[Report]:
    return reports((CONSOLES / f"{name}.txt").read_text(encoding="ascii"), ended)


# Reports


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("5.10-bug", ["BUG: kernel BUG in __list_add_valid", "panic: Fatal exception"]),
        (
            "5.10-gpf",
            ["oops: general protection fault at 0xdead00000000beee in __put_page", "panic: Fatal exception"],
        ),
        ("5.10-hung", ["hung: task agent:118 blocked for more than 2 seconds"]),
        (
            "5.10-warn",
            [
                "WARNING: mm/gup.c:72 in try_grab_compound_head",
                "WARNING: include/linux/mm.h:1185 in try_grab_page",
            ],
        ),
        ("6.1-bad", ["BUG: Bad page cache in process rm  pfn:029c6 in filemap_unaccount_folio"]),
        (
            "6.1-fault",
            [
                "oops: unable to handle page fault at 0xffffea0004008008 in page_cache_pipe_buf_release",
                "panic: Fatal exception",
            ],
        ),
        (
            "6.12-null",
            [
                "oops: kernel NULL pointer dereference at 0x78 in free_zone_device_folio",
                "panic: Fatal exception",
            ],
        ),
        ("6.12-panic", ["panic: sysrq triggered crash in sysrq_handle_crash"]),
        (
            "7.2-bad",
            [
                "BUG: Bad page cache in process rm  pfn:03197 in filemap_unaccount_folio",
                "BUG: Bad page state in process rm  pfn:03197 in free_unref_folios",
            ],
        ),
        ("7.2-bug", ["BUG: kernel BUG in __list_add_valid_or_report", "panic: Fatal exception"]),
        (
            "7.2-gpf",
            [
                "oops: general protection fault at 0xdead00000000bf4e in free_zone_device_folio",
                "panic: Fatal exception",
            ],
        ),
        (
            "7.2-warn",
            ["WARNING: mm/gup.c:80 in try_grab_folio_fast", "WARNING: mm/gup.c:143 in try_grab_folio"],
        ),
    ],
)
def test_recorded_reports(name: str, expected: list[str]) -> None:
    found = recorded(name)
    assert list(dict.fromkeys(map(str, found)))[: len(expected)] == expected


def test_a_call_trace_is_innermost_first_without_doubtful_frames() -> None:
    oops, panic = recorded("6.1-fault", ended=True)
    assert oops.call_trace[:4] == ["free_pipe_info", "pipe_release", "__fput", "task_work_run"]
    assert oops.call_trace[-1] == "entry_SYSCALL_64_after_hwframe"
    assert oops.complete and panic.complete
    assert oops.lines[0].startswith("BUG: unable to handle page fault")


def test_a_report_being_written_is_not_complete() -> None:
    text = (CONSOLES / "5.10-warn.txt").read_text(encoding="ascii")
    (cut,) = reports(text[: text.index("Call Trace")])
    assert not cut.complete
    assert recorded("5.10-warn")[0].complete


def test_a_warning_with_words_says_them() -> None:
    text = """\
[    2.000000] ------------[ cut here ]------------
[    2.000001] percpu ref (dev_dax_percpu_release) <= 0 (-1) after switching to atomic
[    2.000002] WARNING: CPU: 1 PID: 16 at lib/percpu-refcount.c:173 percpu_ref_switch_to_atomic_rcu+0x1f/0x2
[    2.000003] ---[ end trace 0000000000000000 ]---
[    2.000004] something else
"""
    (report,) = reports(text)
    assert report.what == "percpu ref (dev_dax_percpu_release) <= 0 (-1) after switching to atomic"
    assert (report.source, report.function) == (
        "lib/percpu-refcount.c:173",
        "percpu_ref_switch_to_atomic_rcu",
    )
    assert report.lines[-1].startswith("---[ end trace")


@pytest.mark.parametrize(("name", "thread"), [("5.10-warn", 118), ("7.2-warn", 139)])
def test_a_warning_names_its_thread(name: str, thread: int) -> None:
    assert [report.pid for report in recorded(name)][:2] == [thread] * 2


def test_the_thread_of_a_worker() -> None:
    text = "WARNING: lib/percpu-refcount.c:197 at percpu_ref_switch+0x1/0x2, CPU#1: kworker/u8:3/41\n"
    assert [(r.pid, r.function) for r in reports(text, ended=True)] == [(41, "percpu_ref_switch")]


def test_an_ordinary_boot_has_no_report() -> None:
    assert reports("Linux version 6.12\nDEBUG: x\nWarning: unable to open an initial console.\n") == []


# The channel


@pytest.fixture
def wires() -> Iterator[tuple[socket.socket, Agent]]:
    here, there = socket.socketpair()
    with here, there:
        yield there, Agent(Wire(here))


def hear(agent: Agent) -> None:
    for line in agent.wire.receive():
        agent.answer(line)


def test_requests_and_answers(wires: tuple[socket.socket, Agent]) -> None:
    guest, agent = wires
    first = agent.ask("A", "mmap", "/dev/dax0.0", 0, 2 << 20)
    second = agent.ask("-", "sh", "echo 100%; ls")
    assert guest.recv(1000) == b"1 A mmap /dev/dax0.0 0 2097152\n2 - sh echo%20100%25%3B%20ls\n"
    guest.sendall(b"hello\r\n\x00zonedev: ready 1\r\n2 = 0 a%20b%0A 7\r\n1 ! EN")
    hear(agent)
    assert agent.ready and agent.noise == ["hello"]
    assert second.done and second.values == ["0", "a b\n", "7"] and second.value == "0"
    assert not first.done
    guest.sendall(b"XIO\n1 = 0\n")
    hear(agent)
    assert first.error == "ENXIO" and first.done and first.value == ""
    assert agent.noise[1:] == ["1 = 0"]  # an answer to nothing


def test_a_closed_wire(wires: tuple[socket.socket, Agent]) -> None:
    guest, agent = wires
    guest.close()
    hear(agent)
    assert agent.wire.closed
    assert not agent.wire.send("too late")


# Where tasks wait


def test_where() -> None:
    where = Where.parse(
        ["D", "memunmap_pages", "memunmap_pages+0x1a/0x20,release_nodes.isra.0,devres_release_all"]
    )
    assert where.stack == ("memunmap_pages", "release_nodes", "devres_release_all")
    assert where.asleep and not where.ends_by_itself
    assert Where.parse(["R", "-", "-"]) == Where("R", "", ())
    assert Where.parse(["Z"]) == Where("Z", "", ())


SLEEPING = Where("D", "memunmap_pages", ("memunmap_pages", "release_nodes"))
GRACE = Where("D", "__wait_rcu_gp", ("__wait_rcu_gp", "synchronize_rcu", "percpu_ref_kill"))
RUNNING = Where("R", "", ())
PATIENCE = Patience(still=1.0, self_ending=10.0, looks=3, every=0.1, total=20.0)


def watch(agent: Agent) -> Watch:
    return Watch(agent.ask("B", "unbind"), PATIENCE)


def test_blocked_is_asleep_in_one_place_for_a_while(wires: tuple[socket.socket, Agent]) -> None:
    watched = watch(wires[1])
    for now in (0.0, 0.5, 0.9):
        watched.look(SLEEPING, now)
        assert watched.undecided
    watched.look(SLEEPING, 1.0)
    assert watched.verdict == SLEEPING


def test_time_alone_does_not_do_where_the_guest_hardly_ran(wires: tuple[socket.socket, Agent]) -> None:
    watched = watch(wires[1])
    watched.look(SLEEPING, 0.0)
    watched.look(SLEEPING, 5.0)
    assert watched.undecided
    watched.look(SLEEPING, 5.1)
    assert watched.verdict == SLEEPING


def test_moving_and_running_is_not_blocked(wires: tuple[socket.socket, Agent]) -> None:
    watched = watch(wires[1])
    for n in range(20):
        watched.look(SLEEPING if n % 2 else RUNNING, n / 2)
    assert watched.undecided and not watched.expired
    for n in range(20, 50):
        watched.look(RUNNING, n / 2)
    assert watched.undecided and watched.expired


def test_a_grace_period_is_given_more_time(wires: tuple[socket.socket, Agent]) -> None:
    watched = watch(wires[1])
    for n in range(100):
        watched.look(GRACE, n / 10)
    assert watched.undecided
    watched.look(GRACE, 10.0)
    assert watched.verdict == GRACE


def test_an_answer_decides(wires: tuple[socket.socket, Agent]) -> None:
    watched = watch(wires[1])
    for n in range(20):
        watched.look(SLEEPING, n / 10)
    watched.request.values = ["0"]
    assert watched.verdict is None and not watched.undecided
