"""A network that its first update kills is never called healthy, however few steps are watched."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import floatline
from floatline.capture.capture import Budget


@pytest.mark.parametrize("steps", [6, 30])
def test_a_first_update_that_kills_every_relu(steps: int) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    hidden = keras.layers.Dense(16, activation="relu", bias_initializer="ones")(inputs)
    head = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = keras.Model(inputs, head(hidden))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    x = np.random.default_rng(0).uniform(0.5, 1.5, (16, 8)).astype("float32")
    y = np.full((16, 1), -20.0, "float32") + x[:, :1]
    limit = Budget(steps, 60.0)
    diagnosis = floatline.diagnose(model, x, y, batch_size=16, epochs=50, budget=limit)
    if steps < 15:
        assert diagnosis.verdict == "undecided"
        assert "more steps" in diagnosis.explanation
    else:
        assert [finding.rule for finding in diagnosis.findings] == ["FL603"]
