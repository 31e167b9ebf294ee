"""Loops, branches and calls: what is measured inside them, against the same loop in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from floatline.records import Site
from tests.backends.tensorflow.steps import by_variable, forward, only, sites, step_of, trace
from tests.contract.samples import policy

X = np.array([0.5, 100.0, 1e-3])


def halves(value: Any) -> Any:
    """The float16 values of an array, as float32."""
    with np.errstate(over="ignore"):
        return np.asarray(value, "float16").astype("float32")


def squared_often(times: int) -> tuple[list[Any], list[Any]]:
    """Computed and float32 values of `x = x * x`, iteration by iteration."""
    low, high = halves(X), np.asarray(X, "float32")
    lows, highs = [], []
    for _ in range(times):
        low, high = halves(low * low), high * high
        lows.append(low)
        highs.append(high)
    return lows, highs


def assert_counts(site: Site, lows: Sequence[Any], highs: Sequence[Any]) -> None:
    low, high = np.array(lows), np.array(highs)
    found = site.statistics
    assert found.count == low.size
    assert found.saturated == (np.isinf(low) & np.isfinite(high)).sum()
    assert found.flushed == ((low == 0) & (high != 0)).sum()
    assert found.max_abs == pytest.approx(high.max(), rel=1e-5)
    assert found.min_abs_nonzero == pytest.approx(high.min(), rel=1e-5)
    assert found.computed_max_abs == low[np.isfinite(low)].max()


def squaring(times: Any) -> Callable[[Any], Any]:
    def loop(x: Any) -> Any:
        return tf.while_loop(lambda k, _: k < times, lambda k, v: (k + 1, v * v), [0, x])[1]

    return loop


@pytest.mark.parametrize("times", [1, 3])
def test_a_loop_sums_over_its_iterations(times: int) -> None:
    assert_counts(only(forward(squaring(times), X), "Mul"), *squared_often(times))


def test_a_loop_that_never_runs_has_sites_without_elements() -> None:
    site = only(forward(squaring(0), X), "Mul").statistics
    assert (site.count, site.max_abs, site.exponents) == (0, 0.0, {})


def test_a_loop_written_in_python_is_the_same_loop() -> None:
    def loop(x: Any) -> Any:
        for _ in tf.range(3):
            x = x * x
        return x

    assert_counts(only(forward(tf.autograph.experimental.do_not_convert(squaring(3)), X), "Mul"),
                  *squared_often(3))  # fmt: skip
    assert_counts(only(forward(tf.function(loop), X), "Mul"), *squared_often(3))


def test_a_loop_in_a_loop() -> None:
    def outer(x: Any) -> Any:
        return tf.while_loop(lambda k, _: k < 2, lambda k, v: (k + 1, squaring(2)(v)), [0, x])[1]

    assert_counts(only(forward(outer, X), "Mul"), *squared_often(4))


def test_a_branch_in_a_loop_measures_the_iterations_that_take_it() -> None:
    def alternate(k: Any, v: Any) -> Any:
        return k + 1, tf.cond(k % 2 == 0, lambda: v * v, lambda: v + v)

    def loop(x: Any) -> Any:
        return tf.while_loop(lambda k, _: k < 3, alternate, [0, x])[1]

    traced = forward(loop, [0.5, 2.0])
    assert only(traced, "Mul").statistics.exponents == {-2: 2, 2: 1, 6: 1}
    doubled = [s for s in sites(traced, "AddV2") if s.dtype == "float16"]
    assert [(s.statistics.count, s.statistics.max_abs) for s in doubled] == [(2, 8.0)]


@pytest.mark.parametrize(("limit", "count"), [(1e4, 9), (0.0, 0)])
def test_a_loop_in_a_branch(limit: float, count: int) -> None:
    def branch(x: Any) -> Any:
        return tf.cond(tf.reduce_sum(x) < limit, lambda: squaring(3)(x), lambda: x)

    assert only(forward(branch, X), "Mul").statistics.count == count


@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_the_branch_that_is_taken_of_several(chosen: int) -> None:
    def choose(x: Any, number: Any) -> Any:
        branches = [lambda: x * x, lambda: tf.exp(x), lambda: x - 1]
        return tf.switch_case(tf.cast(number, tf.int32), branches)

    traced = forward(choose, [2.0, 300.0], chosen)
    counts = [only(traced, name).statistics.count for name in ("Mul", "Exp", "Sub")]
    assert counts == [2 * (number == chosen) for number in range(3)]


def test_the_shadow_goes_where_the_real_step_goes() -> None:
    """In float32 the flushed value is above zero; the step takes the other branch."""
    traced = forward(lambda x: tf.cond(x[0] > 0, lambda: tf.exp(x), lambda: tf.tanh(x)), [1e-9])
    assert only(traced, "Exp").statistics.count == 0
    assert only(traced, "Tanh").statistics.min_abs_nonzero == pytest.approx(1e-9)


def test_a_variable_that_a_loop_writes() -> None:
    counter, total = tf.Variable(0, name="counter"), tf.Variable(1.0, name="total")

    def body(k: Any, v: Any) -> Any:
        counter.assign_add(2)
        total.assign(total * 1.5)
        return k + 1, v * tf.cast(total, v.dtype)

    def step(x: Any) -> None:
        result = tf.while_loop(lambda k, _: k < 3, body, [0, tf.cast(x, tf.float16)])[1]
        total.assign_add(tf.reduce_sum(tf.cast(result, tf.float32)))

    batch = (np.ones(2, "float32"),)
    step_ = step_of(step)
    step_.prepare(batch)
    state = step_.snapshot()
    traced = by_variable(step_, state, batch)
    assert (counter.numpy(), total.numpy()) == (0, 1.0)
    step_.run(batch)
    product = 1.5 * 1.5**2 * 1.5**3
    assert traced["counter"] == counter.numpy() == 6
    assert traced["total"] == total.numpy() == pytest.approx(1.5**3 + 2 * product, rel=1e-3)


@pytest.mark.parametrize("condition", [True, False])
def test_a_variable_that_only_one_branch_writes(condition: bool) -> None:
    counter = tf.Variable(1.0, name="counter")

    def step(x: Any) -> None:
        low = tf.cast(x, tf.float16)
        tf.cond(tf.reduce_sum(x) > 0, lambda: counter.assign_add(tf.cast(low[0], tf.float32)),
                lambda: tf.identity(counter))  # fmt: skip

    batch = (np.array([1.0 if condition else -1.0], "float32"),)
    step_ = step_of(step)
    step_.prepare(batch)
    traced = by_variable(step_, step_.snapshot(), batch)
    assert traced["counter"] == (2.0 if condition else 1.0)
    update = only(step_.trace(step_.snapshot(), batch), "AssignAddVariableOp")
    assert (update.variable, update.statistics.count) == ("counter", int(condition))


def test_a_loop_variable_reads_what_it_was_and_what_came_round() -> None:
    traced = forward(squaring(3), X)
    cast, square = only(traced, "Cast"), only(traced, "Mul")
    assert square.inputs == (cast.index, square.index)
    assert square.index in sites(traced, "Sum")[0].inputs


def test_the_recurrence_of_an_lstm() -> None:
    """Gates and state of every time step, computed by hand in float32."""
    with policy("mixed_float16"):
        layer = keras.layers.LSTM(4)
        x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
        layer(x)
    traced = forward(layer, x)
    states = lstm_states(x, *(variable.numpy() for variable in layer.cell.weights))
    (site,) = [
        s for s in traced.sites if s.place.operation == "Mul" and is_output_gate(s, traced.sites)
    ]
    assert site.statistics.count == states.size
    assert site.statistics.max_abs == pytest.approx(np.abs(states).max(), rel=1e-5)
    assert site.statistics.min_abs_nonzero == pytest.approx(np.abs(states).min(), rel=1e-4)


def is_output_gate(site: Site, all_sites: Sequence[Site]) -> bool:
    """The product of a gate with the tanh of the state that was just added up."""
    tanhs = [all_sites[i] for i in site.inputs if all_sites[i].place.operation == "Tanh"]
    return any(
        all_sites[i].place.operation == "AddV2" for tanh in tanhs for i in tanh.inputs
    ) and any(all_sites[i].index > site.index - 3 for i in site.inputs)


def lstm_states(x: Any, kernel: Any, recurrent: Any, bias: Any) -> Any:
    """What an LSTM gives at every time step, in float64."""

    def sigmoid(z: Any) -> Any:
        return 1 / (1 + np.exp(-z))

    state = carry = np.zeros((len(x), recurrent.shape[0]))
    states = []
    for step in range(x.shape[1]):
        i, f, c, o = np.split(x[:, step] @ kernel + state @ recurrent + bias, 4, axis=1)
        carry = sigmoid(f) * carry + sigmoid(i) * np.tanh(c)
        state = sigmoid(o) * np.tanh(carry)
        states.append(state)
    return np.array(states)


WEIGHT_VALUE = np.linspace(-1, 1, 12).reshape(3, 4).astype("float32")
ROWS = np.linspace(-2, 2, 15).reshape(5, 3).astype("float32")
Compute = Callable[[Any, Any], Any]


def body_of_bodies(x: Any, w: Any) -> Any:
    def body(k: Any, v: Any) -> Any:
        inner = tf.while_loop(lambda j, _: j < 2, lambda j, u: (j + 1, tf.tanh(u) + 0.1), [0, v])
        return k + 1, inner[1] * (2 + tf.reduce_sum(w))

    return tf.while_loop(lambda k, _: k < 3, body, [0, x @ w])[1]


def branch_in_loop(x: Any, w: Any) -> Any:
    def body(k: Any, v: Any) -> Any:
        return k + 1, tf.cond(k % 2 == 0, lambda: v + tf.reduce_sum(w), lambda: tf.tanh(v))

    return tf.while_loop(lambda k, _: k < 3, body, [0, x @ w])[1]


def loop_in_branch(x: Any, w: Any) -> Any:
    def loop() -> Any:
        return tf.while_loop(lambda k, _: k < 3, lambda k, v: (k + 1, tf.tanh(v @ q)), [0, x @ w])[
            1
        ]

    q = tf.matmul(w, w, transpose_a=True)
    return tf.cond(tf.reduce_sum(x) < 1e3, loop, lambda: x @ w)


def several_branches(x: Any, w: Any) -> Any:
    h = x @ w
    return tf.switch_case(tf.constant(1), [lambda: h, lambda: tf.tanh(h), lambda: h * h])


def calls(x: Any, w: Any) -> Any:
    inner = tf.function(lambda v: tf.tanh(v) * v)
    return inner(tf.function(lambda v: inner(v) + v, jit_compile=True)(x @ w))


def recomputed(x: Any, w: Any) -> Any:
    return tf.recompute_grad(lambda v: tf.tanh(v) * v)(x @ w)


def mapped(x: Any, w: Any) -> Any:
    return tf.map_fn(lambda row: tf.tanh(row) * 2, x @ w)


def listed(x: Any, w: Any) -> Any:
    array = tf.TensorArray(w.dtype, 3)
    for position in range(3):
        array = array.write(position, (x @ w) * position)
    return array.stack()


def aligned(x: Any, w: Any) -> Any:
    """Its loops call functions by an operation whose type is the function's name."""
    logits = tf.cast(x @ w, tf.float32)[:, tf.newaxis, :]
    return tf.nn.ctc_loss([[1]], logits, label_length=[1], logit_length=[len(x)], blank_index=0)


