"""Shapes that traces of real models have: literals that are no sites, constants lost before."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.findings.graph import graph
from floatline.findings.judge import judge
from floatline.findings.outcome import outcome
from floatline.records import Evidence, Phase, StepRecord
from tests.findings.evidence import (
    INF,
    NAN,
    Numbers,
    Sketch,
    broken,
    collapses,
    conclude,
    configuration,
    curve,
    evidence,
    lagging,
    learns,
    rules_found,
    stalls,
    steps,
)
from tests.findings.patients import PATIENTS
from tests.findings.special import updated


def first(case: Evidence) -> tuple[str, str]:
    finding = judge(case).findings[0]
    return finding.rule, finding.summary


def same_as_float32(case: Evidence) -> Evidence:
    return evidence(case.traces, case.history.steps, case.history.steps)


def test_the_cast_of_a_literal_is_a_mask_constant() -> None:
    sketch = Sketch()
    big = sketch.overflow("Cast", n=1, count=1, shape=(), max_abs=1e9)
    rule, summary = first(broken(sketch, sketch.passes("Mul", sketch.add("Sub"), big)))
    assert rule == "FL104"
    assert summary.startswith("The constant 1e+09 is infinite in float16; Mul in layer 'block'")


def test_a_cast_of_integers_of_the_data_is_an_input() -> None:
    sketch = Sketch()
    assert first(broken(sketch, sketch.overflow("Cast", max_abs=7e4)))[0] == "FL105"


def test_an_infinite_bound_is_the_inverse_of_an_epsilon() -> None:
    sketch = Sketch()
    bound = sketch.overflow("Cast", n=1, count=1, shape=(), max_abs=1e12)
    root = sketch.add("Rsqrt", sketch.add("Sum", zero=2), inf=2, shadow_inf=2)
    rule, summary = first(broken(sketch, sketch.passes("Minimum", root, bound)))
    assert rule == "FL203"
    assert "The bound 1e+12 is infinite" in summary


def test_an_impossible_event_in_log_space_is_no_bound() -> None:
    """max(a, b) of two log-probabilities, some of them -1e10, which is -inf in float16."""
    sketch = Sketch()
    impossible = sketch.overflow("Const", role="constant", constant=-1e10, n=1, count=1, shape=())
    top = sketch.overflow("Maximum", sketch.add("LogSoftmax"), impossible, local_saturated=0)
    rule, summary = first(broken(sketch, sketch.passes("Sub", impossible, top)))
    assert rule == "FL104"
    written = "Const in layer 'block' (train.py:10)"
    assert summary == f"The constant -1e+10 is infinite in float16 and spreads from {written}"


def test_an_epsilon_comes_before_the_probabilities_it_should_have_caught() -> None:
    """log(p + 1e-10): some probabilities are 0 in float16, and so is the epsilon."""
    sketch = Sketch()
    p = sketch.add("Softmax", local_flushed=9, flushed=9, zero=9)
    epsilon = sketch.literal(1e-10, zero=1, flushed=1, local_flushed=1, computed_max_abs=0.0)
    log = sketch.add("Log", sketch.add("AddV2", p, epsilon), inf=9, saturated=9, local_nonfinite=9)
    assert first(broken(sketch, log))[0] == "FL203"


def test_a_mask_that_the_format_just_holds() -> None:
    """-65504 is exact in float16 and therefore no site; the product with the mask shows it."""
    sketch = Sketch()
    mask = sketch.add("Mul", sketch.add("Cast"), min_abs_nonzero=65504.0, shadow_zero=40)
    full = sketch.add("Mul", sketch.add("Cast"), min_abs_nonzero=65504.0)
    rule, summary = first(broken(sketch, sketch.overflow("AddV2", sketch.add("RealDiv"), mask)))
    assert rule == "FL104"
    assert "leaves no room" in summary
    assert first(broken(sketch, sketch.overflow("AddV2", sketch.add("MatMul"), full)))[0] != "FL301"


@pytest.mark.parametrize(("factor", "expected"), [(20.0, "FL102"), (400.0, "FL101")])
def test_a_gram_matrix_sums_products_that_fit(factor: float, expected: str) -> None:
    sketch = Sketch()
    features = sketch.add("Relu", max_abs=factor)
    assert first(broken(sketch, sketch.overflow("BatchMatMulV2", features)))[0] == expected


def test_a_cast_shows_the_sum_that_was_computed_in_float32() -> None:
    sketch = Sketch()
    mean = sketch.add("Mean", sketch.add("Cast", dtype="float32"), dtype="float32", max_abs=1e6)
    assert first(broken(sketch, sketch.overflow("Cast", mean, max_abs=1e6)))[0] == "FL102"


def test_one_minus_p_when_the_one_is_no_site() -> None:
    sketch = Sketch()
    square = sketch.add("Square", computed_max_abs=1.0)
    rest = sketch.add("Sub", square, zero=9, flushed=9)
    logarithm = sketch.breaks("Log", rest)
    assert first(broken(sketch, logarithm))[0] == "FL305"
    other = Sketch()
    small = other.add("Sub", other.add("Square", computed_max_abs=0.5), zero=9, flushed=9)
    assert first(broken(other, other.breaks("Log", small)))[0] != "FL305"


def adapted(operation: str = "Sqrt") -> Sketch:
    """A Normalization layer whose adapted variance was infinite before the step began."""
    sketch = Sketch()
    centred = sketch.add("Sub", sketch.add("Cast"))
    lost: Numbers = {"inf": 100, "shadow_inf": 100, "local_nonfinite": 100, "max_abs": 0.0}
    root = sketch.add(operation, **lost)
    sketch.add("RealDiv", centred, root, zero=100, shadow_zero=100)
    return sketch


def test_a_constant_that_was_lost_before_the_step_silences_a_layer() -> None:
    sketch = adapted()
    sketch.gradient("block", sketch.loss(sketch.add("MatMul", 3)))
    case = same_as_float32(evidence([sketch.trace(0, "first", 2.0**15)], stalls()))
    rule, summary = first(case)
    assert rule == "FL106"
    assert "reads a constant that became infinite in float16 before training began" in summary


def test_a_mask_that_was_infinite_before_the_step_is_harmless() -> None:
    sketch = Sketch()
    lost: Numbers = {"inf": 40, "shadow_inf": 40, "local_nonfinite": 40}
    scores = sketch.add("AddV2", sketch.add("MatMul"), **lost)
    sketch.gradient("block", sketch.loss(sketch.add("Softmax", scores)))
    assert rules_found(same_as_float32(evidence([sketch.trace(0, "first", 2.0**15)]))) == []


def test_float32_is_no_witness_when_it_starts_from_a_lost_constant() -> None:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=3e5)
    entered = sketch.overflow("Cast", batch, n=100, max_abs=3e5)
    lost: Numbers = {"nan": 100, "shadow_inf": 100, "local_nonfinite": 100, "max_abs": 0.0}
    spoilt = sketch.add("Sub", entered, **lost)
    both: Numbers = {"nan": 1, "shadow_nan": 1, "local_nonfinite": 1}
    sketch.gradient("block", sketch.loss(spoilt, **both), **both)
    view = graph(sketch.trace())
    assert spoilt in view.inherited
    judgement = judge(evidence([sketch.trace(0, "first", 2.0**15)], collapses(), collapses()))
    assert judgement.verdict == "precision"
    assert judgement.findings[0].rule == "FL105"


def test_an_operation_that_breaks_by_itself_inherits_nothing() -> None:
    sketch = Sketch()
    lost: Numbers = {"inf": 2, "shadow_inf": 2, "local_nonfinite": 2}
    sketch.add("Log", sketch.add("Relu"), **lost)
    assert graph(sketch.trace()).inherited == frozenset()


def test_float32_that_skips_its_steps_fails_in_the_same_way() -> None:
    """The replay keeps the loss scaling: its loss stays finite while no step is taken."""
    skips = collapses(loss=7.0)
    assert outcome(evidence((), skips, skips)).float32_fails is True
    assert outcome(evidence((), skips, learns())).float32_fails is False
    infinite = steps([7.0] * 40, range(40), INF)
    assert outcome(evidence((), infinite, skips)).float32_fails is False


def test_rounded_integers_are_found_although_the_loss_falls() -> None:
    case = same_as_float32(PATIENTS["FL303"][0]())
    assert rules_found(case) == ["FL303"]


def test_the_float32_that_the_script_would_have_had_is_the_better_witness() -> None:
    """The same operations raised to float32 share clipped probabilities; rebuilt ones do not."""
    own, better = steps(curve(16.0, 14.5)), steps(curve(16.0, 0.05))
    assert outcome(evidence((), own, own)).worse is False
    both = outcome(evidence((), own, own, own, rebuilt=better))
    assert both.worse is True
    assert both.comparison is not None
    assert both.comparison.reference < 1
    assert outcome(evidence((), better, better, rebuilt=own)).worse is False
    assert outcome(evidence((), collapses(), collapses(), rebuilt=better)).float32_fails is False
    assert outcome(evidence((), collapses(), better, rebuilt=collapses())).float32_fails is True


def test_lost_digits_are_seen_when_the_first_step_was_skipped() -> None:
    case = PATIENTS["FL301"][0]()
    trace = case.traces[0]
    sketch = type(trace)(0, "symptom", trace.sites, trace.gradients, trace.losses, 2.0**15)
    assert rules_found(evidence([sketch], stalls(), learns())) == ["FL301"]


def test_the_division_by_an_infinite_variance_is_no_lost_digit() -> None:
    sketch = Sketch()
    centred = sketch.add("Sub", sketch.add("Conv2D"))
    square = sketch.overflow("Square", centred, max_abs=3.6e5)
    root = sketch.add("Sqrt", square, inf=2, saturated=2)
    case = lagging(sketch, sketch.add("RealDiv", centred, root, error=0.95))
    assert rules_found(case) == ["FL106"]


def test_the_difference_of_two_columns_is_not_an_offset() -> None:
    sketch = Sketch()
    batch = sketch.add("x", role="input", dtype="float32", layer=None, max_abs=3e4, count=200)
    rounded = sketch.add("Cast", batch, max_abs=3e4, error=2e-4, count=200)
    assert first(lagging(sketch, sketch.add("Sub", rounded, error=1.2)))[0] == "FL301"
    other = Sketch()
    batch = other.add("x", role="input", dtype="float32", layer=None, max_abs=3e4)
    rounded = other.add("Cast", batch, max_abs=3e4, error=2e-4)
    assert first(lagging(other, other.add("Sub", rounded, error=1.2)))[0] == "FL105"


def test_underflow_in_the_frameworks_loss_is_shown_at_the_layer() -> None:
    (build,) = PATIENTS["FL201"]
    place = judge(build()).findings[0].place
    assert place is not None
    assert place.source is not None


def test_dead_gradients_name_the_activation_that_died() -> None:
    sketch = Sketch()
    hidden = sketch.add("BiasAdd", layer="dense")
    dead = sketch.add("Relu", hidden, layer="dense", zero=100, shadow_zero=100)
    zero: Numbers = {"zero": 100, "shadow_zero": 100}
    sketch.gradient("dense", sketch.loss(dead), **zero)
    traces = [sketch.trace(0), sketch.trace(39, "last")]
    finding = judge(evidence(traces, steps([1.0] * 40))).findings[0]
    assert finding.rule == "FL603"
    assert "all 100 outputs of Relu in layer 'dense'" in finding.summary


def test_an_origin_in_a_training_that_survives_is_not_reported() -> None:
    sketch = Sketch()
    sketch.gradient("block", sketch.loss(sketch.overflow("AddV2", sketch.add("Relu"))))
    assert INF not in [step.loss for step in learns()]
    assert rules_found(same_as_float32(evidence([sketch.trace(0, "first", 2.0**15)]))) == []


def test_a_lost_update_is_shown_at_the_layer_of_its_weight() -> None:
    finding = judge(PATIENTS["FL304"][0]()).findings[0]
    assert finding.phase == "update"
    assert finding.place is not None
    assert finding.place.layer == "block"
    assert "in layer 'block'" in finding.summary


@pytest.mark.parametrize(("largest", "expected"), [(9e4, "FL102"), (6e5, "FL101")])
def test_a_product_with_one_site_is_a_square_or_has_a_literal_factor(
    largest: float, expected: str
) -> None:
    sketch = Sketch()
    product = sketch.overflow("Mul", sketch.add("Relu", max_abs=300.0), max_abs=largest)
    assert first(broken(sketch, sketch.passes("Sum", product)))[0] == expected


def test_an_optimizer_that_divides_by_a_flushed_epsilon_breaks_the_weights() -> None:
    lost = steps([1.0, NAN, NAN, NAN], bad=range(1, 4))
    finding = conclude(evidence([updated().trace()], lost, learns()[:4])).findings[0]
    assert (finding.rule, finding.phase) == ("FL206", "update")
    assert finding.place is not None
    assert finding.place.operation == "addcdiv_"


def test_what_an_update_computes_of_lost_gradients_may_still_be_discarded() -> None:
    sketch = updated(gradient={"nan": 1, "poisoned": 1})
    lost = steps([1.0, NAN, NAN, NAN], bad=range(1, 4))
    assert "FL206" not in rules_found(evidence([sketch.trace()], lost, learns()[:4]))


def without_layers(dtype: str) -> Evidence:
    """A model that is not Keras', whose weight is read and trained in `dtype`."""
    sketch = Sketch()
    sketch.add("read", role="parameter", variable="block/kernel", dtype=dtype)
    sketch.add("read", role="parameter", variable="running_mean", dtype="float16")
    sketch.gradient("block", sketch.loss(sketch.add("addmm", 0)))
    own = dataclasses.replace(configuration("float32", scaling=False), layers=())
    return evidence([sketch.trace()], stalls(), learns(), config=own)


