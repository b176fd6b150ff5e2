"""Sphinx: Markdown pages, the API from docstrings; `make docs` builds them and fails on every warning."""

from __future__ import annotations

import re
from typing import Any

project = "pam"
author = "the pam authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]
nitpicky = False  # docstrings name types of other libraries, whose pages are not looked up: a build needs no network

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "pam"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_theme_options = {"footer_icons": [], "top_of_page_buttons": []}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

# Files beside the pages that pages link to, and that are no pages themselves.
FOLDERS = r"cluster|reports|pam|tests|tune_spaces|README\.md|CHANGELOG\.md"
REPOSITORY = re.compile(rf"(?<!!)\[(?P<words>[^\]]*)\]\((?:\.\./)+(?P<path>(?:{FOLDERS})[^)#]*)[^)]*\)")


def plain_docstring(_app: object, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Docstrings are plain prose with `code`, and tables by indentation: nothing else in them is markup."""
    paragraphs = "\n".join(lines).strip("\n").split("\n\n")
    lines[:] = [line for paragraph in paragraphs for line in [*_laid_out(paragraph.split("\n")), ""]]


def _laid_out(paragraph: list[str]) -> list[str]:
    escaped = [re.sub(r"([\\*|])|(?<=\w)(_)(?=\W|$)", r"\\\g<0>", line).rstrip() for line in paragraph]
    shown = [re.sub(r"`+([^`]+)`+", r"``\1``", line) for line in escaped]
    shown = [re.sub(r"``[^`]+``", lambda code: code.group().replace("\\", ""), line) for line in shown]
    return [f"| {line}" for line in shown] if any(line.startswith(" ") for line in paragraph) else shown


def short_names(
    _app: object, _what: str, _name: str, _object: object, _options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Types by their own names: `Mapping`, not `~collections.abc.Mapping`."""
    found = [
        text and re.sub(r"~?\b(?:[a-z_]\w*\.)+(?=[A-Z])", "", text).replace("~", "") for text in (signature, returns)
    ]
    return found[0], found[1]


def repository_links(_app: object, _name: str, source: list[str]) -> None:
    """Links to files of the checkout that are no pages: their names stay, as code."""
    source[0] = REPOSITORY.sub(lambda link: f"{link['words']} (`{link['path']}` in the checkout)", source[0])


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", plain_docstring)
    app.connect("autodoc-process-signature", short_names)
    app.connect("source-read", repository_links)
