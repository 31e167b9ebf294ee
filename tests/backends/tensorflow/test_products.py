"""A traced step multiplies float32 numbers in float32; the user's own steps do as they are told."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.products import exact_products


def test_rounding_is_allowed_in_a_step_and_not_in_its_trace() -> None:
    """What a step sees while it runs, for no CPU rounds the factors of a product."""
    allowed: list[bool] = []

    def noted(x: Any) -> Any:
        allowed.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return x

    weight = tf.Variable([1.0, 2.0])

    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def train(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(weight * tf.numpy_function(noted, [x], tf.float32))
        weight.assign_sub(tape.gradient(loss, weight))
        return loss

    step, x = (
        TensorFlowBackend().function_step(train, lambda _: None),
        np.array([3.0, 1.0], "float32"),
    )
    step.prepare(x)
    state = step.snapshot()
    step.run(x)
    assert allowed == [True]
    step.trace(state, x)
    step.run(x)
    assert allowed == [True, False, True]


@pytest.mark.parametrize("before", [True, False])
def test_the_setting_is_left_as_it_was(before: bool) -> None:
    tf.config.experimental.enable_tensor_float_32_execution(before)
    try:
        with pytest.raises(KeyError), exact_products():
            raise KeyError
        assert tf.config.experimental.tensor_float_32_execution_enabled() is before
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(True)