@pytest.mark.parametrize(
    "compute",
    [body_of_bodies, branch_in_loop, loop_in_branch, several_branches, calls, recomputed, mapped,
     listed, aligned],
)  # fmt: skip
def test_gradients_through_nested_graphs(compute: Compute) -> None:
    weight = tf.Variable(WEIGHT_VALUE, name="weight")

    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            result = compute(tf.cast(x, tf.float16), tf.cast(weight, tf.float16))
            loss = tf.reduce_mean(tf.square(tf.cast(result, tf.float32)))
        weight.assign_sub(tape.gradient(loss, weight))
        return loss

    truth_weight = tf.constant(WEIGHT_VALUE)
    with tf.GradientTape() as tape:
        tape.watch(truth_weight)
        truth = tf.reduce_mean(tf.square(compute(tf.constant(ROWS), truth_weight)))
    expected = WEIGHT_VALUE - tape.gradient(truth, truth_weight).numpy()
    step_ = step_of(step)
    step_.prepare((ROWS,))
    state = step_.snapshot()
    traced, after = step_.trace(state, (ROWS,)), by_variable(step_, state, (ROWS,))
    replayed = step_.float32(state)
    assert replayed.advance((ROWS,)).loss == pytest.approx(float(truth), rel=1e-5)
    np.testing.assert_allclose(
        next(iter(replayed._state.values())).numpy(), expected, rtol=1e-4, atol=1e-6
    )
    assert traced.sites[traced.losses[0]].statistics.max_abs == pytest.approx(
        float(truth), rel=1e-5
    )
    step_.run((ROWS,))
    np.testing.assert_allclose(after["weight"], weight.numpy(), atol=2e-3)
    assert [gradient.variable for gradient in traced.gradients] == ["weight"]
    assert traced.not_traced == ()


