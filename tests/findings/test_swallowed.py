"""What breaks on a zero that an infinity left behind is the fault of that infinity."""

from __future__ import annotations

import pytest

from floatline.findings.origins import overflows
from tests.findings.evidence import Sketch


def partition(*, empty_rows: bool, other: bool = False) -> Sketch:
    """Log-sum-exp of scores with a forbidden entry of -1e5, cast to float16; and its gradient."""
    sketch = Sketch()
    mask = sketch.add(
        "Cast", inf=9, saturated=9, local_saturated=9, shadow_zero=22, min_abs_nonzero=1e5
    )
    scores = sketch.passes("AddV2", mask)
    zeros = 9 if empty_rows else 0
    terms = sketch.add("Exp", scores, zero=9, flushed=zeros)
    total = sketch.add("Sum", terms, zero=zeros, flushed=zeros)
    sketch.loss(sketch.add("Log", total))
    operation = sketch.overflow if other else sketch.breaks
    back = operation("Reciprocal", total, phase="backward")
    sketch.gradient("block", back, nan=1, poisoned=1)
    return sketch


@pytest.mark.parametrize(
    ("empty_rows", "other", "expected"),
    [(True, False, "FL104"), (False, False, "FL110"), (True, True, "FL110")],
    ids=["an empty row", "zero in float32 as well", "an overflow beside it"],
)
def test_a_mask_is_to_blame_for_a_sum_that_it_emptied(
    empty_rows: bool, other: bool, expected: str
) -> None:
    origin = overflows(partition(empty_rows=empty_rows, other=other).trace())[0]
    assert origin.rule == expected
    assert origin.reach == "confirmed"


def test_a_quotient_by_an_infinity_is_its_zero() -> None:
    sketch = Sketch()
    total = sketch.overflow("Sum", sketch.add("Square"))
    ratio = sketch.add("RealDiv", sketch.add("Relu"), total, zero=9, flushed=9)
    sketch.loss(sketch.breaks("Log", ratio), nan=1, poisoned=1)
    (origin,) = overflows(sketch.trace())
    assert (origin.rule, origin.site.index) == ("FL102", total)
