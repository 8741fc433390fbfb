"""Model beside machine, on sessions with real kernels that were recorded: see recorded.py."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest

from recorded import RECORDINGS, Event, Recording, replaying, told
from zonedev import cli
from zonedev.lab import conform
from zonedev.lab.compare import AGREES, DIFFERS, NOT_RUN, OOPS, Conformance, Row
from zonedev.lab.guests import BootFailed
from zonedev.report.conformance import render

pytestmark = pytest.mark.xdist_group("conform")  # what its fixtures make is made once

NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
WAITS, OOPSES, WORKER = (f"devdax-unbind-vs-pin-{kernel}" for kernel in ("5.10", "7.2", "6.1"))
MAPPING = "devdax-unbind-vs-mapping-6.12"
LADDER = "devdax-refcounts-pmd-7.2"
READS = "devdax-fault-vs-unbind-7.2-writer-reader-unbind"
ERRNO = "devdax-mmap-vs-unbind-7.2-B-A"
REFAULT, WARNS, SHARES = (
    "truncate-vs-refault-7.2-xfs",
    "truncate-vs-pin-unmapped-6.12-ext4",
    "reflink-share-6.1-xfs",
)
SLEEPS_ON, OWN_PIN = "truncate-vs-pin-6.1-ext4", "evict-vs-own-pin-7.2-ext4"
DIRECT_MAP = "devdax-pinners-vs-unbind-6.12-fast-slow-unbind-fast-slow"

WARNING = [
    "------------[ cut here ]------------",
    "WARNING: CPU: 0 PID: 1 at mm/memremap.c:100 memunmap_pages+0x10/0x20",
    "---[ end trace 0000000000000000 ]---",
]
NULL = [
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "RIP: 0010:memunmap_pages+0x10/0x20",
    "---[ end trace 0000000000000000 ]---",
]


@pytest.fixture(autouse=True, scope="module")
def foretold_once() -> Iterator[None]:
    """What the model says does not depend on what a test makes of a recording: it is asked once."""
    foretell, kept = conform.foretell, {}

    def known(run: Any, sizes: Any, pins: Any, chosen: Any = None) -> Any:
        key = (run.scenario, run.order, run.kernel, run.design, *sizes.items(), *(chosen or {}).items())
        if key not in kept:
            kept[key] = foretell(run, sizes, pins, chosen)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conform, "foretell", known)
        yield


def said(row: Row) -> tuple[str | None, str | None]:
    """What model and machine say; "-" where a side has no such line."""
    return row.model.said if row.model else "-", row.machine.said if row.machine else "-"


def difference(found: Conformance, *kinds: str) -> tuple[str, str | None, str | None]:
    """The first difference, or the first in lines of some kinds: the line, model, machine."""
    rows = (r for r in found.rows if r.verdict == DIFFERS and (not kinds or r.line.kind in kinds))
    row = next(rows)
    return (f"{row.line.task}: " if row.line.task else "") + row.line.text, *said(row)


def command(capsys: pytest.CaptureFixture[str], recording: Recording, *more: str) -> tuple[int, str]:
    """The command line on a recording: exit code and output."""
    with replaying(recording):
        args = ["conform", recording.scenario, "--kernel", recording.kernel, "--order", recording.order]
        args += ["--fs", recording.fs] if recording.fs else []
        code = cli.main([*args, *more])
    out, err = capsys.readouterr()
    assert out, err
    assert out.isascii() and max(map(len, out.splitlines())) <= 80
    return code, out


def kinds_after(recording: Recording, *words: str) -> list[str]:
    return [e.kind for e in recording.after(recording.asked(*words))]


# What was recorded


@pytest.mark.parametrize("name", NAMES)
def test_a_recording_agrees_and_is_told_as_it_was(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recording = Recording.load(name)
    assert recording.name == name
    threads = threading.active_count()
    found = told(recording)
    assert threading.active_count() == threads
    assert found.verdict == AGREES and not found.why
    text = render(found)
    assert f"{text}\n" == recording.text.read_text(encoding="ascii")
    assert command(capsys, recording) == (0, f"{text}\n")


def test_the_recordings_have_what_is_hard() -> None:
    outcomes = {name: [said(row)[1] for row in told(Recording.load(name)).rows] for name in NAMES}
    assert "waits" in outcomes[WAITS] and "SIGBUS" in outcomes[MAPPING]
    assert "fails" in outcomes[ERRNO] and "reads 01" in outcomes[READS]
    for name in (REFAULT, SLEEPS_ON, OWN_PIN):
        assert outcomes[name][-1] == "waits for good"
    warned = {
        name: sum(len(row.machine.warned) for row in told(Recording.load(name)).rows if row.machine)
        for name in (WARNS, SHARES, REFAULT)
    }
    assert warned == {WARNS: 1, SHARES: 2, REFAULT: 0}
    for name in (OOPSES, WORKER, DIRECT_MAP):
        assert outcomes[name][-1] == "oops on page0"
    # On 6.1 the call has returned when a worker of the kernel trips; on 7.2 it never does.
    assert kinds_after(Recording.load(WORKER), "A", "drop")[:2] == ["answer", "console"]
    assert kinds_after(Recording.load(OOPSES), "A", "drop") == ["console", "gone"]
    # On 6.12 it is the page's memory that the kernel wants, not its struct page.
    (address,) = set(re.findall(r"fault for address: (\w+)", str(Recording.load(DIRECT_MAP).events)))
    assert int(address, 16) - Recording.load(DIRECT_MAP).direct_map == 0x100200000


def test_no_recording_says_where_it_was_made() -> None:
    for path in RECORDINGS.iterdir():
        assert not re.search(r"/(home|root|work|tmp|usr)/", path.read_text(encoding="ascii")), path.name


def test_who_waits_for_itself_cannot_be_killed() -> None:
    recording = Recording.load(OWN_PIN)
    (blocked,) = [e.what for e in recording.events if e.kind == "blocked"]
    assert blocked[1:3] == ["D", "dax_break_layout_final"]


def test_the_rules_of_v6_1_wake_whom_6_1_y_leaves_asleep() -> None:
    """The same session, taken for one of a kernel that ends direct I/O as v6.1 does."""
    recording = Recording.load(SLEEPS_ON)
    recording.version = "6.1.1"
    found = told(recording)
    assert found.verdict == DIFFERS and found.means == {"pin_user_pages_fast": "O_DIRECT"}
    assert difference(found, "return") == ("B: ftruncate(file0, 0)", "done", "-")


# Beside another design


@pytest.mark.parametrize(
    ("name", "design", "model", "machine"),
    [
        (OOPSES, "linux-5.10", "waits", "done"),
        (WORKER, "linux-5.10", "waits", "done"),
        (WAITS, "linux-7.2", "done", "waits"),
        (WAITS, "linux-6.1", "done", "waits"),
        (WAITS, "linux-4.5", "waits", "waits"),  # elsewhere: v4.5 waits before memunmap_pages()
    ],
)
def test_beside_another_design_the_difference_is_the_wait(
    name: str, design: str, model: str, machine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = Recording.load(name)
    found = told(recording, design)
    assert found.verdict == DIFFERS
    assert difference(found, "call") == ("B: unbind(dax0)", model, machine)
    code, out = command(capsys, recording, "--design", design)
    assert code == 2
    head, line = f"beside {design}: differs\n", "\ndiffers  B: unbind(dax0)\n            model:   "
    assert head in out and f"{line}{model}" in out


def test_an_oops_after_the_two_have_parted_is_no_unforeseen_one() -> None:
    found = told(Recording.load(OOPSES), "linux-5.10")
    last = found.rows[-1]
    assert (*said(last), last.verdict) == ("done", "oops on page0", DIFFERS)
    assert found.verdict == DIFFERS


def test_a_ladder_of_other_counts() -> None:
    found = told(Recording.load(LADDER), "linux-6.1")
    wrong = {row.line.task: said(row) for row in found.rows if row.verdict == DIFFERS and row.line.task}
    assert list(wrong) == [
        "mapped",
        "mapped twice",
        "forked",
        "touched by child",
        "got",
        "direct I/O",
        "pinned",
    ]
    assert wrong["pinned"] == ("_refcount 2, _pincount 1", "_refcount 5, _mapcount 3, _pincount 1")


# What the machine says, changed


def changed(name: str, at: int, *events: Event) -> Recording:
    """A recording with other events in the place of one."""
    recording = Recording.load(name)
    recording.events[at : at + 1] = events
    return recording


def look(recording: Recording, at: int, kind: str = "page") -> int:
    """Where the first look after a request is."""
    return next(i for i in range(at, len(recording.events)) if recording.events[i].kind == kind)


def test_other_counts() -> None:
    recording = Recording.load(MAPPING)
    at = look(recording, recording.asked("A", "mmap"))
    recording.events[at].what[1] = [2, 1, 0]
    found = told(recording)
    assert (found.verdict, difference(found)) == (
        DIFFERS,
        ("page0", "_refcount 1", "_refcount 2, _mapcount 1"),
    )


def test_other_references_of_the_pagemap() -> None:
    recording = Recording.load(WAITS)
    at = look(recording, recording.asked("B", "write_file"), "ref")
    recording.events[at].what[1] = 2
    assert difference(told(recording)) == ("dax0.pgmap", "ref 1", "ref 2")


def test_what_lies_where_a_pagemap_was_is_not_shown() -> None:
    recording = Recording.load(MAPPING)
    at = look(recording, recording.asked("B", "write_file"), "ref")
    recording.events[at].what[1] = 77
    assert told(recording).verdict == AGREES and "77" not in render(told(recording))


def test_a_page_that_stays() -> None:
    recording = Recording.load(MAPPING)
    at = look(recording, recording.asked("B", "write_file"))
    recording.events[at].what[1] = [1, 0, 0]
    assert difference(told(recording)) == ("page0", "removed", "_refcount 1")


def test_a_page_that_goes_later_is_waited_for() -> None:
    recording = Recording.load(MAPPING)
    at = look(recording, recording.asked("B", "write_file"))
    pfn = recording.events[at].what[0]
    recording.events[at : at + 1] = [
        Event(0.2, "page", [pfn, [1, 0, 0]]),
        Event(8.0, "page", [pfn, None]),
    ]
    assert told(recording).verdict == AGREES
    recording.events[at + 1].at = 12.0
    assert difference(told(recording)) == ("page0", "removed", "_refcount 1")


def test_other_bytes() -> None:
    recording = Recording.load(READS)
    answer = recording.after(recording.asked("reader", "read"))[0]
    assert answer.what[1] == ["01"]
    answer.what[1] = ["00"]
    found = told(recording)
    line = "reader: touch(reader, write=False)"
    assert (found.verdict, difference(found)) == (DIFFERS, (line, "reads 01", "reads 00"))


@pytest.mark.parametrize("error", ["EFAULT", "SIGSEGV"])
def test_another_error(error: str) -> None:
    recording = Recording.load(MAPPING)
    recording.after(recording.asked("A", "write"))[0].what[1] = error
    machine = "fails" if error == "EFAULT" else error
    assert difference(told(recording)) == ("A: touch(va)", "SIGBUS", machine)


def test_no_error() -> None:
    recording = Recording.load(ERRNO)
    number = recording.after(recording.asked("A", "mmap"))[0].what[0]
    recording.after(recording.asked("A", "mmap"))[0].kind = "answer"
    recording.after(recording.asked("A", "mmap"))[0].what[1] = ["0x7f0000000000"]
    recording.events += [
        Event(0.0, "ask", ["A", "write", "0x7f0000000000", "01"]),
        Event(0.0, "error", [number + 1, "SIGBUS"]),
    ]
    found = told(recording)
    assert difference(found) == ("A: mmap_fixed(va)", "fails", "done")
    assert said(found.rows[-1]) == ("-", "SIGBUS")  # the model has no such line


def test_which_errno_it_is_only_the_kernel_says() -> None:
    recording = Recording.load(ERRNO)
    recording.after(recording.asked("A", "mmap"))[0].what[1] = "EINVAL"
    found = told(recording)
    assert found.verdict == AGREES and "[EINVAL]" in render(found)


def test_a_wait_elsewhere() -> None:
    recording = Recording.load(WAITS)
    (blocked,) = [e for e in recording.events if e.kind == "blocked"]
    blocked.what[3] = "dax_lock_page,unbind_store,vfs_write"
    found = told(recording)
    assert (found.verdict, difference(found)) == (DIFFERS, ("B: unbind(dax0)", "waits", "waits"))
    text = render(found)
    assert "model:   waits in memunmap_pages" in text and "machine: waits in dax_lock_page [dax" in text


def test_a_wait_that_never_ends() -> None:
    recording = Recording.load(WAITS)
    at = recording.asked("A", "drop")
    (late,) = [e for e in recording.after(at) if e.kind == "answer" and e.what[0] != number_of(recording, at)]
    recording.events.remove(late)
    found = told(recording)
    assert (found.verdict, difference(found)) == (DIFFERS, ("B: unbind(dax0)", "done", "-"))
    ends = [row for row in found.rows if row.line.kind == "end"]
    assert [said(row) for row in ends] == [("-", "waits for good")]


def number_of(recording: Recording, at: int) -> int:
    """A request's number, by where in the events it is."""
    return sum(e.kind == "ask" for e in recording.events[:at])


