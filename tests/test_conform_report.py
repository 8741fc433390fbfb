"""How two stories are laid side by side, and what is printed of it."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorded import RECORDINGS, Recording, told
from zonedev.lab.compare import (
    AGREES,
    DIFFERS,
    NOT_RUN,
    OOPS,
    TIMEOUT,
    UNSEEN,
    Conformance,
    Row,
    compare,
    crashed,
    end_of,
    place,
)
from zonedev.lab.story import Line
from zonedev.lang.errors import ZonedevError
from zonedev.report import conformance, ladder
from zonedev.report.conformance import render, rendered

TODAY = datetime.date(2026, 11, 21)
LADDER = "devdax-refcounts-pmd-7.2"


def call(moment: int, task: str, text: str, said: str | None = "done", **more: Any) -> Line:
    return Line(moment, "call", task, text, said, **more)


def look(moment: int, text: str, said: str | None) -> Line:
    return Line(moment, "look", "", text, said)


def waits(moment: int, *stack: str) -> Line:
    return call(moment, "B", "unbind(dax0)", "waits", stack=stack)


def verdicts(model: list[Line], machine: list[Line]) -> list[str]:
    return [row.verdict for row in compare(model, machine)]


def concluded(model: list[Line], machine: list[Line]) -> str:
    found = Conformance("s", "7.2", "7.2", "linux-7.2", rows=compare(model, machine))
    found.conclude()
    return found.verdict


STORY = [
    look(0, "page0", "_refcount 1"),
    call(1, "A", "touch(va)"),
    look(1, "page0", "_refcount 2"),
    call(2, "B", "unbind(dax0)"),
    look(2, "page0", "removed"),
]

# Side by side


def test_equal_stories_agree() -> None:
    assert verdicts(STORY, list(STORY)) == [AGREES] * 5
    assert concluded(STORY, list(STORY)) == AGREES


def test_lines_are_matched_by_what_they_are_about() -> None:
    """Within a moment the machine may say the same in another order."""
    model = [call(1, "A", "x()"), Line(1, "return", "B", "y()", "done"), look(1, "page0", "_refcount 1")]
    machine = [model[2], model[0], model[1]]
    rows = compare(model, machine)
    assert [row.verdict for row in rows] == [AGREES] * 3
    assert [row.model for row in rows] == model


@given(st.integers(0, len(STORY) - 1), st.sampled_from(["other", "fails", "removed!"]))
@settings(max_examples=30, deadline=None)
def test_one_other_line_is_one_difference(at: int, said: str) -> None:
    machine = list(STORY)
    machine[at] = replace(machine[at], said=said)
    rows = compare(STORY, machine)
    assert [i for i, row in enumerate(rows) if row.verdict == DIFFERS] == [at]
    assert concluded(STORY, machine) == DIFFERS


def test_what_one_side_lacks_is_a_difference() -> None:
    came_back = Line(2, "return", "A", "touch(va)", "done")
    assert verdicts([*STORY, came_back], STORY) == [AGREES] * 5 + [DIFFERS]
    rows = compare(STORY, [*STORY, came_back])
    assert rows[-1] == Row(None, came_back, DIFFERS) and rows[-1].line == came_back


def test_after_they_have_parted_nothing_is_compared() -> None:
    """Once the tasks make different calls, what follows has nothing to do with each other."""
    model = [call(1, "A", "x()"), call(2, "A", "y()"), look(2, "page0", "_refcount 1"), call(3, "B", "z()")]
    machine = [call(1, "A", "x()"), call(2, "B", "z()"), look(2, "page0", "_refcount 9")]
    rows = compare(model, machine)
    assert [(row.line.text, row.verdict) for row in rows] == [("x()", AGREES), ("y()", DIFFERS)]


def test_a_side_that_ends_sooner() -> None:
    assert verdicts(STORY, STORY[:3]) == [AGREES] * 3 + [DIFFERS]
    assert verdicts(STORY[:3], STORY) == [AGREES] * 3 + [DIFFERS]


def test_what_cannot_be_seen_is_no_difference() -> None:
    model = [look(0, "dax0.pgmap", None), look(0, "page0", "_refcount 1"), call(1, "A", "dma_write(page0)")]
    machine = [look(0, "dax0.pgmap", "ref 1"), look(0, "page0", None), call(1, "A", "dma_write(page0)", None)]
    assert verdicts(model, machine) == [UNSEEN] * 3
    assert concluded(model, machine) == AGREES


def test_waits_agree_where_a_function_of_the_model_is_on_the_stack() -> None:
    model, machine = waits(1, "memunmap_pages", "unbind"), waits(1, "schedule", "memunmap_pages", "vfs_write")
    assert verdicts([model], [machine]) == [AGREES]
    assert place(model, machine) == "memunmap_pages"
    assert place(waits(1, "unbind", "memunmap_pages"), machine) == "memunmap_pages"
    assert verdicts([model], [waits(1, "schedule", "vfs_write")]) == [DIFFERS]
    assert verdicts([model], [waits(1)]) == [DIFFERS]
    assert verdicts([waits(1)], [machine]) == [DIFFERS]
    assert verdicts([model], [replace(machine, said="done")]) == [DIFFERS]


def test_what_xfs_does_where_the_specification_names_ext4() -> None:
    model = waits(1, "wait_page_idle", "ext4_break_layouts", "ext4_setattr")
    for stack in (("xfs_break_layouts", "xfs_vn_setattr"), ("xfs_break_dax_layouts", "xfs_break_layouts")):
        machine = waits(1, *stack, "notify_change")
        assert verdicts([model], [machine]) == [AGREES]
        assert place(model, machine) == stack[0]
    assert verdicts([model], [waits(1, "xfs_fs_evict_inode")]) == [DIFFERS]


def test_warnings_are_counted_and_end_nothing() -> None:
    quiet, once, twice = (call(1, "A", "x()", warned=("f",) * n) for n in range(3))
    after = call(2, "A", "y()")
    for model, machine, found in (
        (quiet, quiet, AGREES),
        (once, once, AGREES),
        (once, replace(once, warned=("g (fs/dax.c:1)",)), AGREES),
        (once, quiet, DIFFERS),
        (quiet, once, OOPS),
        (once, twice, OOPS),
        (twice, once, DIFFERS),
    ):
        assert concluded([model, after], [machine, after]) == found
        assert verdicts([model, after], [machine, after])[1] == AGREES
    waiting = replace(waits(1, "f"), warned=("w",))
    assert verdicts([waiting], [waiting]) == [AGREES]
    assert verdicts([waiting], [replace(waiting, warned=())]) == [DIFFERS]


@pytest.mark.parametrize(
    ("machine", "verdict"),
    [
        ("oops on page0", AGREES),
        ("oops", AGREES),  # the kernel does not say where
        ("oops on page1", DIFFERS),
        ("oops at 0x8", DIFFERS),
        ("panic", DIFFERS),
        ("WARNING", DIFFERS),
        ("done", DIFFERS),
    ],
)
def test_a_foretold_oops(machine: str, verdict: str) -> None:
    (row,) = compare([call(1, "A", "x()", "oops on page0")], [call(1, "A", "x()", machine)])
    assert row.verdict == verdict


def test_an_oops_that_is_not_foretold_is_graver_than_a_difference() -> None:
    model, machine = [call(1, "A", "x()")], [call(1, "A", "x()", "oops")]
    assert concluded(model, machine) == OOPS
    earlier = look(0, "page0", "_refcount 1"), look(0, "page0", "_refcount 2")
    assert concluded([earlier[0], *model], [earlier[1], *machine]) == DIFFERS
    assert concluded(machine, model) == DIFFERS  # foretold, and nothing happened


def test_nothing_is_compared_after_a_crash() -> None:
    model = [call(1, "A", "x()", "oops on page0")]
    machine = [call(1, "A", "x()"), look(1, "page0", "removed"), call(2, "A", "y()")]
    assert verdicts(model, machine) == [DIFFERS]
    assert [crashed(call(1, "A", "x()", said)) for said in ("panic", "WARNING", None, "done")] == [
        True,
        True,
        False,
        False,
    ]


def test_where_the_model_cannot_tell_any_more_nothing_differs() -> None:
    """A use of memory that was freed and is still there: nobody knows what is in it."""
    silent = [*STORY[:3], call(2, "A", "put_page(page0)", None)]
    machine = [
        *STORY[:3],
        call(2, "A", "put_page(page0)"),
        look(2, "page0", "_refcount 9"),
        call(3, "B", "z()"),
    ]
    assert end_of(silent) == 2
    assert verdicts(silent, machine)[:5] == [AGREES] * 3 + [UNSEEN] * 2
    assert concluded(silent, machine) == AGREES
    machine[1] = replace(machine[1], said="fails")
    assert concluded(silent, machine) == DIFFERS
    assert end_of(STORY) is None and end_of([]) is None
    assert end_of([*STORY, look(2, "dax0.pgmap", None)]) is None  # only this cannot be seen


# As JSON

NAMES = sorted(path.stem for path in RECORDINGS.glob("*.json"))
KEYS = "schema_version scenario scope order kernel version design fs means accel verdict why seconds"
KEYS += " lines console"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("design", [None, "linux-4.12"])
def test_json_says_what_the_text_says(name: str, design: str | None) -> None:
    found = told(Recording.load(name), design)
    (one,) = json.loads(rendered([found], "json"))
    assert list(one) == KEYS.split() and one["schema_version"] == 1
    text = render(found)
    squeezed = " ".join(text.split())
    on = f" on {one['fs']}" if one["fs"] else ""
    head = f"{one['scenario']}, Linux {one['kernel']} ({one['version']}){on} beside {one['design']}"
    assert squeezed.startswith(f"{head}: {one['verdict']} ")
    for function, means in one["means"].items():
        assert f"{function}() by {means}" in squeezed
    for line in one["lines"]:
        assert set(line) == {"moment", "kind", "task", "text", "verdict", "model", "machine"}
        who = f"{line['task']}: "
        dots = "... " if line["kind"] == "return" else ""
        if line["machine"] and line["machine"]["warned"]:
            assert ", WARNING" in squeezed and f"[{line['machine']['warned'][0]}" in squeezed
        if line["kind"] in ("call", "return", "observe"):
            assert f"{line['verdict']} {who}{dots}{line['text']}" in squeezed
        for side in ("model", "machine"):
            assert line[side] is None or set(line[side]) == {"said", "warned", "note", "stack"}
            if line["verdict"] == DIFFERS and line[side] and line[side]["said"]:
                assert f"{side}: {line[side]['said']}" in squeezed
    differ = [line for line in one["lines"] if line["verdict"] == DIFFERS]
    assert bool(differ) == (one["verdict"] != AGREES)
    assert text.count("\ndiffers  ") <= len(differ)
    assert one["console"] == [] or one["verdict"] != AGREES


def test_several_are_a_list() -> None:
    found = [told(Recording.load(name)) for name in NAMES[:2]]
    assert [one["scenario"] for one in json.loads(rendered(found, "json"))] == [c.scenario for c in found]
    assert rendered(found, "text") == f"{render(found[0])}\n\n{render(found[1])}"


# As text


def blank(verdict: str, why: str = "", **more: Any) -> Conformance:
    return Conformance("devdax-fork-exit", "6.1", "6.1.192-2", "linux-6.1", verdict=verdict, why=why, **more)


def test_what_a_kernel_writes_is_shown_as_ascii_and_cut() -> None:
    console = ["one", "\ufffd\x1b[31mred \u2014 " + 90 * "x", "two", "three", "four", "five"]
    text = render(blank(TIMEOUT, "it takes long, \u2026", console=["zero", *console]))
    assert text.isascii() and all(map(str.isprintable, text.splitlines()))
    lines = text.splitlines()
    assert lines[2] == "console  one" and lines[-1] == "console  five" and "zero" not in text
    assert lines[3].startswith("console  ??[31mred ? xxx") and len(lines[3]) == 80


def test_a_kernel_of_ones_own_and_a_scope() -> None:
    found = replace(blank(AGREES), kernel="custom", version="custom", scope={"size": "pmd", "pages": 2})
    assert render(found) == "devdax-fork-exit (size=pmd, pages=2), Linux custom beside linux-6.1: agrees"


def test_counts_are_shown_when_they_change() -> None:
    looks = [look(n, "page0", said) for n, said in enumerate(["_refcount 1", "_refcount 1", "_refcount 2"])]
    text = render(blank(AGREES, rows=compare(looks, looks)))
    assert text.splitlines()[1:] == ["agrees      page0: _refcount 1", "agrees      page0: _refcount 2"]
    other = [*looks[:1], look(1, "page0", "_refcount 3"), *looks[2:]]
    text = render(blank(DIFFERS, rows=compare(looks, other)))
    assert "model:   _refcount 1\n            machine: _refcount 3\nagrees      page0: _refcount 2" in text


def test_warnings_are_shown() -> None:
    model, machine = call(1, "A", "x()", warned=("f() warns",)), call(1, "A", "x()", warned=("f", "g"))
    assert render(blank(AGREES, rows=compare([model], [model]))).splitlines()[1:] == [
        "agrees   A: x() -> done, WARNING",
        "            [f() warns]",
    ]
    assert render(blank(DIFFERS, rows=compare([model], [machine]))).splitlines()[1:] == [
        "differs  A: x()",
        "            model:   done, WARNING [f() warns]",
        "            machine: done, 2 WARNINGs [f; g]",
    ]


# As KTAP


def test_ktap_names_the_file_system() -> None:
    found = [replace(blank(AGREES), fs="xfs"), replace(blank(AGREES), fs="ext4", order="A B")]
    results = [line for line in rendered(found, "ktap").splitlines() if line.startswith("ok")]
    assert results == ["ok 1 devdax-fork-exit.6.1.xfs", "ok 2 devdax-fork-exit.6.1.ext4.A-B"]


def test_ktap() -> None:
    found = [
        told(Recording.load("devdax-unbind-vs-pin-5.10")),
        told(Recording.load("devdax-unbind-vs-pin-5.10"), "linux-7.2"),
        blank(NOT_RUN, "no kernel is set up: run zonedev lab setup"),
        blank(TIMEOUT, "B exit: neither returns nor blocks"),
        blank(OOPS),
        told(Recording.load(LADDER)),
    ]
    text = rendered(found, "ktap")
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "KTAP version 1",
        "1..6",
        "ok 1 devdax-unbind-vs-pin.5.10.A-A-B-A",
        "not ok 2 devdax-unbind-vs-pin.5.10.A-A-B-A",
        "ok 3 devdax-fork-exit.6.1 # SKIP no kernel is set up: run zonedev lab setup",
        "not ok 4 devdax-fork-exit.6.1",
        "not ok 5 devdax-fork-exit.6.1",
        "ok 6 devdax-refcounts-pmd.7.2",
    ]
    at = lines.index("ok 1 devdax-unbind-vs-pin.5.10.A-A-B-A")
    assert lines[2:at] == [f"# {line}" for line in render(found[0]).splitlines()]


# As tables


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_tables_are_put_between_the_marks(tmp_path: Path) -> None:
    names = ("devdax-unbind-vs-pin-5.10", "devdax-unbind-vs-pin-7.2", LADDER, "devdax-unbind-vs-mapping-6.12")
    found = [
        *(told(Recording.load(name)) for name in names),
        told(Recording.load(LADDER), "linux-6.1"),
        blank(NOT_RUN, "no qemu | no game"),
    ]
    found[4].kernel = "6.12"
    path = page(tmp_path, f"# Caf\u00e9\n\n{ladder.BEGIN}\nold\n{ladder.END}\n\nmore\n")
    ladder.write(path, found, TODAY)
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# Caf\u00e9\n\n{ladder.BEGIN}\nRun on 2026-11-21 under QEMU (TCG).\n")
    assert text.endswith(f"|\n{ladder.END}\n\nmore\n") and "old" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| 5.10 | 5.10.262-1 | linux-5.10 |" in rows
    assert "| scenario | order | 5.10 | 7.2 | 6.12 | 6.1 |" in rows
    pins = next(row for row in rows if row.startswith("| devdax-unbind-vs-pin"))
    assert pins.startswith("| devdax-unbind-vs-pin | A A B A | agrees: waits | agrees: oops | - |")
    assert next(row for row in rows if "fork" in row).endswith(r"| **not run**: no qemu \| no game |")
    assert "### devdax-refcounts-pmd" in text and text.count("###") == 1
    assert "| point | 7.2 | 6.12 |" in rows
    assert "| idle | 1 | 1 |" in rows
    assert "| mapped | 2 (mapped 1) | **model 1, machine 2 (mapped 1)** |" in rows
    again = path.read_text(encoding="utf-8")
    ladder.write(path, found, TODAY)
    assert path.read_text(encoding="utf-8") == again


def on(fs: str, kernel: str, verdict: str = AGREES, **more: Any) -> Conformance:
    return Conformance("files", kernel, f"{kernel}-1", "linux-7.2", fs=fs, verdict=verdict, **more)


def table(found: list[Conformance], begin: str) -> list[str]:
    rows = ladder.tables(found, TODAY).splitlines()
    at = next(i for i, row in enumerate(rows) if row.startswith(begin))
    return rows[at : next((i for i in range(at, len(rows)) if not rows[i]), len(rows))]


def test_files_have_a_table_of_their_own() -> None:
    """File systems that say the same share a line."""
    found = [blank(AGREES), *(on(fs, kernel) for kernel in ("6.1", "7.2") for fs in ("ext4", "xfs"))]
    assert table(found, "| scenario | order | 6.1") == [
        "| scenario | order | 6.1 | 7.2 |",
        "|---|---|---|---|",
        "| devdax-fork-exit | as the tasks wait for each other | agrees | - |",
    ]
    lines = table(found, "| scenario | order | on |")
    assert lines[2:] == ["| files | as the tasks wait for each other | ext4, xfs | agrees | agrees |"]
    found[2].verdict = DIFFERS
    lines = table(found, "| scenario | order | on |")
    assert lines[2:] == [
        "| files | as the tasks wait for each other | ext4 | agrees | agrees |",
        "| files | as the tasks wait for each other | xfs | **differs** | agrees |",
    ]


def test_a_warning_in_the_tables() -> None:
    rows = compare(
        [call(1, "A", "x()", warned=("f",)), waits(2, "g")],
        [call(1, "A", "x()", warned=("f",)), waits(2, "g")],
    )
    assert ladder.cell(on("xfs", "6.1", rows=rows[:1])) == "agrees: warning"
    assert ladder.cell(on("xfs", "6.1", rows=rows)) == "agrees: warning, waits"
    assert ladder.cell(on("xfs", "6.1", rows=rows[1:])) == "agrees: waits"
    end = Line(3, "end", "A", "x()", "waits for good")
    assert ladder.cell(on("xfs", "6.1", rows=[*rows[1:], *compare([end], [end])])) == "agrees: waits for good"


def test_counts_that_a_file_system_changes_are_apart() -> None:
    def counted(n: int) -> list[Row]:
        line = Line(1, "observe", "mapped", "page0", f"_refcount {n}")
        return compare([line], [line])

    found = [
        on(fs, kernel, rows=counted(1 + (fs == "xfs" and kernel == "7.2")))
        for kernel in ("6.1", "7.2")
        for fs in ("ext4", "xfs")
    ]
    assert table(found, "| point") == [
        "| point | 6.1 | 7.2 on ext4 | 7.2 on xfs |",
        "|---|---|---|---|",
        "| mapped | 1 | 1 | 2 |",
    ]


@pytest.mark.parametrize("text", ["", ladder.BEGIN, f"{ladder.END}\n{ladder.BEGIN}"])
def test_a_page_without_a_place_for_them(tmp_path: Path, text: str) -> None:
    path = page(tmp_path, text)
    with pytest.raises(ZonedevError, match="no place for the tables"):
        ladder.write(path, [blank(AGREES)], TODAY)
    assert path.read_text(encoding="utf-8") == text


def test_no_page(tmp_path: Path) -> None:
    with pytest.raises(ZonedevError, match=r"none\.md: No such file"):
        ladder.write(tmp_path / "none.md", [], TODAY)


def test_counts_in_short() -> None:
    assert ladder.short("_refcount 1026, _mapcount 1") == "1026 (mapped 1)"
    assert ladder.short("_refcount 5, _mapcount 3, _pincount 1") == "5 (mapped 3, pinned 1)"
    assert ladder.short("removed") == "removed" and ladder.short(None) == "not seen"


def test_long_texts_are_wrapped() -> None:
    text = " ".join(["word"] * 40)
    lines = list(conformance.wrapped(f"  {text}", "    "))
    assert max(map(len, lines)) <= 80 and lines[0].startswith("  word") and lines[1].startswith("    word")
    assert " ".join(" ".join(lines).split()) == text
