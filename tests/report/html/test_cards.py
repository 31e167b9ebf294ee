"""What notebooks show: compact, escaped, and without any script."""

import dataclasses

from floatline.precision.inspection import Inspection, LayerInspection
from floatline.report.html.cards import MAX_ROWS
from tests.report import samples
from tests.report.html import rich


def test_a_diagnosis_shows_its_verdict_findings_and_lines() -> None:
    card = rich.diagnosis()._repr_html_()
    assert "The precision is at fault." in card
    assert "loss-scale-too-low" in card
    assert "train.py:" in card
    assert "<script" not in card
    assert len(card) < 10_000


def test_a_healthy_diagnosis_has_no_list() -> None:
    card = samples.healthy()._repr_html_()
    assert "Healthy" in card
    assert "<ol>" not in card


def test_an_inspection_is_a_table_of_its_layers() -> None:
    layer = LayerInspection(rich.EVIL, "Dense", "mixed_float16", "float32", "float16")
    found = Inspection("net", 32, (layer,), (), "Adam")
    card = found._repr_html_()
    assert "&lt;script&gt;" in card
    assert "<script" not in card
    assert "float16" in card
    assert "further layers" not in card
    many = dataclasses.replace(found, layers=(layer,) * (MAX_ROWS + 7))
    assert "7 further layers" in many._repr_html_()
