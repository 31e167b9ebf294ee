"""A rule's page, parsed from its docstring; `floatline explain` and the docs are made from it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from floatline.errors import InputError
from floatline.findings.rule import Rule

HEADINGS: tuple[str, ...] = (
    "What it means",
    "Evidence",
    "Why it matters",
    "Remedy",
    "When it is harmless",
    "References",
)
"""Every page has these headings, in this order, and no others."""


@dataclass(frozen=True, slots=True)
class Page:
    """What `floatline explain` shows.

    Attributes:
        rule: `"FLnnn"`.
        cause: Name of the root cause.
        title: The fault in one sentence.
        sections: Heading and text, in the order of `HEADINGS`.
    """

    rule: str
    cause: str
    title: str
    sections: tuple[tuple[str, str], ...]


def page(rule: Rule) -> Page:
    """Parses the docstring of a rule's class.

    Example:

    >>> from floatline.findings.table import rule_named
    >>> page(rule_named("FL103")).title
    'An exponential leaves the range of the format.'
    """
    lines = inspect.cleandoc(type(rule).__doc__ or "").splitlines()
    marks = [i for i, line in enumerate(lines) if line.endswith(":") and line[:1].strip()]
    ends = [*marks[1:], len(lines)]
    sections = tuple(
        (lines[start][:-1], inspect.cleandoc("\n".join(["", *lines[start + 1 : end]])))
        for start, end in zip(marks, ends, strict=True)
    )
    headings = tuple(heading for heading, _ in sections)
    if headings != HEADINGS:
        raise InputError(f"The page of {rule.id} has the headings {headings}.", f"Use {HEADINGS}.")
    return Page(rule.id, rule.cause, " ".join(lines[: marks[0]]).strip(), sections)


def markdown(leaf: Page) -> str:
    """The page as Markdown text.

    Example:

    >>> from floatline.findings.table import rule_named
    >>> markdown(page(rule_named("FL103"))).splitlines()[0]
    '# FL103: exp-overflow'
    """
    parts = [f"# {leaf.rule}: {leaf.cause}", leaf.title]
    for heading, text in leaf.sections:
        parts += [f"## {heading}", text]
    return "\n\n".join(parts) + "\n"
