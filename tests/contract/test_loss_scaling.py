"""A training with Floatline's own loss scaling is captured like any other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline.capture.capture import Budget, Capture
from floatline.capture.model import capture_fit
from floatline.pipeline import load_backend


class Doubling(keras.optimizers.LossScaleOptimizer):  # type: ignore[misc]  # (Keras carries no types)
    """A user's own subclass, which leaves the work to Keras'."""

    def scale_loss(self, loss: Any) -> Any:
        return 2 * super().scale_loss(loss)


def captured(make_optimizer: Any, scale: float) -> Capture:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(1, dtype="mixed_float16", activation="sigmoid")]
    )
    inner = keras.optimizers.SGD(0.1)
    model.compile(make_optimizer(inner, initial_scale=scale), "mse")
    x = np.linspace(0, 1, 256, dtype="float32").reshape(64, 4)
    data = {"x": x, "y": x[:, :1], "batch_size": 16, "shuffle": False}
    return capture_fit(load_backend(), model, data, Budget())


@pytest.mark.parametrize(
    "make_optimizer",
    [keras.optimizers.LossScaleOptimizer, floatline.LossScaleOptimizer, Doubling],
)
def test_the_loss_is_seen_unscaled_and_the_scale_beside_it(make_optimizer: Any) -> None:
    small, large = (captured(make_optimizer, scale) for scale in (1.0, 1024.0))
    assert [step.loss_scale for step in large.history.steps] == [1024.0] * 4
    for first, second in zip(small.history.steps, large.history.steps, strict=True):
        assert first.loss == pytest.approx(second.loss, rel=1e-2)


def test_its_counters_are_put_back() -> None:
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, dtype="mixed_float16")])
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(1.0), initial_scale=2.0**30)
    model.compile(optimizer, "mse")
    x = np.full((64, 4), 100.0, "float32")
    with pytest.warns(UserWarning, match="stands still"):
        capture = capture_fit(load_backend(), model, {"x": x, "y": x[:, :1]}, Budget())
    assert any(step.skipped for step in capture.history.steps)
    assert optimizer.report().skipped == 0
    assert optimizer.report().scale == 2.0**30
