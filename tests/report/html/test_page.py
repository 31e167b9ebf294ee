"""The page as text: complete, escaped, self-contained, bounded, the same from a kept diagnosis."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from floatline import records
from floatline.report import json as report_json
from floatline.report import reading
from floatline.report.html.frame import LIGHT
from floatline.report.html.page import data_of, page
from floatline.report.html.runtime import embedded
from tests.report import samples
from tests.report.diagnoses import DIAGNOSES
from tests.report.html import rich

MAX_BYTES = 6_000_000


class Tags(HTMLParser):
    """The elements of a page, what they refer to, and the text of those with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._within: str | None = None
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attributes if k in ("src", "href")]
        self.ids += [v or "" for k, v in attributes if k == "id"]
        self._within = dict(attributes).get("id")

    def handle_endtag(self, tag: str) -> None:
        self._within = None

    def handle_data(self, data: str) -> None:
        if self._within is not None:
            self.texts[self._within] = self.texts.get(self._within, "") + data


@pytest.fixture(scope="module")
def text() -> str:
    return page(rich.diagnosis())


def test_no_text_of_the_model_becomes_an_element(text: str) -> None:
    assert Tags(text).tags.count("script") == 3
    assert rich.EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_the_data_comes_back_as_it_was_put_in(text: str) -> None:
    data = data_of(text)
    labels = {row["label"] for row in data["line"]["traces"][0]["phases"]["forward"]["rows"]}
    assert labels == {*rich.LAYERS, "inputs and loss"}


@pytest.mark.parametrize("evil", ["</script>", "<!--<script>", "a&b", "\u2028", '"\\'])
def test_embedded_text_cannot_leave_its_element(evil: str) -> None:
    written = str(embedded({evil: [evil]}))
    assert not set("<>&\u2028") & set(written)
    assert data_of(f'<script type="application/json" id="data">{written}</script>') == {
        evil: [evil]
    }


def test_it_refers_to_nothing_outside(text: str) -> None:
    tags = Tags(text)
    assert {address[:1] for address in tags.addresses} == {"#"}
    assert {address[1:] for address in tags.addresses} <= set(tags.ids)
    assert len(set(tags.ids)) == len(tags.ids)
    assert "default-src 'none'" in text


def test_it_is_the_same_from_a_kept_diagnosis(text: str) -> None:
    kept = reading.loads(report_json.dumps(rich.diagnosis()))
    assert page(kept) == text


@pytest.mark.parametrize(
    "diagnosis",
    [samples.precision(), samples.healthy(), samples.other("undecided")],
    ids=lambda diagnosis: str(diagnosis.verdict),
)
def test_every_diagnosis_has_a_page(diagnosis: records.Diagnosis) -> None:
    written = page(diagnosis)
    assert diagnosis.explanation in written
    for finding in diagnosis.findings:
        assert finding.cause in written


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(DIAGNOSES)
def test_any_diagnosis_at_all_has_a_page_and_a_card(diagnosis: records.Diagnosis) -> None:
    written = page(diagnosis, Path("/nowhere"))
    assert Tags(written).tags.count("script") == 3
    assert data_of(written)["line"]["formats"]
    assert "<script" not in diagnosis._repr_html_()


def test_what_came_of_changes_in_the_source_is_told_with_a_patch_to_copy(text: str) -> None:
    assert (
        "<b>Tried:</b> the changed script was run (2 runs). Nothing is wrong in 75 steps." in text
    )
    assert "<b>not fixed</b> with 1 change: train.py:4." in text
    assert Tags(text).texts["patch"] == rich.PATCH
    card = rich.diagnosis()._repr_html_()
    assert "Tried: the changed script was run" in card
    assert "<script" not in card
    bare = dataclasses.replace(rich.repair(), rewrites=(), patch=None)
    without = page(dataclasses.replace(rich.diagnosis(), repair=bare))
    assert "Tried:" not in without
    assert 'id="patch"' not in without


def test_a_changed_file_is_named_from_the_working_folder() -> None:
    change = dataclasses.replace(rich.repair().changes[0], file="/home/ada/train.py")
    repair = dataclasses.replace(rich.repair(), changes=(change,), rewrites=())
    written = page(dataclasses.replace(rich.diagnosis(), repair=repair), Path("/home/ada"))
    assert "/home/ada" not in written
    assert '<p class="where">train.py:4</p>' in written


def test_a_diagnosis_is_saved_as_a_page(tmp_path: Path, text: str) -> None:
    rich.diagnosis().save(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text


def test_a_page_of_a_huge_model_is_bounded() -> None:
    wide = records.Statistics(
        count=4, inf=1, max_abs=6e4, exponents=dict.fromkeys(range(-60, 60), 10**9)
    )
    sites = []
    for index in range(20_000):
        phase: records.Phase = ("forward", "backward", "update")[index % 3]
        place = dataclasses.replace(
            samples.DIVISION, layer=f"block_{index // 40}/part_{index % 20}", phase=phase
        )
        sites.append(samples.value(index, wide, place))
    traces = tuple(records.Trace(step, "first", tuple(sites)) for step in range(4))
    evidence = dataclasses.replace(samples.precision().evidence, traces=traces)
    written = page(dataclasses.replace(samples.precision(), evidence=evidence))
    assert len(written.encode()) < MAX_BYTES
    (forward, *_) = data_of(written)["line"]["traces"][0]["phases"].values()
    assert forward["rows"]
    assert data_of(written)["line"]["traces"][0]["left_out"] > 19_000


def test_the_style_has_every_colour_that_drawings_ask_for_light_and_dark(text: str) -> None:
    light, _, dark = text.partition("prefers-color-scheme: dark")
    for name in LIGHT:
        assert re.search(rf"--{name}: #", light), name
        assert re.search(rf"--{name}: #", dark[:2000]), name
