"""Operations that need care: Python code, random draws, sparse values, gradients of one's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from floatline.errors import TraceError
from tests.backends.tensorflow.steps import by_variable, forward, only, sites, step_of, trace

ROWS = np.linspace(-2, 2, 15).reshape(5, 3).astype("float32")


def omissions(traced: Any) -> list[tuple[str, int, str]]:
    return [(n.operation, n.count, n.reason) for n in traced.not_traced]


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        (lambda x: tf.py_function(lambda v: v * 2, [x], x.dtype), "EagerPyFunc"),
        (lambda x: tf.numpy_function(lambda v: v * 2, [x], x.dtype), "PyFunc"),
    ],
)
def test_python_code_is_run_once_and_said_not_to_be_shadowed(
    call: Callable[[Any], Any], operation: str
) -> None:
    traced = forward(lambda x: call(x) * x, [1.0001, 2.0])
    assert omissions(traced) == [(operation, 1, "runs Python code")]
    site = only(traced, operation).statistics
    assert (site.max_abs, site.error) == (4.0, 0.0)
    product = only(traced, "Mul").statistics
    assert product.max_abs == 8.0
    assert product.error == pytest.approx(2e-4 / 10, rel=0.05)


def test_python_code_in_float32_needs_no_shadow() -> None:
    traced = forward(
        lambda x: tf.py_function(lambda v: v * 2, [x], x.dtype), [1.0], dtype="float32"
    )
    assert traced.not_traced == ()


def test_bits_are_taken_as_they_are() -> None:
    traced = forward(lambda x: tf.bitcast(x, tf.int16) * 0, [1.0])
    assert omissions(traced) == [("Bitcast", 1, "reads the bits of its input")]


@pytest.mark.parametrize("times", [1, 3])
def test_an_omission_in_a_loop_is_counted_once(times: int) -> None:
    """It stands in the graph once, however often the loop goes round."""

    def body(k: Any, v: Any) -> Any:
        result = tf.numpy_function(lambda a: a, [v], v.dtype)
        result.set_shape(v.shape)
        return k + 1, result

    traced = forward(lambda x: tf.while_loop(lambda k, _: k < times, body, [0, x])[1], [1.0])
    assert omissions(traced) == [("PyFunc", 1, "runs Python code")]


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: tf.random.stateless_uniform(x.shape, [1, 2], dtype=x.dtype),
        lambda x: tf.random.stateless_normal(x.shape, [1, 2], dtype=x.dtype),
        lambda x: tf.random.normal(x.shape, dtype=x.dtype),
        lambda x: tf.random.truncated_normal(x.shape, dtype=x.dtype),
        lambda x: tf.random.uniform(x.shape, dtype=x.dtype),
    ],
)
def test_both_lanes_see_the_same_draw(draw: Callable[[Any], Any]) -> None:
    traced = forward(lambda x: draw(x) * x, np.ones(200))
    (drawn,) = [
        s for s in traced.sites if "Random" in s.place.operation or "Normal" in s.place.name
    ]
    assert drawn.statistics.error == 0.0
    assert drawn.statistics.max_abs == drawn.statistics.computed_max_abs > 0
    product = sites(traced, "Mul")[-1].statistics
    assert (product.error, product.max_abs) == (0.0, drawn.statistics.max_abs)
    assert traced.not_traced == ()


def test_stateless_draws_are_those_of_the_real_step() -> None:
    truth = tf.random.stateless_uniform([50], [1, 2], dtype=tf.float16).numpy().astype("float32")
    traced = forward(lambda x: x * tf.random.stateless_uniform([50], [1, 2], dtype=x.dtype), [3.0])
    assert sites(traced, "Mul")[-1].statistics.max_abs == 3 * truth.max()


def test_a_generator_of_the_users_is_drawn_from_and_put_back() -> None:
    generator, kept = tf.random.Generator.from_seed(3), tf.Variable(0.0, name="kept")

    def step(x: Any) -> None:
        product = tf.cast(x, tf.float16)[0] * generator.normal([], dtype=tf.float16)
        kept.assign(tf.cast(product, tf.float32))

    batch = (np.array([2.0], "float32"),)
    step_ = step_of(step)
    step_.prepare(batch)
    state, before = step_.snapshot(), generator.state.numpy()
    traced = step_.trace(state, batch)
    np.testing.assert_array_equal(generator.state.numpy(), before)
    after = by_variable(step_, state, batch)
    step_.restore(state)
    np.testing.assert_array_equal(generator.state.numpy(), before)
    step_.run(batch)
    assert after["kept"] == kept.numpy() != 0
    np.testing.assert_array_equal(after["StateVar"], generator.state.numpy())
    assert [reason for _, _, reason in omissions(traced)] == [
        "works on a variable or table in place"
    ]


def test_a_print_prints_once(capfd: pytest.CaptureFixture[str]) -> None:
    def show(x: Any) -> Any:
        tf.print("here", output_stream=sys.stderr)
        return x * 2

    forward(show, [1.0])
    assert capfd.readouterr().err.count("here") == 1


def test_a_numeric_check_does_not_stop_the_trace_and_passes_the_shadow() -> None:
    traced = forward(lambda x: tf.debugging.check_numerics(x * x, "not finite") * 0.5, [300.0])
    first, second = (site.statistics for site in sites(traced, "Mul"))
    assert (first.saturated, second.saturated) == (1, 1)
    assert second.max_abs == 45000.0
    assert traced.not_traced == ()


def gradient_step(weight: tf.Variable, loss: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(tf.cast(x, tf.float16), weight)
        gradient = tape.gradient(value, weight)
        weight.assign_sub(tf.convert_to_tensor(gradient))
        return value

    return step


def test_the_gradient_of_a_gather_is_the_site_of_its_values() -> None:
    table = tf.Variable(np.eye(4, 2, dtype="float32"), name="table")

    def loss(x: Any, table: Any) -> Any:
        rows = tf.cast(tf.gather(table, [0, 2, 2]), x.dtype)
        return tf.reduce_sum(tf.cast(rows * x, tf.float32))

    # Indexed slices become dense in the user's own step, not in the trace.
    def step(x: Any) -> None:
        with tf.GradientTape() as tape:
            value = loss(tf.cast(x, tf.float16), table)
        gradient = tape.gradient(value, table)
        assert isinstance(gradient, tf.IndexedSlices)
        table.scatter_sub(gradient)

    batch = (np.array([[1.0, 2.0]], "float32"),)
    step_ = step_of(step)
    step_.prepare(batch)
    state = step_.snapshot()
    traced = step_.trace(state, batch)
    (gradient,) = traced.gradients
    assert gradient.variable == "table"
    assert traced.sites[gradient.site].statistics.max_abs == 2.0
    after = by_variable(step_, state, batch)["table"]
    expected = np.eye(4, 2) - np.array([[1, 2], [0, 0], [2, 4], [0, 0]])
    np.testing.assert_array_equal(after, expected)
    np.testing.assert_array_equal(table.numpy(), np.eye(4, 2))


def test_a_sparse_batch() -> None:
    weight = tf.Variable(np.ones((3, 2), "float32"), name="weight")
    sparse = tf.sparse.from_dense(np.array([[0, 2.0, 0], [1.0, 0, 0]], "float32"))

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            product = tf.sparse.sparse_dense_matmul(x, weight)
            loss = tf.reduce_sum(tf.cast(tf.cast(product, tf.float16) ** 2, tf.float32))
        weight.assign_sub(tape.gradient(loss, weight))
        return loss

    step_ = step_of(step)
    step_.prepare(sparse)
    traced = step_.trace(step_.snapshot(), sparse)
    batch = [site for site in traced.sites if site.role == "input"]
    assert [(site.statistics.count, site.statistics.max_abs) for site in batch] == [(2, 2.0)]
    assert traced.sites[traced.losses[0]].statistics.max_abs == 2 * (4 + 1)
    assert step_.float32(step_.snapshot()).advance(sparse).loss == 10.0
    assert float(step_.run(sparse)[0]) == 10.0


def test_a_ragged_batch() -> None:
    total = tf.Variable(0.0, name="total")
    ragged = tf.ragged.constant([[1.0, 2.0], [300.0]])

    def step(x: Any) -> None:
        low = tf.cast(x, tf.float16)
        total.assign(tf.reduce_max(tf.cast(tf.reduce_sum(low * low, axis=1), tf.float32)))

    step_ = step_of(step)
    step_.prepare(ragged)
    assert only(step_.trace(step_.snapshot(), ragged), "Mul").statistics.saturated == 1


@tf.custom_gradient  # type: ignore[untyped-decorator]
def tenfold_gradient(x: Any) -> Any:
    return tf.tanh(x), lambda upstream: upstream * tf.cast(10.0, upstream.dtype)


def test_a_gradient_of_ones_own_is_followed() -> None:
    weight = tf.Variable([1.0], name="weight")
    step = gradient_step(
        weight,
        lambda x, w: tf.reduce_sum(tf.cast(tenfold_gradient(x * tf.cast(w, x.dtype)), tf.float32)),
    )
    traced = trace(step, np.array([7000.0, 1.0], "float32"))
    (gradient,) = traced.gradients
    assert traced.sites[gradient.site].statistics.max_abs == pytest.approx(70010.0)
    own = [s for s in traced.sites if s.place.phase == "backward" and s.place.operation == "Mul"]
    assert [s.statistics.saturated for s in own] == [0, 1]


def test_a_gradient_of_a_gradient() -> None:
    weight = tf.Variable([2.0], name="weight")

    def loss(x: Any, w: Any) -> Any:
        with tf.GradientTape() as inner:
            inner.watch(x)
            cubes = tf.reduce_sum(tf.cast(w, x.dtype) * x**3)
        return tf.reduce_sum(tf.cast(inner.gradient(cubes, x), tf.float32))

    traced = trace(gradient_step(weight, loss), np.array([3.0], "float32"))
    assert traced.sites[traced.losses[-1]].statistics.max_abs == 2 * 3 * 9
    (gradient,) = traced.gradients
    assert traced.sites[gradient.site].statistics.max_abs == 3 * 9


def test_a_hash_table_is_left_alone() -> None:
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer([1, 2], [10.0, 20.0], tf.int32, tf.float32), -1.0
    )
    traced = forward(lambda x: x * tf.cast(table.lookup(tf.constant([1, 2, 3])), x.dtype), [2.0])
    assert only(traced, "Mul").statistics.max_abs == 40.0


def test_a_step_that_only_python_can_run_is_refused_with_its_own_words() -> None:
    with pytest.raises(TraceError, match=r"cannot be turned into a graph: .*numpy"):
        trace(lambda x: x.numpy(), np.ones(2, "float32"), compiled=False)
    with pytest.raises(TraceError, match=r"ValueError: .*Dimensions must be equal"):
        trace(lambda x: x + tf.ones(3), np.ones(2, "float32"))