class Saved(tf.Module):  # type: ignore[misc]
    """A function that is known by its serialized form alone once it was loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float16)])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        looped = tf.while_loop(lambda k, _: k < 3, lambda k, v: (k + 1, v * v), [0, x])[1]
        return tf.cond(tf.size(x) > 0, lambda: looped - tf.cast(self.factor, x.dtype), lambda: x)


def test_a_function_that_was_saved_and_loaded(tmp_path: Path) -> None:
    tf.saved_model.save(Saved(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    traced = forward(lambda x: loaded(x), X)  # noqa: PLW0108 (AutoGraph cannot read it)
    assert_counts(only(traced, "Mul"), *squared_often(3))
    highest = float(np.max(squared_often(3)[1][-1]))
    assert only(traced, "Sub").statistics.max_abs == pytest.approx(highest - 2, rel=1e-5)


def test_a_condition_is_run_but_not_measured() -> None:
    def loop(x: Any) -> Any:
        return tf.while_loop(lambda v: tf.reduce_max(v) < 100, lambda v: (v * 2,), [x])[0]

    traced = forward(loop, [1.0])
    assert only(traced, "Mul").statistics.count == 7
    assert sites(traced, "Max") == []


def test_a_trace_of_a_step_without_floats_in_its_loop() -> None:
    counter = tf.Variable(0, name="counter")

    def step(x: Any) -> None:
        for _ in tf.range(tf.size(x)):
            counter.assign_add(1)

    assert [site.role for site in trace(step, np.ones(3, "float32")).sites] == ["input"]
