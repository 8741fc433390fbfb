"""The API: what is asked in Python gets the answers of the command line."""

from __future__ import annotations

import json
import linecache
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import zonedev as z
from test_docs import zonedev as command
from zonedev.report.columns import columns
from zonedev.report.notebook import MOST

ROOT = Path(__file__).resolve().parents[1]

CELL = """
from zonedev import Scenario, design, violated

class ForgetsUnmap(design("linux-7.2")):
    def kill_dev_dax(k, dax):
        k.kill_dax(dax)

class Counts(design("linux-7.2")):
    initial_count = 3

class Twice(Scenario):
    expected = {"linux-7.2": violated("page-lifetime")}

    def setup(m):
        m.dax = m.k.device_dax(pages=1)
        m.va = m.task("A").mmap(m.dax)

    def task_A(t, m):
        t.touch(m.va)
        t.touch(m.va)
"""
LISTS = "\nclass Lists(design('linux-7.2')):\n    def kill_dev_dax(k, dax):\n        found = [1]\n"
CELLS = ("/tmp/ipykernel_77/1234.py", "<ipython-input-3-0a1b2c>")


def typed(text: str, name: str = CELLS[0]) -> dict[str, Any]:
    """The names that a cell defines, as IPython runs it."""
    lines = text.splitlines(keepends=True)
    linecache.cache[name] = (len(text), None, lines, name)
    found: dict[str, Any] = {"design": z.design}
    exec(compile(text, name, "exec"), found)
    return found


def shown(*words: str) -> str:
    return command(list(words), str(ROOT), "")[0].rstrip("\n")


# --- what there is --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["designs", "scenarios", "rules"])
def test_the_lists_print_as_the_commands_do(kind: str) -> None:
    listing = getattr(z, kind)()
    assert shown(kind).startswith(repr(listing))
    assert all(name in listing for name in listing)
    with pytest.raises(KeyError, match="did you mean"):
        listing[next(iter(listing)) + "x"]
    assert texts(listing._repr_html_())[-2] == list(listing)[-1]


def test_a_package_that_is_imported_is_still_the_function() -> None:
    script = (
        "import zonedev, sys; assert not [m for m in sys.modules if m.startswith('zonedev.')];"
        "import zonedev.designs, zonedev.rules, zonedev.scenarios;"
        "from zonedev import designs;"
        "assert zonedev.designs is designs and designs.DESIGNS;"
        "assert list(designs()) == list(designs.DESIGNS);"
        "assert 'no-deadlock' in zonedev.rules() and 'evict-vs-pin' in zonedev.scenarios()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": str(ROOT / "src")})


def test_all_names_are_there() -> None:
    assert [name for name in z.__all__ if not hasattr(z, name)] == []
    assert dir(z) == sorted(z.__all__)


# --- checks ---------------------------------------------------------------------------------------


def test_a_check_answers_what_the_command_prints() -> None:
    verdict = z.check("evict-vs-pin", "linux-6.1")
    assert str(verdict) == repr(verdict) == shown("check", "evict-vs-pin", "--design", "linux-6.1")
    assert (verdict.verdict, verdict.rule, verdict.holds) == ("violated", "block-reuse", False)
    mine, theirs = (
        {**json.loads(text), "seconds": 0}
        for text in (
            verdict.json(),
            shown("check", "evict-vs-pin", "--design", "linux-6.1", "--format", "json"),
        )
    )
    assert mine == theirs
    assert verdict.trace[-1].function == "ext4_free_blocks"
    assert verdict.traces == (verdict.trace,)


def test_the_newest_design_is_the_default_and_options_count() -> None:
    verdict = z.check("devdax-unbind-vs-mapping", scope={"pages": 2}, max_states=100, engine="python")
    assert verdict.design == "linux-7.2" and verdict.scope["pages"] == 2
    assert (verdict.verdict, verdict.stopped) == ("undetermined", "--max-states 100")
    assert len(verdict.trace) == 0 and "no counterexample" in str(verdict.trace)
    seen: list[Any] = []
    assert z.check("evict-vs-pin", rules=["block-reuse"], progress=seen.append).holds
    assert seen


def test_all_violations_have_their_traces() -> None:
    verdict = z.check("devdax-unbind-vs-pin", "linux-6.15", all_violations=True)
    assert [t.rule for t in verdict.traces] == ["page-lifetime", "unbind-drained", "data-integrity"]
    assert all(t.replay() == t for t in verdict.traces)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    z.check("evict-vs-pin", "linux-6.1")
    z.matrix(["evict-vs-pin"], ["linux-6.1"], jobs=1)
    assert capfd.readouterr() == ("", "")


