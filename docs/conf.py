"""Sphinx: ``make docs`` builds the pages into build/docs, and runs every claim that they make."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "zonedev"
extensions = ["myst_parser", "sphinx.ext.autodoc", "reference", "claims"]

exclude_patterns = ["_ext"]

myst_heading_anchors = 3
myst_linkify_fuzzy_links = False
# What a page shows is set by its writer, to the letter.
smartquotes = False
# Of a command there is what is typed, and what it prints: no language.
highlight_language = "none"
autodoc_typehints_format = "short"
add_module_names = False

html_static_path = ["_static"]
html_css_files = ["zonedev.css"]
html_theme = "furo"
html_title = "zonedev"
html_show_sourcelink = False
html_show_copyright = False


def setup(app: Sphinx) -> None:
    app.add_lexer("mermaid", TextLexer)  # which Pygments does not know