# Oopses that nobody has foretold


def oopses(at: float, lines: list[str], gone: str = "") -> Recording:
    """A recording in which the kernel reports something after an unbind that is over."""
    recording = Recording.load(MAPPING)
    unbind = recording.asked("B", "write_file")
    after = recording.after(unbind)
    events = [*after, Event(at, "console", [lines])] + ([Event(at, "gone", [gone])] if gone else [])
    recording.events[unbind + 1 : unbind + 1 + len(after)] = sorted(events, key=lambda e: e.at)
    return recording


def test_an_oops_instead_of_a_return(capsys: pytest.CaptureFixture[str]) -> None:
    recording = oopses(0.05, NULL, "kernel panic: Fatal exception")
    found = told(recording)
    assert (found.verdict, difference(found)) == (OOPS, ("B: unbind(dax0)", "done", "oops at 0x8"))
    code, out = command(capsys, recording)
    assert code == 4
    assert "beside linux-6.12: oops\n" in out
    assert "machine: oops at 0x8 [kernel NULL pointer dereference in memunmap_pages]" in " ".join(out.split())
    assert out.splitlines()[-3:] == [f"console  {line}" for line in NULL]


def test_an_oops_right_after_the_return() -> None:
    found = told(oopses(0.2, NULL))
    assert (found.verdict, difference(found)) == (OOPS, ("B: unbind(dax0)", "done", "oops at 0x8"))


