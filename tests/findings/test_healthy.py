"""What looks wrong and is not: a false alarm is as bad as a miss."""

from __future__ import annotations

import pytest

from floatline.findings.judge import judge, needs_reference
from floatline.records import Evidence, History, StepRecord
from tests.findings.evidence import (
    Build,
    Numbers,
    Sketch,
    configuration,
    curve,
    evidence,
    learns,
    stalls,
    steps,
)
from tests.findings.patients import PATIENTS, backward, flushing, mask, position, variance


def same_training(case: Evidence, own: tuple[StepRecord, ...] | None = None) -> Evidence:
    """The same traces in a training that does as well as float32."""
    config = configuration(scaling=case.configuration.loss_scaling)
    return evidence(case.traces, own or learns(), learns(), learns(), config)


def is_healthy(case: Evidence) -> None:
    judgement = judge(case)
    assert judgement.findings == ()
    assert judgement.verdict == "healthy", judgement.explanation


@pytest.mark.parametrize("skips", range(7))
def test_search_for_a_loss_scale(skips: int) -> None:
    """The backward pass overflows in the skipped steps, and then no more."""
    is_healthy(same_training(backward(), steps(curve(1.0, 0.1), range(skips), 2.0**15)))


def test_one_skip_every_two_thousand_steps() -> None:
    own = steps(curve(1.0, 0.1, 6000), (0, 2001, 4001), 2.0**15)
    is_healthy(evidence(backward().traces, own))


def test_search_needs_no_reference() -> None:
    own = steps(curve(1.0, 0.1), range(3), 2.0**15)
    case = backward()
    assert not needs_reference(case.configuration, own_history(own), case.traces)


def own_history(own: tuple[StepRecord, ...]) -> History:
    return evidence((), own).history


def test_well_fitted_classifier_whose_probabilities_round_to_one() -> None:
    """80 % of the gradient is 0 because p is 1: a consequence, no operation underflows."""
    traces = []
    for step, share in ((0, 0), (39, 80)):
        sketch = Sketch()
        rounded: Numbers = {"flushed": share, "zero": share, "error": share / 100}
        seed = sketch.add("Sub", sketch.loss(), phase="backward", dtype="float32", **rounded)
        sketch.gradient("block", sketch.add("MatMul", seed, phase="backward", **rounded), **rounded)
        traces.append(sketch.trace(step, "first" if step == 0 else "last", 2.0**15))
    well = steps(curve(0.7, 2e-4))
    is_healthy(evidence(traces, well, steps(curve(0.7, 1e-4))))
    is_healthy(evidence(traces, well))


@pytest.mark.parametrize("scale", [None, 2.0**15])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_flushed_gradients_that_do_not_matter(share: float, scale: float | None) -> None:
    traces = [flushing(scale, 0.0), flushing(scale, share, step=39)]
    config = configuration(scaling=scale is not None)
    is_healthy(evidence(traces, learns(), learns(), learns(), config))


def test_bias_gradients_that_a_normalisation_cancels() -> None:
    """Nothing but rounding noise in float32, 0 here, in 1 % of the elements."""
    traces = []
    for step in (0, 39):
        sketch = Sketch()
        loss = sketch.loss()
        gone: Numbers = {"flushed": 16, "zero": 16, "local_flushed": 16, "error": 1.0, "count": 16}
        back = sketch.add("MatMul", loss, phase="backward")
        sketch.gradient("bias", sketch.add("Sum", back, phase="backward", **gone), **gone)
        sketch.gradient("block", back, count=1600)
        traces.append(sketch.trace(step, "first" if step == 0 else "last"))
    is_healthy(evidence(traces, learns(), learns(), config=configuration(scaling=False)))


def test_attention_probabilities_that_vanish() -> None:
    sketch = Sketch()
    vanished: Numbers = {"flushed": 60, "zero": 60, "local_flushed": 60, "error": 1e-5}
    weights = sketch.add("Softmax", sketch.add("BatchMatMulV2"), **vanished)
    loss = sketch.loss(sketch.add("BatchMatMulV2", weights))
    sketch.gradient("block", loss, error=0.3)
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)], stalls(), learns(), stalls()))


def test_zeros_of_dropout_and_relu() -> None:
    sketch = Sketch()
    zeros = sketch.add("Relu", sketch.add("MatMul"), zero=60, shadow_zero=60)
    sketch.gradient("block", sketch.loss(zeros), zero=60, shadow_zero=60)
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)]))


def test_random_labels_that_float32_does_not_learn_either() -> None:
    flat = steps([0.72 - 0.0005 * i for i in range(40)])
    case = evidence(position().traces, flat, flat, flat)
    is_healthy(case)


def test_large_activations_that_fit() -> None:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul", max_abs=65000.0)))
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)]))


def test_minus_infinity_as_a_mask_in_float32_too() -> None:
    sketch = Sketch()
    infinite: Numbers = {"inf": 1, "shadow_inf": 1}
    mask_value = sketch.literal(float("-inf"), **infinite)
    scores = sketch.add("SelectV2", sketch.add("BatchMatMulV2"), mask_value, **infinite)
    sketch.gradient("block", sketch.loss(sketch.add("Softmax", scores)))
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)]))


def test_a_mask_constant_that_only_gives_zero_probabilities() -> None:
    sketch = Sketch()
    big = sketch.literal(-1e9, inf=1, saturated=1, computed_max_abs=0.0)
    scores = sketch.add("AddV2", sketch.add("BatchMatMulV2"), big, inf=2, saturated=2)
    sketch.gradient("block", sketch.loss(sketch.add("Softmax", scores)))
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)]))


def test_infinities_in_a_branch_that_where_discards() -> None:
    sketch = Sketch()
    branch = sketch.overflow("Exp", sketch.add("MatMul"))
    sketch.gradient("block", sketch.loss(sketch.add("SelectV2", branch)))
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)]))


def test_a_large_error_that_nobody_uses() -> None:
    sketch = Sketch()
    inputs = sketch.add("Cast", error=1e-4)
    sketch.add("Sub", inputs, inputs, error=5.0)
    sketch.gradient("block", sketch.loss(sketch.add("MatMul", inputs)))
    is_healthy(evidence([sketch.trace(0, "first", 2.0**15)], stalls(), stalls()))


def test_the_residual_of_a_good_fit_cancels() -> None:
    sketch = Sketch()
    prediction = sketch.add("Cast", error=1e-3)
    loss = sketch.loss(sketch.add("Sub", prediction, layer=None, error=0.9), error=0.5)
    sketch.gradient("block", loss, error=0.9)
    is_healthy(evidence([sketch.trace(39, "last", 2.0**15)]))


@pytest.mark.parametrize("build", [variance, position, PATIENTS["FL302"][0]])
def test_silent_faults_without_effect(build: Build) -> None:
    is_healthy(same_training(build()))


def test_mask_of_a_single_early_step_without_effect() -> None:
    is_healthy(same_training(mask(), steps(curve(1.0, 0.1), (0,), 2.0**15)))
