"""Everything that a step can change is found, kept, and put back bit for bit."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

from floatline.backends.torch import TorchBackend
from floatline.backends.torch.reach import reached_from
from floatline.capture.batches import kept
from tests.backends.torch.models import ROWS, TARGETS, keras_model
from tests.backends.torch.traced import step_of
from tests.contract.samples import policy

BATCH = (ROWS, TARGETS)


def training() -> tuple[Any, Any, Any]:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    updates = torch.optim.Adam(model.parameters(), 0.1)

    def step(inputs: Any, targets: Any) -> Any:
        updates.zero_grad()
        loss = (model(inputs) - targets).square().mean()
        loss.backward()
        updates.step()
        return loss.detach()

    return model, updates, step


def test_an_optimizer_that_never_stepped_has_no_state_again() -> None:
    model, updates, function = training()
    step = step_of(function)
    step.prepare(BATCH)
    weights = [weight.detach().clone() for weight in model.parameters()]
    statistics = model[1].running_mean.clone()
    state = step.snapshot()
    step.run(BATCH)
    step.run(BATCH)
    assert updates.state
    step.restore(state)
    assert not updates.state
    assert all(weight.grad is None for weight in model.parameters())
    assert all(map(torch.equal, model.parameters(), weights))
    assert torch.equal(model[1].running_mean, statistics)
    assert int(model[1].num_batches_tracked) == 0


def test_a_gradient_that_was_there_is_there_again() -> None:
    model, _, function = training()
    model[0].weight.grad = kept = torch.full((4, 6), 7.0)
    step = step_of(function)
    state = step.snapshot()
    step.run(BATCH)
    step.restore(state)
    assert model[0].weight.grad is kept
    assert torch.equal(kept, torch.full((4, 6), 7.0))


def test_plain_python_is_put_back() -> None:
    class Average:
        def __init__(self) -> None:
            self.value = torch.zeros(2)
            self.steps = 0

    average, losses, count = Average(), [1.0], 0
    frozen = torch.ones(2, requires_grad=True)

    def function(inputs: Any) -> None:
        nonlocal count
        count += 1
        average.steps += 1
        average.value = average.value + inputs.mean(0)[:2]
        losses.append(float(inputs.sum()))
        frozen.requires_grad_(False)

    step = step_of(function)
    state = step.snapshot()
    step.run(ROWS)
    assert (count, average.steps, len(losses)) == (1, 1, 2)
    step.restore(state)
    assert (count, average.steps, losses) == (0, 0, [1.0])
    assert torch.equal(average.value, torch.zeros(2))
    assert frozen.requires_grad


def test_every_generator_draws_again_what_it_drew() -> None:
    generator = torch.Generator().manual_seed(3)

    def function(inputs: Any) -> list[float]:
        drawn = torch.rand(1, generator=generator)
        return [float(drawn), float(torch.rand(1)), random.random(), float(np.random.rand())]  # noqa: NPY002 (the generator in question)

    step = step_of(function)
    state = step.snapshot()
    first = step.run(ROWS)[0]
    assert step.run(ROWS)[0] != first
    step.restore(state)
    assert step.run(ROWS)[0] == first


def test_what_the_first_step_makes_is_as_new_after_a_restore() -> None:
    """A Keras optimizer of a step function makes its moments when it is first applied."""
    with policy("float32"):
        layer = keras.layers.Dense(2)
        optimizer = keras.optimizers.Adam(0.1)

    def function(inputs: Any, targets: Any) -> None:
        loss = (layer(inputs) - targets).square().mean()
        weights = layer.trainable_variables
        gradients = torch.autograd.grad(loss, [weight.value for weight in weights])
        optimizer.apply(gradients, weights)

    step = step_of(function)
    state = step.snapshot()
    _, outcome = step.run(BATCH)
    assert outcome.variables == ("dense/kernel", "dense/bias")
    assert any(v.value.abs().max() > 0 for v in optimizer.variables[2:])
    step.restore(state)
    assert all(v.value.abs().max() == 0 for v in optimizer.variables[2:])
    assert int(optimizer.iterations.value) == 0


def test_a_step_may_write_to_its_batch() -> None:
    def function(inputs: Any) -> Any:
        return inputs.mul_(2.0).sum()

    step = step_of(function)
    batch = ROWS.clone()
    first = step.run(batch)[0]
    assert torch.equal(step.run(batch)[0], first)
    assert torch.equal(batch, ROWS)


def test_a_step_that_overflows_is_not_applied() -> None:
    with policy("mixed_float16"):
        model, _ = keras_model("dense")
    step = TorchBackend().keras_step(model, lambda layer: None)
    before = [v.value.detach().clone() for v in model.trainable_variables]
    _, outcome = step.run((ROWS, TARGETS * 1e6))
    assert not all(outcome.finite)
    assert not outcome.applied
    assert outcome.loss_scale == 2.0**15
    assert all(map(torch.equal, before, [v.value for v in model.trainable_variables]))
    assert step.run(BATCH)[1].loss_scale == 2.0**14


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_a_gradient_scaler_skips_what_is_not_finite(factor: float) -> None:
    model = nn.Linear(6, 2)
    updates = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)

    def function(inputs: Any, targets: Any) -> None:
        updates.zero_grad()
        with torch.autocast("cpu", torch.float16):
            outputs = model(inputs)
        loss = (outputs.float() * factor - targets).square().mean()
        scaler.scale(loss).backward()
        scaler.step(updates)
        scaler.update()

    step = step_of(function)
    before, bias = model.weight.detach().clone(), model.bias.detach().clone()
    _, outcome = step.run(BATCH)
    assert outcome.loss_scale == 4096.0
    assert outcome.applied == (factor == 1.0) == (not torch.equal(before, model.weight))
    assert all(outcome.finite) == outcome.applied
    assert outcome.variables == ("weight", "bias")
    expected = ((ROWS @ before.T + bias) * factor - TARGETS).square().mean()
    assert outcome.loss == pytest.approx(float(expected), rel=1e-2)


def test_large_containers_are_data() -> None:
    rows = list(range(20_000))

    def function() -> int:
        return rows[0]

    assert not any(container is rows for container in reached_from([function]).containers)


def test_a_kept_batch_does_not_follow_the_tensor_that_a_loop_refills() -> None:
    batch = (torch.ones(2, requires_grad=True), torch.ones(2))
    first, second = kept(batch)
    with torch.no_grad():
        for tensor in batch:
            tensor.zero_()
    assert torch.equal(first, torch.ones(2))
    assert torch.equal(second, torch.ones(2))
    assert first.requires_grad
    assert not second.requires_grad


def test_a_region_that_was_open_around_the_step_is_open_again() -> None:
    _, _, function = training()
    step = step_of(function)
    state = step.snapshot()
    with torch.autocast("cpu", torch.bfloat16):
        _, live = step.run(BATCH)
    step.restore(state)
    _, again = step.run(BATCH)
    assert again.loss == live.loss
    assert "bfloat16" in {site.dtype for site in step.trace(state, BATCH).sites}
    assert not torch.is_autocast_enabled("cpu")
    step.restore(state)
    exact = step.float32(state, rounded=False, rebuilt=True).advance(BATCH)
    assert exact.loss != live.loss


def test_a_step_without_a_region_around_it_gets_none() -> None:
    _, _, function = training()
    step = step_of(function)
    state = step.snapshot()
    step.run(BATCH)
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        assert "bfloat16" not in {site.dtype for site in step.trace(state, BATCH).sites}
