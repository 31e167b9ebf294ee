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
from floatline.backends.jax.backend import JaxBackend
from floatline.backends.jax.bundles import bundled, cut
from floatline.backends.jax.pieces import Chain, _Compiler, compiled, in_pieces
from floatline.backends.jax.programs import WHOLE_NOTE

CPU = jax.devices("cpu")[0]


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
    found = in_pieces(jax.make_jaxpr(function)(*arrays), CPU, {})(arrays)
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
    in_pieces(jax.make_jaxpr(lambda x: deep(x, layers))(x), CPU, {})([x])
    assert len(lowered) == 1


def chained(function: Callable[..., Any], inputs: Sequence[Any], together: int) -> Chain:
    sharding = jax.sharding.SingleDeviceSharding(CPU)
    return Chain(jax.make_jaxpr(function)(*inputs), _Compiler(sharding, {}, together))


@pytest.mark.parametrize(
    ("function", "inputs", "programs"),
    [
        (deep, [np.eye(3, dtype="float32")], 1),
        (forked, [np.arange(4.0, dtype="float32"), np.int32(1)], 3),
        (of_keys, [np.ones(3, "float32")], 1),
    ],
)
def test_pieces_that_are_compiled_together_give_the_same(
    function: Callable[..., Any], inputs: Sequence[np.ndarray], programs: int
) -> None:
    arrays = [jnp.asarray(array) for array in inputs]
    apart, together = (chained(function, arrays, number) for number in (1, 10**6))
    assert len(together._pieces) == programs <= len(apart._pieces)
    for one, other in zip(together(arrays), apart(arrays), strict=True):
        np.testing.assert_array_equal(one, other)


def layered(x: jax.Array, layers: int = 9) -> jax.Array:
    """A sequence of scopes that comes again."""
    for number in range(layers):
        for step, change in enumerate((jnp.sin, jnp.exp, jnp.tanh, jnp.sqrt, jnp.negative)):
            with jax.named_scope(f"layer{number}{step}"):
                x = change(x)
    return x


@pytest.mark.parametrize("together", [1, 2, 3, 5, 8, 100])
def test_a_sequence_that_comes_again_is_put_together_in_the_same_way(together: int) -> None:
    groups = list(cut(jax.make_jaxpr(layered)(jnp.ones(3)).jaxpr.eqns))
    bundles = bundled(groups, together)
    assert [group for bundle in bundles for group in bundle] == groups
    assert max(map(len, bundles)) <= together
    names = [tuple(e.primitive.name for group in b for e in group) for b in bundles]
    assert len(bundles) <= max(3, 3 * len(groups) / together)
    assert len(set(names)) <= 5


def test_what_comes_only_once_is_put_together_too() -> None:
    def once(x: jax.Array) -> jax.Array:
        for change in (jnp.sin, jnp.exp, jnp.tanh, jnp.sqrt, jnp.negative):
            with jax.named_scope(change.__name__):
                x = change(x)
        return x

    groups = list(cut(jax.make_jaxpr(once)(jnp.ones(3)).jaxpr.eqns))
    assert [len(bundle) for bundle in bundled(groups, 3)] == [3, 2]


def test_branches_and_convolutions_stay_alone() -> None:
    def function(x: jax.Array, number: jax.Array) -> jax.Array:
        for _ in range(2):
            with jax.named_scope("before"):
                x = jnp.sin(x)
            with jax.named_scope("convolution"):
                x = lax.conv(x, jnp.ones((1, 1, 3)), (1,), "SAME")
            with jax.named_scope("after"):
                x = jnp.exp(x)
            x = lax.cond(number > 0, jnp.sin, jnp.cos, x)
        return x

    groups = list(cut(jax.make_jaxpr(function)(jnp.ones((1, 1, 8)), 1).jaxpr.eqns))
    for bundle in bundled(groups, 100):
        names = {equation.primitive.name for group in bundle for equation in group}
        assert len(bundle) == 1 or names.isdisjoint({"cond", "conv_general_dilated"})


def rewritten(x: jax.Array) -> jax.Array:
    """What XLA makes (1 + 1e-6) - x of: 0 in float16, for an x of 1."""
    with jax.named_scope("first"):
        rest = 1 - x
    with jax.named_scope("second"):
        return jnp.log(rest + jnp.float16(1e-6))


def test_what_is_compiled_together_is_not_rewritten_together() -> None:
    x = jnp.ones(8, jnp.float16)
    chain = chained(rewritten, [x], 10**6)
    assert len(chain._pieces) == 1
    assert np.isfinite(np.asarray(chain([x])[0])).all()
    assert np.isneginf(np.asarray(jax.jit(rewritten)(x))).all()