def test_an_oops_while_it_is_looked_for_what_does_not_come() -> None:
    recording = oopses(2.0, NULL, "kernel panic: Fatal exception")
    at = look(recording, recording.asked("B", "write_file"))
    recording.events[at].what[1] = [1, 0, 0]
    found = told(recording)
    assert (found.verdict, difference(found)) == (OOPS, ("page0", "removed", "oops at 0x8"))


def test_an_oops_that_comes_later_still_is_found() -> None:
    found = told(oopses(3.0, NULL, "kernel panic: Fatal exception"))
    assert (found.verdict, difference(found)) == (OOPS, ("A: touch(va)", "SIGBUS", "oops at 0x8"))


def test_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    recording = oopses(0.05, WARNING)
    found = told(recording)
    assert (found.verdict, difference(found)) == (OOPS, ("B: unbind(dax0)", "done", "done"))
    assert found.rows[-1].line.kind == "look"  # the story goes on
    text = "model:   done\n            machine: done, WARNING [memunmap_pages (mm/memremap.c:100)]"
    code, out = command(capsys, recording)
    assert code == 4 and text in out


def test_a_warning_of_what_is_not_modelled_is_shown_and_not_compared() -> None:
    lines = [line.replace("mm/memremap.c", "fs/fs-writeback.c") for line in WARNING]
    found = told(oopses(0.05, lines))
    assert found.verdict == AGREES
    assert "[WARNING in memunmap_pages (fs/fs-writeback.c:100)]" in render(found)