def test_weights_in_half_precision_are_found_without_keras_layers() -> None:
    (finding,) = conclude(without_layers("float16")).findings
    assert (finding.rule, finding.evidence["variables"]) == ("FL502", 1)
    assert "FL502" not in rules_found(without_layers("float32"))


def test_a_root_of_a_cancelled_difference_shows_where_the_digits_were_lost() -> None:
    sketch = Sketch()
    squares, square = sketch.add("Mean", max_abs=600.0), sketch.add("Mul", max_abs=600.0)
    variance = sketch.add("Sub", squares, square, error=0.9)
    root = sketch.breaks("Sqrt", sketch.add("AddV2", variance, error=0.9))
    loss = sketch.loss(root, nan=1, poisoned=1)
    sketch.gradient("block", loss, nan=1, poisoned=1)
    finding = conclude(evidence([sketch.trace()], collapses(), learns())).findings[0]
    assert finding.rule == "FL301"
    assert finding.place is not None
    assert finding.place.operation == "Sub"


@pytest.mark.parametrize(("dtype", "named"), [("bfloat16", "Sub"), ("float32", "Cholesky")])
def test_what_breaks_in_float32_lost_its_digits_where_they_were_rounded(
    dtype: str, named: str
) -> None:
    sketch = Sketch()
    squares = sketch.add("Sub", sketch.add("MatMul", dtype=dtype), dtype=dtype, error=0.02)
    kernel = sketch.add("Cast", squares, dtype="float32", error=0.02)
    noisy = sketch.add("AddV2", kernel, dtype="float32", error=0.02)
    for _ in range(5):
        noisy = sketch.add("AddV2", noisy, dtype="float32", error=0.02)
    factor = sketch.breaks("Cholesky", noisy, dtype="float32")
    sketch.gradient("block", sketch.loss(factor, nan=1, poisoned=1), nan=1, poisoned=1)
    finding = conclude(evidence([sketch.trace()], collapses(), learns())).findings[0]
    assert finding.rule == "FL301"
    assert finding.place is not None
    assert finding.place.operation == named
    assert ("keeps too few digits for Cholesky" in finding.summary) == (named == "Sub")


