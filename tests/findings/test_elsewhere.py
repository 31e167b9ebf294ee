"""A bill of health is one for this device: what others compute in 16 bits is told, and weighed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from floatline.findings.elsewhere import lost_elsewhere, only_here
from floatline.findings.judge import judge
from floatline.records import Trace, Widened
from tests.findings.evidence import Numbers, Sketch
from tests.findings.widths import wide_here


def held_here(dtype: str | None, **numbers: Any) -> Trace:
    sketch = Sketch()
    sketch.add("mul", dtype="float32", **numbers)
    trace = sketch.trace()
    return dataclasses.replace(
        trace, sites=(dataclasses.replace(trace.sites[0], dtype_elsewhere=dtype),)
    )


@pytest.mark.parametrize(
    ("dtype", "numbers", "overflows", "flushed"),
    [
        ("float16", {"max_abs": 65505.0, "exponents": {15: 4}}, True, 0.0),
        ("float16", {"max_abs": 2.0**-26, "exponents": {-26: 3}}, False, 1.0),
        ("float16", {"max_abs": 2.0**-24, "exponents": {-24: 1, -26: 4}}, False, 0.5),
    ],
)
def test_what_16_bits_cannot_hold_is_lost(
    dtype: str, numbers: Numbers, overflows: bool, flushed: float
) -> None:
    (loss,) = lost_elsewhere(held_here(dtype, **numbers))
    assert loss.overflows == overflows
    assert loss.flushed == pytest.approx(flushed)


@pytest.mark.parametrize(
    ("dtype", "numbers"),
    [
        (None, {"max_abs": 1e6, "exponents": {19: 4}}),
        ("bfloat16", {"max_abs": 1e6, "exponents": {19: 4}}),
        ("float16", {"max_abs": 65504.0, "exponents": {15: 4}}),
        ("float16", {"max_abs": 1.0, "exponents": {0: 4, -30: 4}}),
    ],
)
def test_what_fits_or_is_held_so_everywhere_is_not(dtype: str | None, numbers: Numbers) -> None:
    assert list(lost_elsewhere(held_here(dtype, **numbers))) == []


def test_the_explanation_speaks_of_this_device_and_of_the_others() -> None:
    said = judge(wide_here())
    assert said.verdict == "healthy"
    assert "keeps pace with float32's" in said.explanation
    assert ", as it computes here. On this device 3 operations" in said.explanation
    assert said.explanation.endswith("(arctan2) ran in float32; on a GPU they run in float16.")
    (caution,) = said.findings
    assert (caution.rule, caution.severity) == ("FL503", "advice")
    assert "would overflow: it reaches 5e+05 here" in caution.summary


def test_the_step_that_did_most_so_is_told() -> None:
    few = Trace(0, "first", (), widened=(Widened("softmax", "float16", 1),))
    many = Trace(1, "last", (), widened=(Widened("matmul", "float16", 4),))
    assert "4 operations of a step (matmul)" in str(only_here([few, many]))
    assert "1 operation of a step (softmax)" in str(only_here([few]))
    assert only_here([Trace(0, "first", ())]) is None
