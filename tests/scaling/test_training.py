"""Ways of training that Keras offers: a skipped step is skipped alone, and leaves no trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from tests.scaling.samples import data, not_torch, only_tensorflow, small_model

# Keras converts its variables and logs in a way that NumPy 2 calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def fitted(**compile_arguments: Any) -> tuple[keras.Model, dict[str, Any]]:
    """Eight steps, of which the third overflows."""
    x, y = data(64)
    x[16:24] = 1e30
    model = small_model()
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=64.0)
    model.compile(optimizer, "mse", **compile_arguments)
    logs = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history
    return model, logs


def skips_one_step_alone(model: keras.Model, logs: dict[str, Any]) -> bool:
    finite = all(np.isfinite(weight).all() for weight in model.get_weights())
    mean = bool(np.isfinite(logs["loss"][0]))
    return (int(model.optimizer.iterations), logs["skipped_steps"], finite, mean) == (
        7,
        [1],
        True,
        True,
    )


@not_torch  # Keras allows one step per execution there.
def test_several_steps_in_one_execution() -> None:
    alone, one_by_one = fitted()
    model, logs = fitted(steps_per_execution=4)
    assert skips_one_step_alone(alone, one_by_one)
    assert skips_one_step_alone(model, logs)
    for left, right in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)


@only_tensorflow
def test_a_step_that_xla_compiles() -> None:
    model, logs = fitted(jit_compile=True)
    assert skips_one_step_alone(model, logs)


@only_tensorflow
def test_a_checkpoint_of_tensorflow_brings_scale_and_counters_back(tmp_path: Path) -> None:
    import tensorflow as tf

    model, _ = fitted()
    optimizer = model.optimizer
    optimizer.dynamic_scale.assign(16.0)
    report = optimizer.report()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    path = checkpoint.save(str(tmp_path / "checkpoint"))
    names = [name for name, shape in tf.train.list_variables(path) if list(shape) == [6]]
    optimizer.dynamic_scale.assign(2.0)
    optimizer.counters.assign([0] * 6)
    checkpoint.restore(path)
    assert optimizer.report() == report
    assert report.skipped == 1
    assert len(names) == 1  # The six counters are stored once.


def test_gradients_are_accumulated_as_without_loss_scaling() -> None:
    x, y = data(40)
    weights = []
    for wrap in (lambda optimizer: optimizer, floatline.LossScaleOptimizer):
        model = small_model("float32")
        model.compile(wrap(keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)), "mse")
        history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
        weights.append(model.get_weights())
    for left, right in zip(*weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
    assert history["skipped_steps"] == [0, 0]


def test_a_step_that_is_skipped_accumulates_nothing() -> None:
    x, y = data(64)
    x[16:24] = 1e30
    both, finite = small_model(), small_model()
    for model, rows in ((both, slice(0, 64)), (finite, np.r_[0:16, 24:64])):
        inner = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
        model.compile(floatline.LossScaleOptimizer(inner, initial_scale=64.0), "mse")
        logs = model.fit(x[rows], y[rows], batch_size=8, shuffle=False, verbose=0).history
        assert logs["skipped_steps"] == [int(model is both)]
    for left, right in zip(both.get_weights(), finite.get_weights(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)


def test_the_monitor_lets_keras_run_ahead_of_the_device() -> None:
    """Keras reads the logs of every step, and so waits for it, if a callback wants its end."""
    theirs = keras.callbacks.CallbackList([floatline.ScaleMonitor()])
    alone = keras.callbacks.CallbackList([])
    assert theirs._async_train == alone._async_train


def test_integers_are_of_the_type_that_keras_counts_steps_in() -> None:
    # TensorFlow keeps int32 variables on the host, where a step that XLA compiles for a GPU cannot
    # reach them.
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD())
    optimizer.build([keras.Variable([1.0])])
    kinds = {v.dtype for v in optimizer.scale_variables if not v.dtype.startswith("float")}
    assert kinds == {optimizer.inner_optimizer.iterations.dtype}
