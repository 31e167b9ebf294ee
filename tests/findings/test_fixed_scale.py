"""A loss scale that is a number of the code is blamed where a smaller one would fit."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.findings.fixed_scale import fixed_scale, shown_scale
from floatline.records import Evidence, History
from tests.findings.evidence import NAN, Numbers, Sketch, conclude, evidence, learns, steps

LARGEST = 98304.0
"""The gradient that overflows, at the scale; float16 ends at 65504."""


def scaled_by_hand(scale: float, *, largest: float = LARGEST, divided: bool = True) -> Evidence:
    """`(scale * loss).backward()`, and each gradient divided by the scale again."""
    sketch = Sketch()
    small = sketch.loss(sketch.add("mm"), max_abs=2.0)
    sketch.losses = [sketch.add("mul", small, layer=None, count=1, shape=(), max_abs=2.0 * scale)]
    back = sketch.overflow(
        "mm", sketch.losses[0], phase="backward", max_abs=largest, exponents={16: 2, 10: 98}
    )
    options: Numbers = {
        "inf": 2,
        "saturated": 2,
        "max_abs": largest / scale if divided else largest,
    }
    sketch.gradient("block", back, inf=2, saturated=2, max_abs=largest)
    sketch.add("div", back, phase="update", layer=None, dtype="float32", **options)
    lost = steps([1.0, *[NAN] * 39], bad=range(40))
    return evidence([sketch.trace()], lost, learns())


@pytest.mark.parametrize("scale", [128.0, 1000.0, 65536.0])
def test_its_number_and_what_would_fit_are_told(scale: float) -> None:
    case = scaled_by_hand(scale)
    found = fixed_scale(case.traces[0])
    assert found is not None
    assert found.scale == pytest.approx(scale)
    assert found.fits <= scale * 65504 / LARGEST < 2 * found.fits
    judgement = conclude(case)
    assert judgement.verdict == "precision"
    assert [f.rule for f in judgement.findings] == ["FL402"]
    assert judgement.findings[0].place == case.traces[0].sites[found.site.index].place


@pytest.mark.parametrize("divided", [True, False])
def test_a_step_may_return_its_loss_unscaled(divided: bool) -> None:
    """What is divided for show is no gradient, however."""
    case = scaled_by_hand(128.0, divided=divided)
    sketch = Sketch()
    sketch.sites = list(case.traces[0].sites)
    (scaled,) = case.traces[0].losses
    shown = sketch.add("div", scaled, layer=None, count=1, shape=(), phase="update", max_abs=2.0)
    trace = dataclasses.replace(case.traces[0], sites=tuple(sketch.sites), losses=(shown,))
    found = fixed_scale(trace)
    assert (found is not None) is divided
    assert found is None or found.site.index == scaled


def test_a_weight_of_the_loss_is_no_scale() -> None:
    assert fixed_scale(scaled_by_hand(128.0, divided=False).traces[0]) is None


def test_where_no_scale_would_fit_the_operation_is_to_blame() -> None:
    case = scaled_by_hand(2.0, largest=1e6)
    assert [f.rule for f in conclude(case).findings] == ["FL110"]


@pytest.mark.parametrize("scale", [128.0, 1000.0, 65536.0])
def test_what_is_in_every_loss_is_known(scale: float) -> None:
    case = scaled_by_hand(scale)
    assert shown_scale(case.history, case.traces) == scale


def test_what_may_have_changed_is_not_taken_for_a_number() -> None:
    case, other = scaled_by_hand(128.0), scaled_by_hand(64.0)
    some = History(steps([1.0] * 40, bad=range(3)))
    assert shown_scale(case.history, (*case.traces, *other.traces)) == 1.0
    assert shown_scale(some, case.traces) == 1.0
    assert shown_scale(case.history, ()) == 1.0


def test_what_gradients_keep_is_a_weight_of_the_loss() -> None:
    case = scaled_by_hand(128.0, divided=False)
    assert shown_scale(case.history, case.traces) == 1.0


def test_a_scale_that_is_no_number_of_the_code_may_change() -> None:
    case = scaled_by_hand(128.0)
    (trace,) = case.traces
    (index,) = trace.losses
    sketch = Sketch()
    sketch.sites = list(trace.sites)
    variable = sketch.add("scale", role="parameter", layer=None, count=1, shape=(), max_abs=128.0)
    inputs = (*trace.sites[index].inputs, variable)
    sketch.sites[index] = dataclasses.replace(trace.sites[index], inputs=inputs)
    assert shown_scale(case.history, [dataclasses.replace(trace, sites=tuple(sketch.sites))]) == 1.0
