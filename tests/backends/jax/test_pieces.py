"""A function in pieces is the function; equal pieces are compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from floatline.backends.jax import pieces
from floatline.backends.jax.pieces import in_pieces


def deep(x: jax.Array, layers: int = 12) -> jax.Array:
    """Layers that are alike, each in a scope of its own."""
    for number in range(layers):
        with jax.named_scope(f"layer{number}"):
            x = jnp.tanh(x @ x) + 0.5
    return x


def forked(x: jax.Array, number: jax.Array) -> tuple[Any, ...]:
    def small(values: jax.Array) -> jax.Array:
        with jax.named_scope("inside"):
            return jnp.sin(values) + 2.0

    chosen = lax.cond(number > 0, small, lambda values: values * 0 + x.sum(), x)
    return chosen.sum(), x, 5.0, jnp.float16(2.5), chosen


def looped(x: jax.Array) -> Any:
    return lax.scan(lambda carried, row: (carried * 0.5 + row, row.sum()), x[0], x)


def of_keys(x: jax.Array) -> jax.Array:
    first, second = jax.random.split(jax.random.key(3))
    return jax.random.normal(first, x.shape) + x * jax.random.uniform(second)


@pytest.mark.parametrize(
    ("function", "inputs"),
    [
        (deep, [np.eye(3, dtype="float32")]),
        (forked, [np.arange(4.0, dtype="float32"), np.int32(1)]),
        (forked, [np.arange(4.0, dtype="float32"), np.int32(0)]),
        (looped, [np.arange(6.0, dtype="float32").reshape(3, 2)]),
        (of_keys, [np.ones(3, "float32")]),
        (lambda x: (x, x, 1.0), [np.ones(2, "float32")]),
    ],
)
def test_the_results_are_the_same(
    function: Callable[..., Any], inputs: Sequence[np.ndarray]
) -> None:
    arrays = [jnp.asarray(array) for array in inputs]
    found = in_pieces(jax.make_jaxpr(function)(*arrays), arrays, {})(arrays)
    expected = jax.tree.leaves(jax.jit(function)(*arrays))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("layers", [3, 12])
def test_layers_that_are_alike_are_compiled_once(
    monkeypatch: pytest.MonkeyPatch, layers: int
) -> None:
    lowered: list[Any] = []
    original = pieces._Compiler._lowered

    def counted(compiler: Any, border: Any) -> Any:
        lowered.append(border)
        return original(compiler, border)

    monkeypatch.setattr(pieces._Compiler, "_lowered", counted)
    x = jnp.eye(3)
    in_pieces(jax.make_jaxpr(lambda x: deep(x, layers))(x), [x], {})([x])
    assert len(lowered) == 1


def test_constants_that_differ_are_not_taken_for_each_other() -> None:
    def two(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        with jax.named_scope("first"):
            y = x * 2.0 + jnp.array([1.0, 2.0])
        with jax.named_scope("second"):
            z = x * 3.0 + jnp.array([3.0, 4.0])
        return y, z

    x = jnp.ones(2)
    found = in_pieces(jax.make_jaxpr(two)(x), [x], {})([x])
    np.testing.assert_array_equal(found[0], [3.0, 4.0])
    np.testing.assert_array_equal(found[1], [6.0, 7.0])


def test_what_lies_on_several_devices_stays_in_one_piece() -> None:
    class Spread:
        def devices(self) -> set[str]:
            return {"one", "two"}

    def failing(*_: Any) -> Any:
        raise AssertionError("cut")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_Chain", failing)
        whole = in_pieces(jax.make_jaxpr(deep)(jnp.eye(2)), [Spread()], {})
    np.testing.assert_allclose(whole([jnp.eye(2)])[0], deep(jnp.eye(2)), rtol=1e-6)
