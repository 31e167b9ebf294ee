"""Whole diagnoses on JAX, through the command line: verdict, cause, place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.test_diagnoses import diagnosed, example, line_of

ROW_SUM = """
import keras
import numpy as np
from keras import ops

keras.utils.set_random_seed(11)
keras.config.set_dtype_policy("mixed_float16")


class RowNormalizedDense(keras.layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 32), initializer="random_normal")

    def call(self, inputs):
        product = ops.matmul(inputs, self.kernel)
        return product / ops.sum(product, axis=-1, keepdims=True)


random = np.random.default_rng(11)
x = random.normal(size=(128, 10)).astype("float32")
y = random.integers(0, 2, (128, 1))
model = keras.Sequential(
    [keras.Input((10,)), RowNormalizedDense(), keras.layers.Dense(1, activation="sigmoid")]
)
model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="binary_crossentropy")
model.fit(x, y, batch_size=32, epochs=10, verbose=0)
"""

LOOP = """
import keras  # Says which framework is looked into.
import jax
import jax.numpy as jnp
import numpy as np


def loss(weights, x, y):
    half = x.astype("float16") @ weights.astype("float16")
    return jnp.mean(jnp.square(half.astype("float32") - y)) {scale}


@jax.jit
def step(state, x, y):
    value, gradient = jax.value_and_grad(loss)(state["w"], x, y)
    return {{"w": state["w"] - {rate} * gradient}}, value


random = np.random.default_rng(0)
x = random.normal(size=(64, 8)).astype("float32")
y = x.sum(axis=1, keepdims=True)
state = {{"w": jnp.zeros((8, 1))}}
for _ in range(40):
    state, value = step(state, x, y)
"""


@pytest.mark.parametrize("name", ["healthy_lstm", "conv_policy_before"])
def test_healthy_examples_are_called_healthy(name: str, tmp_path: Path) -> None:
    code, result = diagnosed(example(name), tmp_path)
    assert (code, result["verdict"], result["findings"]) == (0, "healthy", [])
    assert result["environment"]["backend"] == "jax"
    assert all(trace["agrees"] for trace in result["traces"])


def test_gradients_that_vanish_only_in_float16_are_found_without_a_symptom(tmp_path: Path) -> None:
    code, result = diagnosed(example("deep_sigmoid"), tmp_path)
    assert (code, result["verdict"]) == (1, "precision")
    first = result["findings"][0]
    assert (first["rule"], first["cause"]) == ("FL201", "missing-loss-scaling")


def test_the_division_overflows_on_the_way_back(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(ROW_SUM)
    code, result = diagnosed(script, tmp_path)
    assert (code, result["verdict"]) == (1, "precision")
    first = result["findings"][0]
    assert (first["rule"], first["phase"]) == ("FL110", "backward")
    assert first["layer"] == "row_normalized_dense"
    assert first["line"] == line_of(script, "return product /")


@pytest.mark.parametrize(
    ("scale", "rate", "verdict"), [("", "0.1", "healthy"), ("* 1e-9", "1e8", "precision")]
)
def test_the_step_of_a_loop_without_a_keras_model_is_found(
    scale: str, rate: str, verdict: str, tmp_path: Path
) -> None:
    script = tmp_path / "train.py"
    script.write_text(LOOP.format(scale=scale, rate=rate))
    code, result = diagnosed(script, tmp_path)
    assert (code, result["verdict"]) == (int(verdict == "precision"), verdict)
    assert result["configuration"]["entry"] == "step function"
    assert len(result["history"]["steps"]) == 40
    if verdict == "precision":
        assert result["findings"][0]["rule"] == "FL201"