def test_a_foretold_warning_that_does_not_come() -> None:
    recording = Recording.load(WARNS)
    recording.events = [e for e in recording.events if "dax_disassociate_entry" not in str(e)]
    found = told(recording)
    assert (found.verdict, difference(found)) == (DIFFERS, ("B: ftruncate(file0, 0)", "done", "done"))
    assert "model: done, WARNING [dax_disassociate_entry() of" in " ".join(render(found).split())


def test_a_warning_belongs_to_the_task_that_it_came_from() -> None:
    """B warns when the put has woken it, while A is watched: that is of B's call."""
    recording = Recording.load("evict-vs-pin-7.2-xfs")
    (thread,) = recording.after(recording.asked("-", "spawn", "A"))[0].what[1]
    at = recording.asked("io", "dio_finish")
    lines = [line.replace("PID: 1 ", f"PID: {thread} ") for line in WARNING]
    recording.events.insert(at + 1, Event(0.0, "console", [lines]))
    assert difference(told(recording)) == ("A: close(file0)", "done", "done")


def test_the_end_of_the_guest_without_a_word() -> None:
    found = told(oopses(0.05, [], "QEMU ended with 1"))
    assert (found.verdict, difference(found)) == (OOPS, ("B: unbind(dax0)", "done", "panic"))
    assert "machine: panic [QEMU ended with 1]" in render(found)


