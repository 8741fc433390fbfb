"""zonedev conform on the command line: what it takes, its exit codes, its C programs."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from zonedev import cli
from zonedev.designs import DESIGNS
from zonedev.lab import conform, hmm_suite, kernels
from zonedev.lab.compare import AGREES, DIFFERS, NOT_RUN, OOPS, TIMEOUT, Conformance
from zonedev.lab.conform import Run, orders_of
from zonedev.lab.hmm_suite import Suite
from zonedev.lab.kernels import LabKernel
from zonedev.lab.reproducer import program_of
from zonedev.lang.errors import ZonedevError
from zonedev.report.ladder import BEGIN, END
from zonedev.scenarios import SCENARIOS

ACTED = [name for name, scenario in SCENARIOS.items() if scenario.orders]
MIRRORS = ["private-refcounts", "migrate-roundtrip", "fork-then-device-write"]  # with the driver test_hmm
CASES = [(name, order) for name in ACTED for order in SCENARIOS[name].orders]

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process: exit code, output, errors."""

    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main(["conform", *args])
        out, err = capsys.readouterr()
        assert "Traceback" not in err and "internal error" not in err
        return code, out, err

    return run


@pytest.fixture(autouse=True)
def there(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The kernels that are set up: none, but for those that a test adds."""
    names: set[str] = set()

    def installed(name: str) -> LabKernel | None:
        return a_kernel(name) if name in names else None

    monkeypatch.setattr(kernels, "installed", installed)
    return names


def a_kernel(name: str) -> LabKernel:
    return LabKernel(name, f"{name}.0-amd64", f"{name}.100-1", Path(), None, None, kernels.design_of(name))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that the command asks for; each agrees."""
    runs: list[Run] = []

    def agree(
        given: Sequence[Run], jobs: int, seconds: float, done: Callable[[int, int], None]
    ) -> list[Conformance]:
        assert jobs >= 1 and seconds > 0
        runs.extend(given)
        found = [run.blank() for run in given]
        for number, one in enumerate(found, 1):
            one.verdict = AGREES
            done(number, len(found))
        return found

    monkeypatch.setattr(conform, "conform_all", agree)
    return runs


# Exit codes


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((AGREES,), 0),
        ((AGREES, AGREES), 0),
        ((AGREES, NOT_RUN), 3),
        ((NOT_RUN, DIFFERS, AGREES), 2),
        ((DIFFERS, TIMEOUT, NOT_RUN), 5),
        ((TIMEOUT, NOT_RUN, DIFFERS, OOPS), 4),
        ((OOPS,), 4),
    ],
)
def test_the_gravest_run_makes_the_exit_code(
    verdicts: tuple[str, ...],
    code: int,
    command: Command,
    there: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there.add("6.1")
    orders = SCENARIOS["devdax-fork-exit"].orders
    monkeypatch.setattr(SCENARIOS["devdax-fork-exit"], "orders", orders[:1] * len(verdicts))

    def found(runs: Sequence[Run], *_: object) -> list[Conformance]:
        return [
            Conformance("devdax-fork-exit", "6.1", "6.1.100-1", "linux-6.1", verdict=verdict)
            for verdict in verdicts
        ]

    monkeypatch.setattr(conform, "conform_all", found)
    got, out, _ = command("devdax-fork-exit")
    assert got == code
    assert re.findall(r"beside linux-6.1: (.*)", out) == list(verdicts)


def test_no_kernel_is_set_up(command: Command) -> None:
    code, out, err = command("devdax-unbind-vs-pin")
    assert (code, out) == (3, "")
    assert err == "zonedev: error: no kernel is set up: run zonedev lab setup\n"
    code, _, err = command("devdax-unbind-vs-pin", "--kernel", "6.12")
    assert code == 3 and err.endswith("kernel 6.12 is not set up: run zonedev lab setup --kernel 6.12\n")


# What is run


@pytest.mark.parametrize("driver", [False, True])
def test_by_default_all_on_all_kernels_in_all_orders(
    driver: bool, command: Command, there: set[str], asked: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = Suite(Path(), Path()) if driver else None
    monkeypatch.setattr(hmm_suite, "installed", lambda kernel: suite)
    there |= {"5.10", "7.2"}
    code, out, _ = command()
    assert code == 0
    wanted = [
        (name, kernel, order)
        for name in ACTED
        for kernel in ("5.10", "7.2")
        if name not in MIRRORS or (driver and kernel == "7.2")
        for fs in file_systems(name, kernel)
        for order in SCENARIOS[name].orders
    ]
    assert [(r.scenario.name(), r.kernel.name, " ".join(r.order)) for r in asked] == wanted
    assert {(r.scenario.name(), r.kernel.name, r.fs) for r in asked} == {
        (name, kernel, fs)
        for name in ACTED
        for kernel in ("5.10", "7.2")
        if name not in MIRRORS or (driver and kernel == "7.2")
        for fs in file_systems(name, kernel)
    }
    assert " ".join(out.split()).count(": agrees") == len(wanted)
    assert {r.kernel.name: r.design_name for r in asked} == {"5.10": "linux-5.10", "7.2": "linux-7.2"}


def file_systems(name: str, kernel: str) -> Sequence[str]:
    """Those on which a scenario is run where all are."""
    if name.startswith("devdax") or name in MIRRORS:
        return [""]
    if name in ("reflink-share", "truncate-vs-sharer"):
        return [] if kernel == "5.10" else ["xfs"]
    return ["ext4", "xfs"]


def test_the_file_systems_of_a_scenario(command: Command, there: set[str], asked: list[Run]) -> None:
    there |= {"5.10", "7.2"}
    for args, wanted in (
        (["fsdax-refcounts", "--kernel", "7.2"], ["ext4"]),
        (["fsdax-refcounts", "--kernel", "7.2", "--fs", "xfs,ext4,xfs"], ["xfs", "ext4"]),
        (["reflink-share", "--kernel", "7.2"], ["xfs"]),
        (["reflink-share", "--kernel", "5.10"], ["xfs"]),
        (["reflink-share", "--kernel", "7.2", "--fs", "ext4"], ["ext4"]),
        (["devdax-fork-exit", "--kernel", "7.2", "--fs", "xfs", "--order", "parent"], [""]),
    ):
        asked.clear()
        assert command(*args)[0] == 0
        assert [run.fs for run in asked] == wanted, args


@pytest.mark.parametrize(
    ("kernel", "fs", "why"),
    [
        ("7.2", "ext4", "files that share blocks (reflink) are not to be had on ext4: give --fs xfs"),
        ("5.10", "xfs", "XFS of Linux 5.10 has no reflink with DAX"),
    ],
)
def test_a_run_that_no_set_up_makes_possible(
    kernel: str, fs: str, why: str, command: Command, there: set[str]
) -> None:
    there.add(kernel)
    code, out, _ = command("reflink-share", "--kernel", kernel, "--fs", fs)
    assert code == 3 and f": not run\n  order A B A B\n  {why}\n" in out
    assert f"({kernel}.100-1) on {fs} beside" in out


def test_one_kernel_one_order_one_scope(command: Command, there: set[str], asked: list[Run]) -> None:
    there |= {"5.10", "6.1", "7.2"}
    args = ["devdax-unbind-vs-pin", "--kernel", "6.1,5.10", "--kernel", "6.1", "--order", "B A,A"]
    code, out, _ = command(*args, "--scope", "size=pmd,pages=2", "--design", "linux-4.5")
    assert code == 0
    assert [(r.kernel.name, r.order, r.design_name) for r in asked] == [
        (name, ("B", "A", "A"), "linux-4.5") for name in ("6.1", "5.10")
    ]
    assert asked[0].scope == {"size": "pmd", "pages": "2"}
    assert out.startswith(
        "devdax-unbind-vs-pin (size=pmd, pages=2), Linux 6.1 (6.1.100-1) beside\n    linux-4.5"
    )
    assert "order B A A" in out


def test_an_empty_order_is_one_of_each_in_turn(command: Command, there: set[str], asked: list[Run]) -> None:
    there.add("6.1")
    assert command("devdax-unbind-vs-pin", "--order", "")[0] == 0
    assert [r.order for r in asked] == [()]


PIN = "devdax-unbind-vs-pin"
BAD = [
    ([PIN, "--order", "A C"], "--order: devdax-unbind-vs-pin has no task 'C': it has A, B"),
    ([PIN, "devdax-fork-exit", "--order", "A B"], "devdax-fork-exit has no task 'A': it has parent, child"),
    ([PIN, "--kernel", "6.2"], "no kernel '6.2': did you mean "),
    ([PIN, "--kernel", "six"], "no kernel 'six': there is 5.10, 6.1, 6.12, 7.2"),
    ([PIN, "--kernel", ""], "no kernel '': there is 5.10, 6.1, 6.12, 7.2"),
    ([PIN, "--scope", "size=huge"], "scope size=huge: choose one of pte, pmd, pud"),
    ([PIN, "--scope", "pages=9"], "scope pages=9: give a number in 1..3"),
    ([PIN, "--scope", "depth=1"], "devdax-unbind-vs-pin has no scope 'depth': it has pages, size"),
    ([PIN, "--design", "linux-9"], "no design 'linux-9'"),
    (["devdax-unbind-vs-pn"], "no scenario 'devdax-unbind-vs-pn': did you mean devdax-unbind-vs-pin or "),
    (
        [PIN, "--kernel-image", "x", "--kernel", "6.1"],
        "--kernel-image is a kernel of its own: leave --kernel out",
    ),
    ([PIN, "--modules", "x"], "--modules and --vmlinux belong to a kernel of yours: give --kernel-image too"),
    ([PIN, "--vmlinux", "x"], "--modules and --vmlinux belong to a kernel of yours: give --kernel-image too"),
    (["fsdax-refcounts", "--fs", "ext2"], "--fs ext2: there is ext4, xfs"),
    (["fsdax-refcounts", "--fs", ""], "--fs : there is ext4, xfs"),
    ([PIN, "--jobs", "0"], "argument --jobs: '0' is not a number above 0"),
    ([PIN, "--timeout", "-1"], "argument --timeout: '-1' is not a number of seconds"),
    ([PIN, "--format", "junit"], "argument --format: invalid choice"),
    (["pmem-unbind-order"], "pmem-unbind-order: no program can do what its tasks do: check it instead"),
    (["free-reads-pagemap", "--order", "io"], "no program can do what its tasks do: check it instead"),
    ([PIN, "--write", "none.md"], "none.md: No such file or directory"),
    (
        [PIN, "--write", "LICENSE"],
        "LICENSE: no place for the tables: write <!-- conformance --> and <!-- end -->",
    ),
    ([PIN, "--emit-c", "none/x.c", "--kernel", "6.1"], "none/x.c: No such file or directory"),
    (["devdax-fork-exit", "--emit-c", "x.c"], "--emit-c writes one program: give one scenario, one --kernel"),
    ([PIN, "--emit-c", "x.c", "--kernel", "6.1,7.2"], "--emit-c writes one program"),
]


@pytest.mark.parametrize(("args", "text"), BAD, ids=[" ".join(args) for args, _ in BAD])
def test_bad_input(args: list[str], text: str, command: Command, there: set[str], asked: list[Run]) -> None:
    there.add("6.1")
    code, out, err = command(*args)
    assert (code, out) == (1, "")
    assert err.startswith("zonedev: error: ") and err.count("\n") == 1
    assert text in err
    assert asked == []  # nothing runs for minutes before it is said


# A kernel of the user's own


def image(place: Path, release: str) -> Path:
    """As much of a bzImage as says which release it is."""
    data = bytearray(0x400)
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x20E, 0x100)
    data[0x300 : 0x300 + len(release) + 8] = f"{release} (me) #1".encode()[: len(release) + 8]
    path = place / "bzImage"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("release", "more", "design"),
    [
        ("6.12.3-mine", (), "linux-6.12"),
        ("6.1.3-mine", (), "linux-6.1"),
        ("7.3.0-rc1", (), "linux-7.2"),
        ("5.10.1", (), "linux-5.10"),
        ("5.10.1", ("--design", "linux-4.13"), "linux-4.13"),
    ],
)
def test_a_kernel_image(
    release: str, more: tuple[str, ...], design: str, command: Command, asked: list[Run], tmp_path: Path
) -> None:
    code, out, _ = command(PIN, "--kernel-image", str(image(tmp_path, release)), *more)
    assert code == 0
    (run,) = asked
    assert (run.kernel.name, run.kernel.release, run.design_name) == ("custom", release, design)
    assert f"Linux custom ({release}) beside {design}: agrees" in out


