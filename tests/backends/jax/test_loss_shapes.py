"""A loss of pure functions whose shapes broadcast is told from one whose shapes fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

from floatline.findings.crossings import crossing
from floatline.pipeline import diagnose
from tests.backends.jax.pure import rows

ROWS = 8
State = dict[str, jax.Array]


@pytest.mark.parametrize("flat", [True, False])
def test_weights_of_a_pure_step_are_known_as_such(flat: bool) -> None:
    def loss(state: State, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean(jnp.square(jnp.tanh(x @ state["w"]) @ state["v"] - y))

    def step(state: State, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
        value, slope = jax.value_and_grad(loss)(state, x, y)
        return jax.tree.map(lambda w, g: w - 0.01 * g, state, slope), value

    given = rows(ROWS) if flat else rows(ROWS, 1)
    state = {"w": rows(3, 4), "v": rows(4, 1)}
    diagnosis = diagnose(step, [(rows(ROWS, 3), given)] * 4, state=state)
    assert diagnosis.verdict == ("not-precision" if flat else "healthy")
    found = [crossing(trace) for trace in diagnosis.evidence.traces]
    assert all((one is not None) is flat for one in found)