def without_gradients(flushed: int, steps_watched: int = 7) -> Evidence:
    """A sum overflows, and divides: nothing is infinite behind it, and nothing else is left."""
    sketch = Sketch()
    total = sketch.overflow("Sum", sketch.add("Sigmoid"), count=1, n=1)
    dice = sketch.add("RealDiv", sketch.add("Sum"), total, flushed=1, error=1.0, count=1)
    loss = sketch.loss(dice, error=1.0)
    sketch.gradient("block", loss, zero=flushed, flushed=flushed, error=1.0)
    own, other = steps([1.0] * steps_watched), steps(curve(0.5, 0.4, steps_watched))
    return evidence([sketch.trace(scale=2.0**15)], own, other)


def test_few_steps_are_enough_where_no_gradient_is_left() -> None:
    gone = conclude(without_gradients(flushed=100))
    assert (gone.verdict, gone.findings[0].rule) == ("precision", "FL102")
    assert gone.explanation.startswith("Every gradient of the traced steps is 0")
    assert conclude(without_gradients(flushed=99)).verdict == "undecided"


@pytest.mark.parametrize(("divisor", "expected"), [(1e-6, ["FL101", "FL401"]), (1e-3, ["FL401"])])
def test_a_division_whose_reciprocal_is_infinite_breaks_the_compiled_step_alone(
    divisor: float, expected: list[str]
) -> None:
    sketch = Sketch()
    small = sketch.literal(divisor)
    sketch.gradient("block", sketch.loss(sketch.add("RealDiv", sketch.add("Sub"), small)))
    found = conclude(evidence([sketch.trace(agrees=False)], collapses(), learns())).findings
    assert [finding.rule for finding in found] == expected
    assert ("multiplies by 1e+06" in found[0].summary) == ("FL101" in expected)


