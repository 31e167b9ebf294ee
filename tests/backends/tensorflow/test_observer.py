"""The observer sees the step being built, and afterwards nothing of it is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import record
from tensorflow.python.framework import ops as tf_ops

from floatline.backends.tensorflow.observer import Observer
from tests.contract.samples import policy


def patched() -> list[Any]:
    """Everything that an observer replaces, as it is now."""
    optimizers = (keras.optimizers.Optimizer, keras.optimizers.LossScaleOptimizer)
    owners = [next(c for c in o.__mro__ if "apply" in vars(c)) for o in optimizers]
    return [
        tf_ops.Graph._create_op_internal,
        tf_ops._create_graph_constant,
        keras.Layer.__call__,
        tf.GradientTape.gradient,
        record.record_operation,
        keras.optimizers.LossScaleOptimizer.scale_loss,
        *(owner.apply for owner in owners),
    ]


def test_everything_replaced_is_put_back() -> None:
    before = patched()
    with Observer():
        during = patched()
        assert [new is old for new, old in zip(during, before, strict=True)] == [False] * len(
            before
        )
    assert all(new is old for new, old in zip(patched(), before, strict=True))


def test_everything_is_put_back_when_the_step_raises() -> None:
    before = patched()
    with pytest.raises(RuntimeError, match="in the step"), Observer():
        raise RuntimeError("in the step")
    assert all(new is old for new, old in zip(patched(), before, strict=True))


def test_an_observer_within_an_observer() -> None:
    before = patched()
    with Observer() as outer:
        with Observer() as inner:
            tf.function(lambda: tf.constant(1e-8, tf.float16)).get_concrete_function()
        tf.function(lambda: tf.constant(1e-7, tf.float16)).get_concrete_function()
    assert (len(inner.literals), len(outer.literals)) == (1, 2)
    assert all(new is old for new, old in zip(patched(), before, strict=True))


def test_gradients_are_the_same_with_and_without_an_observer() -> None:
    weight = tf.Variable([2.0, 3.0])

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def tripled(x: Any) -> Any:
        return x * 1, lambda upstream: upstream * 3

    def gradient() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tripled(tf.function(lambda x: x * x)(weight)))
        return tape.gradient(loss, weight)

    with Observer():
        observed = [gradient().numpy(), tf.function(gradient)().numpy()]
    expected = [12.0, 18.0]
    for found in (*observed, gradient().numpy(), tf.function(gradient)().numpy()):
        np.testing.assert_array_equal(found, expected)


def watch(step: Callable[[], Any]) -> Any:
    with Observer() as observed:
        graph = tf.function(step).get_concrete_function().graph
    return observed, {operation.name: operation for operation in graph.get_operations()}


def test_literals_are_kept_as_they_were_written() -> None:
    observed, operations = watch(
        lambda: tf.constant([1e-8, 2049.0], tf.bfloat16) + tf.constant([0.1, 0.2], tf.bfloat16)
    )
    kept = [observed.literals[op].tolist() for op in operations.values() if op in observed.literals]
    assert kept == [[1e-8, 2049.0], [0.1, 0.2]]


def test_a_float32_literal_needs_no_keeping() -> None:
    assert watch(lambda: tf.constant(0.1))[0].literals == {}


def test_the_loss_and_its_gradients() -> None:
    weight, other = tf.Variable(2.0, name="weight"), tf.Variable(1.0, name="other")

    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.square(weight)
        return tape.gradient(loss, [weight, other])[0]

    observed, operations = watch(step)
    assert [tensor.op.type for tensor in observed.losses] == ["Square"]
    ((gradient, variable),) = observed.handed_over
    assert variable is weight
    context = observed.contexts[gradient.op]
    assert (context.phase, context.forward) == ("backward", operations["Square"])
    assert observed.contexts[operations["Square"]].phase == "forward"


def test_a_gradient_with_respect_to_inputs_is_not_a_loss() -> None:
    def step() -> Any:
        x = tf.constant(2.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x * x
        return tape.gradient(y, x)

    observed, _ = watch(step)
    assert (observed.losses, observed.handed_over) == ([], [])


def test_the_optimizer_is_handed_the_scaled_gradients() -> None:
    weight = keras.Variable([2.0], name="weight")
    inner = keras.optimizers.SGD(0.1)
    optimizer = keras.optimizers.LossScaleOptimizer(inner)
    optimizer.build([weight])

    def step() -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(weight.value))
            scaled = optimizer.scale_loss(loss)
        optimizer.apply(tape.gradient(scaled, [weight.value]), [weight])

    observed, operations = watch(step)
    assert observed.optimizers == [optimizer]
    assert [variable for _, variable in observed.gradients] == [weight]
    assert [tensor.op.type for tensor in observed.unscaled] == ["Sum"]
    assert [tensor.op.type for tensor in observed.losses] == ["Mul"]
    updates = [c.phase for op, c in observed.contexts.items() if op.type == "AssignSubVariableOp"]
    assert set(updates) == {"update"}
    assert operations  # The graph was built.


def test_layers_are_named_from_the_outside_in() -> None:
    with policy("float32"):
        inner = keras.layers.Dense(2, name="inner")
        outer = keras.Sequential([keras.Input((3,)), inner], name="outer")
    observed, _ = watch(lambda: outer(tf.ones((1, 3))))
    products = [c.layers for op, c in observed.contexts.items() if op.type == "MatMul"]
    assert products == [(outer, inner)]


def test_a_layer_that_raises_is_left() -> None:
    class Broken(keras.layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            raise RuntimeError("broken")

    layer = Broken()

    def step() -> Any:
        with contextlib.suppress(RuntimeError):
            layer(tf.ones(1))
        return tf.exp(tf.ones(1))

    observed, operations = watch(step)
    assert observed.contexts[operations["Exp"]].layers == ()
