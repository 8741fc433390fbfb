"""The directive ``{claims}``: what a page says of kernels is checked when the page is built.

A claim that is not so is a warning, which ``make docs`` takes for an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

import zonedev
from claimed import Claim, ClaimError, answered, claim_of, differs
from markup import fenced, linked, table
from zonedev import Verdict, ZonedevError
from zonedev.report import text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)
SOURCES = sorted(Path(zonedev.__file__).parent.rglob("*.py"))


class Claims(SphinxDirective):
    """A claim a line; shown with the answers of the checks, and their counterexamples folded away."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        for source in SOURCES:  # a page is built again, and its claims run again, when the code has changed
            self.env.note_dependency(source)
        found = []
        for number, line in enumerate(self.content, self.lineno + 1):
            if line.strip():
                found += self.checked(line, number)
        return self.parse_text_to_nodes("\n".join(shown(found)))

    def checked(self, line: str, number: int) -> list[tuple[Claim, Verdict]]:
        """A claim with the answer; what is wrong with it is told Sphinx."""
        try:
            claim = claim_of(line, number)
            verdict = answer(claim.scenario, claim.design, tuple(claim.scope.items()))
        except (ClaimError, ZonedevError) as error:
            logger.warning("%s", error, location=(self.env.docname, number))
            return []
        if wrong := differs(claim, verdict):
            logger.warning("%s", wrong, location=(self.env.docname, number))
        return [(claim, verdict)]


@cache
def answer(scenario: str, design: str, scope: tuple[tuple[str, str], ...]) -> Verdict:
    """What the checker says; what two pages claim is checked once."""
    return answered(Claim(0, scenario, design, None, dict(scope)))


def shown(found: list[tuple[Claim, Verdict]]) -> Iterator[str]:
    """A table of the claims, and under it the counterexamples."""
    rows = [
        (linked("scenario", c.scenario) + sizes(c), linked("design", c.design), told(v), f"{v.states:,}")
        for c, v in found
    ]
    yield from table(("scenario", "design", "verdict", "states"), rows)
    for claim, verdict in found:
        if verdict.rule:
            title = f"{claim.scenario}{sizes(claim)}, {claim.design}: the counterexample"
            yield f"<details><summary>{title}</summary>\n"
            yield from fenced(text.render(verdict), "text")
            yield "</details>\n"


def sizes(claim: Claim) -> str:
    return f" ({', '.join(f'{name}={value}' for name, value in claim.scope.items())})" if claim.scope else ""


def told(verdict: Verdict) -> str:
    rule = verdict.rule
    return f"**{verdict.verdict}** {linked('rule', rule)}" if rule else verdict.verdict


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("claims", Claims)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
