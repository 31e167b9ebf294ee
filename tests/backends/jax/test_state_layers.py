"""A state in which all weights lie side by side has a layer for each of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from floatline.pipeline import diagnose
from floatline.records import Diagnosis
from tests.backends.jax.pure import rows

DEPTH, WIDTH = 10, 16
State = dict[str, jax.Array]


def deep(*, low: bool) -> Diagnosis:
    """Sigmoids one behind the other, whose gradients shrink on the way back, in a flat state."""
    dtype = jnp.float16 if low else jnp.float32

    def loss(state: State, x: jax.Array, y: jax.Array) -> jax.Array:
        hidden = x.astype(dtype)
        for number in range(DEPTH):
            hidden = jax.nn.sigmoid(hidden @ state[f"w{number}"].astype(dtype))
        return jnp.mean(jnp.square(hidden.astype("float32").mean(axis=1) - y))

    def step(state: State, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
        value, slope = jax.value_and_grad(loss)(state, x, y)
        return jax.tree.map(lambda w, g: w - 0.1 * g, state, slope), value

    keys = jax.random.split(jax.random.key(0), DEPTH)
    state = {
        f"w{number}": 0.3 * jax.random.normal(key, (WIDTH, WIDTH))
        for number, key in enumerate(keys)
    }
    x, y = rows(64, WIDTH), rows(64)
    return diagnose(step, [(x, y)] * 20, state=state)


def test_the_flushed_share_of_each_weight_is_seen() -> None:
    diagnosis = deep(low=True)
    assert (diagnosis.verdict, diagnosis.findings[0].rule) == ("precision", "FL201")
    shares = diagnosis.findings[0].evidence
    assert shares["layers"] == DEPTH
    assert shares["flushed_share[state/w0]"] == pytest.approx(1.0, abs=0.05)
    whole = shares["flushed_share"]
    assert isinstance(whole, float)
    assert whole < 0.5  # All weights as one layer would have kept the rule quiet.


def test_in_float32_nothing_is_flushed() -> None:
    assert deep(low=False).verdict == "healthy"
