"""Steps of JAX that are traced in parts: state stays whole, and inner gradients start at 1."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from floatline.backends.jax.memory import ran_short, starting_at
from floatline.backends.jax.pieces import Whole, in_pieces
from floatline.capture.capture import KeptMoment
from floatline.pipeline import load_backend
from floatline.progress import silent
from floatline.records import StepRecord
from floatline.tracing.moments import trace_moments
from tests.contract.shortage import allow
from tests.tracing.fakes import capture

MIB = 2**20


def loss_of(weights: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    hidden = jnp.tanh(x.astype("float16") @ weights["first"].astype("float16"))
    return jnp.mean((hidden.astype("float32") @ weights["second"] - y) ** 2)


@jax.jit  # type: ignore[untyped-decorator]  # (JAX is not type-checked here)
def step(weights: Any, key: jax.Array, x: jax.Array, y: jax.Array) -> Any:
    x = x + 0.0 * jax.random.normal(key, x.shape)
    loss, gradients = jax.value_and_grad(loss_of)(weights, x, y)
    return jax.tree.map(lambda w, g: w - 0.01 * g, weights, gradients), loss


def batch() -> Any:
    random = np.random.default_rng(0)
    x = np.tile(random.normal(size=(12, 48)).astype("float32"), (4, 1))
    # The first weights have as many rows as the batch: they are state.
    weights = {"first": jnp.asarray(random.normal(size=(48, 32)).astype("float32") / 7)}
    weights["second"] = jnp.asarray(random.normal(size=(32, 2)).astype("float32"))
    return weights, jax.random.PRNGKey(0), x, x[:, :2]


def test_state_and_keys_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    traced = load_backend().function_step(step, lambda layer: None)
    given = batch()
    assert traced.rows(given) == 48
    weights, key, x, y = traced.picked(given, [5, 5, 0])
    assert (weights["first"].shape, key.shape) == ((48, 32), (2,))
    np.testing.assert_array_equal(x, given[2][[5, 5, 0]])
    np.testing.assert_array_equal(y, given[3][[5, 5, 0]])

    moment = KeptMoment(0, "first", traced.snapshot(), given)
    whole = traced.trace(moment.state, given)
    allow(monkeypatch, 12)
    record = StepRecord(0, 1.0)
    (part,) = trace_moments(capture(traced, [record], [moment]), silent)
    assert (part.rows, part.agrees) == ("rows 0 to 11 of 48", True)
    tanh = [
        max(
            site.statistics.max_abs
            for site in trace.sites
            if site.place.phase == "backward" and site.shape == (rows, 32)
        )
        for trace, rows in ((whole, 48), (part, 12))
    ]
    assert tanh[0] == pytest.approx(tanh[1], rel=1e-3)


def test_only_the_outermost_gradient_starts_elsewhere() -> None:
    def penalty(x: jax.Array) -> jax.Array:
        return jnp.sum(jax.grad(lambda z: jnp.sum(z**3))(x))

    with starting_at(0.25):
        outer = jax.make_jaxpr(jax.grad(penalty))(jnp.ones(2))
        each = jax.make_jaxpr(jax.vmap(jax.grad(lambda z: z**2)))(jnp.ones(2))
    assert jax.core.eval_jaxpr(outer.jaxpr, outer.consts, jnp.ones(2))[0].tolist() == [1.5, 1.5]
    assert jax.core.eval_jaxpr(each.jaxpr, each.consts, jnp.ones(2))[0].tolist() == [2.0, 2.0]
    assert jax.grad(penalty)(jnp.ones(2)).tolist() == [6.0, 6.0]


def test_what_a_function_needs_is_known_before_it_runs() -> None:
    def function(x: jax.Array) -> jax.Array:
        for number in range(3):
            with jax.named_scope(f"piece{number}"):
                x = jnp.sin(x) @ jnp.cos(x)
        return x

    x = jnp.ones((512, 512), "float32")
    closed = jax.make_jaxpr(function)(x)
    pieces = in_pieces(closed, jax.devices()[0], {})
    assert pieces.least_bytes == MIB
    assert MIB <= Whole(closed, [x], {}).least_bytes < 16 * MIB


def test_what_is_no_want_of_memory() -> None:
    assert ran_short(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"))
    assert not ran_short(jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes"))
    assert not ran_short(ValueError("out of memory"))
