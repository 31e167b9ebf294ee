"""Rounded integers that pick rows which are not there, and other integers that break nothing."""

from __future__ import annotations

import pytest

from floatline.records import Evidence
from tests.findings.evidence import NAN, Numbers, Sketch, conclude, evidence, learns, steps


def picked(*, mismatched: int = 50, largest: float = 1399.0, between: int = 0) -> Evidence:
    """Rows of a table, of which some are NaN, taken by ids that came through bfloat16.

    Args:
        mismatched: How many ids are wrong.
        largest: The largest id.
        between: Operations on the ids before they pick: a shift, a bound.
    """
    sketch = Sketch()
    table = sketch.add("Parameter", role="parameter", dtype="float32", variable="ids/table")
    rows = sketch.add("rows", role="input", dtype="float32", layer=None, max_abs=largest)
    low = sketch.add("convert_element_type", rows, dtype="bfloat16", max_abs=largest)
    ids: Numbers = {"dtype": "int32", "mismatched": mismatched, "max_abs": largest}
    index = sketch.add("convert_element_type", low, **ids)
    for _ in range(between):
        index = sketch.add("add", index, **ids)
    taken = sketch.breaks("convert_element_type", table, index, dtype="bfloat16", error=0.6)
    loss = sketch.loss(sketch.passes("dot_general", taken), nan=1, poisoned=1)
    sketch.gradient("block", loss, nan=9, poisoned=9)
    lost = steps([NAN] * 40, bad=range(40))
    return evidence([sketch.trace()], lost, learns())


@pytest.mark.parametrize("between", [0, 1, 2])
def test_ids_that_leave_their_table_are_named_where_they_are_rounded(between: int) -> None:
    judgement = conclude(picked(between=between))
    assert judgement.verdict == "precision"
    first = judgement.findings[0]
    assert first.rule == "FL303"
    assert first.place is not None
    assert first.place.source is not None
    assert first.place.source.line == 12
    assert "50 of 100 come out wrong at train.py:13" in first.summary


@pytest.mark.parametrize("numbers", [{"mismatched": 0}, {"largest": 200.0}])
def test_ids_that_are_right_or_that_the_format_holds_are_not_blamed(numbers: Numbers) -> None:
    assert conclude(picked(**numbers)).findings[0].rule != "FL303"
