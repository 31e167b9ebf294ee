"""The pages of the rules on a terminal, and their list."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from floatline.findings.page import Page
from floatline.report import layout

_MARK = re.compile(r"\s*[-*] ")


def rule_page(page: Page) -> Group:
    """Everything that is known of a rule, under its headings."""
    parts: list[RenderableType] = [
        Group(Text(f"{page.rule} {page.cause}", style="bold"), Text(page.title))
    ]
    parts += [layout.section(heading, _paragraphs(text)) for heading, text in page.sections]
    return Group(*layout.spaced(parts))


def rule_list(pages: Sequence[Page]) -> Group:
    """Every rule with its cause, and what the fault is."""
    parts: list[RenderableType] = []
    for page in pages:
        parts.append(Text.assemble((page.rule, "bold"), f" {page.cause}"))
        parts.append(layout.indented(Text(page.title)))
    return Group(*parts)


def paragraphs(text: str) -> Iterator[str]:
    r"""Joins the lines that were only broken to fit into the source; entries of lists stay apart.

    Example:

    >>> list(paragraphs("One\ntwo.\n\nThree:\n- a\n  b\n- c"))
    ['One two.', 'Three:', '- a b', '- c']
    """
    gathered: list[str] = []
    for line in [*text.splitlines(), ""]:
        if gathered and (not line.strip() or _MARK.match(line)):
            yield " ".join(gathered)
            gathered = []
        if line.strip():
            gathered.append(line.strip())


def _paragraphs(text: str) -> list[RenderableType]:
    return [
        layout.bullet(paragraph[2:]) if _MARK.match(paragraph) else Text(paragraph)
        for paragraph in paragraphs(text)
    ]
