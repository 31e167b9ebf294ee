"""Steps of TensorFlow that are traced in parts: several tapes, and what a graph needs at least."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from floatline.backends.tensorflow.memory import least_bytes, ran_short
from floatline.backends.tensorflow.observer import Observer
from floatline.capture.capture import KeptMoment
from floatline.pipeline import load_backend
from floatline.progress import silent
from floatline.records import StepRecord
from floatline.tracing.moments import trace_moments
from tests.contract.shortage import allow
from tests.tracing.fakes import capture

MIB = 2**20


def test_only_the_outermost_gradient_starts_elsewhere() -> None:
    weight = tf.Variable([1.0, 2.0])

    def gradients() -> list[list[float]]:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                cubed = tf.reduce_sum(weight**3)
            within = inner.gradient(cubed, weight)
            total = tf.reduce_sum(within)
        last = outer.gradient(total, weight)
        return [within.numpy().tolist(), last.numpy().tolist()]

    with Observer(0.5):
        assert gradients() == [[3.0, 12.0], [3.0, 6.0]]
    assert gradients() == [[3.0, 12.0], [6.0, 12.0]]


def test_what_the_user_starts_from_is_kept() -> None:
    weight = tf.Variable([1.0, 2.0])
    with Observer(0.5), tf.GradientTape() as tape:
        doubled = 2.0 * weight
        gradient = tape.gradient(doubled, weight, output_gradients=tf.constant([3.0, 5.0]))
    assert gradient.numpy().tolist() == [3.0, 5.0]


def test_a_loop_with_two_losses_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    x = tf.constant(np.tile(random.normal(size=(12, 10)).astype("float32"), (4, 1)))
    first = tf.Variable(random.normal(size=(10, 32)).astype("float32"))
    second = tf.Variable(random.normal(size=(10, 20)).astype("float32"))

    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def train(x: Any, rate: Any) -> Any:
        with tf.GradientTape() as one, tf.GradientTape() as other:
            low = tf.cast(x, tf.float16)
            a = tf.reduce_mean(tf.cast(low @ tf.cast(first, tf.float16), tf.float32) ** 2)
            b = tf.reduce_mean(tf.cast(low @ tf.cast(second, tf.float16), tf.float32) ** 2)
        first.assign_sub(rate * one.gradient(a, first))
        second.assign_sub(rate * other.gradient(b, second))
        return a

    step = load_backend().function_step(train, lambda layer: None)
    batch = (x, tf.constant(2.0**-6))
    step.prepare(batch)
    assert step.rows(batch) == 48
    moment = KeptMoment(0, "first", step.snapshot(), batch)
    whole = step.trace(moment.state, batch)
    allow(monkeypatch, 12)
    record = StepRecord(0, 1.0)
    (part,) = trace_moments(capture(step, [record], [moment]), silent)
    assert (part.rows, part.agrees) == ("rows 0 to 11 of 48", True)
    for width in (32, 20):
        most = [
            max(
                site.statistics.max_abs
                for site in trace.sites
                if site.place.phase == "backward"
                and site.shape == (rows, width)
                and site.place.operation == "Cast"
            )
            for trace, rows in ((whole, 48), (part, 12))
        ]
        assert most[0] == pytest.approx(most[1], rel=1e-3)


def test_what_a_graph_needs_at_least() -> None:
    @tf.function  # type: ignore[untyped-decorator]  # (TensorFlow carries no types)
    def function(x: Any) -> Any:
        a, b = tf.exp(x), tf.sin(x)
        kept = tf.reshape(a + b, (-1,))
        return tf.reduce_sum(kept) + tf.reduce_sum(a)

    known = function.get_concrete_function(tf.TensorSpec((512, 512)))
    assert 2 * MIB <= least_bytes(known.graph) < 2.1 * MIB
    unknown = function.get_concrete_function(tf.TensorSpec((None, 512)))
    assert least_bytes(unknown.graph) < 1024


def test_what_is_no_want_of_memory() -> None:
    assert ran_short(tf.errors.ResourceExhaustedError(None, None, "OOM"))
    assert not ran_short(tf.errors.InvalidArgumentError(None, None, "shapes"))
