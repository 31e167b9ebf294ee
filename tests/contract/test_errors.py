"""A step that raises: its numbers are the reason, or it is an error like any other."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import floatline
from floatline.errors import TraceError, TrainingError
from tests.contract.samples import policy

X = np.random.default_rng(0).uniform(300, 400, (64, 8)).astype("float32")
Y = (X[:, :1] > 350).astype("float32")


class Square(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Overflows in float16."""

    def call(self, inputs: Any) -> Any:
        return inputs * inputs


class Checked(layers.Layer):  # type: ignore[misc]  # (Keras carries no types)
    """Raises for what is not finite, as users of each framework let it."""

    def call(self, inputs: Any) -> Any:
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.debugging.check_numerics(inputs, "in the middle")
        if keras.backend.backend() == "torch" and not bool(inputs.isfinite().all()):
            raise ValueError("not finite in the middle")
        return inputs


def model(*, name: str, checked: bool = True) -> Any:
    with policy(name):
        stack = [keras.Input((8,)), Square(name="square"), layers.Activation("softsign")]
        stack += [Checked(dtype="float32")] * checked
        made = keras.Sequential([*stack, layers.Dense(1, dtype="float32")])
    made.compile(keras.optimizers.SGD(1e-3), "mse")
    return made


def diagnosed(made: Any, x: Any = X) -> Any:
    return floatline.diagnose(made, x, Y[: len(x)], batch_size=16, epochs=2)


def test_the_overflow_before_the_check_is_named() -> None:
    made = model(name="mixed_float16")
    before = [np.array(weight) for weight in made.get_weights()]
    diagnosis = diagnosed(made)
    first = diagnosis.findings[0]
    assert diagnosis.verdict == "precision"
    assert first.place.layer == "square"
    assert first.phase == "forward"
    if keras.backend.backend() != "jax":  # Where nothing raises inside of a compiled step.
        assert diagnosis.evidence.history.stopped == "error"
        assert "raised" in diagnosis.explanation
    assert all(map(np.array_equal, before, made.get_weights()))


def test_in_float32_the_same_check_lets_the_step_pass() -> None:
    assert diagnosed(model(name="float32")).verdict == "healthy"


def test_a_check_that_data_fail_in_every_precision_is_not_precisions_fault() -> None:
    x = X / 10
    x[3, 2] = np.nan
    assert diagnosed(model(name="mixed_float16", checked=True), x).verdict != "precision"


def test_a_function_that_raises_has_no_trace() -> None:
    def fails(x: Any) -> Any:
        raise ValueError("by itself")

    with pytest.raises(TraceError, match="by itself"):
        floatline.trace(fails, keras.ops.ones((2,)))


def test_an_error_that_no_number_explains_is_told_as_it_is() -> None:
    with pytest.raises(TrainingError, match="raised"):
        diagnosed(model(name="mixed_float16", checked=False), X[:, :5])
