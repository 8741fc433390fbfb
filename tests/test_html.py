"""The report: what it tells, how large it is, and what a browser makes of it."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from zonedev import catalogue
from zonedev.cli import main
from zonedev.explore.check import HOLDS, VIOLATED, check
from zonedev.explore.matrix import Cell
from zonedev.lang.errors import ZonedevError
from zonedev.report.html import beside, page, traces
from zonedev.report.html.gathered import Report, gathered
from zonedev.report.html.picture import picture, places
from zonedev.report.life import CONDITIONS, Life, Stage, lives, of_scenario, wrong

KNOWN = catalogue.load()
DESIGNS = ("linux-5.10", "linux-6.1", "linux-6.12", "linux-6.15", "dax-gup-fix-2022")
NAMES = ("evict-vs-pin", "devdax-refcounts", "migrate-vs-cpu-fault")


def cells() -> list[Cell]:
    found = []
    for name in NAMES:
        for design in DESIGNS:
            scenario = KNOWN.scenario(name)
            if design in scenario.expected or (name == "devdax-refcounts" and design != DESIGNS[-1]):
                verdict = check(scenario, KNOWN.design(design), design_name=design)
                found.append(Cell(name, design, found=verdict))
    return found


@pytest.fixture(scope="module")
def report() -> Report:
    life = [x for d in ("linux-6.1", "linux-6.15") for x in lives(catalogue.load, d, ("evict-vs-pin",))]
    return gathered(KNOWN, cells(), life)


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    return page.render(report)


# --- what it tells ---------------------------------------------------------------------------------


def test_columns_are_releases_in_time_and_then_proposals(report: Report) -> None:
    assert [c.name for c in report.columns] == list(DESIGNS)
    assert [c.before for c in report.columns][:4] == ["", *DESIGNS[:3]]
    assert report.columns[-1].before in DESIGNS[:4]


def test_what_turned_is_compared_with_the_last_release_that_says_anything(report: Report) -> None:
    (column,) = (c for c in report.columns if c.name == "linux-6.15")
    turned = {(t.before.scenario, t.before.design): t.now.design for t in column.turned}
    assert turned["evict-vs-pin", "linux-6.12"] == "linux-6.15"
    assert any(f.name == "ext4_evict_inode" or "evict" in f.name for f in column.functions)
    without = [c for c in report.cells if (c.scenario, c.design) != ("evict-vs-pin", "linux-6.12")]
    (column,) = (c for c in gathered(KNOWN, without).columns if c.name == "linux-6.15")
    assert [t.before.design for t in column.turned if t.now.scenario == "evict-vs-pin"] == ["linux-6.1"]


def test_what_mends_a_scenario_is_said_at_its_place(report: Report, text: str) -> None:
    """The function that waits since is named first, with the subject of the commit."""
    turns = {column.name: turn for column, turn in report.turns("evict-vs-pin")}
    assert set(turns) == {"linux-6.15", "dax-gup-fix-2022"}
    names = [f.name for f in turns["linux-6.15"].functions]
    assert names[0] == "ext4_evict_inode" and "gup_fast_pte_range" in names
    assert "dax_break_layout" not in names, "it differs, and the counterexample does not come there"
    (column,) = (c for c in report.columns if c.name == "linux-6.15")
    assert "dax_break_layout" in {f.name for f in column.functions}
    start = text.index('id="evict-vs-pin/since/linux-6.15"')
    told = text[start : text.index("</div>", start)]
    assert "<code>ext4_evict_inode</code>" in told
    assert "fs/dax: Ensure all pages are idle prior to filesystem unmount" in told


def test_a_turn_is_told_by_the_design_that_was_compared(report: Report) -> None:
    """Where releases between say nothing, the functions are not those of the release just before."""
    without = [c for c in report.cells if (c.scenario, c.design) != ("evict-vs-pin", "linux-6.12")]
    found = gathered(KNOWN, without)
    (turn,) = (t for c, t in found.turns("evict-vs-pin") if c.name == "linux-6.15")
    assert "dax_fault_iter" in {f.name for f in turn.functions}
    (column,) = (c for c in found.columns if c.name == "linux-6.15")
    assert "dax_fault_iter" not in {f.name for f in column.functions}


def test_a_counterexample_names_what_mends_it(report: Report, text: str) -> None:
    cells = {(c.scenario, c.design): c for c in report.cells}
    assert report.mending(cells["evict-vs-pin", "linux-6.1"]) == ["linux-6.15", "dax-gup-fix-2022"]
    assert report.mending(cells["evict-vs-pin", "linux-6.15"]) == []
    start = text.index('<div id="evict-vs-pin/linux-6.1"')
    told = text[start : text.index("<pre", start)]
    assert 'Mended by <a href="#evict-vs-pin/since/linux-6.15">linux-6.15</a> (0e2f80afcfa6: ' in told
    assert '<a href="#rules/block-reuse">' in told
    start = text.index('<div id="migrate-vs-cpu-fault/linux-6.1"')
    assert ">linux-6.15</a>" in text[start : text.index("<pre", start)]
    only = gathered(KNOWN, [cells["evict-vs-pin", "linux-6.1"], cells["evict-vs-pin", "linux-6.12"]])
    assert page.render(only).count("No later release mends it.") == 2


def test_a_patch_of_another_era_mends_nothing(report: Report) -> None:
    """From linux-6.1 to what 4.12-fixed is compared with there is a release that holds."""
    scenario = "devdax-unbind-vs-pin"
    verdicts = {"linux-4.12": VIOLATED, "linux-5.10": HOLDS, "linux-6.1": VIOLATED, "linux-4.12-fixed": HOLDS}
    (some,) = (c.found for c in report.cells if (c.scenario, c.design) == ("evict-vs-pin", "linux-6.1"))
    assert some
    made = [
        Cell(scenario, d, found=replace(some, design=d, verdict=v, rule=None)) for d, v in verdicts.items()
    ]
    found = gathered(KNOWN, made)
    assert found.mending(made[0]) == ["linux-5.10", "linux-4.12-fixed"]
    assert found.mending(made[2]) == []


def test_the_counts_of_a_page_stand_beside_each_other(report: Report, text: str) -> None:
    (story,) = report.ladders
    assert story.name == "devdax-refcounts"
    seen = {d: story.cells[d].found.observed for d in ("linux-6.12", "linux-6.15")}  # type: ignore[union-attr]
    assert seen["linux-6.12"] != seen["linux-6.15"]
    assert all(f'<th scope="row">{point}</th>' in text for point in story.ladder)


def test_it_is_the_same_each_time(report: Report, text: str) -> None:
    seconds = [c.found.seconds for c in report.cells if c.found]
    for cell in report.cells:
        if cell.found:
            cell.found = replace(cell.found, seconds=99.0)
    assert page.render(report) == text
    for cell, known in zip(report.cells, seconds, strict=True):
        assert cell.found
        cell.found.seconds = known


class Tags(HTMLParser):
    """Checks that elements are closed in order, and collects the targets and the links."""

    VOID = {"meta", "input", "link", "br"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if tag == "a" and name == "href" and value:
                self.links.append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_every_link_has_a_target(text: str) -> None:
    tags = Tags()
    tags.feed(text)
    assert not tags.open
    assert len(tags.ids) == len(set(tags.ids))
    assert {link.removeprefix("#") for link in tags.links} <= set(tags.ids)
    assert not re.search(r'(?:src|href)="(?!#)', text), "nothing is fetched"


def test_it_can_be_read_without_javascript(text: str) -> None:
    body = text[: text.index('<script type="application/json"')]
    assert "the block of page0 in inode0 is freed, but io still holds a pin of it" in body
    assert "=&gt; block-reuse" in body
    assert "0e2f80afcfa6: eviction waits until all pages are idle" in body


def test_texts_cannot_end_the_script() -> None:
    evil = {"a": "</script><script>alert(1)</script>&<!--"}
    written = page.embedded(evil)
    assert "<" not in written and "&" not in written
    assert json.loads(written) == evil


def test_at_most_sixty_steps_are_drawn_and_the_last_is_one_of_them(report: Report) -> None:
    data = traces.data(report)
    for cell in report.cells:
        if cell.found and cell.found.trace:
            found = data["traces"][f"{cell.scenario}/{cell.design}"]
            assert len(found["rows"]) <= traces.MOST
            assert found["rows"][-1][0] == len(cell.found.trace) == found["steps"]


def test_the_values_of_the_viewer_are_those_of_the_trace(report: Report) -> None:
    """Each drawn change is the last of that location up to its step."""
    data = traces.data(report)
    texts = data["texts"]
    (cell,) = (c for c in report.cells if (c.scenario, c.design) == ("evict-vs-pin", "linux-6.1"))
    assert cell.found
    found = data["traces"]["evict-vs-pin/linux-6.1"]
    names = [texts[where] for where, _, _ in found["columns"]]
    assert "page0._refcount" in names and "mm0.pte[0]" in names
    now = {texts[where]: texts[old] for where, _, old in found["columns"]}
    for row in found["rows"]:
        now |= {names[n]: texts[new] for n, new in zip(row[8][::2], row[8][1::2], strict=True)}
    last = {c.where: c.new for s in cell.found.trace for c in s.changes if c.where in names}
    assert now == last


# --- the life of a page ----------------------------------------------------------------------------


def test_a_pinned_page_is_freed_before_6_15_and_waited_for_since(report: Report) -> None:
    (before, after) = report.lives["file on persistent memory"]
    assert (before.design, after.design) == ("linux-6.1", "linux-6.15")
    assert ("pinned",) in before.counts
    assert not any("waited for" in stage for stage in before.counts)
    assert any("waited for" in stage for stage in after.counts)
    assert after.counts["free",] == {0} and 1024 in after.counts["pinned",]
    assert before.counts["pinned",] >= {1025}, "an idle page counts 1"


def test_arrows_lead_between_stages_that_were_seen(report: Report) -> None:
    for some in report.lives.values():
        for life in some:
            assert life.begins <= life.counts.keys()
            assert all(a != b and {a, b} <= life.counts.keys() for a, b in life.arrows)
            assert all(
                (a, b, name) in life.seen_in for (a, b), names in life.arrows.items() for name in names
            )


def test_munmap_takes_a_page_out_of_the_page_table() -> None:
    (life,) = of_scenario(KNOWN, KNOWN.scenario("devdax-unbind-vs-pin"), "linux-6.15")
    assert "unbind" in life.arrows[("mapped",), ("idle",)]
    assert "pin_user_pages" in life.arrows[("mapped",), ("mapped", "pinned")]
    assert "unpin_user_page" in life.arrows[("pinned",), ("idle",)]
    assert {s for s in life.counts if wrong(life.kind, s)} == {("removed", "pinned")}
    (life,) = of_scenario(KNOWN, KNOWN.scenario("devdax-unbind-vs-pin"), "linux-5.10")
    assert not any(wrong(life.kind, stage) for stage in life.counts), "unbind waits"


def test_memory_in_use_that_nobody_owns_is_wrong() -> None:
    assert wrong("file on persistent memory", ("free", "mapped"))
    assert wrong("device-private", ("free", "pinned"))
    assert wrong("device-dax", ("removed", "pinned"))
    assert not wrong("device-private", ("free", "mapped")), "its entry is cleared last, under the lock"
    assert not wrong("device-dax", ("mapped", "pinned"))


def test_no_two_stages_have_the_same_place() -> None:
    every: list[Stage] = [("idle",), ("free",), ("removed",)]
    for n in range(1, 1 << len(CONDITIONS)):
        stage = tuple(c for at, c in enumerate(CONDITIONS) if n >> at & 1)
        every += [stage, ("free", *stage), ("removed", *stage)]
    found = places(every)
    assert len(set(found.values())) == len(every)


def test_a_picture_has_all_stages_and_operations(report: Report) -> None:
    for some in report.lives.values():
        for life in some:
            drawn = picture(life)
            assert all(" + ".join(stage) in drawn for stage in life.counts)
            assert drawn.count("<path d=") == 1 + len(life.arrows)


def test_words_of_arrows_up_and_down_stand_on_either_side() -> None:
    life = Life("linux-7.2", "device-dax")
    below: tuple[Stage, Stage] = (("removed",), ("removed", "pinned"))
    life.counts = {stage: {1} for stage in below}
    life.arrows = {below: Counter(pin_user_pages=1), below[::-1]: Counter(unpin_user_page=1)}
    said = re.findall(r'<text x="(\d+)" y="(\d+)" class="(left|right)">(\w+)<', picture(life))
    (one, other) = sorted(said, key=lambda each: int(each[0]))
    assert (one[2], other[2]) == ("left", "right"), "away from each other"
    assert int(one[1]) == int(other[1]) and {one[3], other[3]} == {"pin_user_pages", "unpin_user_page"}


# --- the command -----------------------------------------------------------------------------------


def test_the_command_writes_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.html"
    assert main(["report", "evict-vs-pin", "-o", str(file), "--jobs", "1"]) == 0
    assert file.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    said = capsys.readouterr()
    assert said.out == "" and f"wrote {file}" in said.err


def test_a_place_that_cannot_be_written_to_is_said_before_the_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", "-o", "/nowhere/r.html"]) == 1
    assert capsys.readouterr().err == "zonedev: error: -o /nowhere/r.html: there is no directory /nowhere\n"


# --- what other commands have found ----------------------------------------------------------------


def campaign() -> dict[str, Any]:
    mutant = {
        "function": "f",
        "source": "kernel/x.py:1",
        "change": "left out",
        "text": "a <b>",
        "verdict": None,
    }
    states = [("killed", "page-lifetime"), ("survived", None), ("open", None), ("trivial", None)]
    made = [{**mutant, "state": state, "rule": rule} for state, rule in states]
    return {"design": "linux-6.15", "counted": 3, "killed": 1, "mutants": made}


def told_beside(report: Report, tmp_path: Path, **files: Any) -> str:
    """The page with what these files have; None is a file that is not there."""
    read = {"kernels": beside.kernels, "mutants": beside.mutants, "peers": beside.peers}
    found: dict[str, Any] = {}
    for name, value in files.items():
        (tmp_path / name).write_text(json.dumps(value), encoding="utf-8")
        found[name] = read[name](str(tmp_path / name))
    return page.render(report, beside.Beside(**found))


def test_mutants_are_told_by_function(report: Report, tmp_path: Path) -> None:
    told = told_beside(report, tmp_path, mutants=campaign())
    assert "1 of 3 changes, 33.3 %" in told
    assert "<code>f</code>: 2 of 3" in told, "what is trivial does not count"
    assert "a &lt;b&gt;" in told


def test_real_kernels_stand_side_by_side(report: Report, tmp_path: Path) -> None:
    line = {"verdict": "differs", "task": "A", "text": "munmap(va)", "model": {"said": "0"}}
    run = {"scenario": "s", "order": "A B", "verdict": "agrees", "fs": "ext4", "why": "", "lines": []}
    runs = [
        {**run, "kernel": "5.10"},
        {**run, "kernel": "7.2", "verdict": "differs", "lines": [{**line, "machine": {"said": "-22"}}]},
    ]
    told = told_beside(report, tmp_path, kernels=runs)
    assert "1 agrees, 1 differs" in told
    assert "differs: A: munmap(va) -> -22 (model: 0)" in told


def test_what_peers_measured_is_told(report: Report, tmp_path: Path) -> None:
    row = {"tool": "spin -O0", "states": 3768, "seconds": 2.5, "build": 2.25, "remark": "VOID: there are 9"}
    told = told_beside(report, tmp_path, peers=[{"title": "small", "rows": [row]}])
    assert '<td class="n">2.50</td><td class="n">2.25</td><td>VOID: there are 9</td>' in told


@pytest.mark.parametrize("content", ["", "{", "[]", "[1]", '{"rows": []}', '{"title": "x"}'])
def test_what_is_no_such_file_is_one_line(content: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ZonedevError, match=r"give what benchmarks/peers.py --json has written$"):
        beside.peers(str(file))


# --- in a browser ----------------------------------------------------------------------------------

ARROW = {"down": "\ue015", "up": "\ue013", "right": "\ue014", "end": "\ue010", "home": "\ue011"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium and chromedriver are missing: apt install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(flag)
    options.add_argument("--window-size=1300,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def url(text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


def visit(browser: Any, url: str, place: str = "") -> None:
    browser.get("about:blank")
    browser.get(f"{url}{place}")
    browser.execute_async_script("setTimeout(arguments[0], 50)")


def press(browser: Any, *keys: str) -> None:
    for key in keys:
        browser.switch_to.active_element.send_keys(ARROW[key])


def place(browser: Any) -> str:
    return str(browser.execute_script("return location.hash"))


def test_a_cell_leads_to_its_counterexample(browser: Any, url: str) -> None:
    visit(browser, url)
    browser.execute_script("document.querySelector('.matrix a[href=\"#evict-vs-pin/linux-6.1\"]').click()")
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    shown = browser.execute_script(
        "const d = document.getElementById('evict-vs-pin/linux-6.1').closest('details');"
        "return [d.open, d.querySelectorAll('tr.step').length, d.querySelector('tr.broken').textContent]"
    )
    assert shown[0] is True and 5 < shown[1] <= traces.MOST
    assert "io still holds a pin of it" in shown[2]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_link_opens_its_counterexample_without_javascript(browser: Any, text: str, tmp_path: Path) -> None:
    bare, scripts = re.subn(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert scripts == 2
    (tmp_path / "bare.html").write_text(bare, encoding="utf-8")
    visit(browser, (tmp_path / "bare.html").as_uri(), "#evict-vs-pin/linux-6.1")
    shown = "return [...document.querySelectorAll('details.trace[open]')].map(d => d.querySelector('div').id)"
    assert browser.execute_script(shown) == ["evict-vs-pin/linux-6.1"]
    top = "return document.querySelector('details.trace[open]').getBoundingClientRect().top"
    assert 0 < browser.execute_script(top) < 400


def test_a_link_addresses_a_step_and_the_keys_go_on_from_it(browser: Any, url: str, report: Report) -> None:
    rows = traces.data(report)["traces"]["evict-vs-pin/linux-6.1"]["rows"]
    numbers, lane = [row[0] for row in rows], [row[1] for row in rows]
    visit(browser, url, f"#evict-vs-pin/linux-6.1/{numbers[3]}")
    selected = "return document.querySelector('tr.at th').textContent"
    assert browser.execute_script(selected) == str(numbers[3])
    press(browser, "down")
    assert place(browser) == f"#evict-vs-pin/linux-6.1/{numbers[4]}"
    press(browser, "right")
    switch = next(n for n in range(5, len(rows)) if lane[n] != lane[4])
    assert place(browser) == f"#evict-vs-pin/linux-6.1/{numbers[switch]}"
    press(browser, "end", "down")
    assert browser.execute_script(selected) == str(numbers[-1])
    press(browser, "home", "up")
    assert browser.execute_script(selected) == str(numbers[0])


def test_the_line_of_the_specification_is_marked(browser: Any, url: str, report: Report) -> None:
    data = traces.data(report)
    row = next(r for r in data["traces"]["evict-vs-pin/linux-6.1"]["rows"] if r[8])
    visit(browser, url, f"#evict-vs-pin/linux-6.1/{row[0]}")
    marked = browser.execute_script("return document.querySelector('.beside mark').textContent")
    assert marked.split()[0] == str(row[5])
    assert marked.split(maxsplit=1)[1].startswith(data["texts"][row[7]].split("\n")[0][:20])


def test_the_values_at_a_step_are_told(browser: Any, url: str, report: Report) -> None:
    found = traces.data(report)["traces"]["evict-vs-pin/linux-6.1"]
    visit(browser, url, f"#evict-vs-pin/linux-6.1/{found['rows'][-1][0]}")
    shown = browser.execute_script(
        "const rows = [...document.querySelectorAll('.lanes thead tr')];"
        "const h = rows.map(r => [...r.cells].map(c => c.textContent));"
        "return [h[0].slice(-arguments[0]), h[1].slice(-arguments[0])]",
        len(found["columns"]),
    )
    values = dict(zip(*shown, strict=True))
    assert values["page0._refcount"] == "1025" and values["mm0.pte[0]"] == "none"


def test_the_filter_leaves_what_has_all_the_words(browser: Any, url: str) -> None:
    visit(browser, url)
    browser.execute_script(
        "const f = document.getElementById('filter'); f.value = 'evict reuse';"
        "f.dispatchEvent(new Event('input'))"
    )
    left = browser.execute_script(
        "const rows = [...document.querySelectorAll('.matrix tbody tr')];"
        "return rows.filter(r => !r.hidden).map(r => r.cells[0].textContent)"
    )
    assert left == ["evict-vs-pin"]


LEFT = (
    "const rows = [...document.querySelectorAll('.matrix tbody tr')];"
    "return rows.filter(r => !r.hidden).map(r => r.cells[0].textContent)"
)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("ext4_evict_inode()", ["evict-vs-pin"]),
        ("dmirror_devmem", ["migrate-vs-cpu-fault"]),
        ("evict", ["evict-vs-pin"]),  # no function: it has no underscore
        ("fault-term", ["migrate-vs-cpu-fault"]),
        ("evict nothing_of_this_name", []),
    ],
)
def test_the_filter_knows_functions_that_counterexamples_go_through(
    browser: Any, url: str, words: str, left: list[str]
) -> None:
    visit(browser, url)
    browser.find_element("id", "filter").send_keys(words)
    assert browser.execute_script(LEFT) == left
    assert browser.find_element("id", "left").text == f"{len(left)} of {len(NAMES)}"


def test_enter_goes_to_the_first_that_is_left_and_back_to_the_filter(browser: Any, url: str) -> None:
    visit(browser, url)
    browser.find_element("id", "filter").send_keys("migrate\ue007")
    assert place(browser) == "#migrate-vs-cpu-fault"
    browser.back()
    browser.execute_async_script("setTimeout(arguments[0], 50)")
    assert place(browser) == "" and browser.execute_script(LEFT) == ["migrate-vs-cpu-fault"]


def test_only_what_is_left_is_printed_and_counterexamples_are_open(browser: Any, url: str) -> None:
    visit(browser, url)
    browser.find_element("id", "filter").send_keys("evict")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        high = "return [...document.querySelectorAll(arguments[0])].map(e => e.offsetHeight > 9)"
        assert browser.execute_script(high, "article.scenario") == [True, False, False]
        assert browser.execute_script(high, "[id='evict-vs-pin'] details.trace pre") == [True, True, True]
        assert browser.execute_script(high, "#changes, #life, #counts") == [False, False, False]
        table, width = browser.execute_script(
            "return ['.matrix', 'main'].map(name => document.querySelector(name).offsetWidth)"
        )
        assert table <= width
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_the_name_of_the_scenario_stays_and_the_end_tells_what_broke(
    browser: Any, url: str, report: Report
) -> None:
    last = traces.data(report)["traces"]["evict-vs-pin/linux-6.1"]["rows"][-1][0]
    visit(browser, url, f"#evict-vs-pin/linux-6.1/{last}")
    heights = browser.execute_script(
        "const d = document.getElementById('evict-vs-pin/linux-6.1').closest('details');"
        "const seen = e => { const r = e.getBoundingClientRect();"
        "  return r.top >= 0 && r.bottom < innerHeight + 1; };"
        "return [seen(d.closest('article').querySelector('h3')), seen(d.querySelector('tr.broken')),"
        "  d.querySelector('.beside').textContent.includes('frame0.owner 1 -> 0')]"
    )
    assert heights == [True, True, True]


def test_nothing_is_wider_than_a_narrow_screen(browser: Any, url: str) -> None:
    narrow = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    try:
        visit(browser, url, "#evict-vs-pin/linux-6.1/1")
        opened = "document.querySelectorAll('details').forEach(d => { d.open = true; });"
        wide = browser.execute_script(f"{opened} return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1] == 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
