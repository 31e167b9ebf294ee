"""Functions inside functions: loops, branches and calls carry their shadows and statistics."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import floatline
from tests.backends.jax.pure import HALF, agrees_with_float32, last, operations, rows

X, W = rows(5, 4), 0.5 * rows(4, 4)


def scanned(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    def cell(h: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = jnp.tanh(h @ w.astype(d) + row)
        return h, h * 2

    return lax.scan(cell, jnp.zeros(4, d), x.astype(d))[1] * 3


def repeated(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    def body(state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
        return state[0] + 1, jnp.sin(state[1] @ w.astype(d))

    return lax.while_loop(lambda s: s[0] < 3, body, (0, x.astype(d)))[1] * 3


def branched(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    h = x.astype(d) @ w.astype(d)
    return lax.cond(h.sum() > 1e3, lambda a: a * 2, lambda a: jnp.sin(a) * 3, h) + 1


def remembered_twice(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    @jax.checkpoint  # type: ignore[untyped-decorator]
    def layer(h: jax.Array) -> jax.Array:
        return jnp.sin(h @ w.astype(d))

    def loss(h: jax.Array) -> jax.Array:
        return jnp.sum(layer(layer(h.astype(d))).astype(jnp.float32))

    return jax.grad(loss)(x).astype(d) * 3


@jax.custom_vjp  # type: ignore[untyped-decorator]
def clipped(x: jax.Array) -> jax.Array:
    return x * 2


clipped.defvjp(lambda x: (clipped(x), None), lambda _, g: (jnp.clip(g, -0.5, 0.5) * 2,))


def own_gradient(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    def loss(h: jax.Array) -> jax.Array:
        return jnp.sum(clipped(h.astype(d) @ w.astype(d)).astype(jnp.float32) * 3)

    return jax.grad(loss)(x).astype(d) * 3


def differentiated_scan(x: jax.Array, w: jax.Array, d: Any) -> jax.Array:
    return jax.grad(lambda v: scanned(x, v, d).astype(jnp.float32).sum())(w).astype(d) * 3


@pytest.mark.parametrize(
    "function",
    [scanned, repeated, branched, remembered_twice, own_gradient, differentiated_scan],
)
def test_a_nested_function_and_its_shadow(function: Any) -> None:
    trace = agrees_with_float32(function, X, W, rel=3e-3)
    assert trace.not_traced == ()


def test_statistics_of_a_loop_are_those_of_all_iterations() -> None:
    trace = floatline.trace(lambda x, w: scanned(x, w, HALF), X, W)
    assert last(trace, "tanh").statistics.count == X.size
    truth = scanned(X, W, jnp.float32) / 6
    found = last(trace, "tanh").statistics
    assert found.max_abs == pytest.approx(float(jnp.abs(truth).max()), rel=1e-5)


def test_a_loop_variable_comes_from_outside_and_from_its_own_end() -> None:
    trace = floatline.trace(lambda x, w: scanned(x, w, HALF), X, W)
    product, tanh = last(trace, "dot_general"), last(trace, "tanh")
    assert tanh.index in product.inputs


def test_only_the_branch_that_ran_is_counted() -> None:
    trace = floatline.trace(lambda x, w: branched(x, w, HALF), X, W)
    counts = {s.place.operation: s.statistics.count for s in trace.sites if s.dtype == "float16"}
    assert counts["sin"] == X.size
    products = [s for s in trace.sites if s.place.operation == "mul"]
    assert sorted(site.statistics.count for site in products) == [0, X.size]


def test_the_gradients_of_a_loop_over_parts_of_a_batch_are_found() -> None:
    def step(w: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        def part(total: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            def loss(v: jax.Array) -> jax.Array:
                return jnp.sum((row.astype(HALF) @ v.astype(HALF)).astype(jnp.float32) ** 2)

            value, gradient = jax.value_and_grad(loss)(w)
            return total + gradient, value

        gradient, values = lax.scan(part, jnp.zeros_like(w), x)
        return w - 0.1 * gradient, values.mean()

    trace = floatline.trace(step, W, X)
    (gradient,) = trace.gradients
    assert gradient.variable == "w"
    truth = (step(W, X)[0] - W) / -0.1
    found = trace.sites[gradient.site].statistics
    assert found.computed_max_abs == pytest.approx(float(jnp.abs(truth).max()), rel=1e-3)


def test_operations_inside_a_library_function_have_the_line_that_calls_it() -> None:
    for _ in range(2):  # The second time JAX remembers what it traced.
        trace = floatline.trace(lambda x: jax.nn.gelu(x.astype(HALF)), X)
        lines = {s.place.source.line for s in trace.sites if s.place.source is not None}
        code = test_operations_inside_a_library_function_have_the_line_that_calls_it.__code__
        assert lines == {code.co_firstlineno + 2}
        assert all(s.place.source for s in trace.sites if s.role == "value")


def test_a_jitted_function_is_read_through() -> None:
    inner = jax.jit(lambda a: jnp.sin(a) * 3)
    plain = floatline.trace(lambda x: jnp.sin(x.astype(HALF)) * 3, X)
    trace = floatline.trace(jax.jit(lambda x: inner(x.astype(HALF))), X)
    assert operations(trace) == operations(plain)
    assert [s.statistics for s in trace.sites] == [s.statistics for s in plain.sites]


def test_sharded_parts_are_followed() -> None:
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.sharding.PartitionSpec("rows")

    def summed(x: jax.Array) -> jax.Array:
        return lax.psum((x.astype(HALF) * 3).sum(0), "rows") * 2

    function = jax.shard_map(
        summed, mesh=mesh, in_specs=spec, out_specs=jax.sharding.PartitionSpec()
    )
    trace = floatline.trace(function, X)
    truth = np.abs(6 * np.asarray(X, "float64").sum(0)).max()
    assert trace.sites[-1].statistics.max_abs == pytest.approx(truth, rel=1e-5)
    assert trace.not_traced == ()


def test_what_is_computed_ahead_for_the_backward_pass_belongs_to_it() -> None:
    """The derivative of `a / b` needs `b**-2`, which JAX computes on the way forward."""

    def loss(b: jax.Array) -> jax.Array:
        return jnp.sum((1 / b.astype(HALF)).astype(jnp.float32))

    trace = floatline.trace(jax.grad(loss), jnp.array([0.001, 1.0]))
    assert last(trace, "div").place.phase == "forward"
    power = last(trace, "integer_pow")
    assert (power.place.phase, power.statistics.saturated) == ("backward", 1)