def test_the_same_division_does_no_harm_where_the_compiled_step_is_finite() -> None:
    sketch = Sketch()
    quotient = sketch.add("RealDiv", sketch.add("Sub"), sketch.literal(1e-6))
    sketch.gradient("block", sketch.loss(quotient))
    assert rules_found(evidence([sketch.trace()], None, learns())) == []


def chained(phase: Phase, error: float, own: list[StepRecord], step: int = 30) -> Evidence:
    """The difference of two sums of a long chain, in the exponent of a probability."""
    sketch = Sketch()
    terms = [sketch.add("logsumexp", dtype="bfloat16", max_abs=900.0, error=0.01) for _ in "ab"]
    options: Numbers = {"phase": phase, "dtype": "bfloat16"}
    difference = sketch.add("sub", *terms, error=error, **options)
    share = sketch.add("exp", difference, error=error, **options)
    sketch.loss(*terms)
    sketch.gradient("block", share, error=error)
    return evidence([sketch.trace(step, "last")], own, learns())


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_an_exponent_whose_digits_are_lost_is_no_residual(phase: Phase) -> None:
    stalled = list(stalls())
    finding = conclude(chained(phase, 0.9, stalled)).findings[0]
    assert (finding.rule, finding.phase) == ("FL301", phase)
    assert "is an exponent" in finding.summary
    assert rules_found(chained(phase, 0.05, stalled)) == []  # Its digits are there.
    assert rules_found(chained(phase, 0.9, list(learns()))) == []  # It trains all the same.


def test_an_exponent_of_a_late_step_is_named_after_what_else_is_found() -> None:
    case = chained("forward", 0.9, list(stalls()))
    other = PATIENTS["FL303"][0]()
    both = evidence([*other.traces, *case.traces], stalls(), learns())
    assert rules_found(both)[:2] == ["FL303", "FL301"]