def branching(x: jax.Array, w: jax.Array, number: jax.Array) -> jax.Array:
    """A branch that the lanes enter alike, and what is in it."""
    h = x.astype(jnp.float16) @ w.astype(jnp.float16)
    chosen = lax.cond(number > 0, lambda v: jnp.sin(v) * 3, lambda v: v * 0, h)
    return chosen.sum() + h.max()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("together", [1, 100])
def test_a_branch_that_the_host_takes_shows_the_same_sites(
    monkeypatch: pytest.MonkeyPatch, number: int, together: int
) -> None:
    batch = (jnp.eye(4) + 0.3, 0.1 + jnp.eye(4), jnp.int32(number))

    def traced() -> Any:
        step = JaxBackend().function_step(jax.jit(branching), lambda layer: None)
        return step.trace(step.snapshot(), batch)

    whole = traced()
    monkeypatch.setattr(pieces, "WHOLE", 1)
    monkeypatch.setattr(pieces, "AFFORDABLE", 1)
    monkeypatch.setattr(
        pieces,
        "in_pieces",
        lambda closed, device, options: Chain(
            closed, _Compiler(jax.sharding.SingleDeviceSharding(device), options, together)
        ),
    )
    forks: list[Any] = []
    original = pieces._Fork.__call__

    def seen(fork: Any, *given: Any) -> Any:
        forks.append(fork)
        return original(fork, *given)

    monkeypatch.setattr(pieces._Fork, "__call__", seen)
    apart = traced()
    assert forks
    assert [site.place for site in apart.sites] == [site.place for site in whole.sites]
    for one, other in zip(apart.sites, whole.sites, strict=True):
        assert one.inputs == other.inputs
        assert one.statistics.count == other.statistics.count
        assert one.statistics.exponents == other.statistics.exponents
    assert {s.statistics.count for s in apart.sites if s.place.operation == "sin"} == {16 * number}


def test_constants_that_differ_are_not_taken_for_each_other() -> None:
    def two(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        with jax.named_scope("first"):
            y = x * 2.0 + jnp.array([1.0, 2.0])
        with jax.named_scope("second"):
            z = x * 3.0 + jnp.array([3.0, 4.0])
        return y, z

    x = jnp.ones(2)
    found = in_pieces(jax.make_jaxpr(two)(x), CPU, {})([x])
    np.testing.assert_array_equal(found[0], [3.0, 4.0])
    np.testing.assert_array_equal(found[1], [6.0, 7.0])


class Spread:
    """Stands for an array on two devices."""

    def devices(self) -> set[str]:
        return {"one", "two"}


@pytest.mark.parametrize(
    ("most", "inputs", "whole"), [(99, [], True), (2, [], False), (2, [Spread()], True)]
)
def test_small_functions_and_those_of_several_devices_stay_whole(
    monkeypatch: pytest.MonkeyPatch, most: int, inputs: list[Any], whole: bool
) -> None:
    cuts: list[Any] = []
    original = pieces.in_pieces
    monkeypatch.setattr(pieces, "WHOLE", most)
    monkeypatch.setattr(pieces, "in_pieces", lambda *given: cuts.append(given) or original(*given))  # type: ignore[func-returns-value]  # (None is what the `or` is for)
    function = compiled(jax.make_jaxpr(deep)(jnp.eye(2)), inputs, {})
    np.testing.assert_allclose(function([jnp.eye(2)])[0], deep(jnp.eye(2)), rtol=1e-6)
    assert (not cuts) == whole


def squashed(weight: jax.Array, values: jax.Array) -> jax.Array:
    """Finite as it is written, and not as XLA rewrites it: 1 + 1e-6 is 1 in float16."""
    action = jnp.tanh((weight * values).astype(jnp.float16))
    return -jnp.mean(jnp.log((1 - action) + 1e-6)).astype(jnp.float32)


@pytest.mark.parametrize(("affordable", "finite"), [(9999, False), (10, True)])
def test_a_step_that_fails_as_a_whole_is_traced_as_a_whole_if_it_can_be(
    monkeypatch: pytest.MonkeyPatch, affordable: int, finite: bool
) -> None:
    monkeypatch.setattr(pieces, "WHOLE", 10)
    monkeypatch.setattr(pieces, "AFFORDABLE", affordable)
    step = JaxBackend().function_step(jax.jit(jax.value_and_grad(squashed)), lambda layer: None)
    batch = (jnp.float32(1.0), jnp.full(4, 20.0))
    _, outcome = step.run(batch)
    assert outcome.loss == np.inf
    trace = step.trace(step.snapshot(), batch)
    assert (trace.sites[trace.losses[0]].statistics.nonfinite == 0) == finite
    assert trace.notes == (() if finite else (WHOLE_NOTE,))
    assert step.trace(step.snapshot(), batch) == trace
