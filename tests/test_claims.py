"""How the pages' `{claims}` are read and checked; tests/test_sphinx.py builds the pages, which checks all."""

from __future__ import annotations

from pathlib import Path

import pytest

from claimed import ROOT, Claim, ClaimError, claims_in, verify
from test_docs import PAGES

PAGE = """
# A page

```{claims}
three-states  linux-7.2             holds

evict-vs-pin  linux-6.1   size=pmd  violated block-reuse
truncate-vs-pin linux-5.10 pages=2,size=pmd holds
```

````md
```{claims}
what a block looks like
```
````
"""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_claimed_twice(page: Path) -> None:
    claims = [str(claim) for claim in claims_in(page.read_text(encoding="utf-8"))]
    assert claims or page != ROOT / "docs" / "lifetimes.md"
    assert sorted(claims) == sorted(set(claims))


def test_claims_are_read() -> None:
    assert claims_in(PAGE) == [
        Claim(5, "three-states", "linux-7.2"),
        Claim(7, "evict-vs-pin", "linux-6.1", "block-reuse", {"size": "pmd"}),
        Claim(8, "truncate-vs-pin", "linux-5.10", None, {"pages": "2", "size": "pmd"}),
    ]
    assert [str(claim) for claim in claims_in(PAGE)] == [
        "three-states linux-7.2 holds",
        "evict-vs-pin linux-6.1 size=pmd violated block-reuse",
        "truncate-vs-pin linux-5.10 pages=2,size=pmd holds",
    ]


def test_a_wrong_claim_is_noticed() -> None:
    for said, wrong in {
        "three-states linux-7.2 violated page-lifetime": "line 9: {}: holds",
        "evict-vs-pin linux-6.1 holds": "line 9: {}: violated block-reuse",
        "evict-vs-pin linux-6.1 violated page-lifetime": "line 9: {}: violated block-reuse",
        "evict-vs-pin linux-7.2 size=pud holds": "line 9: {}: scope size=pud: choose one of pte, pmd",
        "devdax-pinners-vs-unbind linux-5.10 holds": "line 9: {}: undetermined",
        "evict-pin linux-6.1 holds": "line 9: {}: no scenario 'evict-pin'",
        "evict-vs-pin linux-6.3 holds": "line 9: {}: no design 'linux-6.3'",
        "evict-vs-pin examples/none.py:None holds": "line 9: {}: examples/none.py: no such file",
    }.items():
        (claim,) = claims_in("\n" * 7 + f"```{{claims}}\n{said}\n```\n")
        assert (verify(claim) or "").startswith(wrong.format(said)), said


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("evict-vs-pin linux-6.1", "line 2: not a claim: 'evict-vs-pin linux-6.1': write SCENARIO DESIGN"),
        ("evict-vs-pin linux-6.1 violated", "line 2: not a claim"),
        ("evict-vs-pin linux-6.1 holds block-reuse", "line 2: not a claim"),
        ("evict-vs-pin linux-6.1 pages=1 size=pmd holds", "line 2: not a claim"),
        ("evict-vs-pin linux-6.1 pmd holds", "line 2: not a scope: 'pmd': write NAME=VALUE"),
        ("evict-vs-pin linux-6.1 size=pmd, holds", "line 2: not a scope: 'size=pmd,'"),
    ],
)
def test_a_line_that_is_no_claim_is_refused(text: str, error: str) -> None:
    with pytest.raises(ClaimError) as raised:
        claims_in(f"```{{claims}}\n{text}\n```\n")
    assert str(raised.value).startswith(error)


def test_a_block_that_is_not_closed_is_refused() -> None:
    with pytest.raises(ClaimError, match=r"line 2: a block of claims that is not closed"):
        claims_in("Text.\n```{claims}\nthree-states linux-7.2 holds\n")


def test_a_claim_is_checked_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    design = "examples/final_put.py:FinalPut"
    assert verify(Claim(1, "devdax-unbind-vs-pin", design)) is None
