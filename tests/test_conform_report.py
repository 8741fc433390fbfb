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
KEYS = (
    "schema_version scenario scope order kernel version design means accel verdict why seconds lines console"
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("design", [None, "linux-4.12"])
def test_json_says_what_the_text_says(name: str, design: str | None) -> None:
    found = told(Recording.load(name), design)
    (one,) = json.loads(rendered([found], "json"))
    assert list(one) == KEYS.split() and one["schema_version"] == 1
    text = render(found)
    assert text.startswith(
        f"{one['scenario']}, Linux {one['kernel']} ({one['version']}) beside {one['design']}"
    )
    assert f": {one['verdict']}\n" in text
    squeezed = " ".join(text.split())
    for function, means in one["means"].items():
        assert f"{function}() by {means}" in squeezed
    for line in one["lines"]:
        assert set(line) == {"moment", "kind", "task", "text", "verdict", "model", "machine"}
        who = f"{line['task']}: "
        dots = "... " if line["kind"] == "return" else ""
        if line["kind"] in ("call", "return", "observe"):
            assert f"{line['verdict']} {who}{dots}{line['text']}" in squeezed
        for side in ("model", "machine"):
            assert line[side] is None or set(line[side]) == {"said", "note", "stack"}
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


# As KTAP


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
    assert "| scenario | order | 5.10 | 7.2 | 6.12 | 6.12 | 6.1 |" in rows
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
