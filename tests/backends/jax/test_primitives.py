"""Operations one by one: their shadow is the same function of float32, their value the real one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import floatline
from tests.backends.jax.pure import HALF, agrees_with_float32, last, operations, rows

X, W = rows(8, 6), rows(6, 4)

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "dot": lambda x, w, d: x.astype(d) @ w.astype(d),
    "sum_of_squares": lambda x, w, d: jnp.sum(jnp.square(x.astype(d)), axis=1),
    "scatter_add": lambda x, w, d: (
        jnp.zeros(4, d).at[jnp.array([0, 1, 1, 3, 3, 3, 0, 2])].add(x[:, 0].astype(d))
    ),
    "cumulated": lambda x, w, d: jnp.cumsum(x.astype(d), axis=0),
    "softmax": lambda x, w, d: jax.nn.softmax(x.astype(d) * 3, axis=-1),
    "logsumexp": lambda x, w, d: jax.nn.logsumexp(x.astype(d), axis=-1),
    "convolution": lambda x, w, d: lax.conv(
        x.astype(d)[None, None], w.astype(d)[None, None, :3, :3], (1, 1), "SAME"
    ),
    "maximum_of_windows": lambda x, w, d: (
        lax.reduce_window(x.astype(d), jnp.array(-jnp.inf, d), lax.max, (2, 2), (2, 2), "VALID")
        * jnp.array(1.1, d)
    ),
    "sorted": lambda x, w, d: jnp.sort(x.astype(d) * jnp.array(1.1, d), axis=0) * 1,
    "reduced_by_hand": lambda x, w, d: lax.reduce(
        jnp.abs(x.astype(d)), jnp.array(0, d), lambda a, b: a + b, (0,)
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_operation_and_its_shadow(name: str) -> None:
    trace = agrees_with_float32(FUNCTIONS[name], X, W)
    assert trace.not_traced == ()


def test_a_gradient_is_shadowed_as_well() -> None:
    def gradient(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
        def loss(v: jax.Array) -> jax.Array:
            return jnp.sum(jnp.tanh(x.astype(d) @ v.astype(d)).astype(jnp.float32))

        return jax.grad(loss)(w).astype(d) * 3

    agrees_with_float32(gradient, X, W, rel=2e-3)


@pytest.mark.parametrize(
    ("write", "value"),
    [
        (lambda x: x + 1e-8, 1e-8),
        (lambda x: jnp.where(x > 0, x, -1e9), -1e9),
        (lambda x: jnp.maximum(x, 1e-9), 1e-9),
        (lambda x: x * jnp.asarray(1e5, HALF), 1e5),
        (lambda x: x + jnp.full((2,), 1e5, HALF), 1e5),
        (lambda x: x / np.float32(3.0).astype("float16"), None),
        (lambda x: x * 2, None),
    ],
)
def test_a_number_in_the_code_is_known_as_it_was_written(
    write: Callable[..., Any], value: float | None
) -> None:
    trace = floatline.trace(write, jnp.ones(2, HALF))
    known = [site.constant for site in trace.sites if site.role == "constant"]
    assert known == ([] if value is None else [pytest.approx(value)])


def test_numbers_are_rounded_as_without_us() -> None:
    """One value in a thousand would differ if they were rounded to float32 first."""
    numbers = [1 + 2**-11 + 2**-30, 65519.99999, 2**-25 * 1.0000000001]
    for number in numbers:
        trace = floatline.trace(lambda x, n=number: x * jnp.asarray(n, HALF), jnp.ones(1, HALF))
        truth = float(np.asarray(number).astype("float16"))
        found = last(trace, "mul").statistics
        assert found.computed_max_abs == (truth if np.isfinite(truth) else 0)


def test_random_draws_are_the_same_in_every_lane() -> None:
    def draw(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, (64,), HALF) * jax.random.bernoulli(key, 0.5, (64,))

    trace = floatline.trace(draw, jax.random.key(0))
    assert last(trace, "mul").statistics.error < 2e-2
    assert last(trace, "mul").statistics.flushed == 0
    assert trace.not_traced == ()


def test_bits_that_are_read_are_taken_and_counted() -> None:
    def magic(x: jax.Array) -> jax.Array:
        return lax.bitcast_convert_type(x.astype(HALF) * 3, jnp.int16).astype(HALF)

    (entry,) = floatline.trace(magic, X).not_traced
    assert (entry.operation, entry.count) == ("bitcast_convert_type", 1)
    assert "bits" in entry.reason


def test_python_code_is_taken_and_counted() -> None:
    def outside(x: jax.Array) -> jax.Array:
        h = x.astype(HALF) * 3
        shape = jax.ShapeDtypeStruct(h.shape, h.dtype)
        return jax.pure_callback(lambda a: np.sqrt(np.abs(a)), shape, h) * 2

    trace = floatline.trace(outside, X)
    (entry,) = trace.not_traced
    assert (entry.operation, entry.reason) == ("pure_callback", "runs Python code")
    assert operations(trace)[-1] == "mul"


def test_a_print_runs_in_the_step_and_not_in_its_trace(capfd: pytest.CaptureFixture[str]) -> None:
    def printing(x: jax.Array) -> jax.Array:
        jax.debug.print("seen {}", x.sum())
        return x.astype(HALF) * 3

    floatline.trace(printing, X)
    jax.effects_barrier()
    assert "seen" not in capfd.readouterr().out


def test_reduced_precision_is_rounding() -> None:
    trace = floatline.trace(lambda x: lax.reduce_precision(x, 5, 10) * 2, X)
    truth = np.asarray(X, "float64")
    rounded = truth.astype("float16").astype("float64")
    error = np.abs(rounded - truth).sum() / np.abs(truth).sum()
    assert last(trace, "reduce_precision").statistics.local_error == pytest.approx(error, rel=1e-3)
    assert last(trace, "mul").statistics.error == pytest.approx(error, rel=1e-3)


def test_integers_that_the_lanes_disagree_on_are_counted() -> None:
    def index(x: jax.Array) -> jax.Array:
        return (x.astype(HALF) * 1000).astype("int32") + 1

    x = jnp.array([2.0491, 4.0999], "float32")
    truth = int(np.sum(np.asarray(index(x)) != (np.asarray(x) * 1000).astype("int32") + 1))
    assert truth > 0
    assert last(floatline.trace(index, x), "convert_element_type").statistics.mismatched == truth