def test_an_oops_at_another_place_than_foretold() -> None:
    recording = Recording.load(OOPSES)
    for event in recording.events:
        if event.kind == "console":
            event.what[0] = [
                line.replace("address: ffffea0004008008", "address: 0000000000000008")
                for line in event.what[0]
            ]
    found = told(recording)
    line = "A: unpin_user_page(page0)"
    assert (found.verdict, difference(found)) == (OOPS, (line, "oops on page0", "oops at 0x8"))


def test_a_foretold_oops_whose_address_the_kernel_does_not_say() -> None:
    recording = Recording.load(OOPSES)
    for event in recording.events:
        if event.kind == "console":
            event.what[0] = [
                re.sub("BUG: unable to handle .*", "Oops: general protection fault: 0000", line)
                for line in event.what[0]
            ]
    found = told(recording)
    assert found.verdict == AGREES and said(found.rows[-1]) == ("oops on page0", "oops")


def test_no_oops_where_one_is_foretold() -> None:
    recording = Recording.load(WORKER)
    recording.events = [e for e in recording.events if e.kind not in ("console", "gone")]
    found = told(recording)
    assert difference(found) == ("A: unpin_user_page(page0)", "oops on page0", "done")
    assert found.verdict == DIFFERS


def test_a_warning_of_the_boot_is_no_part_of_the_story() -> None:
    recording = Recording.load(MAPPING)
    recording.events.insert(1, Event(0.0, "console", [WARNING]))
    assert told(recording).verdict == OOPS  # it has come after the boot
    recording.events.insert(0, recording.events.pop(1))
    assert told(recording).verdict == AGREES


# Runs that come to no comparison


def test_a_call_that_neither_returns_nor_waits(capsys: pytest.CaptureFixture[str]) -> None:
    recording = Recording.load(OOPSES)
    (answer,) = [e for e in recording.after(recording.asked("B", "write_file")) if e.kind == "answer"]
    recording.events.remove(answer)
    code, out = command(capsys, recording)
    assert code == 5
    assert "beside linux-7.2: timeout\n" in out
    assert "B write_file /sys/bus/dax/drivers/device_dax/unbind dax0.0: neither" in out


def test_a_run_that_takes_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = command(capsys, Recording.load(OOPSES), "--timeout", "0.5")
    assert code == 5 and "the time is up before it begins" in out


def test_a_guest_that_does_not_boot(capsys: pytest.CaptureFixture[str]) -> None:
    recording = Recording.load(OOPSES)
    tail = [f"[    1.00000{n}] line {n}" for n in range(9)]
    with replaying(recording, fails=BootFailed("kernel 7.2 does not boot: not ready after 60 s", tail)):
        code = cli.main(["conform", recording.scenario, "--kernel", "7.2"])
    out, _ = capsys.readouterr()
    assert code == 3
    assert "beside linux-7.2: not run\n  order A A B A\n  kernel 7.2 does not boot: not ready" in out
    assert out.splitlines()[-6:] == [f"console  {line}" for line in tail[-6:]]


def test_a_setup_that_fails() -> None:
    recording = Recording.load(OOPSES)
    answer = recording.after(recording.asked("A", "mmap"))[0]
    answer.kind, answer.what[1] = "error", "ENOMEM"
    found = told(recording)
    assert found.verdict == NOT_RUN
    assert found.why == "devdax-unbind-vs-pin: set-up: mmap() fails ENOMEM"
    recording = Recording.load(OOPSES)
    recording.after(recording.asked("-", "sh", "/lab/devdax 4K"))[0].what[1] = ["1", "no NVDIMM\nat all\n"]
    found = told(recording)
    assert (found.verdict, found.why) == (NOT_RUN, "the guest's /lab/devdax failed: no NVDIMM at all")


def test_an_oops_at_setup() -> None:
    recording = Recording.load(OOPSES)
    recording.events.insert(recording.asked("A", "mmap") + 1, Event(0.0, "console", [NULL]))
    found = told(recording)
    assert found.verdict == OOPS and found.rows == []
    assert found.why == "at set-up: oops at 0x8: kernel NULL pointer dereference in memunmap_pages"


