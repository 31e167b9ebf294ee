"""The laws of a trace, on models of every kind: it shows the step itself, beside float32 alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import pytest
import torch

from floatline.backends.interface import Outcome
from floatline.backends.torch import TorchBackend
from floatline.backends.torch.step import TorchStep
from floatline.records import Trace
from tests.backends.torch.models import KERAS, STEPS, attention_model, keras_model
from tests.backends.torch.traced import Values, as_arrays, bits, step_of
from tests.contract.samples import policy


@dataclass(frozen=True)
class Examined:
    """One step taken from the same state in every way.

    Attributes:
        trace: The traced step.
        outcome: What the untraced step gave.
        real: Every variable after the untraced step.
        traced: Every variable after the traced step.
        left: Every variable before and after `trace` and the float32 training.
        float32: Losses of two float32 steps, for each kind of float32.
        own: Losses of two of the user's steps.
    """

    trace: Trace
    outcome: Outcome
    real: Values
    traced: Values
    left: tuple[Values, Values]
    float32: dict[str, list[float | None]]
    own: list[float | None]


def examine(step: TorchStep, batch: Any) -> Examined:
    """Looks at the second step, whose state is no longer the initial one."""
    step.prepare(batch)
    step.run(batch)
    state = step.snapshot()
    before = as_arrays(step.keeper.named_values())
    _, outcome = step.run(batch)
    real = as_arrays(step.keeper.named_values())
    again = step.run(batch)[1]
    step.restore(state)
    trace = step.trace(state, batch)
    traced = as_arrays(step.traced_state(state, batch))
    float32: dict[str, list[float | None]] = {}
    for kind in ("raised", "rounded", "rebuilt"):
        replay = step.float32(state, rounded=kind == "rounded", rebuilt=kind == "rebuilt")
        float32[kind] = [replay.advance(batch).loss for _ in range(2)]
    left = before, as_arrays(step.keeper.named_values())
    return Examined(trace, outcome, real, traced, left, float32, [outcome.loss, again.loss])


@pytest.fixture(scope="module", params=[*KERAS, "attention", *(f"torch {n}" for n in STEPS)])
def examined(request: pytest.FixtureRequest) -> Examined:
    name = request.param
    if name.startswith("torch "):
        torch.manual_seed(0)
        sample = STEPS[name.removeprefix("torch ")]()
        return examine(step_of(sample.step), sample.batch)
    with policy("mixed_float16"):
        model, batch = attention_model() if name == "attention" else keras_model(name)
        return examine(TorchBackend().keras_step(model, lambda layer: None), batch)


def test_the_traced_step_is_the_step_itself_bit_for_bit(examined: Examined) -> None:
    assert bits(examined.traced) == bits(examined.real)


def test_nothing_of_the_users_is_changed(examined: Examined) -> None:
    before, after = examined.left
    assert bits(before) == bits(after)


def test_every_operation_has_a_shadow(examined: Examined) -> None:
    assert [e for e in examined.trace.not_traced if e.operation != "torch.compile"] == []


def test_the_shadow_of_the_loss_is_the_loss_of_float32(examined: Examined) -> None:
    loss = examined.trace.sites[examined.trace.losses[0]].statistics.max_abs
    assert loss == pytest.approx(examined.float32["raised"][0], rel=2e-4)


def test_float32_trains_as_the_step_does(examined: Examined) -> None:
    for kind, losses in examined.float32.items():
        del kind
        assert losses == pytest.approx(examined.own, rel=3e-2)


def test_the_step_computes_in_16_bits_and_its_error_is_that_of_rounding(examined: Examined) -> None:
    low = [s for s in examined.trace.sites if s.dtype in ("float16", "bfloat16")]
    assert len(low) > 3
    for site in low:
        if site.statistics.count > 4 and not site.statistics.subnormal:
            limit = 1e-3 if site.dtype == "float16" else 8e-3
            assert site.statistics.local_error < limit, site


def test_every_gradient_has_its_site(examined: Examined) -> None:
    assert [g.variable for g in examined.trace.gradients] == list(examined.outcome.variables)
    for gradient in examined.trace.gradients:
        assert examined.trace.sites[gradient.site].statistics.count > 0


def test_every_gradient_leads_back_to_weights(examined: Examined) -> None:
    sites = examined.trace.sites
    for site in sites:
        assert all(source < site.index for source in site.inputs)
    for gradient in examined.trace.gradients:
        reached, waiting = set[int](), [gradient.site]
        while waiting:
            index = waiting.pop()
            waiting += [i for i in sites[index].inputs if i not in reached]
            reached.update(sites[index].inputs)
        assert {sites[index].role for index in reached} & {"input", "parameter"}


def copy_weights(source: keras.Model, target: keras.Model, factor: float = 1.0) -> None:
    for old, new in zip(source.variables, target.variables, strict=True):
        new.assign(factor * old.value if "float" in old.dtype else old.value)


@pytest.mark.parametrize("name", [*KERAS, "attention"])
def test_shadow_gradients_are_those_of_the_model_built_in_float32(name: str) -> None:
    """Compared with Keras and autograd alone, by the largest value of each gradient."""
    make = attention_model if name == "attention" else lambda: keras_model(name)
    with policy("mixed_float16"):
        low, batch = make()
    with policy("float32"):
        high, _ = make()
        for layer in high.layers:  # Random layers draw in the dtype that they compute in.
            if isinstance(layer, (keras.layers.Dropout, keras.layers.GaussianNoise)):
                layer.dtype_policy = keras.DTypePolicy("mixed_float16")
    copy_weights(low, high)
    step = TorchBackend().keras_step(low, lambda layer: None)
    trace = step.trace(step.snapshot(), batch)
    loss = high.compute_loss(batch[0], batch[1], high(batch[0], training=True))
    gradients = torch.autograd.grad(loss, [v.value for v in high.trainable_variables])
    for entry, gradient in zip(trace.gradients, gradients, strict=True):
        shadow = trace.sites[entry.site].statistics.max_abs / 32768.0
        tolerance = 0.1 if name == "dropout" else 2e-3
        assert shadow == pytest.approx(float(gradient.abs().max()), rel=tolerance, abs=1e-6)


def test_a_wrong_shadow_would_be_noticed() -> None:
    """The comparison above fails for a model with other weights."""
    with policy("float32"):
        first, batch = keras_model("dense")
        second, _ = keras_model("dense")
        copy_weights(first, second, 1.1)
    inputs, targets = batch
    one, other = (
        float(model.compute_loss(inputs, targets, model(inputs)).detach())
        for model in (first, second)
    )
    assert one != pytest.approx(other, rel=2e-3)