def test_a_kernel_image_that_is_none(command: Command, asked: list[Run], tmp_path: Path) -> None:
    for path, text in ((tmp_path / "none", "No such file"), (Path("LICENSE"), "not a bzImage of x86")):
        code, out, err = command(PIN, "--kernel-image", str(path))
        assert (code, out) == (3, "") and text in err and err.count("\n") == 1
    bzimage = str(image(tmp_path, "6.12.3"))
    for option in ("--modules", "--vmlinux"):
        code, _, err = command(PIN, "--kernel-image", bzimage, option, str(tmp_path / "none"))
        assert code == 3 and "no such" in err
    assert asked == []


# Tables into a page


def test_write(command: Command, there: set[str], asked: list[Run], tmp_path: Path) -> None:
    there.add("6.1")
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    code, out, err = command("devdax-fork-exit", "--write", str(page))
    assert code == 0 and f"wrote {page}" in err and "wrote" not in out
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\nRun on ") and text.endswith(f"{END}\nafter\n")
    assert "| 6.1 | 6.1.100-1 | linux-6.1 |" in text


# C programs


def test_emit_c(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "pin.c"
    code, out, _ = command(PIN, "--kernel", "5.10", "--emit-c", str(file))
    assert (code, out) == (0, f"wrote {file}\n")
    text = file.read_text(encoding="ascii")
    about = text.partition("*/")[0].replace("\n * ", "\n")
    assert "On Linux 5.10, by the rules of linux-5.10:\n" in about
    assert "  B: unbind(dax0) -> waits\n  A: unpin_user_page(page0) -> done\n" in about
    assert "  B: unbind(dax0) at last -> done\n" in about
    assert [line for line in text.splitlines() if "/* blocks */" in line] == [
        '\tSTEP(3, do_write_file("/sys/bus/dax/drivers/device_dax/unbind", name));\t/* blocks */'
    ]
    command(PIN, "--emit-c", str(file))  # the newest kernel
    text = file.read_text(encoding="ascii")
    assert "by the rules of linux-7.2" in text and "/* blocks */" not in text
    assert "unpin_user_page(page0) -> oops on page0" in text


def test_a_program_ends_where_the_story_does(tmp_path: Path) -> None:
    """A signal ends the loop of a task, a failed call is not gone on from, an oops is the end."""
    steps = steps_of("devdax-unbind-vs-mapping", "A A B A", "6.1")
    assert steps == ["do_mmap", "do_write", "do_write", "do_write_file", "do_write"]
    assert steps_of("devdax-mmap-vs-unbind", "B A", "7.2") == ["do_write_file", "do_mmap"]
    steps = steps_of("devdax-pinners-vs-unbind", "fast slow unbind fast slow", "6.12")
    assert steps[-2:] == ["do_write_file", "do_dio_finish"] and "do_uring_drop" not in steps


def steps_of(name: str, order: str, kernel: str) -> list[str]:
    """The calls of a program, in their order."""
    found = re.findall(r"\bSTEP\((\d+), (?:show\(bytes, )?(\w+)\(", program(name, order, kernel))
    return [call for _, call in sorted((int(number), call) for number, call in found)]


def program(name: str, order: str, kernel: str) -> str:
    scenario, design = SCENARIOS[name], kernels.design_of(kernel)
    (tasks,) = orders_of(scenario, order)
    return program_of(Run(scenario, tasks, kernels.named(kernel), DESIGNS[design], design))


@pytest.mark.parametrize(("name", "order"), CASES, ids=[f"{n}-{o.replace(' ', '-')}" for n, o in CASES])
def test_every_run_can_be_a_program(name: str, order: str) -> None:
    kernel = list(kernels.STOCK)[CASES.index((name, order)) % len(kernels.STOCK)]
    if name in MIRRORS:
        with pytest.raises(ZonedevError, match="--emit-c writes no program for a device that mirrors"):
            program(name, order, kernel)
        return
    text = program(name, order, kernel)
    assert text.isascii()
    if shutil.which("cc") is None:
        pytest.skip("there is no cc")
    flags = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    done = subprocess.run(
        ["cc", *flags, "-x", "c", "-"], input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_interrupt_keeps_what_was_found(
    command: Command, there: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there |= {"5.10", "7.2"}
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\nold\n{END}\n")

    def one(run: Run, seconds: float) -> Conformance:
        if run.kernel.name == "7.2":
            raise KeyboardInterrupt
        found = run.blank()
        found.verdict = AGREES
        return found

    monkeypatch.setattr(conform, "conform", one)
    code, out, err = command("devdax-unbind-vs-pin", "--jobs", "1", "--write", str(page))
    assert (code, out.count(": agrees"), "old" in page.read_text()) == (3, 1, True)
    assert "interrupted after 1 of 2 runs" in err