# Whatever is changed is noticed


def mutations(name: str) -> Iterator[tuple[str, Recording]]:
    """A recording with one thing changed, in every way that this knows, and what was changed."""
    recording = Recording.load(name)
    with replaying(recording) as tapes:
        assert conform.conform(recording.run()).verdict == AGREES
    for at, kind, pfn in sorted(tapes[0].looked):
        yield from other_looks(recording, at, kind, pfn)
    number = 0
    for at, event in enumerate(recording.events):
        here = f"{at}: {event.what}"
        if event.kind == "ask":
            for lines in (WARNING, NULL):
                yield f"{here}, and {lines[0]}", inserted(recording, at + 1, Event(0.0, "console", [lines]))
            number += 1
        elif event.kind in ("answer", "error"):
            yield f"{here} missing", without(recording, at)
            if "BUG: " not in str(recording.after(at)):  # an oops says more than the answer
                yield from other_answers(recording, at, here)
        elif event.kind == "blocked":
            yield f"{here} missing", without(recording, at)
            yield here, replaced(recording, at, Event(event.at, "blocked", [*event.what[:3], "schedule"]))
        elif event.kind == "console":
            for other in ("ffffea0004008048", "ffffea0004007fc8", "ffff888100201000", "0000000000000000"):
                lines = [re.sub(r"(address: )\w+", rf"\g<1>{other}", line) for line in event.what[0]]
                if lines != event.what[0]:
                    yield f"{here} at {other}", replaced(recording, at, Event(event.at, "console", [lines]))
    reported = [i for i, e in enumerate(recording.events) if e.kind in ("console", "gone")]
    if "BUG: " in str(recording.events):
        yield "no oops", without(recording, *reported)


def other_looks(recording: Recording, at: int, kind: str, pfn: int) -> Iterator[tuple[str, Recording]]:
    looks = [i for i, e in enumerate(recording.after(at), at + 1) if (e.kind, e.what[0]) == (kind, pfn)]
    if not looks:
        return  # what was seen before is seen again
    seen = recording.events[looks[-1]].what[1]
    others: list[Any]
    if kind == "ref":
        others = [] if seen is None else [seen + 1, seen - 1]
    elif seen is None:
        others = [[1, 0, 0], [0, 0, 0]]
    else:
        others = [None, *([n + (i == j) for j, n in enumerate(seen)] for i in range(3))]
    for other in others:
        copy = deepcopy(recording)
        for i in looks:
            copy.events[i].what[1] = other
        yield f"{at}: {kind} {seen} as {other}", copy


def other_answers(recording: Recording, at: int, here: str) -> Iterator[tuple[str, Recording]]:
    event = recording.events[at]
    asks = [e.what for e in recording.events if e.kind == "ask"]
    _, op, *_ = asks[event.what[0]]
    if event.kind == "error":
        other = "EIO" if event.what[1].startswith("SIG") else "SIGBUS"
        yield f"{here} as {other}", replaced(recording, at, Event(event.at, "error", [event.what[0], other]))
        return
    yield f"{here} as EIO", replaced(recording, at, Event(event.at, "error", [event.what[0], "EIO"]))
    if op == "read":
        yield f"{here} as fe", replaced(recording, at, Event(event.at, "answer", [event.what[0], ["fe"]]))
    if op == "sh":
        yield f"{here} failed", replaced(recording, at, Event(event.at, "answer", [event.what[0], ["1", ""]]))


def replaced(recording: Recording, at: int, event: Event) -> Recording:
    copy = deepcopy(recording)
    copy.events[at] = event
    return copy


def inserted(recording: Recording, at: int, event: Event) -> Recording:
    copy = deepcopy(recording)
    copy.events.insert(at, event)
    return copy


def without(recording: Recording, *at: int) -> Recording:
    copy = deepcopy(recording)
    copy.events = [e for i, e in enumerate(copy.events) if i not in at]
    return copy


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_changed_is_noticed(name: str) -> None:
    tried, unnoticed = 0, []
    for what, recording in mutations(name):
        tried += 1
        found = told(recording)
        if found.verdict == AGREES:
            unnoticed.append(what)
    assert tried > 40
    assert unnoticed == []
