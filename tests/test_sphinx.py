"""The documentation builds without a warning, and what is made from the code or checked is in it.

A claim that is not so, a link that leads nowhere or a page that is in no table of contents would be one.
"""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from zonedev.catalogue import load
from zonedev.cli import parser
from zonedev.commands.described import commands
from zonedev.kernel.zap import Zap

ROOT = Path(__file__).resolve().parents[1]


def build(source: Path, target: Path) -> tuple[int, str]:
    """The exit code of Sphinx, and what it complains of."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-j",
        "auto",
        "-q",
        "-W",
        "--keep-going",
        str(source),
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})
    return done.returncode, done.stderr


def page(built: Path, name: str) -> str:
    """The words of a page."""
    text = (built / f"{name}.html").read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", text))


def test_the_pages_are_built_and_the_reference_has_all_there_is(tmp_path: Path) -> None:
    assert build(ROOT / "docs", tmp_path) == (0, "")
    known = load()
    scenarios, rules = page(tmp_path, "reference/scenarios"), page(tmp_path, "reference/rules")
    designs = page(tmp_path, "reference/designs")
    assert [name for name in known.scenarios if name not in scenarios] == []
    assert [name for name, rule in known.rules.items() if name not in rules or rule.text not in rules] == []
    assert [name for name in known.designs if name not in designs] == []
    typed = page(tmp_path, "reference/commands")
    assert [c.name for c in commands(parser()) if c.usage("zonedev") not in typed] == []
    (zap,) = re.findall(
        r"zap_pte_range\(\)\S*\n(.*?)zap/?\.py:\d+", page(tmp_path, "reference/kernel/zap"), re.DOTALL
    )
    assert (Zap.zap_pte_range.__doc__ or "").split("\n")[0] in zap and "Another one in linux-6.12" in zap
    assert page(tmp_path, "lifetimes").count(": the counterexample") > 50


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        ("evict-vs-pin linux-6.12 violated block-reuse", ""),
        ("evict-vs-pin linux-6.12 holds", "evict-vs-pin linux-6.12 holds: violated block-reuse"),
        ("evict-vs-pn linux-6.12 holds", "did you mean evict-vs-pin"),
        ("evict-vs-pin linux-6.12 hold", "not a claim"),
    ],
)
def test_a_claim_that_is_not_so_stops_the_build(claim: str, wrong: str, tmp_path: Path) -> None:
    conf = [  # without the reference, to which the names would be links
        f"import sys; sys.path.insert(0, {str(ROOT / 'docs' / '_ext')!r})",
        'extensions, suppress_warnings = ["myst_parser", "claims"], ["ref.ref"]',
    ]
    (tmp_path / "conf.py").write_text("\n".join(conf), encoding="utf-8")
    (tmp_path / "index.md").write_text(f"# A page\n\n```{{claims}}\n{claim}\n```\n", encoding="utf-8")
    code, said = build(tmp_path, tmp_path / "out")
    assert (code == 0) == (not wrong)
    if wrong:
        assert "index.md:4: " in said and wrong in said
    else:
        assert "violated" in page(tmp_path / "out", "index")
