"""Gradients must carry the loss scale, and no fixed bound may cut them off while they do."""

from __future__ import annotations

import dataclasses

import pytest

from floatline.findings.scaling import clips, never_scaled
from floatline.records import Evidence, GradientSite, NotTraced, Trace
from tests.findings.evidence import (
    Numbers,
    Sketch,
    conclude,
    configuration,
    evidence,
    rules_found,
    stalls,
)
from tests.findings.patients import clipped_by_norm, clipped_by_value, forgotten_scale


def with_optimizer(case: Evidence, name: str) -> Evidence:
    config = dataclasses.replace(case.configuration, optimizer=name)
    return dataclasses.replace(case, configuration=config)


def with_scale(case: Evidence, scale: float | None) -> Evidence:
    traces = tuple(dataclasses.replace(trace, loss_scale=scale) for trace in case.traces)
    return dataclasses.replace(case, traces=traces)


@pytest.mark.parametrize("build", [forgotten_scale, clipped_by_norm, clipped_by_value])
def test_an_optimizer_that_ignores_the_size_of_gradients_hides_it(build: object) -> None:
    assert callable(build)
    judgement = conclude(with_optimizer(build(), "Adam"))
    assert [f.severity for f in judgement.findings] == ["advice"]
    assert judgement.verdict == "healthy"


@pytest.mark.parametrize("scale", [None, 1.0])
def test_without_a_scale_nothing_is_misused(scale: float | None) -> None:
    assert rules_found(with_scale(forgotten_scale(), scale)) == []
    assert rules_found(with_scale(clipped_by_norm(), scale)) == []


def test_the_bound_is_told_in_units_of_the_true_gradients() -> None:
    (trace,) = clipped_by_norm(bound=0.5).traces
    clip = clips(trace)
    assert clip is not None
    assert clip.bound == pytest.approx(0.5)
    assert clip.true_bound == pytest.approx(0.5 / 2**15)
    assert not never_scaled(trace)


def test_a_bound_that_is_multiplied_by_the_loss_scale_is_right() -> None:
    (trace,) = clipped_by_norm(bound=8192.0, allows=True).traces
    assert clips(trace) is None


def test_a_scale_of_a_loops_own_is_known_by_what_it_holds() -> None:
    """A loop of pure functions gives it a name of its own."""

    def renamed(case: Evidence) -> Trace:
        (trace,) = case.traces
        sites = tuple(
            dataclasses.replace(site, variable="state/2/5") if site.variable else site
            for site in trace.sites
        )
        return dataclasses.replace(trace, sites=sites)

    assert never_scaled(renamed(forgotten_scale()))
    assert clips(renamed(clipped_by_norm())) is not None
    assert clips(renamed(clipped_by_norm(bound=8192.0, allows=True))) is None


def test_a_bound_that_cuts_nothing_off_is_no_clip() -> None:
    (trace,) = clipped_by_norm(bound=16384.0).traces
    assert clips(trace) is None


def test_a_way_that_was_not_followed_may_carry_the_scale() -> None:
    (trace,) = forgotten_scale().traces
    hidden = NotTraced("EagerPyFunc", 1, "runs Python")
    assert never_scaled(trace)
    assert not never_scaled(dataclasses.replace(trace, not_traced=(hidden,)))


@pytest.mark.parametrize("reason", ["reads the bits of its input", "draws from values that differ"])
def test_what_is_never_differentiated_hides_no_scale(reason: str) -> None:
    (trace,) = forgotten_scale().traces
    assert never_scaled(dataclasses.replace(trace, not_traced=(NotTraced("Any", 1, reason),)))


def test_the_explanation_does_not_promise_that_float32_trains() -> None:
    explanation = conclude(clipped_by_norm()).explanation
    assert "in float32 as well" in explanation
    assert explanation.endswith("The most likely root cause is scaled-gradient-misuse.")


