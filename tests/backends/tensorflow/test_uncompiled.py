"""A step that nobody compiles is looked into as it stands: with arrays, flags and indices."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.backends.tensorflow.steps import step_of

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
Y = 0.1 * X.sum(axis=1, keepdims=True)


def test_arrays_and_flags_meet_a_step_that_is_not_compiled_as_they_are() -> None:
    w = tf.Variable(tf.ones((3, 1)))
    optimizer = keras.optimizers.SGD(0.1)

    def train(x: Any, y: Any, training: bool, name: str) -> tf.Tensor:
        with tf.GradientTape() as tape:
            error = y - tf.cast(x, tf.float32) @ w  # NumPy's float64 gives way to float32.
            loss = tf.reduce_mean(error**2) * (2.0 if training and name else 1.0)
        optimizer.apply([tape.gradient(loss, w)], [w])
        return loss

    batch = (X.astype("float64"), Y.astype("float64"), True, "a name")
    step = step_of(train, compiled=False)
    step.prepare(batch)
    state = step.snapshot()
    trace = step.trace(state, batch)
    expected = 2 * np.mean((Y - X.sum(axis=1, keepdims=True)) ** 2)
    assert step.float32(state).advance(batch).loss == pytest.approx(expected, rel=1e-6)
    assert trace.sites[trace.losses[0]].statistics.max_abs == pytest.approx(expected, rel=1e-6)
    returned, outcome = step.run(batch)
    assert float(returned) == outcome.loss == pytest.approx(expected, rel=1e-6)


def test_a_step_that_is_not_compiled_may_index_arrays_by_its_batch() -> None:
    w = tf.Variable(tf.ones((3, 1)))
    optimizer = keras.optimizers.SGD(0.1)

    def train(rows: Any, number: int, scale: tf.Tensor) -> None:
        part = np.split(X[rows], 2)[number % 2]
        with tf.GradientTape() as tape:
            loss = scale * tf.reduce_mean((part @ w) ** 2)
        optimizer.apply([tape.gradient(loss, w)], [w])

    step = step_of(train, compiled=False)
    batches = [(np.array([0, 1, 4, 5]), n, tf.constant(2.0)) for n in range(3)]
    step.prepare(batches[0])
    state = step.snapshot()
    replay = step.float32(state)
    again = [replay.advance(batch).loss for batch in batches]
    own = [step.run(batch)[1].loss for batch in batches]
    assert again == pytest.approx(own, rel=1e-5)
    assert own[0] == pytest.approx(2 * np.mean(X[[0, 1]].sum(axis=1) ** 2), rel=1e-5)
    trace = step.trace(state, batches[0])
    assert trace.sites[trace.losses[0]].statistics.max_abs == pytest.approx(own[0], rel=1e-5)
