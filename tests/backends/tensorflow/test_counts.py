"""What a site counts, on operations small enough to tell the truth by hand."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.backends.tensorflow.steps import forward, only, sites, trace

INF = float("inf")


def test_a_square_overflows() -> None:
    site = only(forward(lambda x: x * x, [300.0, -300.0, 100.0, 0.0]), "Mul").statistics
    assert (site.count, site.inf, site.saturated, site.local_saturated) == (4, 2, 2, 2)
    assert (site.max_abs, site.computed_max_abs) == (90000.0, 10000.0)
    assert site.exponents == {16: 2, 13: 1}
    assert site.shadow_zero == site.zero == 1


def test_a_product_underflows() -> None:
    site = only(forward(lambda x: x * x, [1e-5, 1.0]), "Mul").statistics
    assert (site.zero, site.flushed, site.local_flushed, site.shadow_zero) == (1, 1, 1, 0)
    assert site.min_abs_nonzero == pytest.approx(1e-10, rel=1e-2)


def test_a_value_that_is_zero_in_float32_too_is_not_flushed() -> None:
    site = only(forward(lambda x: x * x, [0.0, 0.0]), "Mul").statistics
    assert (site.zero, site.shadow_zero, site.flushed) == (2, 2, 0)


def test_a_subnormal_result_is_told_from_a_flushed_one() -> None:
    site = only(forward(lambda x: x * x, [1e-3, 1e-5]), "Mul").statistics
    assert (site.subnormal, site.flushed) == (1, 1)


@pytest.mark.parametrize(
    ("dtype", "value", "saturated"),
    [("float16", 70000.0, 1), ("float16", 65504.0, 0), ("bfloat16", 70000.0, 0)],
)
def test_a_cast_overflows(dtype: str, value: float, saturated: int) -> None:
    site = only(forward(lambda x: x + x * 0, [value, 1.0], dtype=dtype), "Cast").statistics
    assert site.local_saturated == site.saturated == saturated
    assert site.max_abs == value


def test_what_was_saturated_before_is_passed_on_not_added() -> None:
    traced = forward(lambda x: (x * x) / tf.cast(2.0, x.dtype), [300.0, 1.0])
    square, half = only(traced, "Mul").statistics, only(traced, "RealDiv").statistics
    assert (square.saturated, square.local_saturated) == (1, 1)
    assert (half.saturated, half.local_saturated, half.local_nonfinite) == (1, 0, 1)
    assert half.max_abs == 45000.0


def test_inf_minus_inf_is_poison() -> None:
    traced = forward(lambda x: x * x - x * x * tf.cast(0.5, x.dtype), [300.0, 2.0])
    difference = only(traced, "Sub").statistics
    assert (difference.nan, difference.poisoned) == (1, 1)
    assert difference.shadow_nonfinite == 0
    assert difference.local_nonfinite == 1
    assert difference.max_abs == 45000.0


def test_what_is_infinite_in_float32_too_is_not_saturated() -> None:
    site = only(forward(tf.math.log, [0.0, -1.0, 1.0]), "Log").statistics
    assert (site.inf, site.nan) == (1, 1)
    assert (site.shadow_inf, site.shadow_nan) == (1, 1)
    assert (site.saturated, site.poisoned, site.local_saturated) == (0, 0, 0)


@pytest.mark.parametrize(
    ("dtype", "literal", "saturated", "flushed"),
    [
        ("float16", -1e9, 1, 0),
        ("float16", 1e-8, 0, 1),
        ("float16", 1e-7, 0, 0),
        ("bfloat16", 1e-8, 0, 0),
    ],
)
# NumPy says of -1e9 that float16 cannot hold it, when TensorFlow makes the literal.
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_a_literal_keeps_the_value_that_was_written(
    dtype: str, literal: float, saturated: int, flushed: int
) -> None:
    site = only(forward(lambda x: x + tf.constant(literal, dtype), [1.0], dtype=dtype), "Const")
    assert (site.role, site.constant, site.dtype) == ("constant", literal, dtype)
    assert (site.statistics.saturated, site.statistics.flushed) == (saturated, flushed)
    assert site.statistics.max_abs == pytest.approx(abs(literal), rel=1e-6)


def test_a_literal_that_is_exact_is_no_site() -> None:
    assert sites(forward(lambda x: x * tf.constant(0.5, "float16"), [1.0]), "Const") == []


def test_the_cast_of_a_literal_is_a_literal() -> None:
    traced = forward(lambda x: x + keras.ops.cast(-1e9, "float16"), [1.0])
    (literal,) = [site for site in traced.sites if site.role == "constant"]
    assert literal.constant == pytest.approx(-1e9)
    assert literal.statistics.saturated == 1
    assert only(traced, "AddV2").statistics.max_abs == pytest.approx(1e9)


def test_a_sum_overflows_although_its_terms_do_not() -> None:
    site = sites(forward(tf.reduce_sum, np.ones(70000)), "Sum")[0].statistics
    assert (site.count, site.saturated, site.local_saturated) == (1, 1, 1)
    assert site.max_abs == 70000.0


def test_cancellation_multiplies_the_error_that_was_there() -> None:
    """In float16 1.0004 is 1.0, so the difference of 4e-4 is lost altogether; none is added."""
    traced = forward(lambda x, y: x - y, [1.0004], [1.0])
    difference = only(traced, "Sub").statistics
    assert difference.error == pytest.approx(1.0)
    assert difference.local_error == 0.0
    assert sites(traced, "Cast")[0].statistics.local_error == pytest.approx(4e-4, rel=1e-2)


def test_rounding_is_the_operations_own_error() -> None:
    traced = forward(lambda x: x * x, [1.0 + 2.0**-10])
    own = only(traced, "Mul").statistics
    exact = (1 + 2.0**-10) ** 2
    computed = 1 + 2.0**-9
    assert own.local_error == own.error == pytest.approx((exact - computed) / exact, rel=1e-3)


@pytest.mark.parametrize(("last", "mismatched"), [(2049, 1), (2048, 0)])
def test_ids_that_go_through_float16(last: int, mismatched: int) -> None:
    table = tf.Variable(np.eye(4, dtype="float32"), name="table")

    def step(ids: Any) -> None:
        rounded = tf.cast(tf.cast(ids, tf.float16), tf.int32)
        table.assign_add(tf.gather(table, rounded % 4))

    traced = trace(step, np.array([1, 2, 3, last], "int32"))
    back = [site.statistics for site in sites(traced, "Cast") if site.dtype == "int32"]
    assert [site.mismatched for site in back] == [mismatched]
    assert back[0].max_abs == last


def test_positions_counted_in_bfloat16() -> None:
    site = only(
        forward(lambda x: x + tf.range(0, 512, dtype=x.dtype), [0.0], dtype="bfloat16"), "Range"
    )
    truth = np.arange(512.0)
    rounded = tf.cast(tf.range(0, 512, dtype=tf.bfloat16), tf.float32).numpy()
    assert site.statistics.max_abs == 511.0
    assert site.statistics.error == pytest.approx(np.abs(rounded - truth).sum() / truth.sum())
    assert site.statistics.error > 0


def test_a_count_that_float32_would_end_elsewhere_follows_the_real_step() -> None:
    """In bfloat16 3000 is 3008: the shadow counts as far as the step does."""
    traced = forward(lambda x: x + tf.range(0, 3000, dtype=x.dtype), [0.0], dtype="bfloat16")
    assert only(traced, "Range").statistics.count == 3008
    assert only(traced, "Range").statistics.max_abs == 3007.0


def test_a_selection_by_value_follows_the_real_step() -> None:
    """1e-9 is flushed in float16: the real step selects two elements, float32 would take three."""
    traced = forward(lambda x: tf.exp(tf.boolean_mask(x, x > 0)), [1.0, 1e-9, 2.0])
    assert only(traced, "Exp").statistics.count == 2
    parts = forward(
        lambda x: tf.exp(tf.dynamic_partition(x, tf.cast(x > 0, "int32"), 2)[1]), [1, 1e-9]
    )
    assert only(parts, "Exp").statistics.count == 1


def test_distinct_values_are_the_real_steps_and_said_not_to_be_followed() -> None:
    traced = forward(lambda x: tf.unique(x)[0] * 2, [1.0, 1.0001, 2.0])
    assert only(traced, "Mul").statistics.count == 2
    assert [(n.operation, n.reason) for n in traced.not_traced] == [
        ("Unique", "gives as many values as it finds")
    ]


def test_the_batch_is_a_site() -> None:
    traced = forward(lambda x: x, [1.0, np.nan, INF, 3e38])
    batch = only(traced, "Input")
    assert (batch.role, batch.dtype, batch.variable) == ("input", "float32", "batch[0]")
    assert (batch.statistics.nan, batch.statistics.inf) == (1, 1)
    assert batch.statistics.max_abs == pytest.approx(3e38)


def test_a_variable_is_a_site_where_it_is_first_read() -> None:
    weight = tf.Variable([1.0, -70000.0], name="weight")
    traced = forward(lambda x: x * tf.cast(weight, x.dtype) + tf.cast(weight, x.dtype), [1.0])
    (read,) = [site for site in traced.sites if site.role == "parameter"]
    assert (read.variable, read.statistics.max_abs) == ("weight", 70000.0)
    casts = [site for site in sites(traced, "Cast") if read.index in site.inputs]
    assert [site.statistics.saturated for site in casts] == [1, 1]


def test_inputs_lead_through_operations_that_only_move_values() -> None:
    traced = forward(lambda x: tf.exp(tf.transpose(tf.reshape(x, (2, 2)))), np.ones(4))
    cast, exponential = only(traced, "Cast"), only(traced, "Exp")
    assert exponential.inputs == (cast.index,)
    assert cast.inputs == (only(traced, "Input").index,)
    assert sites(traced, "Reshape") == sites(traced, "Transpose") == []
