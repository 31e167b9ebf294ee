"""A step that XLA compiles is traced as XLA compiles it, where only that shows what it shows."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from floatline.backends.tensorflow import TensorFlowBackend
from floatline.backends.tensorflow.program import WHOLE_NOTE


def step_of(*, jit_compile: bool, function: Any) -> tuple[Any, tf.Variable]:
    weight = tf.Variable([1.0, 2.0])
    optimizer = keras.optimizers.SGD(1e-3)
    optimizer.build([weight])

    @tf.function(jit_compile=jit_compile)  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def train(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.cast(function(tf.cast(weight * x, tf.float16)), tf.float32))
        optimizer.apply(tape.gradient(loss, [weight]), [weight])
        return loss

    return TensorFlowBackend().function_step(train, lambda _: None), weight


def vanishing(x: Any) -> Any:
    """An overflow that XLA takes out of the program: the logarithm of an exponential."""
    return tf.math.log(tf.exp(4.0 * x))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_trace_shows_what_the_step_shows(jit_compile: bool) -> None:
    step, weight = step_of(jit_compile=jit_compile, function=vanishing)
    x = tf.constant([3.0, 1.0])
    step.prepare(x)
    state = step.snapshot()
    _, outcome = step.run(x)
    trained = weight.numpy()
    trace = step.trace(state, x)
    shown = [trace.sites[site].statistics.nonfinite for site in trace.losses]
    assert (outcome.loss, shown) == ((10.0, [0]) if jit_compile else (float("inf"), [1]))
    assert trace.notes == ((WHOLE_NOTE,) if jit_compile else ())
    assert weight.numpy() == pytest.approx(trained, nan_ok=True)


def test_where_operations_alone_show_it_nothing_else_is_compiled() -> None:
    step, _ = step_of(jit_compile=True, function=lambda x: x * 30000.0)
    x = tf.constant([3.0, 1.0])
    step.prepare(x)
    assert step.trace(step.snapshot(), x).notes == ()
