"""A sum that overflows behind the gradients makes nothing of them; every number stays finite."""

from __future__ import annotations

from typing import Any

import pytest

from floatline.findings.judge import needs_reference
from floatline.records import Evidence, StepRecord, Trace
from tests.findings.evidence import Sketch, conclude, evidence, learns, rules_found, stalls

UPDATE: dict[str, Any] = {"phase": "update", "layer": None}
OVERFLOWS: dict[str, Any] = {**UPDATE, "n": 1, "count": 1, "max_abs": 1e9}
GONE: dict[str, Any] = {"zero": 100, "flushed": 100, "error": 1.0, "computed_max_abs": 0.0}


def clipped(*, squares: str = "vdot", acts: bool = True, dtype: str = "float16") -> Trace:
    """A gradient of norm 3e4 in half precision, divided by it: its squares do not fit.

    Args:
        squares: How they are added up.
        acts: Whether the weight is moved by what was clipped, or the norm only reported.
        dtype: What the norm is computed in.
    """
    sketch = Sketch()
    weight = sketch.add("Parameter", role="parameter", variable="w", dtype="float32")
    loss = sketch.loss(sketch.add("dot_general", weight))
    gradient = sketch.gradient("block", loss, max_abs=1e4, dtype=dtype)
    if dtype == "float32":
        total = sketch.add("dot_general", gradient, dtype=dtype, **UPDATE, count=1, max_abs=1e9)
    elif squares == "vdot":
        total = sketch.overflow("dot_general", gradient, **OVERFLOWS)
    else:
        square = sketch.overflow("square", gradient, **{**OVERFLOWS, "count": 100, "n": 9})
        total = sketch.passes("reduce_sum", square, **{**UPDATE, "count": 1, "n": 1})
    lost = {} if dtype == "float32" else GONE
    factor = sketch.add("div", total, **UPDATE, count=1, max_abs=3e-5)
    moved = (gradient, factor) if acts else (gradient,)
    change = sketch.add("mul", *moved, **UPDATE, **(lost if acts else {}))
    sketch.add("sub", weight, change, dtype="float32", variable="w", **UPDATE)
    return sketch.trace()


def case(trace: Trace, own: tuple[StepRecord, ...], other: tuple[StepRecord, ...]) -> Evidence:
    return evidence([trace], own, other)


@pytest.mark.parametrize("squares", ["vdot", "square"])
def test_a_norm_that_overflows_takes_the_gradient_away(squares: str) -> None:
    harmed = case(clipped(squares=squares), stalls(), learns())
    assert needs_reference(harmed.configuration, harmed.history, harmed.traces)
    judgement = conclude(harmed)
    assert judgement.verdict == "precision"
    assert [finding.rule for finding in judgement.findings] == ["FL102"]
    (finding,) = judgement.findings
    assert finding.phase == "update"
    assert "overflow" in finding.summary


def test_where_training_keeps_pace_it_does_no_harm() -> None:
    assert rules_found(case(clipped(), learns(), learns())) == []


def test_a_norm_that_is_only_reported_is_left_alone() -> None:
    trace = clipped(acts=False)
    assert any(site.statistics.inf for site in trace.sites)
    assert rules_found(case(trace, stalls(), learns())) == []


def test_a_norm_in_float32_is_none() -> None:
    assert rules_found(case(clipped(dtype="float32"), stalls(), learns())) == []


def test_an_infinite_gradient_comes_before_what_is_made_of_it() -> None:
    """A loss scale may discard the step: what is written then says nothing."""
    sketch = Sketch()
    weight = sketch.add("Parameter", role="parameter", variable="w", dtype="float32")
    loss = sketch.loss(sketch.add("dot_general", weight))
    gradient = sketch.gradient("block", loss, inf=1, saturated=1, max_abs=1e6)
    total = sketch.overflow("dot_general", gradient, **OVERFLOWS)
    change = sketch.add("mul", gradient, total, **UPDATE, **GONE)
    sketch.add("sub", weight, change, dtype="float32", variable="w", **UPDATE)
    assert "FL102" not in rules_found(case(sketch.trace(), stalls(), learns()))
