"""The documentation site: built strictly, complete, without a broken link, and asking nobody."""

from __future__ import annotations

import functools
import re
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

import floatline
from floatline.findings.page import page as rule_page
from floatline.findings.rule import Rule
from floatline.findings.table import RULES
from floatline.formats import FORMATS
from floatline.report.explain import paragraphs
from tests.architecture import laws
from tests.docs import site

Pages = dict[Path, site.Page]
DOCS = laws.ROOT / "docs"


def squeezed(text: str) -> str:
    """Letters and digits: what is left of a text whatever marks it up."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


def test_every_document_is_a_page(built: Path, pages: Pages) -> None:
    for document in DOCS.glob("*.md"):
        assert (built / document.with_suffix(".html").name).resolve() in pages


def test_the_report_is_explained_with_a_picture_of_its_float_line(
    built: Path, pages: Pages
) -> None:
    assert "float-line.png" in pages[(built / "report.html").resolve()].loaded
    assert (built / "float-line.png").read_bytes().startswith(b"\x89PNG")


def test_no_link_is_broken(pages: Pages) -> None:
    assert list(site.broken_links(pages)) == []


def test_no_page_loads_anything_from_elsewhere(built: Path, pages: Pages) -> None:
    styles = [path.read_text(encoding="utf-8") for path in built.rglob("*.css")]
    assert styles
    assert [site.elsewhere(page.loaded) for page in pages.values()] == [[]] * len(pages)
    assert [site.elsewhere(site.loaded_by_style(css)) for css in styles] == [[]] * len(styles)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_every_rule_has_a_page_with_its_text(rule: Rule, built: Path, pages: Pages) -> None:
    leaf = rule_page(rule)
    shown = squeezed(pages[(built / "rules" / f"{leaf.rule.lower()}.html").resolve()].text)
    assert squeezed(leaf.title) in shown
    for heading, text in leaf.sections:
        assert squeezed(heading) in shown
        for paragraph in paragraphs(text):
            assert squeezed(_without_addresses(paragraph)) in shown


def _without_addresses(markdown: str) -> str:
    return re.sub(r"\]\([^)]*\)", "]", markdown)


def test_the_list_of_rules_leads_to_every_page(built: Path, pages: Pages) -> None:
    links = pages[(built / "rules" / "index.html").resolve()].links
    assert {f"{rule.id.lower()}.html" for rule in RULES} <= set(links)


def test_every_public_name_has_its_reference_with_examples_as_code(
    built: Path, pages: Pages
) -> None:
    reference = pages[(built / "reference.html").resolve()]
    assert {f"floatline.{name}" for name in floatline.__all__} <= reference.anchors
    assert ">>> " in reference.text
    assert "<blockquote" not in reference.html  # what Markdown makes of >>> outside of code


def test_the_concepts_know_the_formats() -> None:
    rows = re.findall(
        r"^\| (\w+) \| 2\^(-\d+)[^|]*\| 2\^(-\d+)[^|]*\| (\S+) \| (\d+) \|$",
        (DOCS / "concepts.md").read_text(encoding="utf-8"),
        re.M,
    )
    assert [name for name, *_ in rows] == ["float32", "bfloat16", "float16"]
    for name, subnormal, normal, largest, bits in rows:
        kind = FORMATS[name]
        assert (2.0 ** int(subnormal), 2.0 ** int(normal)) == (kind.min_subnormal, kind.min_normal)
        assert float(largest) == pytest.approx(kind.max_finite, rel=0.01)
        assert int(bits) == kind.precision_bits


def test_the_figures_beside_peers_are_the_measured_ones() -> None:
    page = " ".join((DOCS / "peers.md").read_text(encoding="utf-8").split())
    models = ["healthy_mlp", "healthy_lstm", "conv_policy_before"]
    rows = _rows("peers-tensorflow-cpu.md", models)
    theirs, ours = [row[3] for row in rows], [row[4] for row in rows]
    assert f"took {ours[0]}, {ours[1]} and {ours[2]} times the plain step" in page
    assert f"FULL_HEALTH took {theirs[0]}, {theirs[1]} and {theirs[2]}" in page
    zoo = "zoo-tensorflow-cpu.md"
    for tool in ("Floatline", "Keras `TerminateOnNaN`", "TensorFlow Debugger V2, `InfNanMonitor`"):
        _, alarm, cause, place, _, _, healthy, _ = (_counts(c) for c in _rows(zoo, [tool])[-1])
        shown = f"| {tool} | {alarm} | {place} | {cause.replace('-', 'names none')} | {healthy} |"
        assert shown in page
    names = ("PyTorch", "JAX", "TensorFlow")
    torch, jax, tf = (float(_rows("backends-h200.md", [name])[0][6]) for name in names)
    assert f"took {torch:.0f} times the plain step with PyTorch, {jax:.0f} times with JAX" in page
    assert f"and {tf:.0f} times with TensorFlow" in page


def _counts(cell: str) -> str:
    return re.sub(r" \(.*", "", cell)


def _rows(name: str, firsts: list[str]) -> list[list[str]]:
    """Rows of a table of measurements that begin with these words."""
    lines = (laws.ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for first in firsts for row in rows if row[0] == first]


@pytest.fixture
def address(built: Path) -> Iterator[str]:
    """The site on a server of this machine."""
    handler = functools.partial(_Silent, directory=str(built))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.mark.parametrize("name", ["index", "tutorial", "reference", "rules/fl103"])
def test_a_browser_opens_it_without_a_complaint_and_asks_nobody_else(
    browser: Browser, address: str, name: str
) -> None:
    page = browser.new_page()
    asked: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(f"{address}{name}.html", wait_until="networkidle")
    page.close()
    assert complaints == []
    assert [one for one in asked if not one.startswith(address)] == []


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    for name in ("docs", "examples"):
        shutil.copytree(laws.ROOT / name, tmp_path / name)
    for name in (
        "src",
        "tests",
        "mkdocs.yml",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
    ):
        (tmp_path / name).symlink_to(laws.ROOT / name)
    (tmp_path / "docs" / "index.md").write_text("# Home\n\n[lost](nowhere.md)\n")
    done = site.build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode == 1
    (warning,) = [line for line in done.stderr.splitlines() if line.startswith("WARNING")]
    assert "nowhere.md" in warning


def test_the_guards_can_fail(tmp_path: Path) -> None:
    html = '<p id="a"><a href="#b">x</a><a href="c.html">y</a><img src="https://host/d.png">'
    page = site.Page(f"{html}<style>p {{ background: url(//host/e.png) }}</style>")
    assert site.elsewhere(page.loaded) == ["https://host/d.png", "//host/e.png"]
    path = tmp_path / "page.html"
    path.touch()
    assert sorted(site.broken_links({path: page})) == [
        "page.html leads to #b: no such place",
        "page.html leads to c.html",
    ]