def clipped_beside_a_scaler(order: str, divides: str | None = None) -> Evidence:
    """PyTorch's clipping to norm 1, at a scale of 2**15, before or after GradScaler unscales."""
    sketch = Sketch()
    loss = sketch.loss(sketch.add("mse_loss"))
    size = 8192.0 if order == "clip first" else 4.0
    gradient = sketch.add("mm", loss, phase="backward", max_abs=8192.0)
    if order == "unscale first":
        unscale = "_amp_foreach_non_finite_check_and_unscale_"
        gradient = sketch.add(unscale, gradient, phase="update", max_abs=size)
    one: Numbers = {"count": 1, "dtype": "float32", "layer": None, "phase": "update"}
    each = sketch.add("_foreach_norm", gradient, **one, max_abs=2 * size)
    norm = sketch.add("linalg_vector_norm", each, **one, max_abs=2 * size)
    factor = sketch.add("clamp", sketch.add("reciprocal", norm, **one), **one, max_abs=0.5 / size)
    clipped = sketch.add("_foreach_mul_", gradient, factor, phase="update", max_abs=0.5)
    sketch.gradients.append(GradientSite("block/kernel", "block", clipped))
    if divides:
        sketch.add("addcmul_", clipped, phase="update", variable=f"block.weight.{divides}")
    own = dataclasses.replace(configuration(scaling=False), optimizer=None)
    return evidence([sketch.trace(0, "first", 2.0**15)], stalls(), config=own)


def test_the_norm_of_pytorch_clips_gradients_that_carry_the_scale() -> None:
    (finding,) = conclude(clipped_beside_a_scaler("clip first")).findings
    assert (finding.rule, finding.severity) == ("FL404", "failure")
    assert finding.evidence["bound"] == pytest.approx(1.0)


def test_what_was_unscaled_before_may_be_clipped() -> None:
    assert conclude(clipped_beside_a_scaler("unscale first")).findings == ()


def test_an_optimizer_without_a_name_that_divides_by_its_second_moment_hides_the_scale() -> None:
    (finding,) = conclude(clipped_beside_a_scaler("clip first", divides="exp_avg_sq")).findings
    assert (finding.rule, finding.severity) == ("FL404", "advice")


def clipped_before_division(bound: float, *, divides_first: bool = False) -> Trace:
    """A loop that multiplies its loss by 4096, clips by a norm and divides, in either order."""
    sketch = Sketch()
    small = sketch.loss(sketch.add("mm"), max_abs=2.0)
    sketch.losses = [sketch.add("mul", small, layer=None, count=1, shape=(), max_abs=8192.0)]
    back = sketch.add("mm", sketch.losses[0], phase="backward", max_abs=8192.0)
    handed: Numbers = {"phase": "update", "layer": None, "dtype": "float32"}
    if divides_first:
        back = sketch.add("div", back, **handed, max_abs=2.0)
    size = 2.0 if divides_first else 8192.0
    one: Numbers = {**handed, "count": 1, "shape": ()}
    norm = sketch.add("Sqrt", sketch.add("AddN", back, **one), **one, max_abs=size)
    factor = sketch.add("RealDiv", norm, **one, max_abs=bound / size)
    last = sketch.add("Mul", back, factor, **handed, max_abs=bound)
    if not divides_first:
        last = sketch.add("div", last, **handed, max_abs=bound / 4096)
    sketch.gradients.append(GradientSite("block/kernel", "block", last))
    return sketch.trace(scale=None)


def test_a_loop_clips_before_it_divides_its_own_scale_out() -> None:
    clip = clips(clipped_before_division(1.0))
    assert clip is not None
    assert clip.bound == pytest.approx(1.0)
    assert clip.true_bound == pytest.approx(1 / 4096)
    judgement = conclude(with_optimizer(evidence([clipped_before_division(1.0)], stalls()), "SGD"))
    (finding,) = judgement.findings
    assert (finding.rule, finding.severity) == ("FL404", "failure")
    assert finding.remedies == ("Clip the gradients after they are divided by the loss scale.",)


@pytest.mark.parametrize(("bound", "divides_first"), [(1.0, True), (0.5 * 4096, False)])
def test_a_loop_that_clips_true_gradients_misuses_nothing(
    bound: float, divides_first: bool
) -> None:
    assert clips(clipped_before_division(bound, divides_first=divides_first)) is None
