"""The loss that is shown is the one before a scale that the code puts on it and takes off again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from tests.contract.samples import noise

X = noise(16, 4)
Y = X.sum(axis=1, keepdims=True)
RATE, STEPS = 0.1, 12


def truth() -> list[float]:
    """The losses of linear regression, by hand."""
    weights, losses = np.zeros((4, 1)), []
    for _ in range(STEPS):
        error = X @ weights - Y
        losses.append(float(np.mean(error**2)))
        weights -= RATE * 2 * X.T @ error / len(X)
    return losses


def torch_step(scale: float, divisor: float) -> Callable[..., Any]:
    import torch

    weights = torch.nn.Parameter(torch.zeros(4, 1))
    optimizer = torch.optim.SGD([weights], RATE * divisor / scale)

    def step(x: Any, y: Any) -> None:
        optimizer.zero_grad()
        loss = ((torch.as_tensor(x) @ weights - torch.as_tensor(y)) ** 2).mean()
        (loss * scale).backward()
        assert weights.grad is not None
        weights.grad.div_(divisor)
        optimizer.step()

    return step


def tensorflow_step(scale: float, divisor: float) -> Callable[..., Any]:
    import tensorflow as tf

    weights = tf.Variable(tf.zeros((4, 1)))

    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(x @ weights - y)) * scale
        weights.assign_sub(RATE * divisor / scale * (tape.gradient(loss, weights) / divisor))

    return tf.function(step)  # type: ignore[no-any-return]  # (TensorFlow carries no types)


def jax_step(scale: float, divisor: float) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def step(weights: Any, x: Any, y: Any) -> Any:
        gradient = jax.grad(lambda w: jnp.mean((x @ w - y) ** 2) * scale)(weights)
        return weights - RATE * divisor / scale * (gradient / divisor)

    return jax.jit(step)  # type: ignore[no-any-return]  # (as above)


MAKERS = {"torch": torch_step, "tensorflow": tensorflow_step, "jax": jax_step}


def shown(scale: float, divisor: float) -> tuple[list[float | None], tuple[str, ...]]:
    backend = keras.backend.backend()
    state: dict[str, Any] = {"state": np.zeros((4, 1), "float32")} if backend == "jax" else {}
    step = MAKERS[backend](scale, divisor)
    diagnosis = floatline.diagnose(step, [(X, Y)] * STEPS, **state)
    return [record.loss for record in diagnosis.evidence.history.steps], diagnosis.notes


@pytest.mark.parametrize("scale", [1024.0, 1000.0])
def test_it_is_the_loss_itself(scale: float) -> None:
    losses, notes = shown(scale, scale)
    np.testing.assert_allclose(np.asarray(losses, float), truth(), rtol=1e-3)
    assert any(f"multiplies its loss by {scale:g}" in note for note in notes)


def test_a_weight_of_the_loss_stays_in_it() -> None:
    losses, notes = shown(1024.0, 3.0)
    np.testing.assert_allclose(np.asarray(losses, float), 1024 * np.asarray(truth()), rtol=1e-3)
    assert not any("multiplies its loss" in note for note in notes)