ERRORS: list[tuple[Callable[[], object], str]] = [
    (lambda: z.check("evict"), "no scenario 'evict': did you mean"),
    (lambda: z.check("evict-vs-pin", "linux-6.0"), "no design 'linux-6.0': did you mean"),
    (lambda: z.check("evict-vs-pin", scope={"pages": 2}), "evict-vs-pin has no scope 'pages': it has size"),
    (lambda: z.check("evict-vs-pin", rules=["block"]), "no rule 'block'"),
    (lambda: z.check("evict-vs-pin", engine="fast"), "no engine 'fast': there is auto, python, native"),  # type: ignore[arg-type]
    (lambda: z.check("evict-vs-pin", reductions=["none"]), "no reduction 'none': there is"),
    (lambda: z.check("evict-vs-pin", workers=0), "workers=0: give a number above 0"),
    (lambda: z.check("evict-vs-pin", int), "<class 'int'> is no design: give a name, or a class"),  # type: ignore[arg-type]
    (lambda: z.check(z.design("linux-7.2")), "is no scenario: give a name, or a class"),  # type: ignore[arg-type]
    (lambda: z.matrix(["evict"]), "no scenario 'evict'"),
    (lambda: z.matrix("evict-vs-pin"), "scenarios='evict-vs-pin': give a list: ['evict-vs-pin']"),
    (lambda: z.matrix([], ["linux"]), "no design 'linux'"),
    (lambda: z.diff("linux-7.2", "examples/no.py:X"), "examples/no.py: no such file"),
    (lambda: z.Trace.load("no.json"), "no.json: No such file or directory"),
    (lambda: z.Trace.load("README.md"), "README.md:1: not JSON"),
    (lambda: z.design("examples/final_put.py"), "name the class too: examples/final_put.py:CLASS"),
]


@pytest.mark.parametrize(("wrong", "said"), ERRORS, ids=[said for _, said in ERRORS])
def test_errors_are_those_of_the_command_line(wrong: Callable[[], object], said: str) -> None:
    with pytest.raises(z.ZonedevError, match=re.escape(said)) as caught:
        wrong()
    assert "\n" not in str(caught.value)


# --- traces ---------------------------------------------------------------------------------------


