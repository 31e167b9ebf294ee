"""The laws of the seam, on the backend that KERAS_BACKEND names, in a process of its own.

A backend that is named and cannot start is a failure: nothing here is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import floatline
from floatline.backends.interface import Outcome
from floatline.capture.state import value_of
from floatline.formats import FORMATS
from floatline.pipeline import load_backend
from floatline.records import Trace
from tests.contract.samples import RATE, SAMPLES, policy

Values = dict[str, np.ndarray]
CASES = [(name, "mixed_float16") for name in SAMPLES] + [("dense", "mixed_bfloat16")]

# Half precision's epsilon is 2**-10 or 2**-7; a gradient is some tens of roundings away.
AGREEMENT = {"mixed_float16": 0.02, "mixed_bfloat16": 0.1}


@dataclass(frozen=True)
class Examined:
    """One step of a sample, run, traced and repeated in float32 from the same state."""

    model: keras.Model
    trace: Trace
    first: Outcome
    outcome: Outcome
    before: Values
    real: Values
    traced: Values
    left: tuple[bytes, bytes, bytes]
    replayed: tuple[Outcome, Outcome]
    losses: tuple[float, float]
    gradients: Values


@cache
def examined(name: str, policy_name: str) -> Examined:
    with policy(policy_name):
        model, batch = SAMPLES[name]()
    step: Any = load_backend().keras_step(model, lambda layer: None)
    step.prepare(batch)
    # The second step is looked at, whose state is no longer the initial one.
    _, first = step.run(batch)
    state, before, kept = step.snapshot(), values(model.variables), everything(model)
    losses, gradients = independent(name, policy_name, model)
    trace = step.trace(state, batch)
    untouched = everything(model)
    _, outcome = step.run(batch)
    real = values(model.variables)
    after = step.traced_state(state, batch)
    traced = {path: np.array(ops.convert_to_numpy(value)) for path, value in after.items()}
    step.restore(state)
    training = step.float32(state)
    replayed = training.advance(batch), training.advance(batch)
    left = kept, untouched, everything(model)
    return Examined(
        model, trace, first, outcome, before, real, traced, left, replayed, losses, gradients
    )


def independent(
    name: str, policy_name: str, model: keras.Model
) -> tuple[tuple[float, float], Values]:
    """Two losses and the gradients of the same model in float32, by Keras alone."""
    with policy("float32"):
        reference, batch = SAMPLES[name]()
        for layer in reference.layers:  # Random layers are to draw as the sample's do.
            if isinstance(layer, keras.layers.Dropout):
                layer.dtype_policy = keras.DTypePolicy(policy_name)
    for ours, theirs in zip(model.variables, reference.variables, strict=True):
        # A copy: JAX gives arrays that it trains on away.
        theirs.assign(value_of(ours).astype(theirs.dtype))
    before = values(reference.trainable_variables)
    first = reference.train_on_batch(*batch)
    after = values(reference.trainable_variables)
    gradients = {path: (before[path] - after[path]) / RATE for path in before}
    return (float(first), float(reference.train_on_batch(*batch))), gradients


def values(variables: Sequence[Any]) -> Values:
    return {v.path: value_of(v) for v in variables}


def everything(model: keras.Model) -> bytes:
    """Every bit of a model, its seeds, its metrics and its optimizer."""
    owners = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return b"".join(value_of(v).tobytes() for v in owners)


def test_the_backend_that_was_asked_for_runs() -> None:
    assert load_backend().name == os.environ["KERAS_BACKEND"] == keras.backend.backend()


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_looking_inside_changes_no_bit(name: str, policy_name: str) -> None:
    kept, untouched, restored = examined(name, policy_name).left
    assert kept == untouched
    assert kept == restored


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_the_computed_lane_is_the_real_step(name: str, policy_name: str) -> None:
    e = examined(name, policy_name)
    epsilon = FORMATS[policy_name.removeprefix("mixed_")].epsilon
    for path, real in e.real.items():
        if path not in e.traced:  # A step need not touch every variable that its model owns.
            np.testing.assert_array_equal(e.before[path], real)
        elif real.dtype == np.float32:
            moved = np.abs(real - e.before[path]).max()
            np.testing.assert_allclose(e.traced[path], real, rtol=1e-6, atol=4 * epsilon * moved)
        else:
            np.testing.assert_array_equal(e.traced[path], real)


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_the_shadow_is_an_independent_float32_run(name: str, policy_name: str) -> None:
    e = examined(name, policy_name)
    (loss,) = e.trace.losses
    # Dropout draws alike in one format only, so the reference rounds its values there.
    near = FORMATS[policy_name.removeprefix("mixed_")].epsilon if name == "dropout" else 1e-4
    assert e.trace.sites[loss].statistics.max_abs == pytest.approx(e.losses[0], rel=near)
    scale = e.outcome.loss_scale or 1.0
    paths = [gradient.variable for gradient in e.trace.gradients]
    assert paths == [v.path for v in e.model.trainable_variables]
    for (path, truth), gradient in zip(e.gradients.items(), e.trace.gradients, strict=True):
        site = e.trace.sites[gradient.site]
        if site.shape != truth.shape or site.statistics.count != truth.size:
            continue  # Rows that were read of an embedding, or a sum that grows in a loop.
        found = site.statistics
        assert gradient.variable.split("/")[-1] == path.split("/")[-1]
        assert found.max_abs / scale == pytest.approx(np.abs(truth).max(), rel=2e-3, abs=1e-6)


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_float32_replays_an_independent_float32_training(name: str, policy_name: str) -> None:
    e = examined(name, policy_name)
    for outcome, loss in zip(e.replayed, e.losses, strict=True):
        assert outcome.loss == pytest.approx(loss, rel=1e-3)
        assert all(outcome.finite)
        assert outcome.applied


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_the_outcome_says_what_the_step_did(name: str, policy_name: str) -> None:
    e = examined(name, policy_name)
    assert e.outcome.loss == pytest.approx(e.losses[0], rel=AGREEMENT[policy_name])
    assert e.outcome.variables == tuple(v.path for v in e.model.trainable_variables)
    sites = [e.trace.sites[gradient.site].statistics for gradient in e.trace.gradients]
    assert e.outcome.finite == tuple(numbers.nonfinite == 0 for numbers in sites)
    scale = 2.0**15 if e.first.applied else 2.0**14
    assert e.outcome.loss_scale == (scale if policy_name == "mixed_float16" else None)
    assert e.outcome.applied == all(e.outcome.finite)


@pytest.mark.parametrize(("name", "policy_name"), CASES)
def test_sites_are_a_graph_with_places(name: str, policy_name: str) -> None:
    trace = examined(name, policy_name).trace
    low = policy_name.removeprefix("mixed_")
    phases = {site.place.phase for site in trace.sites if site.role == "value"}
    assert phases == {"forward", "backward", "update"}
    assert any(site.dtype == low and site.place.phase == "backward" for site in trace.sites)
    assert [site.index for site in trace.sites] == list(range(len(trace.sites)))
    assert all(0 <= i < len(trace.sites) for site in trace.sites for i in site.inputs)
    assert sum(site.role == "input" for site in trace.sites) >= 1
    assert trace.not_traced == ()


def test_operations_name_their_layer() -> None:
    trace = examined("dense", "mixed_float16").trace
    for layer in ("hidden", "out"):
        mine = [s.place for s in trace.sites if s.place.layer == layer and s.role == "value"]
        assert {"forward", "backward"} <= {place.phase for place in mine}
        assert {place.layer_class for place in mine} == {"Dense"}


def test_a_step_that_overflows_is_not_applied() -> None:
    with policy("mixed_float16"):
        model, (x, y) = SAMPLES["dense"]()
    step = load_backend().keras_step(model, lambda layer: None)
    huge = (x * 1e30, y)
    step.prepare(huge)
    before = values(model.trainable_variables)
    _, outcome = step.run(huge)
    assert not all(outcome.finite)
    assert not outcome.applied
    after = values(model.trainable_variables)
    assert all(np.array_equal(after[path], before[path]) for path in before)
    assert step.run(huge)[1].loss_scale == 2.0**14


def test_fit_goes_through_the_watch_and_leaves_no_trace() -> None:
    with policy("mixed_float16"):
        model, (x, y) = SAMPLES["dropout"]()
    model.fit(x, y, epochs=1, verbose=0)
    before = everything(model)
    diagnosis = floatline.diagnose(
        model, x, y, batch_size=4, epochs=2, budget=floatline.Budget(steps=3)
    )
    assert everything(model) == before
    steps = diagnosis.evidence.history.steps
    assert len(steps) == 3
    assert all(trace.agrees for trace in diagnosis.evidence.traces)
    model.fit(x, y, epochs=1, verbose=0)  # Keras' own functions are back.
    assert everything(model) != before


def test_a_function_is_traced_by_itself() -> None:
    x = ops.convert_to_tensor(np.array([1.0, 300.0, 1e-5], "float32"))
    trace = floatline.trace(lambda values: ops.square(ops.cast(values, "float16")), x)
    square = trace.sites[-1]
    truth = np.array([1.0, 300.0, 1e-5]) ** 2
    assert (square.statistics.saturated, square.statistics.flushed) == (1, 1)
    assert square.statistics.max_abs == pytest.approx(truth.max(), rel=1e-3)
    assert square.place.source is not None
    assert square.place.source.file == __file__


def test_a_function_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(floatline.errors.InputError, match="Expected a step function"):
        floatline.trace(3)  # type: ignore[arg-type]
