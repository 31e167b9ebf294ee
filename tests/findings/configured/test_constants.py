"""Numbers that a format does not hold, judged by what they do: plain numbers, no framework."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from floatline.findings.configured.note import ConfigurationNote
from floatline.findings.configured.setup import LayerSetup, NumberUse, Role, Setup
from floatline.findings.configured.table import configuration_notes
from floatline.findings.table import rule_named
from floatline.formats import FORMATS
from floatline.records import SourceLine

LINE = SourceLine("train.py", 31)


def notes(
    *uses: NumberUse, dtype: str = "float16", backend: str = "jax"
) -> tuple[ConfigurationNote, ...]:
    layer = LayerSetup("norm", "Norm", dtype, SourceLine("train.py", 7), numbers=uses)
    return configuration_notes(Setup(backend, "float32", (layer,)))


def told(found: Iterable[ConfigurationNote]) -> list[tuple[str, str]]:
    return [(note.rule, note.grade) for note in found]


@pytest.mark.parametrize(
    ("value", "role", "expected"),
    [
        (1e-8, "added", ("FL203", "wrong")),
        (1e-8, "epsilon", ("FL203", "wrong")),
        (1e-12, "root", ("FL203", "risk")),
        (-1e9, "root", ("FL104", "wrong")),
        (1e-12, "lower bound", ("FL203", "risk")),
        (1e-12, "length", ("FL203", "risk")),
        (1e-9, "divisor", ("FL203", "wrong")),
        (1e-9, "factor", ("FL204", "wrong")),
        (-1e9, "factor", ("FL104", "wrong")),
        (-1e9, "added", ("FL104", "wrong")),
        (-1e9, "selected", ("FL104", "risk")),
        (3e5, "divisor", ("FL204", "wrong")),
        (1 - 1e-7, "upper bound", ("FL305", "risk")),
        (1e-10, "scale", ("FL204", "wrong")),
        (1e6, "scale", ("FL105", "wrong")),
        (1e6, "offset", ("FL105", "wrong")),
        (3e5, "mean", ("FL105", "wrong")),
    ],
)
def test_what_the_format_does_not_hold(value: float, role: Role, expected: object) -> None:
    assert told(notes(NumberUse("n", value, role))) == [expected]


@pytest.mark.parametrize(
    ("value", "role"),
    [
        (1e-7, "added"),
        (1e-3, "epsilon"),
        (1e-7, "lower bound"),
        (-3e4, "factor"),
        (65504.0, "selected"),
        (1e5, "upper bound"),
        (-1e5, "lower bound"),
        (0.99, "upper bound"),
        (1.0, "upper bound"),
        (0.0, "added"),
        (0.0, "factor"),
        (0.0, "scale"),
        (math.inf, "selected"),
        (-math.inf, "added"),
        (-1.0, "mask value"),
        (20000.0, "mean"),
    ],
)
def test_what_is_clear(value: float, role: Role) -> None:
    assert notes(NumberUse("n", value, role)) == ()


def test_float32_and_bfloat16_hold_more() -> None:
    uses = (NumberUse("eps", 1e-12, "added"), NumberUse("mask", -1e9, "factor"))
    assert notes(*uses, dtype="float32") == ()
    assert notes(*uses, dtype="bfloat16") == ()
    assert told(notes(NumberUse("eps", 1e-45, "added"), dtype="bfloat16")) == [("FL203", "wrong")]


def test_what_may_be_float32_is_a_risk() -> None:
    (note,) = notes(NumberUse("self.eps", 1e-8, "added", LINE, certain=False))
    assert note.grade == "risk"
    assert note.told_by_a_run
    assert "unless it is computed in float32 there" in note.reason


def test_what_a_framework_does_not_round_harms_less() -> None:
    factor = NumberUse("n", 1e-9, "factor", rounded=False)
    divisor = NumberUse("n", 3e5, "divisor", rounded=False)
    assert notes(factor, divisor) == ()
    assert told(notes(NumberUse("n", -1e9, "factor", rounded=False))) == [("FL104", "risk")]


def test_a_note_says_where_what_why_and_what_to_do() -> None:
    (note,) = notes(NumberUse("self.eps", 1e-8, "added", LINE))
    assert note.cause == rule_named(note.rule).cause
    assert note.place == "layer 'norm' (train.py:31)"
    assert note.setting == "self.eps = 1e-08 in float16"
    assert note.reason.startswith("it is 0 in float16")
    assert "1e-4 or more" in note.change
    assert note.numbers == {"value": 1e-8, "held": 0.0, "format_max": 65504.0}


def test_without_a_line_of_its_own_a_number_has_that_of_its_layer() -> None:
    (note,) = notes(NumberUse("epsilon", 1e-8, "epsilon"))
    assert note.source == SourceLine("train.py", 7)


@pytest.mark.parametrize(
    ("value", "rule"), [(-9999.0, "FL303"), (-1e9, "FL104"), (1e-9, "FL203"), (0.1, "FL303")]
)
def test_a_mask_value_that_is_rounded(value: float, rule: str) -> None:
    use = NumberUse("mask_value", value, "mask value")
    assert told(notes(use, backend="tensorflow")) == [(rule, "wrong")]
    assert told(notes(use, backend="torch")) == [(rule, "risk")]


def test_a_spread_below_the_distance_of_numbers() -> None:
    (note,) = notes(NumberUse("the mean of a feature", 20000.0, "mean", spread=1.0))
    assert (note.rule, note.grade) == ("FL105", "risk")
    assert "16 apart" in note.reason
    assert notes(NumberUse("the mean of a feature", 20000.0, "mean", spread=100.0)) == ()
    assert notes(NumberUse("the mean of a feature", 20000.0, "mean", spread=0.0)) == ()


ROLES = ("added", "factor", "divisor", "selected", "epsilon", "scale", "offset", "mean")


@given(
    value=st.floats(2.0**-24, 65504.0), role=st.sampled_from(ROLES), sign=st.sampled_from((-1, 1))
)
def test_no_number_that_the_format_holds_is_wrong(value: float, role: Role, sign: int) -> None:
    assert notes(NumberUse("n", sign * value, role)) == ()


@given(value=st.floats(allow_nan=False), role=st.sampled_from(ROLES))
def test_wrong_is_only_what_is_zero_or_infinite(value: float, role: Role) -> None:
    held = FORMATS["float16"].rounded(value)
    for note in notes(NumberUse("n", value, role)):
        assert math.isfinite(value)
        assert (held == 0 and value != 0) or math.isinf(held)
        assert rule_named(note.rule).cause == note.cause