def test_a_trace_is_kept_and_replayed(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    trace = z.check("evict-vs-pin", "linux-6.1").trace
    trace.save(file)
    again = z.Trace.load(file)
    assert again == trace and again.replay() == trace
    assert again.text() == str(trace) == shown("replay", str(file))
    assert len(trace[2:4]) == 2 and trace[-1].n == len(trace)
    with pytest.raises(z.ZonedevError, match=r"no counterexample 2: give a number in 1\.\.1"):
        z.Trace.load(file, 2)


def test_a_trace_that_breaks_nothing_any_more_says_so(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    z.check("evict-vs-pin", "linux-6.1").trace.save(file)
    file.write_text(file.read_text().replace('"linux-6.1"', '"linux-6.15"'))
    with pytest.raises(z.ZonedevError, match="the specification has changed since"):
        z.Trace.load(file).replay()
    value = json.loads(file.read_text())
    del value["trace"][3]["changes"]
    file.write_text(json.dumps(value))
    with pytest.raises(z.ZonedevError, match="step 4: changes is missing or not as zonedev writes it"):
        z.Trace.load(file)


def test_a_trace_of_ones_own_classes_is_kept(tmp_path: Path) -> None:
    mine, file = typed(CELL)["ForgetsUnmap"], tmp_path / "t.json"
    trace = z.check("devdax-unbind-vs-mapping", mine).trace
    trace.save(file)
    assert z.Trace.load(file, designs=[mine]).replay() == trace
    with pytest.raises(z.ZonedevError, match="no design 'ForgetsUnmap'"):
        z.Trace.load(file)


def test_a_patch_of_a_series_has_its_name() -> None:
    verdict = z.check("evict-vs-pin", z.design("dax-refcount-2025/07"))
    assert (verdict.design, verdict.rule) == ("dax-refcount-2025/07", "no-lost-wakeup")


def test_there_is_nothing_to_save_where_nothing_breaks() -> None:
    with pytest.raises(z.ZonedevError, match=r"evict-vs-pin, linux-7\.2: there is no counterexample"):
        z.check("evict-vs-pin").trace.json()


# --- matrix, diff, run ----------------------------------------------------------------------------


def test_a_matrix_prints_as_the_command_does_and_has_traces() -> None:
    matrix = z.matrix(["evict-vs-pin"])
    assert str(matrix) == shown("matrix", "evict-vs-pin")
    assert matrix.as_expected and matrix.unexpected == ()
    assert matrix["evict-vs-pin", "linux-6.1"].trace == z.check("evict-vs-pin", "linux-6.1").trace
    assert matrix["evict-vs-pin", z.design("linux-6.15")].holds
    with pytest.raises(z.ZonedevError, match=r"evict-vs-pin, linux-5\.19: not in this matrix"):
        matrix["evict-vs-pin", "linux-5.19"]


def test_a_matrix_that_is_not_as_expected_says_where() -> None:
    class EvictVsPin(z.scenario("evict-vs-pin")):  # type: ignore[misc]
        expected = {"linux-6.1": z.holds(), "linux-6.15": z.holds()}

    matrix = z.matrix([EvictVsPin])
    assert not matrix.as_expected
    assert [(c.design, c.differs) for c in matrix.unexpected] == [
        ("linux-6.1", ["expected holds, found violated block-reuse"])
    ]
    html = texts(matrix._repr_html_())
    assert "block-reuse (!)" in html and "2 checks, 1 not as expected" in html


def test_a_matrix_that_stopped_is_not_as_expected() -> None:
    matrix = z.matrix(["devdax-unbind-vs-mapping"], ["linux-7.2"], max_states=100)
    assert (
        matrix["devdax-unbind-vs-mapping", "linux-7.2"].verdict == "undetermined" and not matrix.as_expected
    )


def test_a_difference_has_functions_and_verdicts() -> None:
    found = z.diff("linux-6.12", "linux-6.15", scenarios=["evict-vs-pin", "three-states"])
    assert "folio_put_refs" in [f.name for f in found.functions]
    assert found.verdicts == {"evict-vs-pin": ("violated: block-reuse", "holds")}
    assert "1 verdict differs of 2" in str(found)
    assert "linux-6.15" in texts(found._repr_html_())
    assert z.diff("linux-6.15", "linux-7.2", scenarios=[]).verdicts == {}


def test_a_run_prints_as_the_command_does() -> None:
    timeline = z.run("evict-vs-pin", "linux-6.1", seed=3)
    words = ["run", "evict-vs-pin", "--design", "linux-6.1", "--seed", "3"]
    assert str(timeline) == shown(*words)
    assert f"=> {timeline.ending}" in texts(timeline._repr_html_())[-1]


# --- classes of one's own ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", CELLS)
def test_what_a_cell_defines_is_checked(name: str) -> None:
    mine = typed(CELL, name)
    verdict = z.check("devdax-unbind-vs-mapping", mine["ForgetsUnmap"])
    assert (verdict.design, verdict.rule) == ("ForgetsUnmap", "unbind-drained")
    assert verdict.trace.replay() == verdict.trace
    assert z.check(mine["Twice"], "linux-7.2").holds
    assert z.run(mine["Twice"], mine["ForgetsUnmap"]).ending == "finished"
    assert {s.source.rpartition(":")[0] for s in verdict.trace if s.function == "task_A"} <= {"cell"}


def test_processes_have_what_a_cell_defines() -> None:
    mine = typed(CELL)
    matrix = z.matrix([mine["Twice"], "devdax-unbind-vs-mapping"], [mine["ForgetsUnmap"], "linux-7.2"])
    assert matrix["twice", "ForgetsUnmap"].holds
    assert matrix["devdax-unbind-vs-mapping", mine["ForgetsUnmap"]].rule == "unbind-drained"
    assert [c.differs for c in matrix.unexpected] == [["expected violated page-lifetime, found holds"]]
    found = z.diff("linux-7.2", mine["ForgetsUnmap"], scenarios=["devdax-unbind-vs-mapping"])
    assert [(f.name, f.second and f.second.source) for f in found.functions] == [("kill_dev_dax", "cell:5")]


def test_a_constant_of_a_cell_differs() -> None:
    mine = {**typed(CELL)}["Counts"]
    mine.__module__ = "builtins"  # which has no file, as the notebook has none
    (found,) = z.diff("linux-7.2", mine, scenarios=[]).functions
    assert found.second is not None
    assert (found.name, found.second.source, found.second.about) == (
        "initial_count",
        "cell",
        "initial_count = 3",
    )


def test_asking_twice_is_asking_once() -> None:
    assert len(z.matrix(["evict-vs-pin"] * 2, ["linux-6.1", z.design("linux-6.1")], jobs=1)) == 1
    assert str(z.diff("linux-6.1", "linux-6.1", scenarios=[])).startswith("linux-6.1 and linux-6.1: 0 fun")


def test_a_verdict_can_be_sent_to_another_process() -> None:
    verdict = z.check("evict-vs-pin", "linux-6.1")
    again = pickle.loads(pickle.dumps(verdict))
    assert again == verdict and again.trace.replay() == verdict.trace


def test_an_error_of_a_cell_names_its_line() -> None:
    with pytest.raises(z.ZonedevError, match=r"^cell:4: a list"):
        z.check("devdax-unbind-vs-mapping", typed(LISTS)["Lists"])


def test_what_has_no_source_says_so() -> None:
    found: dict[str, Any] = {"design": z.design}
    exec("class Typed(design('linux-7.2')):\n    def kill_dev_dax(k, dax): pass\n", found)
    with pytest.raises(z.ZonedevError, match="<string>: the source is needed for lowering"):
        z.check("devdax-unbind-vs-mapping", found["Typed"])


def test_two_classes_of_one_name_are_refused() -> None:
    one, two = typed(CELL)["Twice"], typed(CELL)["Twice"]
    with pytest.raises(z.ZonedevError, match="two classes of a scenario are called twice: rename one"):
        z.matrix([one, two], ["linux-7.2"])


def test_a_file_that_is_edited_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "patch.py"
    file.write_text((ROOT / "examples" / "forgets_unmap.py").read_text())
    assert not z.check("devdax-unbind-vs-mapping", f"{file}:ForgetsUnmap").holds
    file.write_text(
        file.read_text().replace("        k.kill_dax(dax)\n", "        super().kill_dev_dax(dax)\n")
    )
    assert z.check("devdax-unbind-vs-mapping", f"{file}:ForgetsUnmap").holds


# --- notebooks ------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """The texts of the elements, and whether all are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "br":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and data.strip():
            self.texts.append(data.strip())
            if "td" in self.open or "th" in self.open:
                self.rows[-1][-1] += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    assert reader.open == []
    return reader


def texts(html: str) -> list[str]:
    return read(html).texts


def test_the_table_of_a_trace_has_what_the_columns_say() -> None:
    trace = z.check("evict-vs-pin", "linux-6.1").trace
    head, first, *steps, last = read(trace._repr_html_()).rows
    shown = columns(trace)
    head = [name.replace("\n", "") for name in head]
    assert head == ["step", "io", "A", *(c.where for c in shown)]
    assert first == ["at first", "", "", *(c.initial for c in shown)]
    assert last == [f"=> {trace.rule}: {trace.objects}"]
    assert 10 < len(steps) <= MOST and steps[-1][0] == str(len(trace))
    count = head.index("page0._refcount")
    assert [s[count] for s in steps if s[count]] == [
        c.new for s in trace for c in s.changes if c.where == "page0._refcount" and c.old != c.new
    ]
    assert all(bool(s[1]) != bool(s[2]) for s in steps)  # one task a step


def test_a_livelock_says_where_it_repeats() -> None:
    trace = z.check("migrate-vs-cpu-fault", "linux-6.1").trace
    assert trace.loop is not None
    assert "from here on this repeats for ever" in texts(trace._repr_html_())


def test_what_a_trace_says_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    trace = z.check("evict-vs-pin", "linux-6.1").trace
    file.write_text(trace.json().replace("the block of", "<script>alert(1)</script>"))
    html = z.Trace.load(file)._repr_html_()
    assert "<script" not in html and "<script>alert(1)</script>" in " ".join(texts(html))


def test_html_needs_nothing_from_elsewhere() -> None:
    verdict = z.check("evict-vs-pin")
    for shown in (verdict, verdict.trace, z.check("evict-vs-pin", "linux-6.1"), z.rules()):
        html = shown._repr_html_()
        assert texts(html) and not re.search(r"src=|href=|@import|url\(", html)
    assert any("holds" in text for text in texts(verdict._repr_html_()))
