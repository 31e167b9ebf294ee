"""What is made when the site is built: rule pages, a picture, the repository's own documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from floatline.findings.page import markdown, page
from floatline.findings.table import RULES
from floatline.report.files import load
from floatline.report.html.still import pictures

ROOT = Path(__file__).parents[2]

PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        "ARCHITECTURE.md": "architecture.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        "src/floatline/precision/schema/plan-1.json": "schema/plan-1.json",
        "src/floatline/report/schema/diagnosis-2.json": "schema/diagnosis-2.json",
    }
)
"""Files outside of `docs/` to which pages link, and where they are on the site."""

PICTURE = "float-line.png"
DRAWN = ("tests/report/stored/diagnosis-1.json", 2, "backward")
"""The diagnosis, step and phase of the float line that `report.md` shows."""

INDEX = "rules/index.md"
_LINK = re.compile(r"\]\((?:\.\./)?(" + "|".join(map(re.escape, PUBLISHED)) + r")\)")


def rule_pages() -> Mapping[str, str]:
    """Markdown of every rule's page, the text of `floatline explain`, by its place on the site."""
    return {f"rules/{rule.id.lower()}.md": markdown(page(rule)) for rule in RULES}


def rule_index() -> str:
    """Markdown of the list of all rules, the text of `floatline rules`."""
    leaves = [page(rule) for rule in RULES]
    rows = [
        f"| [{leaf.rule}]({leaf.rule.lower()}.md) | {leaf.cause} | {leaf.title} |"
        for leaf in leaves
    ]
    return "\n".join(["# Rules", "", "| rule | root cause | fault |", "|---|---|---|", *rows, ""])


def picture() -> bytes:
    """A float line as PNG, drawn as the report draws it."""
    file, *chosen = DRAWN
    drawn = pictures(load(ROOT / file))
    return next(image for step, phase, image in drawn if [step, phase] == chosen)


def with_links_into_the_site(text: str) -> str:
    """Markdown whose links to published files lead to where these are on the site."""
    return _LINK.sub(lambda link: f"]({PUBLISHED[link[1]]})", text)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts the rules' pages into the navigation."""
    pages = [INDEX, *rule_pages()]
    config.nav = [{"Rules": pages} if INDEX in one.values() else one for one in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is not written in `docs/`."""
    for place, text in {INDEX: rule_index(), **rule_pages()}.items():
        files.append(File.generated(config, place, content=text))
    files.append(File.generated(config, PICTURE, content=picture()))
    for name, place in PUBLISHED.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, **_context: object) -> str:
    """Mends links that are written for readers of the repository."""
    return with_links_into_the_site(markdown)
